"""Tails of sums of exponential scores with unequal weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark.nulls._descent import gamma_mix_tail
from statllm.ragged import BoolArray, FloatArray

_NOTHING = 1e-100  # P(S >= s) is 1 to double precision


def two_gamma_log_tail(
    statistic: ArrayLike, shape: ArrayLike, scales: tuple[float, float]
) -> FloatArray:
    """Return log P(a A + b B >= statistic) for independent A, B ~ Gamma(shape, 1).

    The law of the detector of dual-key Gumbel watermarks, which vLLM approximates by one Gamma.
    By inversion of the transform (1 - a t)^-shape (1 - b t)^-shape along a curve through its
    saddle point: relative error of log p below 1e-10 at any depth (1e-5 for shapes below 1).

    Parameters
    ----------
    statistic, shape : array_like
        They broadcast; the shape may be 0, a sum of nothing.
    scales : tuple of float
        a and b, positive.

    Returns
    -------
    ndarray
        Natural logarithms.

    Raises
    ------
    ValueError
        If a scale isn't positive or a shape is negative.

    Examples
    --------
    Equal scales are one Gamma with twice the shape, here P(Gamma(2) >= 3) = 4 exp(-3):

    >>> round(float(two_gamma_log_tail(3.0, 1, (1.0, 1.0))), 9) == round(float(np.log(4) - 3), 9)
    True
    """
    if not (np.all(np.isfinite(scales)) and min(scales) > 0):
        raise ValueError(f"scales must be positive, not {scales}")
    s, n = np.broadcast_arrays(np.asarray(statistic, np.float64), np.asarray(shape, np.float64))
    if not np.all(n >= 0):
        raise ValueError("shape must not be negative")
    largest = max(scales)
    out, inside = _arranged(s / largest)
    inside &= n > 0
    shapes = np.stack([n[inside], n[inside]])
    out[inside] = gamma_mix_tail(s[inside] / largest, np.array(scales) / largest, shapes)
    return out


def hypoexponential_log_tail(statistic: ArrayLike, rates: ArrayLike) -> FloatArray:
    """Return log P(E_1 / r_1 + ... + E_n / r_n >= statistic), E_i ~ Exp(1) independent.

    As `two_gamma_log_tail`, for any rates, equal ones too; work is n per statistic.

    Parameters
    ----------
    statistic : array_like
    rates : array_like, shape (n,)
        Positive; weighted scores w_i E_i have the rates 1 / w_i.

    Returns
    -------
    ndarray
        Natural logarithms, of the shape of `statistic`.

    Raises
    ------
    ValueError
        If a rate isn't positive.

    Examples
    --------
    >>> round(float(hypoexponential_log_tail(3.0, [2.0])), 9)
    -6.0
    """
    given = np.asarray(rates, np.float64)
    if given.ndim != 1 or not np.all((given > 0) & (given < np.inf)):
        raise ValueError("rates must be one-dimensional, positive and finite")
    s = np.asarray(statistic, np.float64) * (given.min() if len(given) else 1.0)
    out, inside = _arranged(s)
    if len(given):
        distinct, times = np.unique(given / given.min(), return_counts=True)
        shapes = np.repeat(times[:, None].astype(np.float64), int(inside.sum()), axis=1)
        out[inside] = gamma_mix_tail(s[inside], 1 / distinct, shapes)
    return out


def _arranged(s: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Answers where none has to be computed (about 0, infinite, missing), and where one has.

    `s` is in units of the largest weight.
    """
    out: FloatArray = np.where(s <= _NOTHING, 0.0, -np.inf)
    out[np.isnan(s)] = np.nan
    inside: BoolArray = (s > _NOTHING) & (s < np.inf)
    return out, inside
