"""Reference answers by their length, as NaturalReasoning counts them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.proportions import goodman
from statllm.results import Estimate, Interval

IntArray = NDArray[np.int64]

#: Buckets and the fewest words of each (Yuan et al. 2025, arXiv 2502.13124): no reference answer,
#: one word, 2 to 9, and 10 or more.
BUCKETS = {"none": 0, "single": 1, "short": 2, "long": 10}


@dataclass(frozen=True, eq=False)
class ReferenceBuckets:
    """How many questions have a reference answer of which length.

    Attributes
    ----------
    counts : ndarray of int64, shape (4,)
        In the order of `BUCKETS`.
    """

    counts: IntArray

    @property
    def n(self) -> int:
        """Number of questions."""
        return int(self.counts.sum())

    def figures(self) -> list[Estimate]:
        """Return the share of each bucket; Goodman's intervals hold all together."""
        return [self._share(place, f"reference: {name}") for place, name in enumerate(BUCKETS)]

    def _share(self, place: int, name: str) -> Estimate:
        n, count = self.n, int(self.counts[place])
        share = count / n if n else np.nan
        se = float(np.sqrt(share * (1 - share) / n)) if n else np.nan

        def interval_of(level: float) -> Interval:
            low, high = goodman(count, n, len(BUCKETS), level)
            return Interval(float(low), float(high), level, "Goodman")

        return Estimate(share, se, n, "proportion", name, "share of questions", interval_of)


def reference_buckets(words: ArrayLike) -> ReferenceBuckets:
    """Count reference answers by their number of words.

    Parameters
    ----------
    words : array_like of int, shape (n,)
        Words of each question's reference answer; 0 where there is none.

    Raises
    ------
    ValueError
        If it isn't one-dimensional, or a number isn't whole and at least 0: its place is named.

    Examples
    --------
    >>> found = reference_buckets([0, 1, 1, 2, 9, 10, 200])
    >>> found.counts
    array([1, 2, 2, 2])
    >>> found.figures()[0].name, f"{found.figures()[0].interval():.2f}"
    ('reference: none', '[0.02, 0.60]')
    """
    values = np.asarray(words, np.float64)
    if values.ndim != 1:
        raise ValueError(f"words must be one-dimensional, not of shape {values.shape}")
    wrong = np.flatnonzero(~((values >= 0) & (values == np.floor(values))))
    if len(wrong):
        raise ValueError(f"words is {values[wrong[0]]} at place {wrong[0]}")
    least = np.array(list(BUCKETS.values()))
    place = np.searchsorted(least, values, side="right") - 1
    return ReferenceBuckets(np.bincount(place, minlength=len(least)).astype(np.int64))
