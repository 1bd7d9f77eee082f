"""The tail of a detector's -log p on human text, beyond the data: a generalised Pareto law."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]

MIN_EXCESSES = 50
_SHARE = 0.1  # of the documents that lie above the threshold
_SHAPES = (-0.5, 2.0)  # where the law is regular; a tail of -log p is far inside


@dataclass(frozen=True)
class TailFit:
    """A generalised Pareto law of the excesses of -log p over a threshold (Pickands 1975).

    P(-log p > x) = zeta (1 + xi (x - u) / sigma)^(-1 / xi). Under a valid null the excesses are
    exponential: xi = 0 and sigma = 1.

    Attributes
    ----------
    threshold : float
        u, nats.
    shape, scale : float
        xi and sigma, by maximum likelihood.
    excesses : ndarray
        x - u of the documents above the threshold, ascending.
    n : int
        All documents.
    """

    threshold: float
    shape: float
    scale: float
    excesses: FloatArray
    n: int

    def rate(self, alpha: float) -> Estimate:
        """Extrapolate the false-positive rate at a level that the data don't reach.

        The interval inverts the likelihood ratio in the rate, with the shape and the share above
        the threshold free (Coles 2001, 2.6.6). It is honest only as far as the tail is
        Pareto: data can't tell beyond themselves.

        Raises
        ------
        ValueError
            If `alpha` lies above the threshold, where documents can be counted.
        """
        x = -math.log(alpha)
        if x <= self.threshold:
            raise ValueError(
                f"at alpha = {alpha:g} documents can be counted; the tail begins at "
                f"{math.exp(-self.threshold):.2g}"
            )
        share = len(self.excesses) / self.n
        log_rate = math.log(share) + _log_survival(x - self.threshold, self.shape, self.scale)
        rate = math.exp(log_rate)

        def interval(level: float) -> Interval:
            low, high = self._limits(x - self.threshold, log_rate, level)
            return Interval(low, high, level, "profile likelihood, Pareto tail")

        low, high = self._limits(x - self.threshold, log_rate, 0.68)
        name = f"false-positive rate at {alpha:g}, extrapolated"
        return Estimate(
            rate, (high - low) / 2, self.n, "Pareto tail", name, "share of documents", interval
        )

    def _limits(self, y: float, best: float, level: float) -> tuple[float, float]:
        from scipy import optimize, stats

        bound = float(stats.chi2.ppf(level, 1)) / 2
        top = self._profile(y, best)

        def lack(log_rate: float) -> float:
            return top - self._profile(y, log_rate) - bound

        ends = []
        for sign in (-1.0, 1.0):
            step, at = 0.5, best
            for _ in range(40):
                following = min(at + sign * step, math.log(0.999))
                if lack(following) > 0:
                    ends.append(math.exp(optimize.brentq(lack, at, following, xtol=1e-3)))
                    break
                if following == at or following < -700:
                    ends.append(math.exp(following) if sign > 0 else 0.0)
                    break
                at, step = following, step * 1.6
            else:
                ends.append(0.0 if sign < 0 else 1.0)
        return ends[0], ends[1]

    def _profile(self, y: float, log_rate: float) -> float:
        """Log-likelihood, largest over the shape and the share above the threshold."""
        from scipy import optimize

        k, n = len(self.excesses), self.n

        def minus(parameters: FloatArray) -> float:
            shape, logit = float(parameters[0]), float(parameters[1])
            if not _SHAPES[0] < shape < _SHAPES[1] or abs(logit) > 30:
                return 1e10
            share = 1 / (1 + math.exp(-logit))
            log_ratio = math.log(share) - log_rate
            if log_ratio <= 1e-9:
                return 1e10
            scale = (
                y / log_ratio
                if abs(shape) < 1e-8
                else shape * y / math.expm1(min(shape * log_ratio, 600.0))
            )
            counts = k * math.log(share) + (n - k) * math.log1p(-share) if k < n else 0.0
            return -(counts + _log_likelihood(self.excesses, shape, scale))

        start = math.log(k / (n - k)) if k < n else 20.0
        trials = [
            optimize.minimize(minus, [shape, start], method="Nelder-Mead")
            for shape in (self.shape, 0.01, 0.3)
        ]
        return -min(float(trial.fun) for trial in trials)


def fit_tail(values: FloatArray) -> TailFit | None:
    """Fit the tail above the 90 % quantile; None with fewer than `MIN_EXCESSES` there."""
    from scipy import optimize

    threshold = float(np.quantile(values, 1 - _SHARE))
    excesses = np.sort(values[values > threshold] - threshold)
    if len(excesses) < MIN_EXCESSES or excesses[-1] <= 0:
        return None

    def minus(parameters: FloatArray) -> float:
        shape, scale = float(parameters[0]), math.exp(float(parameters[1]))
        if not _SHAPES[0] < shape < _SHAPES[1]:
            return 1e10
        return -_log_likelihood(excesses, shape, scale)

    found = optimize.minimize(minus, [0.05, math.log(excesses.mean())], method="Nelder-Mead")
    shape, log_scale = (float(value) for value in found.x)
    return TailFit(threshold, shape, math.exp(log_scale), excesses, len(values))


def _log_likelihood(excesses: FloatArray, shape: float, scale: float) -> float:
    if abs(shape) < 1e-8:
        return float(-len(excesses) * math.log(scale) - excesses.sum() / scale)
    inside = 1 + shape * excesses / scale
    if inside[-1] <= 0:
        return -1e10
    return float(-len(excesses) * math.log(scale) - (1 / shape + 1) * np.log(inside).sum())


def _log_survival(y: float, shape: float, scale: float) -> float:
    if abs(shape) < 1e-8:
        return -y / scale
    inside = 1 + shape * y / scale
    return -math.inf if inside <= 0 else -math.log(inside) / shape
