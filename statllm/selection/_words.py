"""Texts as words: one normalisation for whatever compares texts by their runs of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from statllm.errors import InputError
from statllm.ragged import IntArray
from statllm.selection._draws import Words, _mix, words_of

#: How texts become words. Both apply Unicode's NFKC and lower-case. "words": a word is a run of
#: letters, marks and digits, and a character of a script without spaces; punctuation and symbols
#: part words and are dropped. "whitespace": white space parts words and symbols stay, so that
#: x + y and x - y differ.
Normalisation = Literal["words", "whitespace"]

_NO_SPACES = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
Texts: TypeAlias = "Sequence[str | None] | pa.Array | pa.ChunkedArray"


@dataclass(frozen=True, eq=False)
class WordRows:
    """Words of texts.

    Attributes
    ----------
    codes : ndarray of int64, shape (n_words,)
        Place of each word in `vocabulary`.
    offsets : ndarray of int64, shape (n_texts + 1,)
        Words of text i are ``codes[offsets[i]:offsets[i + 1]]``; none for an empty or null text.
    vocabulary : pyarrow.LargeStringArray
    """

    codes: IntArray
    offsets: IntArray
    vocabulary: pa.LargeStringArray

    @property
    def lengths(self) -> IntArray:
        """Words of each text."""
        return np.diff(self.offsets)

    def text(self, start: int, n: int) -> str:
        """Return `n` words from the place `start` on, parted by spaces."""
        return " ".join(self.vocabulary.take(pa.array(self.codes[start : start + n])).to_pylist())

    def runs(self, n: int) -> tuple[Words, IntArray, IntArray]:
        """Hash every run of `n` words; return hashes, the text and the first word of each.

        The hash of a run depends on its words alone: not on the process, nor on the other texts.
        """
        at = np.arange(len(self.codes))
        rows = np.repeat(np.arange(len(self.lengths)), self.lengths)
        fits = at + n <= self.offsets[1:][rows]
        at, rows = at[fits], rows[fits]
        run = np.full(len(at), n, dtype=np.uint64)
        for step in range(n):
            run = _mix(run ^ self._hashes[at + step])
        return run, rows, at

    def wholes(self, rows: IntArray) -> Words:
        """Hash texts as a whole: as runs of all their words."""
        lengths = self.lengths[rows]
        whole = lengths.astype(np.uint64)
        for step in range(int(lengths.max(initial=0))):
            longer = lengths > step
            at = self.offsets[rows[longer]] + step
            whole[longer] = _mix(whole[longer] ^ self._hashes[at])
        return whole

    @cached_property
    def _hashes(self) -> Words:
        """Hash of each word; the vocabulary is hashed once."""
        return words_of(self.vocabulary, seed=0)[self.codes]


def word_rows(texts: Texts, normalisation: Normalisation, name: str = "texts") -> WordRows:
    """Split texts into words.

    Raises
    ------
    InputError
        If a value is neither text nor null (its row is named), or `normalisation` isn't known.
    """
    if normalisation not in get_args(Normalisation):
        known = " or ".join(map(repr, get_args(Normalisation)))
        raise InputError(f"normalisation must be {known}, not {normalisation!r}")
    plain = pc.utf8_lower(pc.utf8_normalize(strings(texts, name).fill_null(""), form="NFKC"))
    words = plain
    if normalisation == "words":
        words = pc.replace_substring_regex(plain, r"[^\p{L}\p{M}\p{N}]+", " ")
        words = pc.replace_substring_regex(words, _NO_SPACES, r" \1 ")
    words = pc.utf8_trim_whitespace(words)
    # A text of symbols only is no empty text: its symbols are its words.
    words = pc.if_else(pc.equal(words, ""), pc.utf8_trim_whitespace(plain), words)
    split = pc.utf8_split_whitespace(words)
    solid = pc.not_equal(split.flatten(), "")  # an empty text splits into one empty word
    parents = pc.list_parent_indices(split).filter(solid).to_numpy()
    lengths = np.bincount(parents, minlength=len(split))
    coded = split.flatten().filter(solid).dictionary_encode()
    return WordRows(
        coded.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
        coded.dictionary,
    )


def strings(texts: Texts, name: str = "texts") -> pa.LargeStringArray:
    """Return texts as an Arrow array, null for None.

    Raises
    ------
    InputError
        If a value is neither text nor null; its row is named.
    """
    if isinstance(texts, str):
        raise InputError(f"{name} must be a sequence of texts, not one text")
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if isinstance(texts, pa.Array):
        kind = texts.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise InputError(f"{name} must be text, not {kind}")
        return texts.cast(pa.large_string())
    for row, text in enumerate(texts):
        if not (text is None or isinstance(text, str)):
            raise InputError(f"{name}: row {row} is {type(text).__name__}, text was expected")
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: a text holds a lone surrogate: {error.reason}") from error
