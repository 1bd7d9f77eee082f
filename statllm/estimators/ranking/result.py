"""Ratings with their errors, and what follows: intervals, differences, ranks, who is best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.multiplicity import holm
from statllm.estimators.ranking.ranks import RankIntervals, best_shares, rank_intervals

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Ratings of K models.

    Attributes
    ----------
    models : tuple
    rating : ndarray of float64, shape (K,)
        In units of `scale` per nat (Elo points by default), with mean 0. Where the likelihood has
        no finite maximum (`separated`, without a prior): +inf for models that win against others
        without any chain of wins leading back, -inf for those that only lose so, else NaN.
    covariance : ndarray of float64, shape (K, K)
        Of the ratings, squared units. NaN where a rating isn't finite.
    df : float
        Degrees of freedom of t intervals; inf: normal.
    n_battles : ndarray of float64, shape (K,)
        Battles of each model (rankings, for Plackett-Luce).
    coefficients, coefficient_covariance : ndarray of float64, shape (p,), (p, p)
        Of style, then of ties (log nu of Davidson; log theta of Rao and Kupper), in nats.
    coefficient_names : tuple of str
    log_likelihood : float
        At the maximum, without the penalty; nats.
    separated : bool
        Some group of models never lost to (nor tied with) the rest.
    scale : float
    method : str
    """

    models: tuple[Any, ...]
    rating: FloatArray
    covariance: FloatArray
    df: float
    n_battles: FloatArray
    coefficients: FloatArray
    coefficient_covariance: FloatArray
    coefficient_names: tuple[str, ...]
    log_likelihood: float
    separated: bool
    scale: float
    method: str

    @property
    def se(self) -> FloatArray:
        """Standard errors of the ratings, shape (K,)."""
        return np.asarray(np.sqrt(np.maximum(self.covariance.diagonal(), 0.0)))

    @property
    def difference_se(self) -> FloatArray:
        """Standard errors of rating_i - rating_j, shape (K, K)."""
        variance = self.covariance.diagonal()
        squared = variance[:, None] + variance[None, :] - 2 * self.covariance
        return np.asarray(np.sqrt(np.maximum(squared, 0.0)))

    def quantile(self, level: float) -> float:
        """How many standard errors an interval of `level` reaches to each side.

        Raises
        ------
        ValueError
            If `level` is not in (0, 1).
        """
        from scipy import special

        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {level}")
        tail = 0.5 + level / 2
        return float(special.ndtri(tail) if math.isinf(self.df) else special.stdtrit(self.df, tail))

    def interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Return lower and upper limits of the ratings (against the mean of all), model by model.

        They say how far a model is from the average one; for two models use `differences`, for
        places `ranks`.
        """
        half = self.quantile(level) * self.se
        return self.rating - half, self.rating + half

    def win_probability(self) -> FloatArray:
        """Return the probability that i beats j where it's no tie, at equal style, (K, K)."""
        gap = (self.rating[:, None] - self.rating[None, :]) / self.scale
        return np.asarray(np.exp(-np.logaddexp(0.0, -gap)))

    def differences(self, level: float = 0.95) -> Differences:
        """Return all pairwise differences with intervals and Holm's adjusted p-values."""
        from scipy import special

        i, j = np.triu_indices(len(self.models), 1)
        gap, se = self.rating[i] - self.rating[j], self.difference_se[i, j]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(gap) / se
        if math.isinf(self.df):
            log_p = math.log(2) + special.log_ndtr(-t)
        else:
            with np.errstate(divide="ignore"):
                log_p = math.log(2) + np.log(special.stdtr(self.df, -t))
        log_p = np.minimum(log_p, 0.0)
        half = self.quantile(level) * se
        return Differences(
            self.models, i, j, gap, se, gap - half, gap + half, log_p, holm(log_p), level
        )

    def ranks(
        self,
        level: float = 0.95,
        *,
        simultaneous: bool = True,
        n_draws: int = 4000,
        rng: np.random.Generator | int | None = 0,
    ) -> RankIntervals:
        """Return intervals of the ranks, 1 being the best.

        `rank_intervals` of draws from a normal (or t) law with this covariance.

        Raises
        ------
        ValueError
            If a rating isn't finite: give `bradley_terry` a prior.
        """
        draws = self._draws(n_draws, rng)
        return rank_intervals(
            self.models, self.rating, draws, self.difference_se, level, simultaneous=simultaneous
        )

    def best(
        self, *, n_draws: int = 10_000, rng: np.random.Generator | int | None = 0
    ) -> FloatArray:
        """Return how often each model is on top of ratings drawn about the estimates, (K,).

        A posterior probability of being the best under a flat prior, to first order; no p-value.

        Raises
        ------
        ValueError
            If a rating isn't finite.
        """
        return best_shares(self.rating + self._draws(n_draws, rng))

    def _draws(self, n: int, rng: np.random.Generator | int | None) -> FloatArray:
        """Errors of the ratings, shape (n, K)."""
        if not np.isfinite(self.covariance).all():
            raise ValueError("a rating isn't finite; fit with prior='jeffreys' or prior='ties'")
        generator = np.random.default_rng(rng)
        values, vectors = np.linalg.eigh(self.covariance)
        normal = generator.standard_normal((n, len(values)))
        draws = normal * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
        if not math.isinf(self.df):
            draws /= np.sqrt(generator.chisquare(self.df, (n, 1)) / self.df)
        return np.asarray(draws)

    def order(self) -> IntArray:
        """Return the models' places in `models`, best first; ratings that are NaN come last."""
        return np.argsort(-self.rating, kind="stable").astype(np.int64)

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return one row per model, best first, with simultaneous rank intervals where defined."""
        import pandas as pd

        low, high = self.interval(level)
        columns: dict[str, Any] = {
            "model": list(self.models),
            "rating": self.rating,
            "se": self.se,
            "low": low,
            "high": high,
            "n_battles": self.n_battles,
        }
        if np.isfinite(self.covariance).all():
            ranks = self.ranks(level)
            columns |= {
                "rank": ranks.rank,
                "rank_low": ranks.low,
                "rank_high": ranks.high,
                "p_best": self.best(),
            }
        return pd.DataFrame(columns).iloc[self.order()].reset_index(drop=True)

    def summary(self) -> str:
        """Return one line on the fit, and one on separation where there is any."""
        top = self.order()[0]
        line = (
            f"{self.method}: {len(self.models)} models, best {self.models[top]} at "
            f"{self.rating[top]:.0f} (se {self.se[top]:.0f})"
        )
        if self.separated and not np.isfinite(self.rating).all():
            return (
                f"{line}\nsome models never lost to the rest, so the likelihood grows without end: "
                "ratings are infinite or undefined; a prior makes them finite"
            )
        if self.separated:
            return (
                f"{line}\nsome models never lost to the rest: the prior decides how far they lead"
            )
        return line


@dataclass(frozen=True, eq=False)
class Differences:
    """Pairwise differences rating_i - rating_j, i < j in the order of `models`.

    Attributes
    ----------
    models : tuple
    i, j : ndarray of int64, shape (P,)
    value, se, low, high : ndarray of float64, shape (P,)
        Intervals are those of single pairs.
    log_p, log_p_holm : ndarray of float64, shape (P,)
        Of equal ratings, two-sided; alone, and adjusted for all P pairs.
    level : float
    """

    models: tuple[Any, ...]
    i: IntArray
    j: IntArray
    value: FloatArray
    se: FloatArray
    low: FloatArray
    high: FloatArray
    log_p: FloatArray
    log_p_holm: FloatArray
    level: float

    def to_frame(self) -> pd.DataFrame:
        """Return one row per pair."""
        import pandas as pd

        return pd.DataFrame(
            {
                "model_a": [self.models[i] for i in self.i],
                "model_b": [self.models[j] for j in self.j],
                "difference": self.value,
                "se": self.se,
                "low": self.low,
                "high": self.high,
                "p": np.exp(self.log_p),
                "p_holm": np.exp(self.log_p_holm),
            }
        )
