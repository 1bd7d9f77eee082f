"""Texts that repeat a run of words of a reference set, such as a benchmark's questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.ragged import BoolArray, IntArray
from statllm.selection._words import Normalisation, Texts, strings, word_rows

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
        counts = self.counts()
        line = (
            f"{counts['leak']} of {len(self.leaks)} texts share {self.n} words in a row with one "
            f"of {self.n_references} references; {counts['short']} are shorter, "
            f"{counts['empty']} empty"
        )
        if self.n_short_references:
            line += (
                f"; {self.n_short_references} references have fewer than {self.n} words and "
                "can't be found"
            )
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
    if n < 1:
        raise InputError(f"n must be at least 1, not {n}")
    given = strings(texts), strings(references, "references")
    n_texts, n_references = (len(part) for part in given)
    words = word_rows(pa.concat_arrays(given), normalisation)  # one vocabulary for both
    hashes, rows, at = words.runs(n)
    ours = rows < n_texts
    n_ngrams = np.bincount(rows[ours], minlength=n_texts)
    known, first = np.unique(hashes[~ours], return_index=True)
    place = np.searchsorted(known, hashes[ours])
    place[place == len(known)] = 0
    hit = known[place] == hashes[ours] if len(known) else np.zeros(len(place), dtype=bool)
    ours_at, ours_row = at[ours][hit], rows[ours][hit]
    source = first[place[hit]]
    same = np.ones(len(ours_at), dtype=bool)
    for step in range(n):
        same &= words.codes[ours_at + step] == words.codes[at[~ours][source] + step]
    ours_at, ours_row, source = ours_at[same], ours_row[same], source[same]
    leaking, lead = np.unique(ours_row, return_index=True)  # runs are in order of place
    reference = np.full(n_texts, -1)
    reference[leaking] = rows[~ours][source[lead]] - n_texts
    ngram: list[str | None] = [None] * n_texts
    for row, start in zip(leaking, ours_at[lead], strict=True):
        ngram[row] = words.text(int(start), n)
    return Decontamination(
        leaks=reference >= 0,
        reference=reference,
        ngram=tuple(ngram),
        n_matches=np.bincount(ours_row, minlength=n_texts),
        n_ngrams=n_ngrams,
        empty=words.lengths[:n_texts] == 0,
        n=n,
        n_references=n_references,
        n_short_references=int(np.sum(words.lengths[n_texts:] < n)),
    )
