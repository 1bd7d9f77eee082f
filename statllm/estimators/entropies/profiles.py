"""Vote profiles: the distinct count vectors of a data set, each kept and computed once.

Every entropy estimator is a function of how many answers got how many votes. With K votes per
prompt only a few such profiles exist (42 for K = 10), so a million prompts cost hardly more than
the sort that finds them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CATEGORY_RULES = ("observed", "chao1")


@dataclass(frozen=True)
class Profiles:
    """Profiles as multiplicities: row r has `times` answers with `votes` votes each.

    Parameters
    ----------
    votes : Ragged of int64
        Positive vote counts; one row per profile.
    times : ndarray, shape (len(votes.values),)
        How many answers of the profile have that count.
    n_categories : ndarray, shape (n_profiles,), or {"observed", "chao1"}
        Number of possible answers, or the rule that guesses it from the profile itself.
    """

    votes: Ragged
    times: FloatArray
    n_categories: FloatArray | str = "observed"

    def __len__(self) -> int:
        return self.votes.n_rows

    @cached_property
    def n(self) -> FloatArray:
        """Votes of each profile."""
        return self.total(self.votes.values)

    @cached_property
    def m(self) -> FloatArray:
        """Distinct answers of each profile."""
        return self.votes.with_values(self.times).sum()

    @cached_property
    def p(self) -> FloatArray:
        """Vote share of an answer, per entry."""
        return self.votes.values / self.spread(self.n)

    @property
    def k(self) -> FloatArray:
        """Possible answers of each profile."""
        if not isinstance(self.n_categories, str):
            return self.n_categories
        return self.m + np.ceil(self.unseen()) if self.n_categories == "chao1" else self.m

    def total(self, terms: NDArray[np.float64] | IntArray) -> FloatArray:
        """Sum over the answers of each profile of a term given per entry."""
        return self.votes.with_values(self.times * terms).sum()

    def spread(self, numbers: FloatArray) -> FloatArray:
        """Repeat a number per profile for each of its entries."""
        return numbers[self.votes.rows]

    def answers_with(self, votes: int) -> FloatArray:
        """Number of answers with exactly so many votes: f1, f2, ..."""
        return self.total(np.asarray(self.votes.values == votes, dtype=np.float64))

    def unseen(self) -> FloatArray:
        """Chao's (1984) lower bound for the number of answers that got no vote."""
        f1, f2 = self.answers_with(1), self.answers_with(2)
        pairs = np.where(f2 > 0, f1**2 / (2 * np.maximum(f2, 1)), f1 * (f1 - 1) / 2)
        return np.asarray((self.n - 1) / np.maximum(self.n, 1) * pairs)

    def take(self, rows: IntArray) -> Profiles:
        """Profiles by row number."""
        entries = row_members(self.votes, rows)
        k = self.n_categories
        return Profiles(
            Ragged.from_lengths(self.votes.values[entries], self.votes.lengths[rows]),
            self.times[entries],
            k if isinstance(k, str) else k[rows],
        )

    def leave_one_out(self) -> tuple[Profiles, Ragged]:
        """All profiles with one vote less, and how many votes lead to each of them.

        Two answers with equal counts give the same profile, so a row of u distinct counts has
        u neighbours. Returns them in one `Profiles`, and the number of votes behind each as a
        `Ragged` with a row per original profile.
        """
        votes, times = self.votes.values, self.times
        entry = np.arange(len(votes))
        owner = self.votes.rows
        lengths = self.votes.lengths[owner]
        target = np.repeat(entry, lengths)  # the entry that loses a vote ...
        source = row_members(self.votes, owner)  # ... beside every entry of its row
        left = times[source] - (source == target)
        # The answer that lost a vote comes last in its row, with one vote less.
        at = np.cumsum(lengths)
        new_votes = np.insert(votes[source], at, votes - 1)
        new_times = np.insert(left, at, 1.0)
        k = self.n_categories
        padded = Ragged.from_lengths(new_votes, lengths + 1)
        mask = (new_votes > 0) & (new_times > 0)
        neighbours = Profiles(
            padded.keep(mask), new_times[mask], k if isinstance(k, str) else k[owner]
        )
        return neighbours, self.votes.with_values(votes * times)


def row_members(ragged: Ragged, rows: IntArray) -> IntArray:
    """Places in `ragged.values` of all values of the given rows, row after row."""
    lengths = ragged.lengths[rows]
    ends = np.cumsum(lengths)
    starts = np.repeat(ragged.offsets[rows] - ends + lengths, lengths)
    return starts + np.arange(len(starts), dtype=np.int64)


