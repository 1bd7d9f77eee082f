"""Do texts begin with a prompt that a watermark can't be in?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.watermark.deduplicate import deduplicated
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.marks import Marks, Scheme
from statllm.ragged import FloatArray, Ragged
from statllm.scoring.watermarks.evidence import excess

#: Lengths of a prefix, in tokens, that are tried.
LENGTHS = (16, 32, 64, 128, 256, 512)
#: A prefix with at most this share of the signal of what follows is called free of it.
SHARE = 0.25
_FEW = 10


@dataclass(frozen=True)
class PrefixTest:
    """Whether the first tokens of documents are free of the signal that the rest has.

    Attributes
    ----------
    length : int
        Tokens of the prefix.
    log_p : float
        Of "the prefix has at least a quarter of the signal, or the rest has none".
    prefix, rest : float
        Mean excess of a mark over chance.
    """

    length: int
    log_p: float
    prefix: float
    rest: float


def unmarked_prefix(scheme: Scheme, tokens: Ragged) -> list[PrefixTest]:
    """Compare the signal of the first k tokens with that of the rest, for each k of `LENGTHS` that
    leaves 10 marks on both sides.

    An intersection-union test: the larger of two p-values, that of the rest's signal (exact) and
    that of excess(prefix) >= excess(rest) / 4, one-sided. The latter is a t-test over documents (a
    normal one over marks with fewer than 10), and approximate. Text that is nearly certain at its
    beginning has no signal there, either: it looks the same.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> tokens = Ragged.from_lists([list(range(100))], np.int64)
    >>> [test.length for test in unmarked_prefix(make_scheme("vllm-gumbel", key=42), tokens)]
    [16, 32, 64]
    """
    marks = deduplicated(scheme.marks(tokens), "corpus")
    out = []
    for length in LENGTHS:
        within = marks.positions < length
        if min(within.sum(), (~within).sum()) >= _FEW:
            out.append(_tested(marks, within, length))
    return out


def _tested(marks: Marks, within: NDArray[np.bool_], length: int) -> PrefixTest:
    from scipy import stats

    scores = excess(marks)
    rest = marks.kept(~within)
    signal = detect(replace(rest, offsets=np.array([0, len(rest.seeds)])), deduplicate="done")
    before, after = float(scores[within].mean()), float(scores[~within].mean())
    error, freedom = _standard_error(marks, scores, within, before, after)
    z = (before - SHARE * after) / error if error > 0 else math.nan
    absent = float(stats.t.logcdf(z, freedom) if math.isfinite(freedom) else stats.norm.logcdf(z))
    return PrefixTest(length, max(absent, float(signal.log_p[0])), before, after)


def _standard_error(
    marks: Marks, scores: FloatArray, within: NDArray[np.bool_], before: float, after: float
) -> tuple[float, float]:
    """Of mean(prefix) - SHARE mean(rest), and its degrees of freedom."""
    influence = np.where(
        within,
        (scores - before) / within.sum(),
        -SHARE * (scores - after) / (~within).sum(),
    )
    documents = np.flatnonzero(marks.lengths)
    if len(documents) < _FEW:
        return float(np.sqrt(np.sum(influence**2))), math.inf
    sums = np.bincount(marks.documents, influence, marks.n_documents)[documents]
    n = len(documents)
    return float(np.sqrt(np.sum(sums**2) * n / (n - 1))), float(n - 1)
