"""Texts that repeat a run of words of a reference set, such as a benchmark's questions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from statllm.errors import InputError
from statllm.ragged import BoolArray, IntArray
from statllm.selection._draws import Words
from statllm.selection._words import Normalisation, Texts, WordRows, word_rows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Decontamination:
    """Which texts leak, and what.

    Attributes
    ----------
    leaks : ndarray of bool, shape (n_texts,)
        The text has a run of `n` words that a reference has.
    reference : ndarray of int64, shape (n_texts,)
        Row of the first reference that has the text's first such run; -1 for none.
    ngram : tuple of (str or None), length n_texts
        That run, normalised.
    n_matches, n_ngrams : ndarray of int64, shape (n_texts,)
        Places of the text where a run of a reference starts, and places where any run starts.
    empty : ndarray of bool, shape (n_texts,)
        Null, or without a word.
    n : int
    n_references : int
    n_short_references : int
        References of fewer than `n` words, empty and null ones too: no text can be found to
        leak them.
    """

    leaks: BoolArray
    reference: IntArray
    ngram: tuple[str | None, ...]
    n_matches: IntArray
    n_ngrams: IntArray
    empty: BoolArray
    n: int
    n_references: int
    n_short_references: int

    def counts(self) -> dict[str, int]:
        """Return the number of texts that are clean, leak, are too short, and empty; they add up.

        A short text, of fewer than `n` words, cannot leak by this rule.
        """
        short = (self.n_ngrams == 0) & ~self.empty
        return {
            "clean": int(np.sum(~self.leaks & ~short & ~self.empty)),
            "leak": int(self.leaks.sum()),
            "short": int(short.sum()),
            "empty": int(self.empty.sum()),
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row per text."""
        import pandas as pd

        return pd.DataFrame(
            {
                "leaks": self.leaks,
                "reference": self.reference,
                "ngram": pd.Series(self.ngram, dtype=object),
                "n_matches": self.n_matches,
                "n_ngrams": self.n_ngrams,
                "empty": self.empty,
            }
        )

    def summary(self) -> str:
        """Return one line of text."""
        return summary_of(self.counts(), self.n, self.n_references, self.n_short_references)


def summary_of(
    counts: Mapping[str, int], n: int, n_references: int, n_short_references: int
) -> str:
    """Say in one line what `Decontamination.counts` says."""
    line = (
        f"{counts['leak']} of {sum(counts.values())} texts share {n} words in a row with one "
        f"of {n_references} references; {counts['short']} are shorter, {counts['empty']} empty"
    )
    if n_short_references:
        line += f"; {n_short_references} references have fewer than {n} words and can't be found"
    return line


def decontaminate(
    texts: Texts,
    references: Texts,
    *,
    n: int = 13,
    normalisation: Normalisation = "words",
) -> Decontamination:
    """Find the texts that share `n` words in a row with a reference.

    The rule of Brown et al. (2020, arXiv 2005.14165, appendix C) with n = 13, applied by
    NaturalReasoning (Yuan et al. 2025) to questions: lower-case, without punctuation. Unlike
    Brown et al., a text is dropped whole, and a run counts however common it is. Runs are found
    by hash, then compared word for word, so what is reported is there.

    Parameters
    ----------
    texts : sequence of str or None, or Arrow array
    references : sequence of str or None, or Arrow array
        What must not leak.
    n : int
        Words in a row.
    normalisation : {"words", "whitespace"}
        "words": lower-case, punctuation and symbols part words and are dropped. "whitespace":
        lower-case, white space parts words and all else stays.

    Raises
    ------
    InputError
        If `n` is below 1, or a value isn't text; its row is named.

    Examples
    --------
    >>> found = decontaminate(
    ...     ["So: what is the capital of France?", "What is the capital city of France?", ""],
    ...     ["Name a river.", "What is the capital of France"], n=5,
    ... )
    >>> found.leaks.tolist(), found.reference.tolist(), found.ngram[0]
    ([True, False, False], [1, -1, -1], 'what is the capital of')
    """
    return References.of(references, n, normalisation).find(texts)


@dataclass(frozen=True, eq=False)
class References:
    """Runs of `n` words that must not leak.

    Attributes
    ----------
    words : WordRows
    runs : ndarray of uint64, shape (n_runs,)
        Hashes of the different runs, rising.
    row, at : ndarray of int64, shape (n_runs,)
        The first reference that has the run, and the word where it starts.
    n : int
    normalisation : {"words", "whitespace"}
    """

    words: WordRows
    runs: Words
    row: IntArray
    at: IntArray
    n: int
    normalisation: Normalisation

    @classmethod
    def of(cls, references: Texts, n: int, normalisation: Normalisation) -> References:
        """Hash the runs of texts; arguments and errors are those of `decontaminate`."""
        if n < 1:
            raise InputError(f"n must be at least 1, not {n}")
        words = word_rows(references, normalisation, "references")
        hashes, row, at = words.runs(n)
        runs, first = np.unique(hashes, return_index=True)
        return cls(words, runs, row[first], at[first], n, normalisation)

    @property
    def n_short(self) -> int:
        """References of fewer than `n` words."""
        return int(np.sum(self.words.lengths < self.n))

    def digest(self) -> str:
        """Return a digest of the references' words."""
        digest = hashlib.sha256(self.words.codes.tobytes() + self.words.offsets.tobytes())
        digest.update("\n".join(self.words.vocabulary.to_pylist()).encode())
        return digest.hexdigest()

    def find(self, texts: Texts) -> Decontamination:
        """Find the texts that have one of the runs."""
        words = word_rows(texts, self.normalisation)
        n_texts = len(words.lengths)
        hashes, row, at = words.runs(self.n)
        n_ngrams = np.bincount(row, minlength=n_texts)
        place = np.searchsorted(self.runs, hashes)
        hit = np.append(self.runs, np.uint64(0))[place] == hashes
        hit &= place < len(self.runs)
        row, at, place = row[hit], at[hit], place[hit]
        same = np.ones(len(at), dtype=bool)
        theirs = pc.index_in(words.vocabulary, value_set=self.words.vocabulary)
        code = theirs.fill_null(-1).to_numpy()
        for step in range(self.n):
            same &= code[words.codes[at + step]] == self.words.codes[self.at[place] + step]
        row, at, place = row[same], at[same], place[same]
        leaking, lead = np.unique(row, return_index=True)  # runs are in order of place
        reference = np.full(n_texts, -1)
        reference[leaking] = self.row[place[lead]]
        ngram: list[str | None] = [None] * n_texts
        for leak, start in zip(leaking, at[lead], strict=True):
            ngram[leak] = words.text(int(start), self.n)
        return Decontamination(
            leaks=reference >= 0,
            reference=reference,
            ngram=tuple(ngram),
            n_matches=np.bincount(row, minlength=n_texts),
            n_ngrams=n_ngrams,
            empty=words.lengths == 0,
            n=self.n,
            n_references=len(self.words.lengths),
            n_short_references=self.n_short,
        )
