"""The integral along the path of steepest descent, one sum after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

_STEP = 0.2  # in u
_NODES = 32  # exp(-u^2) < 1e-17 at the last one
_SETTLED = 1e-9  # relative step of Newton's method, which squares its error


@njit(cache=True, nogil=True)
def descend(s: Any, poles: Any, a: Any, saddles: Any) -> Any:
    """Trapezoidal rule for int exp(-u^2) Im(dt / du) du, u >= 0, from each saddle point.

    Parameters
    ----------
    s, saddles : ndarray, shape (m,)
    poles : ndarray, shape (k,)
    a : ndarray, shape (k, m)
    """
    out = np.empty(len(s))
    for j in range(len(s)):
        c = saddles[j]
        weights = a[:, j].copy()
        reach = 1 / (poles - c)
        slope = complex(0.0, math.sqrt(2 / ((weights * reach**2).sum() + c**-2)))  # dt / du
        before = slope
        z = 0j  # t - c
        total = slope.imag / 2
        for node in range(1, _NODES + 1):
            u = node * _STEP
            z += _STEP * (1.5 * slope - 0.5 * before)
            for _ in range(3):  # Newton, for f(t) = f(c) - u^2
                value = u**2 - s[j] * z - _log1p(z * (1 / c))
                for i in range(len(poles)):
                    value -= weights[i] * _log1p(z * -reach[i])
                change = value * _inverse(_derivative(z, s[j], poles, weights, c))
                z -= change
                if abs(change) <= _SETTLED * abs(z):
                    break
            before, slope = slope, -2 * u * _inverse(_derivative(z, s[j], poles, weights, c))
            total += math.exp(-(u**2)) * slope.imag
        out[j] = total * _STEP
    return out


@njit(cache=True, nogil=True)
def _derivative(z: Any, s: Any, poles: Any, a: Any, c: Any) -> Any:
    """f'(c + z)."""
    found = -s - _inverse(c + z)
    for i in range(len(poles)):
        found += a[i] * _inverse(poles[i] - c - z)
    return found


@njit(cache=True, nogil=True)
def _inverse(w: Any) -> Any:
    """1 / w, without the care for huge and tiny w that division takes."""
    size = w.real**2 + w.imag**2
    return complex(w.real / size, -w.imag / size)


@njit(cache=True, nogil=True)
def _log1p(w: Any) -> Any:
    """log(1 + w), to full precision near w = 0."""
    beyond = w.real * (2 + w.real) + w.imag**2  # |1 + w|^2 - 1
    size = math.log1p(beyond) if beyond > -0.5 else math.log((1 + w.real) ** 2 + w.imag**2)
    return complex(size / 2, math.atan2(w.imag, 1 + w.real))
