"""Scaling curves of models trained with several seeds and tested on the same items."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.comparison import TEstimate, crossed_mean, mean_estimate, t_estimate
from statllm.estimators.scaling._laws import (
    Fitted,
    fit_log,
    fit_power,
    predict_log,
    predict_power,
)
from statllm.results import Interval

FloatArray = NDArray[np.float64]
Law = Literal["log", "power"]

_ROUNDING = 1e-12  # relative to the scores

_LAWS = {"log": (fit_log, predict_log, 2), "power": (fit_power, predict_power, 3)}


@dataclass(frozen=True, eq=False)
class ScalingFit:
    """A law and what is known about its parameters.

    Attributes
    ----------
    law : {"log", "power"}
    sizes : ndarray of float64, shape (n_sizes,)
    means : tuple of TEstimate
        At each size.
    parameters : mapping of TEstimate
        ``log``: level (at the smallest size) and gain per doubling. ``power``: limit, distance
        (limit less level at the smallest size) and exponent. Without an error (NaN) where the
        curve doesn't tell them.
    rms : float
        Root mean square of the residuals of the mean curve.
    """

    law: Law
    sizes: FloatArray
    means: tuple[TEstimate, ...]
    parameters: Mapping[str, TEstimate]
    rms: float
    _fitted: Fitted
    _scores: FloatArray

    @property
    def identified(self) -> bool:
        """Whether the parameters have errors."""
        return bool(np.isfinite(self._fitted.gradient).all())

    def predict(self, n: float) -> TEstimate:
        """Return the law's value at a number of examples.

        The error is that of the fit. That the law holds beyond the largest size isn't part of it.
        """
        if not n > 0:
            raise ValueError(f"n must be above 0, not {n!r}")
        value, gradient = _LAWS[self.law][1](self._fitted, self.sizes, n)
        return _linearised(self._scores, value, gradient, f"score at {n:g} examples")

    def residuals(self) -> tuple[TEstimate, ...]:
        """Return mean less law at each size, with errors: where the law doesn't fit.

        Each is linearised as the parameters are. With one size more than parameters all of them
        move together, and their tests say the same.
        """
        curve, found = _curve(self._scores), []
        for j, size in enumerate(self.sizes):
            value, gradient = _LAWS[self.law][1](self._fitted, self.sizes, float(size))
            own = np.eye(len(self.sizes))[j] - gradient
            name = f"residual at {size:g} examples"
            found.append(_linearised(self._scores, float(curve[j]) - value, own, name))
        return tuple(found)

    def to_rows(self, level: float = 0.95) -> list[dict[str, Any]]:
        """Return means and parameters as plain values."""
        rows = [
            {"kind": "mean", "size": float(size), **estimate.to_dict(level)}
            for size, estimate in zip(self.sizes, self.means, strict=True)
        ]
        return rows + [
            {"kind": "parameter", "size": None, **estimate.to_dict(level)}
            for estimate in self.parameters.values()
        ]

    def summary(self, level: float = 0.95) -> str:
        """Return one line of text."""
        parts = [f"{e.name} {e.value:.4g} {e.interval(level)}" for e in self.parameters.values()]
        return f"{self.law} law: {', '.join(parts)}"


def scaling_fit(scores: ArrayLike, sizes: ArrayLike, law: Law = "log") -> ScalingFit:
    """Fit a law to scores of models that were trained on more and more examples.

    ``log``: score = level + gain log2(n / n_1). ``power``: score = limit - distance
    (n / n_1)^-exponent, the law of Kaplan et al. (2020, arXiv 2001.08361) with a limit, as Hoffmann
    et al. (2022, arXiv 2203.15556) have it. Both are least-squares fits to the mean curve.

    Scores at several sizes are not independent: a seed's smaller set is part of its larger one, and
    all models are tested on the same items. So each parameter theta, a smooth function of the mean
    curve m, is linearised, theta + sum_j (d theta / d m_j) (y_sj - m_j): one number for each seed
    (and item), whose mean is theta, and whose error `mean_estimate` (or `crossed_mean`, where seeds
    and items are two random samples) gives. For the log law this is exact.

    Parameters
    ----------
    scores : array_like of float, shape (n_seeds, n_sizes) or (n_seeds, n_sizes, n_items)
        Mean scores, or those of each item.
    sizes : array_like of float, shape (n_sizes,)
        Numbers of examples, above 0, all different.
    law : {"log", "power"}

    Returns
    -------
    ScalingFit

    Raises
    ------
    ValueError
        If shapes don't fit, a score isn't finite, there are fewer than two seeds, or not more
        sizes than parameters less one.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sizes = np.array([100, 200, 400, 800])
    >>> truth = 0.4 + 0.05 * np.log2(sizes / 100)
    >>> scores = truth + rng.normal(0, 0.01, (5, 1)) + rng.normal(0, 0.01, (5, 4))
    >>> fit = scaling_fit(scores, sizes)
    >>> gain = fit.parameters["gain per doubling"]
    >>> round(gain.value, 3), f"{gain.interval():.3f}"
    (0.049, '[0.047, 0.051]')
    """
    y, n = _checked(scores, sizes, law)
    fit, predict, _ = _LAWS[law]
    curve = _curve(y)
    fitted = fit(n, curve)
    parameters = {
        name: _linearised(y, float(value), gradient, name)
        for name, value, gradient in zip(fitted.names, fitted.values, fitted.gradient, strict=True)
    }
    if "exponent" in parameters:
        parameters["exponent"] = _positive(parameters["exponent"])
    means = tuple(
        _linearised(y, float(curve[j]), np.eye(len(n))[j], f"score at {size:g} examples")
        for j, size in enumerate(n)
    )
    residuals = curve - np.array([predict(fitted, n, float(size))[0] for size in n])
    rms = float(np.sqrt((residuals**2).mean()))
    return ScalingFit(law, n, means, parameters, rms, fitted, y)


def scaling_difference(a: ScalingFit, b: ScalingFit, parameter: str) -> TEstimate:
    """Difference of a parameter, b less a, between two data sets with the same seeds and items.

    Paired: what a seed's start or an item's difficulty does to both falls out.

    Parameters
    ----------
    a, b : ScalingFit
        Of the same law, from scores of one shape whose rows (and items) belong together.
    parameter : str
        A key of `ScalingFit.parameters`, or "score at N examples".

    Raises
    ------
    ValueError
        If they can't be paired, or have no such parameter.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> sizes, seeds = [50, 100, 200], rng.normal(0, 0.05, (6, 1))
    >>> poor = 0.3 + 0.02 * np.arange(3) + seeds + rng.normal(0, 0.005, (6, 3))
    >>> rich = 0.3 + 0.05 * np.arange(3) + seeds + rng.normal(0, 0.005, (6, 3))
    >>> fits = scaling_fit(poor, sizes), scaling_fit(rich, sizes)
    >>> f"{scaling_difference(*fits, 'gain per doubling').interval():.2f}"
    '[0.02, 0.03]'
    """
    if a.law != b.law or a._scores.shape != b._scores.shape or (a.sizes != b.sizes).any():
        raise ValueError("only fits of one law to scores of the same seeds, sizes and items pair")
    (value_a, first), (value_b, second) = (_of(fit, parameter) for fit in (a, b))
    difference = _values(b._scores, value_b, second) - _values(a._scores, value_a, first)
    largest = max(np.abs(fit._scores).max() for fit in (a, b))
    return _mean(_without_rounding(difference, largest), f"difference of {parameter}")


def curvature(scores: ArrayLike, sizes: ArrayLike) -> TEstimate:
    """How far the curve bends from a line in log n: test it with `t_test`.

    The coefficient of the quadratic polynomial in log2 n that is orthogonal to a line over the
    sizes, scaled so that it is the difference between the middle of the range and its ends' mean
    (for equally spaced log sizes). Negative: the gain per doubling falls.

    Parameters
    ----------
    scores, sizes
        As for `scaling_fit`; three sizes or more.

    Examples
    --------
    >>> flat = np.array([[0.1, 0.2, 0.3], [0.2, 0.3, 0.4], [0.1, 0.2, 0.3]])
    >>> abs(round(curvature(flat, [1, 2, 4]).value, 6))
    0.0
    >>> round(curvature(flat + [0, 0.1, 0], [1, 2, 4]).value, 6)
    -0.1
    """
    y, n = _checked(scores, sizes, "log")
    if len(n) < 3:
        raise ValueError("curvature needs at least three sizes")
    x = np.log2(n)
    half = (x.max() - x.min()) / 2
    z = (x - (x.max() + x.min()) / 2) / half  # from -1 to 1
    design = np.column_stack([np.ones(len(z)), z, z**2])
    gradient = np.linalg.pinv(design)[2]
    return _linearised(y, float(gradient @ _curve(y)), gradient, "curvature")


def _of(fit: ScalingFit, parameter: str) -> tuple[float, FloatArray]:
    if parameter in fit._fitted.names:
        place = fit._fitted.names.index(parameter)
        return float(fit._fitted.values[place]), fit._fitted.gradient[place]
    for j, size in enumerate(fit.sizes):
        if parameter == f"score at {size:g} examples":
            return float(_curve(fit._scores)[j]), np.eye(len(fit.sizes))[j]
    known = ", ".join(fit._fitted.names)
    raise ValueError(f"there is no parameter '{parameter}'; there are {known}")


def _curve(y: FloatArray) -> FloatArray:
    """Mean at each size."""
    curve: FloatArray = y.mean(axis=(0, 2)) if y.ndim == 3 else y.mean(axis=0)
    return curve


def _values(y: FloatArray, value: float, gradient: FloatArray) -> FloatArray:
    """One linearised value for each seed, or seed and item."""
    centred = y - (_curve(y)[:, None] if y.ndim == 3 else _curve(y))
    moved: FloatArray = np.tensordot(centred, gradient, axes=(1, 0)).astype(np.float64)
    return value + moved


def _linearised(y: FloatArray, value: float, gradient: FloatArray, name: str) -> TEstimate:
    if not np.isfinite(gradient).all():
        return t_estimate(value, math.nan, math.nan, len(y), "not identified", name, _unit(name))
    return _mean(_without_rounding(_values(y, value, gradient), np.abs(y).max()), name)


def _without_rounding(values: FloatArray, largest: float) -> FloatArray:
    """Zero in place of what scores of this size leave by rounding alone.

    A flat curve has a gain of 0, not one of 1e-17 that is certain, for it has no error.
    """
    return np.where(np.abs(values) < _ROUNDING * largest, 0.0, values)


def _mean(values: FloatArray, name: str) -> TEstimate:
    if values.ndim == 2:
        return crossed_mean(values, name, _unit(name))
    return mean_estimate(values, name=name, unit=_unit(name))


def _unit(name: str) -> str:
    return "" if name.endswith("exponent") else "score"


def _positive(found: TEstimate) -> TEstimate:
    """The interval of a positive number: t on the scale of its logarithm."""
    plain = t_estimate(math.log(found.value), found.se / found.value, found.df, found.n, "log")

    def interval_of(level: float) -> Interval:
        limits = plain.interval(level)
        return Interval(math.exp(limits.low), math.exp(limits.high), level, "t on the log scale")

    return TEstimate(
        found.value, found.se, found.n, found.method, found.name, found.unit, interval_of, found.df
    )


def _checked(scores: ArrayLike, sizes: ArrayLike, law: str) -> tuple[FloatArray, FloatArray]:
    if law not in get_args(Law):
        raise ValueError(f"law must be log or power, not {law!r}")
    y, n = np.asarray(scores, np.float64), np.asarray(sizes, np.float64)
    if y.ndim not in (2, 3) or len(y) < 2 or (y.ndim == 3 and y.shape[2] < 2):
        raise ValueError(
            f"scores have shape {y.shape}: (seeds, sizes) or (seeds, sizes, items) is needed, with "
            "at least two seeds and items"
        )
    if n.shape != (y.shape[1],):
        raise ValueError(f"{n.size} sizes for scores at {y.shape[1]}")
    if not np.isfinite(y).all():
        seed, size = np.argwhere(~np.isfinite(y))[0][:2]
        raise ValueError(f"a score of seed {seed} at size {n[size]:g} isn't finite")
    if not (np.isfinite(n) & (n > 0)).all() or len(np.unique(n)) < len(n):
        raise ValueError("sizes must be positive and all different")
    least = _LAWS[law][2]
    if len(n) < least:
        raise ValueError(f"the {law} law has {least} parameters and needs as many sizes")
    return y, n
