"""The nearest text of a pool by ROUGE-L, exactly, without comparing with all of them."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np

from statllm.errors import InputError

#: What a word is. "rouge": a run of ASCII letters and digits in lower case, as Google's
#: rouge_score has it without stemming, so that texts in other scripts have no words. "unicode": a
#: run of letters, marks and digits of any script, and each character of a script without spaces.
WordRule = Literal["rouge", "unicode"]

_ASCII = re.compile(r"[a-z0-9]+")
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_UNICODE = re.compile(rf"[{_SPACELESS}]|[^\W_{_SPACELESS}]+")


def words_of(text: str, rule: WordRule = "rouge") -> list[str]:
    """Split a text into words.

    Examples
    --------
    >>> words_of("Don't say 3.5 cafés!"), words_of("cafés 猫が", "unicode")
    (['don', 't', 'say', '3', '5', 'caf', 's'], ['cafés', '猫', 'が'])
    """
    return (_ASCII if rule == "rouge" else _UNICODE).findall(text.lower())


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    The table of the usual recursion, one bit per word of `first` (Hyyrö 2004): exact, and one
    addition for each word of `second`.

    Examples
    --------
    >>> common_subsequence("the cat sat on the mat".split(), "the mat sat".split())
    2
    """
    return _common(_masks(first), len(first), second)


def _masks(words: Iterable[str]) -> dict[str, int]:
    masks: dict[str, int] = {}
    for place, word in enumerate(words):
        masks[word] = masks.get(word, 0) | 1 << place
    return masks


def _common(masks: dict[str, int], length: int, other: Sequence[str]) -> int:
    everything = (1 << length) - 1
    state = everything
    for word in other:
        hit = masks.get(word)
        if hit is not None:
            matched = state & hit
            state = ((state + matched) | (state - matched)) & everything
    return length - state.bit_count()


class RougePool:
    """Texts in the order in which they came, and which of them is nearest to another one.

    ROUGE-L is 2 c / (a + b), with a and b the numbers of words and c the length of their longest
    common subsequence: the F measure of Lin (2004) with equal weights. c is at most the number of
    words in common, which an index counts for all texts at once; subsequences are computed in
    falling order of that bound, until no text that is left can be nearer.

    Parameters
    ----------
    words : {"rouge", "unicode"}

    Examples
    --------
    >>> pool = RougePool()
    >>> for text in ("Name a river in France.", "How many apples does Ann have?"):
    ...     pool.add(text)
    >>> pool.nearest("How many pears does Ann have?")
    (1, 0.8333333333333334)
    >>> pool.nearest("Why?")
    (None, 0.0)
    """

    def __init__(self, words: WordRule = "rouge") -> None:
        if words not in get_args(WordRule):
            raise InputError(f"words must be rouge or unicode, not {words!r}")
        self._rule: WordRule = words
        self._texts: list[list[str]] = []
        self._lengths = array("q")
        # Texts by word; the second "the" of a text is a word of its own, so that counts are sets.
        self._index: dict[tuple[str, int], array[int]] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> None:
        """Append a text."""
        words = words_of(text, self._rule)
        for word in _numbered(words):
            self._index.setdefault(word, array("q")).append(len(self._texts))
        self._texts.append(words)
        self._lengths.append(len(words))

    def nearest(self, text: str) -> tuple[int | None, float]:
        """Return the place of the nearest text, the first of several, and its ROUGE-L.

        None and 0 if no text has a word in common.
        """
        words = words_of(text, self._rule)
        bound = self._bounds(words)
        touched = np.flatnonzero(bound)
        masks, best, at = _masks(words), 0.0, None
        for place in touched[np.argsort(-bound[touched], kind="stable")].tolist():
            if bound[place] < best:
                break
            other = self._texts[place]
            similar = 2 * _common(masks, len(words), other) / (len(words) + len(other))
            if similar > best or (similar == best and at is not None and place < at):
                best, at = similar, place
        return at, best

    def _bounds(self, words: list[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """No text has a larger ROUGE-L than this."""
        hits = [self._index[word] for word in _numbered(words) if word in self._index]
        if not hits:
            return np.zeros(len(self._texts))
        places = np.concatenate([np.frombuffer(hit, dtype=np.int64) for hit in hits])
        common = np.bincount(places, minlength=len(self._texts))
        return 2 * common / (len(words) + np.frombuffer(self._lengths, dtype=np.int64))


def _numbered(words: Iterable[str]) -> list[tuple[str, int]]:
    seen: Counter[str] = Counter()
    numbered = []
    for word in words:
        numbered.append((word, seen[word]))
        seen[word] += 1
    return numbered
