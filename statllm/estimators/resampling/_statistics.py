"""Statistics as functions of how often each distinct unit was drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators._arrays import label_codes
from statllm.estimators.comparison._arrays import cluster_sums
from statllm.estimators.resampling._counts import (
    UNITS,
    FloatArray,
    IntArray,
    by_unit,
    collapse,
    resampled_counts,
    resampled_units,
)


class Statistic(Protocol):
    """What a bootstrap needs to know of a statistic of one sample.

    Attributes
    ----------
    counts : ndarray of int64, shape (k,)
        How many units are alike.
    value, error : float
        On the sample; the standard error is NaN where there is no formula.
    quick : bool
        Whether the jackknife is a closed form.
    """

    counts: IntArray
    value: float
    error: float
    quick: bool

    def resampled(
        self, resamples: int, rng: np.random.Generator, bayesian: bool, batch: int | None
    ) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Values and standard errors, (b,) each, of a batch of resamples."""

    def jackknife(self) -> FloatArray:
        """Values (k,) without one unit of each kind."""


class ByCounts:
    """Statistics that are functions of counts: `width` numbers are held for a resample."""

    counts: IntArray
    width: int

    def evaluate(self, drawn: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Values and standard errors, (b,) each, of counts (b, k)."""
        raise NotImplementedError

    def resampled(
        self, resamples: int, rng: np.random.Generator, bayesian: bool, batch: int | None
    ) -> Iterator[tuple[FloatArray, FloatArray]]:
        for drawn in resampled_counts(self.counts, resamples, rng, bayesian, batch, self.width):
            yield self.evaluate(drawn)


class Ratio(ByCounts):
    """Ratio of sums over units, sum y / sum w; with w = 1 the mean. All in closed form.

    Its error is that of the residuals y - R w, as in `comparison.ratio_estimate` but with
    G / (G - 1), which a resample can do with sums of squares.
    """

    def __init__(self, y: FloatArray, w: FloatArray, clusters: IntArray | None = None) -> None:
        if clusters is not None:
            y, w = cluster_sums(y, clusters), cluster_sums(w, clusters)
        if not w.sum():
            raise ValueError("the denominators add up to 0")
        self.value = float(y.sum() / w.sum())
        units, self.counts = collapse(np.column_stack([y, w]))
        self._w = units[:, 1]
        # Residuals: then nothing large cancels, and R* = R + sum r / sum w.
        self._r = units[:, 0] - self.value * self._w
        r, w = self._r, self._w
        self._sums = np.column_stack([r, w, r * r, r * w, w * w])
        self.width, self.quick = len(self.counts), True
        self._nothing = 1e-13 * float(self.counts @ np.abs(r))
        self.error = float(self.evaluate(self.counts[None].astype(np.float64))[1][0])

    def evaluate(self, drawn: FloatArray) -> tuple[FloatArray, FloatArray]:
        return self._of_sums(drawn @ self._sums)

    def resampled(
        self, resamples: int, rng: np.random.Generator, bayesian: bool, batch: int | None
    ) -> Iterator[tuple[FloatArray, FloatArray]]:
        if bayesian or not by_unit(self.counts):
            yield from super().resampled(resamples, rng, bayesian, batch)
            return
        # The sums of the drawn units, without counting how often each was drawn.
        r, w = np.repeat(self._r, self.counts), np.repeat(self._w, self.counts)
        n, alike = len(r), bool(np.all(w == w[0]))
        for index in resampled_units(n, resamples, rng, batch, UNITS):
            y = r.take(index)
            total, squares = y.sum(axis=1), np.einsum("bi,bi->b", y, y)
            if alike:
                same = np.full(len(y), w[0])
                sums = [total, n * same, squares, total * same, n * same**2]
            else:
                v = w.take(index)
                products = (np.einsum("bi,bi->b", x, v) for x in (y, v))
                sums = [total, v.sum(axis=1), squares, *products]
            yield self._of_sums(np.stack(sums, axis=1))

    def _of_sums(self, sums: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Values and errors from the sums of r, w, r r, r w and w w; (b, 5)."""
        r, w, rr, rw, ww = sums.T
        n = float(self.counts.sum())
        r = np.where(np.abs(r) <= self._nothing, 0.0, r)  # ties with the value stay ties
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = r / w
            squares = np.maximum(rr - 2 * gap * rw + gap**2 * ww, 0.0)
            error = np.sqrt(squares * n / (n - 1)) / np.abs(w) if n > 1 else gap * math.nan
        return self.value + gap, error

    def jackknife(self) -> FloatArray:
        total_r, total_w = self.counts @ self._r, self.counts @ self._w
        with np.errstate(invalid="ignore", divide="ignore"):
            left: FloatArray = self.value + (total_r - self._r) / (total_w - self._w)
        return left


class Quantile(ByCounts):
    """Linearly interpolated quantile (numpy's), from cumulated counts of sorted values."""

    def __init__(self, x: FloatArray, q: float, clusters: IntArray | None = None) -> None:
        if not 0 < q < 1:
            raise ValueError(f"q must lie between 0 and 1, not {q}")
        self._q, self._unit = q, None
        if clusters is None:
            self._values, self.counts = collapse(x)
        else:
            order = np.argsort(x, kind="stable")
            self._values, self._unit = x[order], clusters[order]
            self.counts = np.ones(int(clusters.max()) + 1, np.int64)
        self.width, self.quick = len(self._values), clusters is None
        self.value = float(self.evaluate(self.counts[None].astype(np.float64))[0][0])
        self.error = math.nan

    def evaluate(self, drawn: FloatArray) -> tuple[FloatArray, FloatArray]:
        upto = np.cumsum(drawn if self._unit is None else drawn[:, self._unit], axis=1)
        place = (upto[:, -1] - 1) * self._q
        low = np.floor(place)
        # The order statistic of rank i (from 0) is the first value with more than i up to it.
        first = _first_above(upto, low)
        second = _first_above(upto, np.minimum(low + 1, upto[:, -1] - 1))
        below, above = self._values[first], self._values[second]
        found = below + (place - low) * (above - below)
        return found, np.full(len(found), math.nan)

    def jackknife(self) -> FloatArray:
        n = int(self.counts.sum())
        if n < 2:
            return np.full(len(self.counts), math.nan)
        if self._unit is not None:
            drawn = self.counts - np.eye(len(self.counts))
            return np.concatenate([self.evaluate(part[None])[0] for part in drawn])
        # Without one of the values, order statistics at or above it move down by one.
        upto = np.cumsum(self.counts)
        place = (n - 2) * self._q
        low = math.floor(place)
        gone = upto - 1  # the last place of each kind, taken out
        below, above = (
            self._values[np.searchsorted(upto, rank + (gone <= rank), side="right")]
            for rank in (low, min(low + 1, n - 2))
        )
        left: FloatArray = below + (place - low) * (above - below)
        return left


def _first_above(upto: FloatArray, rank: FloatArray) -> IntArray:
    """Index in each row of the first entry above `rank`, but for rounding of Bayesian weights."""
    index: IntArray = (upto <= rank[:, None] + 1e-9).sum(axis=1, dtype=np.int64)
    found: IntArray = np.minimum(index, upto.shape[1] - 1)
    return found


class Anything(ByCounts):
    """A function of the rows of a sample, called once per resample."""

    def __init__(
        self,
        rows: FloatArray,
        function: Callable[[FloatArray], float],
        clusters: IntArray | None = None,
    ) -> None:
        self._function = function
        if clusters is None:
            units, self.counts = collapse(rows)
            self._units = [units[i : i + 1] for i in range(len(units))]
        else:
            order = np.argsort(clusters, kind="stable")
            ends = np.cumsum(np.bincount(clusters))[:-1]
            self._units = np.split(rows[order], ends)
            self.counts = np.ones(len(self._units), np.int64)
        self._starts = np.cumsum([0, *(len(unit) for unit in self._units)])
        self._rows = np.concatenate(self._units)
        self._lengths = np.diff(self._starts)
        self.width, self.quick = len(rows), False
        self.value = float(function(rows))
        self.error = math.nan

    def evaluate(self, drawn: FloatArray) -> tuple[FloatArray, FloatArray]:
        found = np.array([self._of(row.astype(np.int64)) for row in drawn])
        return found, np.full(len(found), math.nan)

    def jackknife(self) -> FloatArray:
        left = self.counts.copy()
        out = np.empty(len(left))
        for unit in range(len(left)):
            left[unit] -= 1
            out[unit] = self._of(left)
            left[unit] += 1
        return out

    def _of(self, counts: IntArray) -> float:
        """The function on rows repeated as often as their unit was drawn."""
        return float(
            self._function(np.repeat(self._rows, np.repeat(counts, self._lengths), axis=0))
        )


def codes(clusters: ArrayLike | None, n: int) -> IntArray | None:
    """Cluster numbers of n rows, or None without clusters."""
    return None if clusters is None else label_codes(clusters, "clusters", n)
