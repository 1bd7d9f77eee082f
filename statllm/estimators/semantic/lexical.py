"""How many words a prompt's responses share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators import _answers
from statllm.estimators.semantic.pairwise import Pairwise
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
TextMetric = Literal["rougeL", "rouge1", "jaccard"]

_BLOCK = 1 << 22  # entries of the tables of common subsequences held at a time


def text_similarity(texts: Any, metric: TextMetric = "rougeL") -> Pairwise:
    """Similarity between the texts of each prompt, from 0 to 1.

    Parameters
    ----------
    texts : Arrow list column, list of lists, or Ragged of str
        The responses, a row per prompt.
    metric : {"rougeL", "rouge1", "jaccard"}
        ``"rougeL"``: 2 c / (a + b), c the length of the longest common subsequence of words and
        a, b the lengths of the texts; the F measure of Lin (2004) with equal weights.
        ``"rouge1"``: the same with c the words in common, counted as often as both have them.
        ``"jaccard"``: distinct words in common / distinct words in either.

    Returns
    -------
    Pairwise of float64
        Symmetric. Equal texts have 1, empty ones too; an empty text and another have 0.

    Raises
    ------
    InputError
        If a text is missing or the metric unknown.

    Notes
    -----
    Words: for ROUGE, runs of ASCII letters and digits in lower case, as in Google's rouge_score
    without stemming (lm-polygraph stems); for Jaccard, what white space separates, in lower case,
    as in UQ-NLG. Texts in other scripts have no words in ROUGE's sense and get 0 unless equal.

    Examples
    --------
    >>> texts = [["The cat sat.", "the cat lay", "the CAT sat"]]
    >>> text_similarity(texts).block(0).round(3)
    array([[1.   , 0.667, 1.   ],
           [0.667, 1.   , 0.667],
           [1.   , 0.667, 1.   ]])
    >>> text_similarity(texts, "jaccard").block(0)[0]
    array([1. , 0.5, 0.5])
    """
    overlaps: dict[str, Callable[[Ragged, IntArray, IntArray], FloatArray]] = {
        "rougeL": _rouge_l,
        "rouge1": _rouge_1,
        "jaccard": _jaccard,
    }
    if metric not in overlaps:
        raise InputError(f"metric must be one of {', '.join(overlaps)}, not {metric!r}")
    codes, vocabulary = _answers.encode(texts)
    if (codes.values < 0).any():
        raise InputError(f"{(codes.values < 0).sum()} texts are missing")
    owner, places = _distinct(codes)  # compare distinct texts only
    table = Pairwise.of_sizes(owner.lengths)
    left, right = owner.values[table.left], owner.values[table.right]
    upper = table.left < table.right
    words = _words(vocabulary, metric)
    similar = np.zeros(len(table.values))
    similar[upper] = overlaps[metric](words, left[upper], right[upper])
    similar[table.diagonal] = 1.0
    return table.with_values(similar).symmetric("max").expand(places)


def lexical_similarity(texts: Any, metric: TextMetric = "rougeL") -> FloatArray:
    """Mean similarity over the pairs of each prompt's texts: a confidence.

    Fomicheva et al. (2020) and Kuhn, Gal and Farquhar (2023); lm-polygraph gives it with a minus
    sign. Unbiased for the expected similarity of two responses, so prompts with different
    numbers of them compare.

    Parameters
    ----------
    texts, metric
        As for `text_similarity`.

    Returns
    -------
    ndarray of float64, shape (n_prompts,)
        NaN below two texts.

    Examples
    --------
    >>> lexical_similarity([["a b", "a b", "a c"], ["", ""], ["a"]]).round(4)
    array([0.6667, 1.    ,    nan])
    """
    from statllm.estimators.semantic.graph import degree_uncertainty

    return 1 - degree_uncertainty(text_similarity(texts, metric)).value


def _distinct(codes: Ragged) -> tuple[Ragged, Ragged]:
    """The distinct codes of each row, and for each value the place of its code among them."""
    values, rows = codes.values.astype(np.int64), codes.rows
    span = int(values.max(initial=0)) + 1
    keys, inverse = np.unique(rows * span + values, return_inverse=True)
    distinct = Ragged.from_lengths(keys % span, np.bincount(keys // span, minlength=len(codes)))
    return distinct, codes.with_values(inverse - distinct.offsets[rows])


def _words(texts: Any, metric: str) -> Ragged:
    """Words of each text as codes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        if len(texts):
            raise InputError(f"texts must be strings, not {texts.type}")
        texts = texts.cast(pa.string())
    lower = pc.utf8_lower(texts)
    if metric != "jaccard":
        lower = pc.replace_substring_regex(lower, pattern="[^a-z0-9]+", replacement=" ")
    split = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(lower))
    codes, vocabulary = _answers.encode(split)
    is_word = pc.not_equal(vocabulary, "").to_numpy(zero_copy_only=False)  # "" splits into [""]
    return codes.keep(is_word[codes.values]) if len(vocabulary) else codes


