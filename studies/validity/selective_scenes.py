"""Scenes of selective prediction: scores of right and wrong answers, and what is true of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, stats

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
PER_CLUSTER = 5
VOTES = 8


@dataclass(frozen=True)
class Binormal:
    """Right answers score N(gap, 1), wrong ones N(0, 1).

    With clusters, n counts clusters of 5 answers, whose labels and scores share a part: both
    correlate by `shared` within a cluster.
    """

    right: float
    gap: float
    shared: float = 0.0

    @property
    def clustered(self) -> bool:
        """Whether answers come in clusters."""
        return self.shared > 0

    def words(self) -> str:
        """The scene."""
        unit = f"n clusters of 5, correlation {self.shared:g}" if self.clustered else "n answers"
        return f"{unit}, accuracy {self.right:g}, AUROC {self.auroc:.2f}"

    def draw(self, rng: Rng, n: int) -> tuple[FloatArray, NDArray[np.bool_], dict[str, Any]]:
        """Scores, labels and the clusters as an argument."""
        group = np.repeat(np.arange(n), PER_CLUSTER if self.clustered else 1)

        def noise() -> FloatArray:
            own = rng.standard_normal(len(group))
            if not self.clustered:
                return own
            return np.sqrt(self.shared) * rng.standard_normal(n)[group] + (
                np.sqrt(1 - self.shared) * own
            )

        label = noise() < stats.norm.ppf(self.right)
        more = {"clusters": group} if self.clustered else {}
        return noise() + self.gap * label, label, more

    @cached_property
    def auroc(self) -> float:
        """Area under the ROC curve."""
        return float(stats.norm.cdf(self.gap / np.sqrt(2)))

    # Over all thresholds t, from the highest down, on a fine grid.

    @cached_property
    def _grid(self) -> FloatArray:
        return np.linspace(self.gap + 9, -9, 40_001)

    @cached_property
    def _kept(self) -> tuple[FloatArray, FloatArray]:
        """Probability of being right, and wrong, and above each threshold."""
        t = self._grid
        return self.right * stats.norm.sf(t - self.gap), (1 - self.right) * stats.norm.sf(t)

    @cached_property
    def average_precision(self) -> float:
        """Mean precision over right answers."""
        hit, miss = self._kept
        return float(integrate.trapezoid(hit / (hit + miss), hit)) / self.right

    def risk_area(self, least: float = 0.0) -> float:
        """Mean risk over coverages from `least` to 1."""
        hit, miss = self._kept
        coverage = hit + miss
        inside = coverage >= least
        area = integrate.trapezoid((miss / coverage)[inside], coverage[inside])
        return float(area) / (1 - least)

    @property
    def best_area(self) -> float:
        """Mean risk over coverages of a perfect order."""
        wrong = 1 - self.right
        return wrong + self.right * float(np.log(self.right))

    @property
    def prr(self) -> float:
        """Prediction rejection ratio."""
        wrong = 1 - self.right
        return (wrong - self.risk_area()) / (wrong - self.best_area)

    @property
    def prr_half(self) -> float:
        """The same with half of the answers rejected at most."""
        c = np.linspace(0.5, 1, 100_001)
        oracle = 2 * float(integrate.trapezoid(np.minimum(1, self.right / c), c))
        return (1 - self.risk_area(0.5) - self.right) / (oracle - self.right)

    @property
    def augrc(self) -> float:
        """Area under the generalised risk-coverage curve."""
        wrong = 1 - self.right
        return (1 - self.auroc) * self.right * wrong + wrong**2 / 2

    def risk_above(self, threshold: FloatArray) -> FloatArray:
        """Probability of being wrong for an answer that scores at least this."""
        hit = self.right * stats.norm.sf(threshold - self.gap)
        miss = (1 - self.right) * stats.norm.sf(threshold)
        return np.asarray(miss / (hit + miss))

    def probability(self, score: FloatArray) -> FloatArray:
        """Probability of being wrong at a score."""
        hit = self.right * stats.norm.pdf(score - self.gap)
        miss = (1 - self.right) * stats.norm.pdf(score)
        return np.asarray(miss / (hit + miss))


class Votes:
    """The score is the number of eight votes that agree: tied throughout, accuracy .6."""

    right = 0.6
    pmf = stats.betabinom.pmf(np.arange(VOTES + 1)[:, None], VOTES, [1.5, 6], [3, 2])
    # Columns: wrong, right. Reached from the highest score down.

    def words(self) -> str:
        """The scene."""
        return f"n answers, the score one of nine values, accuracy .6, AUROC {self.auroc:.2f}"

    def draw(self, rng: Rng, n: int) -> tuple[FloatArray, NDArray[np.bool_], dict[str, Any]]:
        """Scores and labels."""
        label = rng.random(n) < self.right
        chance = rng.beta(np.where(label, 6, 1.5), np.where(label, 2, 3))
        return rng.binomial(VOTES, chance) / VOTES, label, {}

    @property
    def auroc(self) -> float:
        """Area under the ROC curve, ties one half."""
        wrong, right = self.pmf.T
        below = np.cumsum(wrong) - wrong / 2
        return float(right @ below)

    @property
    def augrc(self) -> float:
        """Area under the generalised risk-coverage curve."""
        wrong = 1 - self.right
        return (1 - self.auroc) * self.right * wrong + wrong**2 / 2

    @property
    def average_precision(self) -> float:
        """Mean precision over right answers, tied ones taken together."""
        hit, miss = self._reached()
        return float(np.diff(hit, prepend=0) @ (hit / (hit + miss))) / self.right

    def risk_area(self) -> float:
        """Mean risk over coverages, ties in random order."""
        hit, miss = self._reached()
        kept = hit + miss
        before, lost = kept[:-1], miss[:-1]
        size, rate = np.diff(kept, prepend=0), np.diff(miss, prepend=0) / np.diff(kept, prepend=0)
        return float(rate @ size + (lost - rate[1:] * before) @ np.log(kept[1:] / before))

    @property
    def best_area(self) -> float:
        """Mean risk over coverages of a perfect order."""
        return 1 - self.right + self.right * float(np.log(self.right))

    @property
    def prr(self) -> float:
        """Prediction rejection ratio."""
        wrong = 1 - self.right
        return (wrong - self.risk_area()) / (wrong - self.best_area)

    def _reached(self) -> tuple[FloatArray, FloatArray]:
        wrong, right = self.pmf[::-1].T
        return np.cumsum(right) * self.right, np.cumsum(wrong) * (1 - self.right)


EVEN = Binormal(0.5, 1.0)
USUAL = Binormal(0.7, 1.0)
RARE = Binormal(0.95, 1.0)
SHARP = Binormal(0.7, 2.66)
CLUSTERED = Binormal(0.7, 1.0, 0.4)
TIED = Votes()
SCENES: dict[str, Any] = {
    "even": EVEN,
    "usual": USUAL,
    "rare": RARE,
    "sharp": SHARP,
    "clustered": CLUSTERED,
    "tied": TIED,
}
