"""The law of the majority of k votes, for many tasks at a time, by products of polynomials."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

#: Counts of right answers, of wrong answers, and of samples without one.
Tally = tuple[tuple[int, ...], tuple[int, ...], int]

MOST = 1000  # samples, or k: C(1000, 500) is about 1e299, so no coefficient overflows
_BLOCK = 2**20  # coefficients held at a time: 8 MB
_SCALE = (
    256.0  # of x where draws are with replacement: 256^k / k! is a normal float up to k = 1,000
)


def majority_laws(tallies: list[Tally], ks: IntArray, replace: bool) -> FloatArray:
    """P(the winner of k votes is right), of each tally and k; see `majority_at_k`.

    Parameters
    ----------
    tallies : list of tuple
    ks : ndarray of int64, shape (n_k,)
    replace : bool
        Draw with replacement.

    Returns
    -------
    ndarray of float64, shape (n_tallies, n_k)
        NaN where k samples can't be drawn.
    """
    n = np.array([sum(right) + sum(wrong) + silent for right, wrong, silent in tallies])
    known = n[:, None] >= (1 if replace else ks)
    ks = ks if replace else np.minimum(ks, max(int(n.max()), 1))
    total, k = np.zeros((len(tallies), len(ks))), int(ks.max())
    candidates = _Candidates.of(tallies)
    nodes = min(candidates.rivals.shape[1], k) // 2 + 1
    size = max(1, _BLOCK // (nodes * k))
    for start in range(0, len(candidates.row), size):
        part = candidates.some(slice(start, start + size))
        np.add.at(total, part.row, part.times[:, None] * _wins(part, ks, replace))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = total / _terms(n, n, k, replace)[ks].T
    return np.where(known, np.minimum(share, 1.0), np.nan)


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Right answers that may win; equal counts of a task are one candidate.

    Attributes
    ----------
    row, winner, times, n : ndarray of int64, shape (c,)
        Its tally, its samples, how many answers have as many, and all samples of the task.
    rivals : ndarray of int64, shape (c, r)
        Samples of the other answers, most first, then zeros.
    """

    row: IntArray
    winner: IntArray
    times: IntArray
    n: IntArray
    rivals: IntArray

    @classmethod
    def of(cls, tallies: list[Tally]) -> _Candidates:
        rows, rivals = [], []
        for row, (right, wrong, silent) in enumerate(tallies):
            every = sorted((*right, *wrong), reverse=True)
            for count in dict.fromkeys(right):
                rows.append((row, count, right.count(count), sum(every) + silent))
                place = every.index(count)
                rivals.append(every[:place] + every[place + 1 :])
        order = sorted(range(len(rows)), key=lambda place: len(rivals[place]))
        table = np.zeros((len(rows), max(map(len, rivals), default=0)), np.int64)
        for place, candidate in enumerate(order):
            table[place, : len(rivals[candidate])] = rivals[candidate]
        columns = np.array([rows[candidate] for candidate in order], np.int64).reshape(-1, 4).T
        return cls(columns[0], columns[1], columns[2], columns[3], table)

    def some(self, chosen: slice | BoolArray) -> _Candidates:
        """Some of them, without columns that are all 0."""
        rivals = self.rivals[chosen]
        return _Candidates(
            self.row[chosen], self.winner[chosen], self.times[chosen], self.n[chosen],
            rivals[:, : int((rivals > 0).sum(axis=1).max(initial=0))],
        )  # fmt: skip


def _wins(these: _Candidates, ks: IntArray, replace: bool) -> FloatArray:
    """Ways (or, with replacement, their weight) to draw k votes that each wins; shape (c, n_k)."""
    k = int(ks.max())
    total = np.zeros((len(these.row), len(ks)))
    for a in range(1, (k if replace else min(k, int(these.winner.max()))) + 1):
        active = np.ones(len(these.row), np.bool_) if replace else these.winner >= a
        reached = ks >= a
        some = these.some(active)
        mass = _rest(some, a, k - a, replace)[ks[reached] - a]
        own = _terms(some.winner, some.n, a, replace)[a]
        total[np.ix_(active, reached)] += (own * mass).T
    return total


def _rest(these: _Candidates, a: int, degree: int, replace: bool) -> FloatArray:
    """Coefficients of x^0 to x^degree of what others get where the winner has a; (degree + 1, c).

    The integral over y of a product over the rivals of (fewer than a votes, or a with weight y).
    A rival binds only if it can get a of the votes that are left. All the others are one class,
    (1 + x)^m, with the samples that don't vote; so few polynomials are multiplied, over all a
    at most one for each sample. The coefficient of x^d has at most the degree d / a in y.
    """
    rivals = these.rivals
    binds = (rivals >= (1 if replace else a)) & (a <= degree)
    free = these.n - these.winner - (rivals * binds).sum(axis=1)
    found = _terms(free, these.n, degree, replace)
    width = int(binds.sum(axis=1).max(initial=0))
    if not width:
        return found
    y, weights = _rule(min(width, degree // a) // 2 + 1)
    found = np.repeat(found[:, None, :], len(y), axis=1)
    for rank in range(width):
        some = binds[:, rank]
        terms = _terms(rivals[some, rank], these.n[some], a, replace)
        old = found if some.all() else found[:, :, some]
        new = old.copy()
        for b in range(1, a + 1):
            new[b:] += old[:-b] * (terms[b] if b < a else y[:, None] * terms[a])
        if some.all():
            found = new
        else:
            found[:, :, some] = new
    return np.asarray(np.einsum("dyc,y->dc", found, weights))


def _terms(m: IntArray, n: IntArray, most: int, replace: bool) -> FloatArray:
    """Weights of 0 to `most` votes for m of n samples, (most + 1, c): C(m, b), or (m / n)^b / b!.

    The latter times 256^b, which cancels.
    """
    b = np.arange(1, most + 1)[:, None]
    with np.errstate(invalid="ignore"):  # a task without samples
        factors = _SCALE * m / n / b if replace else np.maximum(m - b + 1, 0) / b
    return np.concatenate([np.ones((1, len(m))), np.cumprod(factors, axis=0)])


@cache
def _rule(size: int) -> tuple[FloatArray, FloatArray]:
    """Gauss and Legendre's nodes and weights on [0, 1]: exact up to degree 2 size - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(size)
    return (nodes + 1) / 2, weights / 2