def _ratio(common: FloatArray, total: NDArray[Any]) -> FloatArray:
    """Common / total; two texts without words, which differ otherwise, share nothing."""
    return np.asarray(np.divide(common, total, out=np.zeros(len(total)), where=total > 0))


def _rouge_l(words: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    common = _longest_common(words, left, right)
    return _ratio(2.0 * common, words.lengths[left] + words.lengths[right])


def _rouge_1(words: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    # The n-th "the" of a text is a word of its own: then counts are sets.
    n = len(words.values)
    order = np.lexsort((words.values, words.rows))
    rows, values = words.rows[order], words.values[order]
    new = np.ones(n, dtype=bool)
    new[1:] = (rows[1:] != rows[:-1]) | (values[1:] != values[:-1])
    start = np.maximum.accumulate(np.where(new, np.arange(n), 0))
    numbered = np.empty(n, dtype=np.int64)
    numbered[order] = values.astype(np.int64) * (n + 1) + np.arange(n) - start
    common = _shared(words.with_values(numbered), left, right)
    return _ratio(2.0 * common, words.lengths[left] + words.lengths[right])


def _jaccard(words: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    distinct, _ = _distinct(words)
    common = _shared(distinct, left, right)
    return _ratio(common, distinct.lengths[left] + distinct.lengths[right] - common)


def _shared(sets: Ragged, left: IntArray, right: IntArray) -> FloatArray:
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


def _longest_common(words: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    """Length of the longest common subsequence of each pair of rows.

    The usual table, one row of it at a time for many pairs at once: the best of "skip the word"
    and "match it", then a running maximum over the words of the other text.
    """
    common = np.zeros(len(left))
    swap = words.lengths[left] > words.lengths[right]
    short, long = np.where(swap, right, left), np.where(swap, left, right)
    order = np.lexsort((words.lengths[short], words.lengths[long]))  # alike lengths together
    start = 0
    while start < len(order):
        size = max(1, _BLOCK // (int(words.lengths[long[order[start]]]) + 1))
        chunk = order[start : start + size]
        start += size
        a, b = _padded(words, short[chunk], -1), _padded(words, long[chunk], -2)
        best = np.zeros((len(chunk), b.shape[1] + 1), dtype=np.int32)
        for word in range(a.shape[1]):
            match = best[:, :-1] + (a[:, word, None] == b)
            np.maximum(best[:, 1:], match, out=best[:, 1:])
            np.maximum.accumulate(best, axis=1, out=best)
        common[chunk] = best[:, -1]
    return common


def _padded(words: Ragged, rows: IntArray, filler: int) -> IntArray:
    """Rows as a matrix, short ones filled up."""
    lengths = words.lengths[rows]
    place = np.arange(int(lengths.max(initial=0)))
    inside = place < lengths[:, None]
    out = np.full(inside.shape, filler, dtype=np.int64)
    out[inside] = words.values[(words.offsets[rows][:, None] + place)[inside]]
    return out
