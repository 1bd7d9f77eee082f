"""The optimal score for Gumbel-max pivots, and tails of its sum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark.nulls._tilted import Window, windows
from statllm.ragged import FloatArray

_STEPS = 4096  # of the lattice of many scores; that of few has more
_SAMPLES = 50  # of the score per step


def optimal_score(y: ArrayLike, delta: float) -> FloatArray:
    """Return h_Delta(y), the log-density ratio against the least-favourable law in a class.

    log(k y^(Delta / (1 - Delta)) + y^(1 / rho - 1)) with k = floor(1 / (1 - Delta)) and
    rho = 1 - k (1 - Delta); the second term is dropped where rho = 0. Minimax among score sums
    for laws whose largest probability is at most 1 - Delta (Li, Ruan, Wang, Long and Su 2024).

    Parameters
    ----------
    y : array_like
        Pivots in (0, 1).
    delta : float
        In (0, 1).

    Raises
    ------
    ValueError
        If `delta` isn't in (0, 1).

    Examples
    --------
    >>> optimal_score([0.1, 0.5, 0.9, 0.99, 1], 0.1).round(6)
    array([-0.255843, -0.074909,  0.319022,  0.64836 ,  0.693147])
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie between 0 and 1, not {delta}")
    pivots = np.asarray(y, np.float64)
    with np.errstate(divide="ignore"):
        logs = np.log(pivots)
    return _score(logs, *_parts(delta), delta)


def _score(log_y: FloatArray, k: int, rest: float, delta: float) -> FloatArray:
    first: FloatArray = np.log(k) + delta / (1 - delta) * log_y
    return first if rest == 0 else np.logaddexp(first, (1 / rest - 1) * log_y)


def _parts(delta: float) -> tuple[int, float]:
    k = int(np.floor(1 / (1 - delta) + 1e-12))
    rest = 1 - k * (1 - delta)
    return k, rest if rest > 1e-9 else 0.0


def optimal_log_tail(statistic: ArrayLike, n: ArrayLike, delta: float) -> FloatArray:
    """Return log P(h(Y_1) + ... + h(Y_n) >= statistic) for uniform Y_i.

    Of one score it is exact. Else the score's law is put on a lattice of 4,096 steps or more, each
    piece of mass shared between its two neighbours so that its mean stays: a spread, which makes
    far tails larger. Its sum is tilted and convolved as in `lattice_log_tail`; the work is per
    distinct n. Relative error of p below 1 % in the tests, but p is several times too large where
    a few pivots nearly reach the largest sum.

    Parameters
    ----------
    statistic, n : array_like
        They broadcast.
    delta : float
        In (0, 1).

    Returns
    -------
    ndarray
        Natural logarithms; -inf from the largest possible sum on.

    Raises
    ------
    ValueError
        If `delta` isn't in (0, 1) or n is negative.

    Examples
    --------
    For one pivot, P(h(Y) >= h(0.9)) = 0.1:

    >>> round(float(np.exp(optimal_log_tail(optimal_score(0.9, 0.1), 1, 0.1))), 3)
    0.1
    """
    s, times = np.broadcast_arrays(np.asarray(statistic, np.float64), np.asarray(n, np.int64))
    if np.any(times < 0):
        raise ValueError("n must not be negative")
    out = np.where(s <= 0, 0.0, -np.inf)
    out[np.isnan(s)] = np.nan
    top = float(optimal_score(1.0, delta))
    for count in np.unique(times[times > 0]):
        at = (times == count) & (s < count * top)
        if count == 1:
            out[at] = _one_score(s[at], delta)
        else:
            steps = max(_STEPS, 16 * _STEPS >> int(count - 1).bit_length())
            out[at] = _tails(s[at], int(count), _on_lattice(delta, steps))
    return out


def _one_score(s: FloatArray, delta: float) -> FloatArray:
    """Log P(h(Y) >= s) = log(1 - y) at h(y) = s, by bisection in log(1 - y)."""
    k, rest = _parts(delta)
    low, high = np.full(len(s), -745.0), np.zeros(len(s))
    for _ in range(60):
        middle = (low + high) / 2
        with np.errstate(divide="ignore"):
            above = _score(np.log(-np.expm1(middle)), k, rest, delta) >= s
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class _Lattice:
    """A score's law: P(score = low + j step)."""

    low: float
    step: float
    law: FloatArray


@lru_cache(maxsize=16)
def _on_lattice(delta: float, steps: int) -> _Lattice:
    # midpoints in v of y = v^3 (10 - 15 v + 6 v^2), which are dense at both ends
    v = (np.arange(_SAMPLES * steps) + 0.5) / (_SAMPLES * steps)
    y = v**3 * (10 - 15 * v + 6 * v**2)
    mass = 30 * v**2 * (1 - v) ** 2
    mass /= mass.sum()
    low, top = float(optimal_score(1e-8, delta)), float(optimal_score(1.0, delta))
    step = (top - low) / steps
    place = np.clip((optimal_score(y, delta) - low) / step, 0, steps)
    floor = np.minimum(place.astype(np.int64), steps - 1)
    above = place - floor
    law = np.bincount(floor, mass * (1 - above), steps + 1).astype(np.float64)
    law += np.bincount(floor + 1, mass * above, steps + 1)
    return _Lattice(low, step, law)


def _tails(s: FloatArray, n: int, lattice: _Lattice) -> FloatArray:
    """Log tails of n scores at every `s`."""
    place = (s - n * lattice.low) / lattice.step  # in steps above the lowest sum
    place = np.clip(place, -1.0, n * (len(lattice.law) - 1) - 0.5)
    out = np.empty(len(s))
    for some, window in windows(place, [lattice.law], np.array([n])):
        out[some] = _between(place[some], window)
    found: FloatArray = np.minimum(out, 0.0)
    return found


def _between(place: FloatArray, window: Window) -> FloatArray:
    """Tails at places between the lattice's: a lattice point's own mass is half above it."""
    floor = np.floor(place).astype(np.int64)
    tails = [window.log_tails(floor + i) for i in range(3)]
    low, high = np.logaddexp(tails[0], tails[1]), np.logaddexp(tails[1], tails[2])
    share = place - floor
    with np.errstate(invalid="ignore"):
        found: FloatArray = low + np.where(share > 0, share * (high - low), 0.0) - np.log(2)
    return found
