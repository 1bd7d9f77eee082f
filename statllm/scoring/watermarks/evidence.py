"""The evidence of a whole corpus for one scheme: every (seed, target) pair once, one p-value."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from statllm.estimators.watermark import nulls
from statllm.estimators.watermark.deduplicate import deduplicated
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.marks import Marks, Scheme
from statllm.estimators.watermark.prf.synthid import SynthId
from statllm.estimators.watermark.prf.unigram import Unigram
from statllm.ragged import FloatArray, Ragged

_TABLE = 1 << 16
_MULTIPLIER = 6364136223846793005  # of SynthID's linear congruential generator
#: Tokens of which a table of 65,536 bits is asked: half of it, with 30 layers.
_MOST_OF_TABLE = 1000


@dataclass(frozen=True)
class Evidence:
    """A test of a corpus as a whole.

    Attributes
    ----------
    log_p : float
        NaN where nothing can be scored.
    n_scored : int
        Distinct (seed, target) pairs behind it.
    n_repeated : int
        Tokens that repeat a pair.
    """

    log_p: float
    n_scored: int
    n_repeated: int


def pooled(scheme: Scheme, tokens: Ragged) -> Evidence:
    """Test whether a corpus carries a scheme's watermark anywhere, by the sum of all marks.

    Pairs count once over the corpus, so that the p-value is exact over keys however much text its
    documents share. Bits of a table (SynthID as transformers has it) are looked up again by other
    pairs: there each place of the table counts once, its ones hypergeometric, in the first 1,000
    tokens. One list for all contexts (Unigram) is read in the first half as many tokens as it has:
    where every token occurs, all its green ones do.

    Raises
    ------
    ValueError
        If the scheme can't read the tokens.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> tokens = Ragged.from_lists([[101, 7, 7, 2050], [101, 7, 7, 2050, 5]], np.int64)
    >>> found = pooled(make_scheme("vllm-gumbel", key=42), tokens)
    >>> found.n_scored, found.n_repeated
    (5, 4)
    """
    return pooled_marks(scheme, scheme.marks(tokens))


def pooled_marks(scheme: Scheme, marks: Marks) -> Evidence:
    """Test marks that a scheme has read, or a part of them, as `pooled` does."""
    if isinstance(scheme, Unigram):
        marks = marks.kept(np.arange(len(marks.seeds)) < scheme.vocabulary // 2)
    kept = deduplicated(marks, "corpus")
    repeated = len(marks.seeds) - len(kept.seeds)
    if not len(kept.seeds):
        return Evidence(float("nan"), 0, repeated)
    if isinstance(scheme, SynthId) and scheme.flavour == "transformers":
        return Evidence(*_of_table(scheme, kept), repeated)
    joined = replace(kept, offsets=np.array([0, len(kept.seeds)]))
    found = detect(joined, deduplicate="done")
    return Evidence(float(found.log_p[0]), len(kept.seeds), repeated)


def _of_table(scheme: SynthId, marks: Marks) -> tuple[float, int]:
    seeds, bits = marks.seeds[:_MOST_OF_TABLE], marks.values[:_MOST_OF_TABLE]
    # one step of the hash per layer, of which the table sees 16 bits
    keys = np.array([scheme.key[layer] for layer in scheme.layers], np.uint64)
    hashed = (seeds[:, None] + keys) * np.uint64(_MULTIPLIER)
    places = (hashed + np.uint64(1)) & np.uint64(_TABLE - 1)
    _, first = np.unique(places.ravel(), return_index=True)
    ones = round(marks.null.share * _TABLE)
    count = np.array([float(bits.ravel()[first].sum())])
    log_p = nulls.hypergeometric_log_tail(count, _TABLE, ones, np.array([len(first)]))
    return float(log_p[0]), len(seeds)


def excess(marks: Marks) -> FloatArray:
    """Return by how much each mark exceeds its mean by chance, shape (n,).

    Of pivots -log(1 - Y) - 1, of green tokens and bits the share less its null share.
    """
    null = marks.null
    if null.kind == "uniform":
        scores = -np.log1p(-np.asarray(marks.values, np.float64))
        if null.mixing is not None:
            scores = scores @ np.array([1 - null.mixing, null.mixing])
        return np.asarray(scores - 1.0, np.float64)
    values = np.asarray(marks.values, np.float64)
    shares = values.mean(axis=1) if null.kind == "bits" else values
    return np.asarray(shares - null.share, np.float64)