def find_profiles(
    counts: Ragged, n_categories: FloatArray | str = "observed"
) -> tuple[Profiles, IntArray]:
    """Distinct rows of positive counts, order ignored, and the profile number of each row."""
    import pyarrow as pa

    ordered = _most_frequent_first(counts)
    # A row's bytes (its number of categories in front) are its identity; Arrow hashes them.
    categories = np.zeros(counts.n_rows) if isinstance(n_categories, str) else n_categories
    bytes_of = np.insert(ordered.values, counts.offsets[:-1], categories.view(np.int64))
    offsets = (counts.offsets + np.arange(counts.n_rows + 1)) * 8
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(bytes_of)]
    rows = pa.LargeBinaryArray.from_buffers(pa.large_binary(), counts.n_rows, buffers)
    encoded = rows.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    first = np.zeros(len(encoded.dictionary), dtype=np.int64)
    first[codes[::-1]] = np.arange(counts.n_rows)[::-1]

    distinct = Profiles(ordered, np.ones(len(ordered.values)), n_categories).take(first)
    return _merge_equal(distinct), codes


def _most_frequent_first(counts: Ragged) -> Ragged:
    """Sort each row, unless all are sorted already, as `vote_counts` leaves them."""
    rises = np.diff(counts.values) > 0
    starts = counts.offsets[1:-1]
    rises[starts[(starts > 0) & (starts <= len(rises))] - 1] = False
    if not rises.any():
        return counts
    base = int(counts.values.max()) + 1
    key = np.sort(counts.rows * base + (base - counts.values))  # one sort for all rows
    return counts.with_values(base - (key - counts.rows * base))


def _merge_equal(profiles: Profiles) -> Profiles:
    """Run-length code rows that are sorted: answers with equal votes become one entry."""
    votes = profiles.votes
    starts = np.ones(len(votes.values), dtype=bool)
    starts[1:] = (np.diff(votes.values) != 0) | (np.diff(votes.rows) != 0)
    times = np.diff(np.append(np.flatnonzero(starts), len(starts)))
    return replace(profiles, votes=votes.keep(starts), times=times.astype(np.float64))


def clean_counts(counts: object) -> Ragged:
    """Positive int64 counts from Ragged, Arrow lists, lists of lists, or one flat list."""
    ragged = _as_ragged(counts)
    values = ragged.values
    numbers = values.astype(np.float64) if values.dtype.kind in "iufb" else np.full(1, np.nan)
    bad = ~(np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers)))
    if len(values) and bad.any():
        at = int(np.argmax(bad))
        raise InputError(
            f"counts must be whole numbers of at least 0; prompt {ragged.rows[at]} has {values[at]}"
        )
    whole = ragged.with_values(values.astype(np.int64))
    return whole.keep(whole.values > 0)


def _as_ragged(counts: object) -> Ragged:
    """Read the layouts that counts come in."""
    if isinstance(counts, Ragged):
        return counts
    if hasattr(counts, "type") and hasattr(counts, "flatten"):  # Arrow, not imported for this
        return Ragged.from_arrow(counts)
    rows = list(counts)  # type: ignore[call-overload]
    if rows and np.ndim(rows[0]) == 0:
        rows = [rows]
    return Ragged.from_lists(rows)


def read_categories(n_categories: object, counts: Ragged) -> FloatArray | str:
    """A rule's name, or one whole number per row that is not below its distinct answers."""
    if isinstance(n_categories, str):
        if n_categories not in CATEGORY_RULES:
            raise InputError(
                f"n_categories is a number, one per prompt, or one of "
                f"{', '.join(CATEGORY_RULES)}; not {n_categories!r}"
            )
        return n_categories
    given = np.asarray(n_categories, dtype=np.float64)
    if given.shape not in ((), (counts.n_rows,)):
        raise InputError(f"n_categories has shape {given.shape}; there are {counts.n_rows} prompts")
    k = np.broadcast_to(given, counts.n_rows).astype(np.float64)
    bad = ~((k >= np.maximum(counts.lengths, 1)) & (k == np.floor(k)) & np.isfinite(k))
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(
            f"n_categories must be a whole number not below the distinct answers: prompt {at} "
            f"has {counts.lengths[at]} of them and n_categories {k[at]:g}"
        )
    return k
