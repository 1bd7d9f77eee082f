"""Tails of sums of whole numbers: laws are tilted so that the statistic is in their middle.

P(S >= s) = exp(K(t) - t s) sum_{j >= 0} exp(-t j) Q(s + j), where Q is the law of S tilted by
exp(t S), K its cumulant generating function and t solves K'(t) = s. Q is computed where it is
large, so the tail is accurate however small it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from statllm.ragged import FloatArray, IntArray

_SPAN = 14.0  # standard deviations of the tilted law on either side


@dataclass(frozen=True)
class Window:
    """The tilted law of a sum, around its mean.

    Attributes
    ----------
    tilt, cumulant : float
        t and K(t).
    start : int
        The window's first number.
    law : ndarray
        Q(start), Q(start + 1), ...
    sd : float
        Of the tilted law.
    """

    tilt: float
    cumulant: float
    start: int
    law: FloatArray
    sd: float

    def log_tails(self) -> FloatArray:
        """Return log P(S >= j) for every j of the window, accurate around its middle."""
        from scipy import signal

        decay = math.exp(-self.tilt)
        above = signal.lfilter([1.0], [1.0, -decay], self.law[::-1])[::-1]
        numbers = self.start + np.arange(len(self.law))
        with np.errstate(divide="ignore"):
            found: FloatArray = self.cumulant - self.tilt * numbers + np.log(above)
        return np.minimum(found, 0.0)


def tilted_window(t: float, laws: Sequence[FloatArray], times: IntArray) -> Window:
    """Return the law of a sum of independent numbers 0, 1, 2, ..., tilted by exp(t S).

    Parameters
    ----------
    t : float
    laws : sequence of ndarray
        P(0), P(1), ... of each kind of summand.
    times : ndarray of int
        How many summands there are of each kind.
    """
    cumulant = mean = variance = 0.0
    tilted = []
    for law, n in zip(laws, times, strict=True):
        log_norm, weights = _tilt(law, t)
        x = np.arange(len(law))
        centre = float(weights @ x)
        cumulant += int(n) * log_norm
        mean += int(n) * centre
        variance += int(n) * float(weights @ (x - centre) ** 2)
        tilted.append(weights)
    # modulo `size` the law keeps its shape: what wraps around is beyond _SPAN
    sd = math.sqrt(variance)
    size = 1 << max(6, math.ceil(math.log2(2 * _SPAN * sd + 2)))
    transform = np.ones(size // 2 + 1, np.complex128)
    for weights, n in zip(tilted, times, strict=True):
        wrapped = np.bincount(np.arange(len(weights)) % size, weights, size)
        transform *= np.fft.rfft(wrapped) ** int(n)
    law = np.maximum(np.fft.irfft(transform, size), 0.0)
    most = sum((len(law) - 1) * int(n) for law, n in zip(laws, times, strict=True))
    start = max(0, int(mean) - size // 2)
    stop = min(most + 1, start + size)
    return Window(t, cumulant, start, law[np.arange(start, stop) % size], sd)


def saddle(s: float, laws: Sequence[FloatArray], times: IntArray) -> float:
    """Return the tilt that makes `s`, above the mean and below the largest sum, the mean."""

    def lack(t: float) -> float:
        means = [float(_tilt(law, t)[1] @ np.arange(len(law))) for law in laws]
        return float(np.dot(means, times)) - s

    return _root(lack)


def lattice_tail(s: float, laws: Sequence[FloatArray], times: IntArray) -> float:
    """Return log P(S >= s) of a sum of independent numbers 0, 1, 2, ...

    Parameters as for `tilted_window`.
    """
    s = math.ceil(s - 1e-9)
    ends = [np.flatnonzero(law)[[0, -1]] for law in laws]
    least, most = (int(np.dot([end[i] for end in ends], times)) for i in (0, 1))
    if s <= least:
        return 0.0
    if s > most:
        return -math.inf
    if s == most:
        tops = [math.log(law[end[1]]) for law, end in zip(laws, ends, strict=True)]
        return float(np.dot(tops, times))
    mean = float(np.dot([float(law @ np.arange(len(law))) for law in laws], times))
    if s <= mean:  # the complement is the smaller one: mirror it
        length = int(np.dot([len(law) - 1 for law in laws], times))
        return _complement(lattice_tail(length - s + 1, [law[::-1] for law in laws], times))
    window = tilted_window(saddle(s, laws, times), laws, times)
    return float(window.log_tails()[s - window.start])


def bernoulli_tail(s: float, weights: IntArray, shares: FloatArray) -> float:
    """Return log P(sum_i w_i B_i >= s) for independent Bernoulli B_i; w_i > 0 whole numbers.

    The law is built up summand by summand, tilted, without subtraction.
    """
    from scipy import special

    s = math.ceil(s - 1e-9)
    most = int(weights.sum())
    if s <= 0:
        return 0.0
    if s > most:
        return -math.inf
    if s == most:
        return float(np.log(shares).sum())
    if s <= float(weights @ shares):
        return _complement(bernoulli_tail(most - s + 1, weights, 1 - shares))
    logit = special.logit(shares)
    t = _root(lambda t: float(weights @ special.expit(logit + t * weights)) - s)
    lifted = np.log(shares) + t * weights
    norms = np.logaddexp(np.log1p(-shares), lifted)
    law = np.zeros(most + 1)
    law[0] = 1.0
    end = 0
    for weight, p in zip(weights.tolist(), np.exp(lifted - norms).tolist(), strict=True):
        shifted = law[: end + 1] * p
        law[: end + 1] *= 1 - p
        law[weight : weight + end + 1] += shifted
        end += weight
    tail = float(law[s:] @ np.exp(-t * np.arange(most - s + 1)))
    return min(0.0, float(norms.sum()) - t * s + math.log(tail))


def _complement(log_p: float) -> float:
    return math.log1p(-min(math.exp(log_p), 1 - 1e-16))


def _tilt(law: FloatArray, t: float) -> tuple[float, FloatArray]:
    """Log of the generating function at t, and the tilted law."""
    with np.errstate(divide="ignore"):
        logs = np.log(law) + t * np.arange(len(law))
    top = float(logs.max())
    weights = np.exp(logs - top)
    total = float(weights.sum())
    return top + math.log(total), weights / total


def _root(lack: Callable[[float], float]) -> float:
    """The root of a rising function that is negative at 0."""
    from scipy import optimize

    high = 1e-3
    while lack(high) < 0 and high < 1e6:
        high *= 2
    return float(optimize.brentq(lack, 0.0, high, xtol=1e-12, rtol=1e-10))
