"""Bootstrap of ratings: battles one by one, or whole clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from statllm.estimators._arrays import whole
from statllm.estimators.ranking._covariance import cluster_counts
from statllm.estimators.ranking._likelihood import Ties
from statllm.estimators.ranking.bradley_terry import Fit, Prior, fit
from statllm.estimators.ranking.ranks import RankIntervals, best_shares, rank_intervals
from statllm.estimators.ranking.records import Battles, check_scale
from statllm.estimators.ranking.response_elo import ELO_SCALE

if TYPE_CHECKING:
    from typing import Any

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BootstrapRatings:
    """Ratings of K models in B resamples.

    Attributes
    ----------
    models : tuple
    rating : ndarray of float64, shape (K,)
        Of the data.
    resampled : ndarray of float64, shape (B, K)
        Without the resamples that have no finite maximum.
    n_separated : int
        How many these were. Where they aren't few, intervals are too short: use a prior.
    """

    models: tuple[Any, ...]
    rating: FloatArray
    resampled: FloatArray
    n_separated: int

    @property
    def se(self) -> FloatArray:
        """Standard deviations over resamples, shape (K,)."""
        return np.asarray(self.resampled.std(axis=0, ddof=1))

    @property
    def difference_se(self) -> FloatArray:
        """Standard deviations of rating_i - rating_j, shape (K, K)."""
        covariance = np.cov(self.resampled, rowvar=False)
        variance = covariance.diagonal()
        squared = variance[:, None] + variance[None, :] - 2 * covariance
        return np.asarray(np.sqrt(np.maximum(squared, 0.0)))

    def interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Return percentile limits of the ratings."""
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {level}")
        low, high = np.quantile(self.resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high

    def ranks(self, level: float = 0.95, *, simultaneous: bool = True) -> RankIntervals:
        """Return rank intervals by the bootstrap law of the largest studentised difference."""
        return rank_intervals(
            self.models,
            self.rating,
            self.resampled - self.rating,
            self.difference_se,
            level,
            simultaneous=simultaneous,
        )

    def best(self) -> FloatArray:
        """Return the share of resamples in which each model is on top, shape (K,)."""
        return best_shares(self.resampled)


def bootstrap_ratings(
    data: Battles,
    n_resamples: int = 1000,
    *,
    ties: Ties = "half",
    prior: Prior = "none",
    prior_ties: float = 1.0,
    ridge: float = 0.0,
    scale: float = ELO_SCALE,
    rng: np.random.Generator | int | None = None,
) -> BootstrapRatings:
    """Refit resampled battles.

    With one way of clustering whole clusters are drawn, by multinomial numbers of copies; with
    none, single battles, as one multinomial draw of the counts by pair and outcome: the law is
    that of drawing battles with replacement, at a cost that doesn't grow with their number.

    Parameters
    ----------
    data : Battles
    n_resamples : int
    ties, prior, prior_ties, ridge, scale
        As for `bradley_terry`.
    rng : numpy.random.Generator or int, optional

    Returns
    -------
    BootstrapRatings
        Percentile intervals are short where clusters are few: 95 % ones covered 91 % with 13
        prompts and 93 % with 40, where `bradley_terry`'s t intervals covered 96 and 95 %.

    Raises
    ------
    ValueError
        If `data` is clustered in two ways (use the sandwich), has weights that aren't whole numbers
        though it isn't clustered, is separated without a prior, or no resample has a finite
        maximum.

    Examples
    --------
    >>> from statllm.estimators.ranking import battles
    >>> table = battles(["x"] * 400, ["y"] * 400, [1] * 300 + [0] * 100)
    >>> found = bootstrap_ratings(table, 500, rng=1)
    >>> bool(abs(found.se[0] - ELO_SCALE * (1 / 300 + 1 / 100) ** 0.5 / 2) < 1)
    True
    """
    n_resamples = whole(n_resamples, "n_resamples", 2)
    check_scale(scale)
    if len(data.clusters) > 1:
        raise ValueError("the bootstrap draws clusters of one way; for two use bradley_terry")
    point = fit(data, ties=ties, prior=prior, prior_ties=prior_ties, ridge=ridge)
    if not point.finite:
        raise ValueError("some models never lost to the rest; use a prior")
    generator = np.random.default_rng(rng)
    shape, k = point.counts.shape, data.n_models
    if data.clusters:
        table = cluster_counts(point, data, data.clusters[0])
        number = table.shape[0]
        copies = generator.multinomial(number, np.full(number, 1 / number), n_resamples)
        drawn = (copies.astype(np.float64) @ table).reshape(n_resamples, *shape)
    else:
        total = point.counts.sum()
        if total != round(total) or (data.weight != np.round(data.weight)).any():
            raise ValueError("weights must be whole numbers of battles, or battles clustered")
        cells = np.flatnonzero(point.counts)
        drawn = np.zeros((n_resamples, point.counts.size))
        share = point.counts.ravel()[cells] / total
        drawn[:, cells] = generator.multinomial(round(total), share / share.sum(), n_resamples)
        drawn = drawn.reshape(n_resamples, *shape)
    fits = np.stack([_ratings(point, counts, k) for counts in drawn])
    finite = ~np.isnan(fits).any(axis=1)
    if finite.sum() < 2:
        raise ValueError("no resample has a finite maximum; use a prior")
    separated = int(n_resamples - finite.sum())
    return BootstrapRatings(data.models, scale * point.x[:k], scale * fits[finite], separated)


def _ratings(point: Fit, counts: FloatArray, k: int) -> FloatArray:
    """Ratings of a resample in nats; NaN where its likelihood has no finite maximum."""
    try:
        return np.asarray(point.maximise(counts, point.x)[:k])
    except ValueError:
        return np.full(k, np.nan)
