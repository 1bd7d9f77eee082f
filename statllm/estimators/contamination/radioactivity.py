"""Was a model trained on watermarked text? The mark of a key in what the model says next.

Sander, Fernandez, Durmus, Douze and Furon (2024, arXiv 2402.14904): who learns from watermarked
text picks up a little of the watermark, and repeats it after the contexts that the text had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.contamination.contexts import Contexts, check_poolable
from statllm.estimators.watermark.detect import Test, detect
from statllm.estimators.watermark.marks import Marks, Scheme
from statllm.ragged import BoolArray, IntArray, Ragged
from statllm.results import TestResult

_NOTHING = TestResult(math.nan, math.nan, math.nan, "greater", 0, "nothing to score")
_SHARED = ("inverse-transform",)  # all targets of one seed share a number, so a seed counts once


@dataclass(frozen=True, eq=False)
class Reading:
    """The marks of what a model said next, and how many tokens had none that counts.

    Attributes
    ----------
    marks : Marks
        As one document; pairs may still repeat.
    n_tokens : int
        Predicted (or generated) tokens.
    n_outside : int
        Their context isn't one of the training text.
    n_seen : int
        Their random number was before the model's eyes, in the text that it was given.
    """

    marks: Marks
    n_tokens: int
    n_outside: int
    n_seen: int


def read_marks(
    scheme: Scheme,
    texts: Ragged,
    predicted: ArrayLike | None = None,
    *,
    contexts: Contexts | None = None,
    prompt_lengths: ArrayLike | None = None,
    seen: Literal["seed", "pair"] = "seed",
) -> Reading:
    """Read the marks of a model's tokens under a key.

    Open model, reading mode: it reads `texts`, and `predicted` is what it would say at each
    place; that token is scored in the context of the *text*. Closed model: `texts` are its own
    words, `prompt_lengths` tokens of which it was given.

    What the model has before its eyes may carry the watermark, and a model that copies isn't one
    that was trained: a mark whose seed occurred earlier in the given text doesn't count.

    Parameters
    ----------
    scheme : Scheme
    texts : Ragged of int64
        Token ids, one row per window that the model saw at once.
    predicted : array_like of int, shape (n_tokens,), optional
        Flat like `texts`: the model's token at that place, given the row's tokens before it; -1
        for none.
    contexts : Contexts, optional
        Of the text that the model is suspected to be trained on; elsewhere it has learned nothing.
    prompt_lengths : array_like of int, shape (n_rows,), optional
        Of a closed model: the first tokens of each row, that it was given.
    seen : {"seed", "pair"}
        What may not have occurred: the seed, whatever followed (given that it's new, its numbers
        are independent of all that the model saw), or only the seed with this very target: more
        marks are left, and what is left errs on the safe side, since the text's own token took the
        place of the luckiest. Of synthid a seed is a pair: it is the hash of context and target.

    Raises
    ------
    ValueError
        As `check_poolable`; if shapes differ, contexts have another length, a token is outside of
        the scheme's vocabulary, or both `predicted` and `prompt_lengths` are given.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> scheme = make_scheme("vllm-gumbel", key=42, context_width=1)
    >>> reading = read_marks(scheme, Ragged.from_lists([[5, 6, 5, 8]], np.int64), [-1, 7, 9, 2])
    >>> reading.n_tokens, reading.n_seen, len(reading.marks.values)  # a second time after 5
    (3, 1, 2)
    """
    reach = check_poolable(scheme)
    if contexts is not None and contexts.reach != reach:
        raise ValueError(f"{scheme.name} reads {reach} tokens, contexts have {contexts.reach}")
    if seen not in ("seed", "pair"):
        raise ValueError(f"seen must be 'seed' or 'pair', not {seen!r}")
    flat = np.asarray(texts.values, np.int64)
    if predicted is None:
        given = np.zeros(len(texts), np.int64) if prompt_lengths is None else prompt_lengths
        forced = texts.positions < _per_row(given, texts)
        targets, wanted = flat, ~forced
    else:
        if prompt_lengths is not None:
            raise ValueError("prompt_lengths belong to texts that the model wrote: no predicted")
        targets = np.asarray(predicted, np.int64)
        if targets.shape != flat.shape:
            raise ValueError(f"predicted must have shape {flat.shape}, not {targets.shape}")
        forced, wanted = np.ones(len(flat), np.bool_), targets >= 0
    size = getattr(scheme, "vocabulary", None)
    if size is not None and (large := targets[wanted] >= size).any():
        token = targets[wanted][large][0]
        raise ValueError(f"the model says token {token}, {scheme.name} has a vocabulary of {size}")
    inside = wanted if contexts is None else wanted & contexts.has(texts)
    at = np.flatnonzero(inside)
    text = scheme.marks(texts)
    marks, at = _last_marks(scheme, texts, at, targets[at], reach)
    old = _occurred(text, forced, marks, at, texts, seen)
    kept = marks.kept(~old)
    whole = np.array([0, len(kept.seeds)])
    kept = replace(kept, offsets=whole, once_per="seed" if scheme.name in _SHARED else "pair")
    n = int(wanted.sum())
    return Reading(kept, n, n - int(inside.sum()), int(old.sum()))


@dataclass(frozen=True)
class Radioactivity:
    """Whether a model carries the mark of a key.

    Attributes
    ----------
    test : TestResult
    n_tokens, n_outside, n_seen : int
        As of `Reading`, summed.
    n_repeated : int
        Marks whose (seed, target) pair was counted before.
    """

    test: TestResult
    n_tokens: int
    n_outside: int
    n_seen: int
    n_repeated: int

    def summary(self) -> str:
        """Return two lines of text."""
        return (
            f"{self.test.summary()}\n{self.n_tokens} tokens: {self.n_outside} after contexts that "
            f"the training text doesn't have, {self.n_seen} that the model had before its eyes, "
            f"{self.n_repeated} repeat a pair, {self.test.n_effective} scored"
        )


def radioactivity(
    readings: Reading | Sequence[Reading], test: Test = "sum", *, delta: float = 0.05
) -> Radioactivity:
    """Test whether a model was trained on text that is watermarked under a key.

    The marks of all readings are one sample, each (seed, target) pair once: what a model says
    again after the same context is no new evidence. Under the null hypothesis the model knows
    nothing of the key's random numbers but what the given text shows, and that doesn't count.

    Parameters
    ----------
    readings : Reading or sequence of Reading
        Of one scheme and key.
    test, delta
        As `statllm.estimators.watermark.detect.detect`.

    Returns
    -------
    Radioactivity
        NaN p-value where nothing could be scored.

    Raises
    ------
    ValueError
        If there is no reading, they differ in the law of their marks, or the test doesn't suit.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> scheme = make_scheme("vllm-gumbel", key=42, context_width=1)
    >>> reading = read_marks(scheme, Ragged.from_lists([[5, 6, 5, 8]], np.int64), [-1, 7, 9, 2])
    >>> found = radioactivity([reading, reading])
    >>> found.test.n_effective, found.n_repeated
    (2, 2)
    """
    several = [readings] if isinstance(readings, Reading) else list(readings)
    if not several:
        raise ValueError("there is no reading to test")
    first = several[0].marks
    if any((each.marks.null, each.marks.once_per) != (first.null, first.once_per)
           for each in several):  # fmt: skip
        raise ValueError("readings must be of one scheme")
    pooled = replace(
        first,
        values=np.concatenate([each.marks.values for each in several]),
        seeds=np.concatenate([each.marks.seeds for each in several]),
        targets=np.concatenate([each.marks.targets for each in several]),
        positions=np.concatenate([each.marks.positions for each in several]),
        offsets=np.array([0, sum(len(each.marks.seeds) for each in several)]),
    )
    test_result, repeated = _NOTHING, 0
    if len(pooled.seeds):
        found = detect(pooled, test, delta=delta)
        test_result, repeated = found[0], int(found.n_repeated[0])
    result = replace(
        test_result,
        method=f"radioactivity: {test_result.method}",
        assumptions="the model knows nothing of the key, whose pseudo-random numbers are "
        "independent and fair; tokens are those of the tokenizer that the watermark was written in",
    )
    return Radioactivity(
        result,
        sum(each.n_tokens for each in several),
        sum(each.n_outside for each in several),
        sum(each.n_seen for each in several),
        repeated,
    )


def _last_marks(
    scheme: Scheme, texts: Ragged, at: IntArray, targets: IntArray, reach: int
) -> tuple[Marks, IntArray]:
    """Marks of `targets` in the text's contexts at `at`, and where each is."""
    lengths = np.minimum(texts.positions[at], reach) + 1
    windows = Ragged.from_lengths(np.zeros(int(lengths.sum()), np.int64), lengths)
    source = np.repeat(at - lengths + 1, lengths) + windows.positions
    tokens = np.asarray(texts.values, np.int64)[source]
    tokens[windows.offsets[1:] - 1] = targets
    marks = scheme.marks(windows.with_values(tokens))
    last = marks.positions == (lengths - 1)[marks.documents]
    return marks.kept(last), at[marks.documents[last]]


def _occurred(
    text: Marks, forced: BoolArray, marks: Marks, at: IntArray, texts: Ragged, unit: str
) -> BoolArray:
    """Which marks have a seed (or pair) that the row's forced tokens had before them."""
    where = texts.offsets[text.documents] + text.positions
    given = forced[where]
    where = where[given]
    key = texts.rows[np.concatenate([where, at])]
    columns = [np.concatenate([text.seeds[given], marks.seeds])]
    if unit == "pair":
        columns.append(np.concatenate([text.targets[given], marks.targets]))
    for column in columns:  # the row, then number the different combinations
        names, code = np.unique(column, return_inverse=True)
        _, key = np.unique(key * np.int64(len(names)) + code, return_inverse=True)
    theirs, ours = key[: len(where)], key[len(where) :]
    first = np.full(int(key.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, theirs, where)
    earlier: BoolArray = first[ours] < at
    return earlier


def _per_row(values: ArrayLike, texts: Ragged) -> IntArray:
    lengths = np.asarray(values, np.int64)
    if lengths.shape != (len(texts),):
        raise ValueError(f"prompt_lengths must have shape ({len(texts)},), not {lengths.shape}")
    return lengths[texts.rows]
