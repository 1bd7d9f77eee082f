"""How much of their wording a prompt's responses share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators import _answers
from statllm.estimators.semantic.ngrams import (
    bleu,
    bleu_unsmoothed,
    ratio,
    rouge_n,
    set_common,
)
from statllm.estimators.semantic.pairwise import Pairwise
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
TextMetric = Literal[
    "rougeL", "rouge1", "rouge2", "bleu", "bleu_unsmoothed", "levenshtein", "jaccard"
]

_BLOCK = 1 << 22  # entries of the tables of common subsequences held at a time


def text_similarity(texts: Any, metric: TextMetric = "rougeL") -> Pairwise:
    """Similarity between the texts of each prompt, from 0 to 1.

    Parameters
    ----------
    texts : Arrow list column, list of lists, or Ragged of str
        The responses, a row per prompt.
    metric : str
        =============== =====================================================================
        rougeL          2 c / (a + b), c the length of the longest common subsequence of words
                        and a, b the lengths of the texts; the F measure of Lin (2004) with
                        equal weights
        rouge1          the same with c the words in common, counted as often as both have them
        rouge2          the same for pairs of neighbouring words
        bleu            sentence BLEU (Papineni et al. 2002), the mean of both orders, smoothed
                        as sacrebleu does by default, orders up to 4 words
        bleu_unsmoothed the same without smoothing, up to 4 words or the length of the shorter
                        text; lm-polygraph's BLEU, which takes one order only
        levenshtein     1 - d / max(a, b), d the characters to insert, delete or replace
        jaccard         distinct words in common / distinct words in either
        =============== =====================================================================

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
    as in UQ-NLG; for BLEU the same as written. Texts in other scripts have no words in ROUGE's
    sense and get 0 unless equal.

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
        "rouge1": lambda words, left, right: rouge_n(words, left, right, 1),
        "rouge2": lambda words, left, right: rouge_n(words, left, right, 2),
        "bleu": bleu,
        "bleu_unsmoothed": bleu_unsmoothed,
        "levenshtein": _levenshtein,
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
    """Words of each text as codes; for the edit distance, its characters."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        if len(texts):
            raise InputError(f"texts must be strings, not {texts.type}")
        texts = texts.cast(pa.string())
    if metric == "levenshtein":
        letters = np.frombuffer("".join(texts.to_pylist()).encode("utf-32-le"), dtype=np.int32)
        return Ragged.from_lengths(letters.astype(np.int64), pc.utf8_length(texts).to_numpy())
    plain = texts if metric.startswith("bleu") else pc.utf8_lower(texts)
    if metric.startswith("rouge"):
        plain = pc.replace_substring_regex(plain, pattern="[^a-z0-9]+", replacement=" ")
    split = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(plain))
    codes, vocabulary = _answers.encode(split)
    is_word = pc.not_equal(vocabulary, "").to_numpy(zero_copy_only=False)  # "" splits into [""]
    return codes.keep(is_word[codes.values]) if len(vocabulary) else codes


def _rouge_l(words: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    common = _longest_common(words, left, right)
    return ratio(2.0 * common, words.lengths[left] + words.lengths[right])


def _jaccard(words: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    distinct, _ = _distinct(words)
    common = set_common(distinct, left, right)
    return ratio(common, distinct.lengths[left] + distinct.lengths[right] - common)


def _levenshtein(letters: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    longest = np.maximum(letters.lengths[left], letters.lengths[right])
    return 1 - ratio(_edits(letters, left, right), longest)


def _edits(letters: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    """Levenshtein distance of each pair of rows, one row of the table at a time."""
    out = np.zeros(len(left))
    for chunk, short, long in _chunks(letters, left, right):
        a, b = _padded(letters, short, -1), _padded(letters, long, -2)
        lengths, ends = letters.lengths[short], letters.lengths[long]
        place = np.arange(b.shape[1] + 1)
        table = np.broadcast_to(place, (len(chunk), len(place))).copy()
        found = np.where(lengths == 0, ends, 0)
        for step in range(a.shape[1]):
            replaced = table[:, :-1] + (a[:, step, None] != b)
            table += 1  # deleted
            np.minimum(table[:, 1:], replaced, out=table[:, 1:])
            # inserted: the least of what lies to the left, plus one for each step from there
            table = np.minimum.accumulate(table - place, axis=1) + place
            done = lengths == step + 1
            found[done] = table[done, ends[done]]
        out[chunk] = found
    return out


def _longest_common(words: Ragged, left: IntArray, right: IntArray) -> FloatArray:
    """Length of the longest common subsequence of each pair of rows.

    The usual table, one row of it at a time for many pairs at once: the best of "skip the word"
    and "match it", then a running maximum over the words of the other text.
    """
    common = np.zeros(len(left))
    for chunk, short, long in _chunks(words, left, right):
        a, b = _padded(words, short, -1), _padded(words, long, -2)
        best = np.zeros((len(chunk), b.shape[1] + 1), dtype=np.int32)
        for word in range(a.shape[1]):
            match = best[:, :-1] + (a[:, word, None] == b)
            np.maximum(best[:, 1:], match, out=best[:, 1:])
            np.maximum.accumulate(best, axis=1, out=best)
        common[chunk] = best[:, -1]
    return common


def _chunks(
    words: Ragged, left: IntArray, right: IntArray
) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Pairs of alike lengths: their numbers, the shorter and the longer row of each."""
    swap = words.lengths[left] > words.lengths[right]
    short, long = np.where(swap, right, left), np.where(swap, left, right)
    order = np.lexsort((words.lengths[short], words.lengths[long]))
    start = 0
    while start < len(order):
        size = max(1, _BLOCK // (int(words.lengths[long[order[start]]]) + 1))
        chunk = order[start : start + size]
        start += size
        yield chunk, short[chunk], long[chunk]


def _padded(words: Ragged, rows: IntArray, filler: int) -> IntArray:
    """Rows as a matrix, short ones filled up."""
    lengths = words.lengths[rows]
    place = np.arange(int(lengths.max(initial=0)))
    inside = place < lengths[:, None]
    out = np.full(inside.shape, filler, dtype=np.int64)
    out[inside] = words.values[(words.offsets[rows][:, None] + place)[inside]]
    return out
