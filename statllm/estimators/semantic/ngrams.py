"""What the word sequences of two texts share: ROUGE-n and BLEU, for many pairs at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ORDER = 4  # of BLEU


def rouge_n(words: Ragged, left: IntArray, right: IntArray, n: int) -> FloatArray:
    """2 c / (a + b): c n-grams in common of a and b, counted as often as both have them."""
    grams = ngrams(words, n)
    common = multiset_common(grams, left, right)
    return ratio(2.0 * common, grams.lengths[left] + grams.lengths[right])


def bleu(words: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    """Sentence BLEU, the mean of both orders, smoothed as sacrebleu does by default.

    Orders go up to 4 or to the longest n-gram of the hypothesis; the j-th order without a match
    has the precision 1 / (2^j total) (Chen and Cherry 2014, method 3).
    """
    matches = _matches(words, left, right)
    both = (_smoothed(words, matches, *pair) for pair in ((left, right), (right, left)))
    return np.asarray(sum(both) / 2)


def bleu_unsmoothed(words: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    """Sentence BLEU without smoothing, the mean of both orders, as lm-polygraph weighs it.

    Orders go up to 4 or the length of the shorter text, with weights 1, ½, 0.33 (three times)
    and ¼.
    """
    matches = _matches(words, left, right)
    order = np.clip(np.minimum(words.lengths[left], words.lengths[right]), 1, ORDER)
    weight = np.array([1.0, 0.5, 0.33, 0.25])[order - 1]
    both = []
    for hypothesis, reference in ((left, right), (right, left)):
        log_precision = np.zeros(len(left))
        for n in range(1, ORDER + 1):
            total = np.maximum(words.lengths[hypothesis] - n + 1, 1)
            with np.errstate(divide="ignore"):
                log_p = np.log(matches[n - 1] / total)
            log_precision += np.where(n <= order, weight * np.nan_to_num(log_p, neginf=-1e9), 0.0)
        both.append(_brevity(words, hypothesis, reference) * np.exp(log_precision))
    return np.asarray((both[0] + both[1]) / 2)


def _smoothed(
    words: Ragged, matches: list[FloatArray], reference: IntArray, hypothesis: IntArray
) -> FloatArray:
    log_precision, smooth = np.zeros(len(hypothesis)), np.ones(len(hypothesis))
    for n in range(1, ORDER + 1):
        total = words.lengths[hypothesis] - n + 1
        exists, missed = total > 0, matches[n - 1] == 0
        smooth = np.where(exists & missed, smooth * 2, smooth)
        precision = np.where(missed, 1 / smooth, matches[n - 1]) / np.maximum(total, 1)
        log_precision += np.where(exists, np.log(precision), 0.0)
    order = np.clip(words.lengths[hypothesis], 1, ORDER)
    score = _brevity(words, hypothesis, reference) * np.exp(log_precision / order)
    return np.where(matches[0] > 0, score, 0.0)


def _brevity(words: Ragged, hypothesis: IntArray, reference: IntArray) -> FloatArray:
    """exp(1 - reference length / hypothesis length) for a hypothesis that is too short."""
    own, wanted = words.lengths[hypothesis], words.lengths[reference]
    return np.where(own > 0, np.exp(np.minimum(1 - wanted / np.maximum(own, 1), 0.0)), 0.0)


def _matches(words: Ragged, left: IntArray, right: IntArray) -> list[FloatArray]:
    """n-grams in common, for n from 1 to 4."""
    return [multiset_common(ngrams(words, n), left, right) for n in range(1, ORDER + 1)]


def ngrams(words: Ragged, n: int) -> Ragged:
    """Codes of the n-grams of each row."""
    codes = words.values.astype(np.int64)
    end = words.offsets[1:][words.rows]
    starts = np.arange(len(codes))
    for step in range(1, n):
        inside = starts + step < end[starts]
        starts, codes = starts[inside], codes[inside]
        span = int(words.values.max(initial=0)) + 1
        joined = codes * span + words.values[starts + step]
        codes = np.unique(joined, return_inverse=True)[1].astype(np.int64)
    lengths = np.maximum(words.lengths - n + 1, 0)
    return Ragged.from_lengths(codes, lengths)


def multiset_common(rows: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    """Size of the intersection of each pair of rows, repeated values counted."""
    # The n-th "the" of a text is a word of its own: then counts are sets.
    n = len(rows.values)
    order = np.lexsort((rows.values, rows.rows))
    owner, values = rows.rows[order], rows.values[order]
    new = np.ones(n, dtype=bool)
    new[1:] = (owner[1:] != owner[:-1]) | (values[1:] != values[:-1])
    start = np.maximum.accumulate(np.where(new, np.arange(n), 0))
    numbered = np.empty(n, dtype=np.int64)
    numbered[order] = values.astype(np.int64) * (n + 1) + np.arange(n) - start
    return set_common(rows.with_values(numbered), left, right)


def set_common(sets: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    """Size of the intersection of each pair of rows that repeat nothing."""
    from scipy.sparse import csr_array

    columns = np.unique(sets.values, return_inverse=True)[1]
    shape = (len(sets), int(columns.max(initial=0)) + 1)
    member = csr_array((np.ones(len(columns)), columns, sets.offsets), shape=shape)
    common = np.empty(len(left))
    step = 1 << 18
    for start in range(0, len(left), step):
        part = slice(start, start + step)
        common[part] = (member[left[part]] * member[right[part]]).sum(axis=1)
    return common


def ratio(common: FloatArray, total: NDArray[Any]) -> FloatArray:
    """Common / total; two texts without words, which differ otherwise, share nothing."""
    return np.asarray(np.divide(common, total, out=np.zeros(len(total)), where=total > 0))
