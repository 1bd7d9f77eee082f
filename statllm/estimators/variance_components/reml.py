"""Restricted maximum likelihood for crossed or nested random factors, complete or not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.variance_components.factors import Factors
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]

_LARGEST = 1e8  # ratio of a factor's variance to the residual's


@dataclass(frozen=True, eq=False)
class _Sums:
    """All that the likelihood needs of the data: its cost doesn't grow with the scores.

    The factor with most levels comes first; its own block of Z'Z is diagonal and is eliminated,
    so that only the other factors' levels make a dense matrix.
    """

    data: Factors

    @cached_property
    def order(self) -> list[int]:
        return sorted(range(len(self.data.levels)), key=lambda f: -self.data.levels[f])

    @cached_property
    def counts(self) -> FloatArray:
        """Scores per level of the first factor."""
        first = self.order[0]
        return np.bincount(self.data.codes[first]).astype(np.float64)

    @cached_property
    def owner(self) -> NDArray[np.int64]:
        """Which factor each other level belongs to: 1, 2, ..."""
        sizes = [self.data.levels[f] for f in self.order[1:]]
        return np.repeat(np.arange(1, len(self.order)), sizes)

    @cached_property
    def columns(self) -> list[NDArray[np.int64]]:
        """Column numbers of the other factors' levels, score by score."""
        offsets = np.cumsum([0, *(self.data.levels[f] for f in self.order[1:])])
        return [
            self.data.codes[f] + offset for f, offset in zip(self.order[1:], offsets, strict=False)
        ]

    @cached_property
    def cross(self) -> FloatArray:
        """Scores per level of the first factor and level of the others."""
        out = np.zeros((len(self.counts), len(self.owner)))
        for column in self.columns:
            np.add.at(out, (self.data.codes[self.order[0]], column), 1.0)
        return out

    @cached_property
    def others(self) -> FloatArray:
        """Scores per pair of levels of the other factors."""
        out = np.zeros((len(self.owner), len(self.owner)))
        for a in self.columns:
            for b in self.columns:
                np.add.at(out, (a, b), 1.0)
        return out

    @cached_property
    def right(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Z'[1, y] of the first factor, of the others, and [1, y]'[1, y]."""
        y = self.data.score - self.data.score.mean()
        both = np.stack([np.ones_like(y), y])
        code = self.data.codes[self.order[0]]
        first = np.stack([np.bincount(code, weights=x) for x in both], axis=1).astype(np.float64)
        rest = np.zeros((len(self.owner), 2))
        for column in self.columns:
            np.add.at(rest, column, both.T)
        return first, rest, np.asarray(both @ both.T)

    def deviance(self, ratio: FloatArray) -> tuple[float, float]:
        """-2 log restricted likelihood, up to a constant, and the residual variance."""
        n = len(self.data.score)
        ordered = ratio[self.order]
        root_first = np.sqrt(ordered[0])
        root = np.sqrt(ordered[self.owner])
        first, rest, given = self.right
        diagonal = 1 + ordered[0] * self.counts
        b = self.cross * (root_first * root)
        schur = (
            np.eye(len(root)) + self.others * np.outer(root, root) - b.T @ (b / diagonal[:, None])
        )
        u1, u2 = first * root_first, rest * root[:, None]
        reduced = u2 - b.T @ (u1 / diagonal[:, None])
        log_determinant = float(np.log(diagonal).sum())
        inside = given - u1.T @ (u1 / diagonal[:, None])
        if len(root):
            factor = np.linalg.cholesky(schur)
            log_determinant += 2 * float(np.log(np.diagonal(factor)).sum())
            half = np.linalg.solve(factor, reduced)
            inside = inside - half.T @ half
        ones = float(inside[0, 0])
        squares = float(inside[1, 1] - inside[0, 1] ** 2 / ones)
        sigma2 = max(squares, 0.0) / (n - 1)
        if sigma2 <= 0:
            return -np.inf, 0.0
        return (n - 1) * (np.log(sigma2) + 1) + log_determinant + float(np.log(ones)), sigma2


def reml(data: Factors) -> list[Estimate]:
    """Variance of each factor and of the residual, by restricted maximum likelihood.

    score = mean + sum of a normal effect per factor + normal residual (Patterson and Thompson
    1971). Factors may be crossed or nested, the table need not be complete; variances are kept at
    0 or above. The likelihood is profiled over the residual variance, and computed from counts of
    level pairs, so that 4,000 and 4 million scores cost the same.

    Intervals are by profile likelihood: values whose -2 log likelihood, maximised over the rest,
    is at most the chi-squared quantile above the smallest. Their lower end may be 0. They suppose
    normal effects, and with few levels (a handful of judges) they are wide and approximate.

    Parameters
    ----------
    data : Factors

    Returns
    -------
    list of Estimate
        The factors in order, then ``residual``. The standard error is NaN: the likelihood of a
        variance is far from a parabola.

    Raises
    ------
    ValueError
        If all scores are equal.

    Examples
    --------
    >>> score = [1.0, 2.0, 3.0, 5.0]
    >>> data = Factors.of(score, {"prompt": [0, 0, 1, 1], "judge": [0, 1, 0, 1]})
    >>> [round(part.value, 3) for part in reml(data)]
    [3.0, 1.0, 0.25]
    """
    if np.ptp(data.score) == 0:
        raise ValueError("all scores are equal: there is no variance to split")
    sums = _Sums(data)
    ratio, least = _minimised(sums, np.full(len(data.names), 0.5))
    sigma2 = sums.deviance(ratio)[1]
    variances = [*(ratio * sigma2).tolist(), sigma2]
    names = [*(f"variance of {name}" for name in data.names), "residual variance"]
    counts = [*data.levels, len(data.score)]
    return [
        Estimate(
            variance,
            float("nan"),
            count,
            "REML",
            name,
            "squared units",
            _Profile(sums, place, ratio, sigma2, least),
        )
        for place, (variance, name, count) in enumerate(zip(variances, names, counts, strict=True))
    ]


def _minimised(
    sums: _Sums, start: FloatArray, fixed: dict[int, float] | None = None
) -> tuple[FloatArray, float]:
    """Ratios with the least deviance, found in their square roots (smooth at 0)."""
    from scipy import optimize

    held = fixed or {}
    free = [f for f in range(len(start)) if f not in held]
    full = start.copy()
    for place, value in held.items():
        full[place] = value
    if not free:
        return full, sums.deviance(full)[0]

    def objective(root: FloatArray) -> float:
        full[free] = np.minimum(root**2, _LARGEST)
        return sums.deviance(full)[0]

    found = optimize.minimize(
        objective,
        np.sqrt(start[free]),
        method="L-BFGS-B",
        bounds=[(0.0, _LARGEST**0.5)] * len(free),
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500},
    )
    polished = optimize.minimize(
        objective,
        found.x,
        method="Nelder-Mead",
        bounds=[(0.0, _LARGEST**0.5)] * len(free),
        options={"xatol": 1e-10, "fatol": 1e-11, "maxiter": 400 * len(free)},
    )
    best = polished if polished.fun <= found.fun else found
    full[free] = np.minimum(best.x**2, _LARGEST)
    return full, float(best.fun)


@dataclass(frozen=True, eq=False)
class _Profile:
    """Profile-likelihood interval of one variance."""

    sums: _Sums
    place: int
    ratio: FloatArray
    sigma2: float
    least: float

    def deviance_at(self, variance: float) -> float:
        """-2 log likelihood with this component fixed, maximised over the others.

        The residual variance isn't profiled here, since the component is a variance, not a ratio.
        """
        from scipy import optimize

        n = len(self.sums.data.score)

        def at(log_parts: FloatArray) -> float:
            parts = np.exp(log_parts)
            if self.place == len(self.ratio):
                sigma2, ratio = variance, parts / variance
            else:
                sigma2 = parts[-1]
                ratio = np.insert(parts[:-1], self.place, variance) / sigma2
            profiled, best = self.sums.deviance(np.minimum(ratio, _LARGEST))
            # deviance() has (n - 1) (log best + 1); at another residual variance it is
            # (n - 1) (log sigma2 + best / sigma2).
            return float(profiled + (n - 1) * (np.log(sigma2 / best) + best / sigma2 - 1))

        others = np.delete(np.append(self.ratio * self.sigma2, self.sigma2), self.place)
        start = np.log(np.maximum(others, 1e-6 * self.sigma2))
        found = optimize.minimize(at, start, method="L-BFGS-B", options={"ftol": 1e-13})
        return float(found.fun)

    def __call__(self, level: float) -> Interval:
        from scipy import optimize, special

        allowed = self.least + float(special.chdtri(1, 1 - level))
        value = float(np.append(self.ratio * self.sigma2, self.sigma2)[self.place])

        def excess(log_variance: float) -> float:
            return self.deviance_at(float(np.exp(log_variance))) - allowed

        centre = np.log(max(value, 1e-6 * self.sigma2))
        up = centre + 0.5
        while excess(up) < 0 and up < centre + 60:
            up += 0.5 + (up - centre)
        high = (
            float(np.exp(optimize.brentq(excess, centre, up, xtol=1e-6)))
            if excess(centre) < 0
            else value
        )
        down = centre - 0.5
        floor = np.log(1e-7 * self.sigma2)
        while down > floor and excess(down) < 0:
            down -= 0.5 + (centre - down)
        if down <= floor:
            low = 0.0
        else:
            low = float(np.exp(optimize.brentq(excess, down, centre, xtol=1e-6)))
        return Interval(low, high, level, "profile likelihood")
