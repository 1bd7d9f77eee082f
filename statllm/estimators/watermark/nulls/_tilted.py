"""Tails of sums of whole numbers: laws are tilted so that the statistic is in their middle.

P(S >= s) = exp(K(t) - t s) sum_{j >= 0} exp(-t j) Q(s + j), where Q is the law of S tilted by
exp(t S), K its cumulant generating function and t solves K'(t) = s. Q is computed where it is
large, so the tail is accurate however small it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from statllm.ragged import FloatArray, IntArray

_OUTSIDE = 42.0  # the tilted law has less than exp(-42) = 6e-19 on either side of a window
_TRIM = 1e-24
_REACH = 4.0  # standard deviations above its middle that a tilted law is read
_SEEN = 1e-8  # least mass above where it is read; a transform's errors are near 1e-17


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
    mean, sd : float
        Of the tilted law.
    """

    tilt: float
    cumulant: float
    start: int
    law: FloatArray
    mean: float
    sd: float

    def log_tails(self, numbers: IntArray | None = None) -> FloatArray:
        """Return log P(S >= j) for given j, or every j of the window; accurate near its middle."""
        if numbers is None:
            numbers = self.start + np.arange(len(self.law))
        at = np.clip(numbers - self.start, 0, len(self.law))
        with np.errstate(divide="ignore"):
            logs = np.log(self._above[at])
        found: FloatArray = self.cumulant - self.tilt * (self.start + at) + logs
        return np.minimum(found, 0.0)

    @property
    def top(self) -> float:
        """Up to where the law is read: a law that ends soon has little mass 4 sd above its mean."""
        above = np.cumsum(self.law[::-1])[::-1]
        seen = self.start + int(np.searchsorted(-above, -_SEEN, "right")) - 1
        return min(self.mean + _REACH * self.sd, float(seen))

    @cached_property
    def _above(self) -> FloatArray:
        """sum_i exp(-t i) Q(j + i) for every j of the window, and 0 behind its end."""
        from scipy import signal

        found = signal.lfilter([1.0], [1.0, -math.exp(-self.tilt)], self.law[::-1])
        return np.append(found[::-1], 0.0)


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
    from scipy import fft

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
    sd = math.sqrt(variance)
    low, high = _ends(tilted, times, sd)
    size = fft.next_fast_len(max(64, high - low + 1), real=True)
    transform = np.ones(size // 2 + 1, np.complex128)
    for weights, n in zip(tilted, times, strict=True):
        wrapped = np.bincount(np.arange(len(weights)) % size, weights, size)
        factor = np.fft.rfft(wrapped)
        matters = np.abs(factor) > math.exp(-_OUTSIDE / int(n))  # few do
        transform[~matters] = 0.0
        transform[matters] *= factor[matters] ** int(n)
    law = np.maximum(np.fft.irfft(transform, size), 0.0)  # modulo `size`, where little wraps around
    return Window(t, cumulant, low, law[np.arange(low, high + 1) % size], mean, sd)


def _ends(laws: Sequence[FloatArray], times: IntArray, sd: float) -> tuple[int, int]:
    """Between which numbers a sum lies but for `_OUTSIDE`, by Chernoff's bound at a few tilts."""
    most = int(np.dot([len(law) - 1 for law in laws], times))
    least_above, least_below = float(most), float(most)
    for step in math.sqrt(2 * _OUTSIDE) / max(sd, 1e-3) * 2.0 ** np.arange(-3, 2):
        up = float(np.dot([_tilt(law, step)[0] for law in laws], times))
        down = float(np.dot([_tilt(law[::-1], step)[0] for law in laws], times))
        least_above = min(least_above, (up + _OUTSIDE) / step)
        least_below = min(least_below, (down + _OUTSIDE) / step)
    return max(0, most - math.ceil(least_below)), min(most, math.ceil(least_above))


def windows(
    places: FloatArray, laws: Sequence[FloatArray], times: IntArray
) -> Iterator[tuple[IntArray, Window]]:
    """Yield windows of tilted laws, and which `places` each of them serves.

    The first, not tilted, serves places up to 4 standard deviations above the mean, or where it has
    hardly any mass left; a following one has the lowest place left as its mean. No place may be the
    sum's largest number or above it.

    Parameters
    ----------
    places : ndarray, shape (m,)
    laws, times
        As for `tilted_window`.
    """
    left = np.argsort(places, kind="stable")
    tilt = 0.0
    while len(left):
        window = tilted_window(tilt, laws, times)
        reach = int(np.searchsorted(places[left], window.top, "right"))
        reach = max(reach, 1 if tilt > 0 else 0)
        if reach:
            yield left[:reach], window
        left = left[reach:]
        if len(left):
            tilt = saddle(float(places[left[0]]), laws, times)


def saddle(s: float, laws: Sequence[FloatArray], times: IntArray) -> float:
    """Return the tilt that makes `s`, above the mean and below the largest sum, the mean."""

    def lack(t: float) -> float:
        means = [float(_tilt(law, t)[1] @ np.arange(len(law))) for law in laws]
        return float(np.dot(means, times)) - s

    return _root(lack)


def lattice_tails(s: FloatArray, laws: Sequence[FloatArray], times: IntArray) -> FloatArray:
    """Return log P(S >= s) of a sum of independent numbers 0, 1, 2, ... for many s.

    Parameters
    ----------
    s : ndarray, shape (m,)
    laws, times
        As for `tilted_window`.
    """
    s = np.ceil(s - 1e-9)
    ends = np.array([np.flatnonzero(law)[[0, -1]] for law in laws]).reshape(-1, 2)
    least, most = (times @ ends).tolist()
    out = np.where(s <= least, 0.0, -np.inf)
    out[np.isnan(s)] = np.nan
    tops = [math.log(law[end[1]]) for law, end in zip(laws, ends, strict=True)]
    out[(s == most) & (s > least)] = float(np.dot(tops, times))
    mean = float(np.dot([float(law @ np.arange(len(law))) for law in laws], times))
    inside = (s > least) & (s < most)
    below = np.flatnonzero(inside & (s <= mean))
    if len(below):  # the complement is the smaller one: mirror it
        length = int(np.dot([len(law) - 1 for law in laws], times))
        smaller = lattice_tails(length - s[below] + 1, [law[::-1] for law in laws], times)
        out[below] = np.log1p(-np.exp(smaller))
    above = np.flatnonzero(inside & (s > mean))
    for some, window in windows(s[above], laws, times):
        at = above[some]
        out[at] = window.log_tails(s[at].astype(np.int64))
    return out


def bernoulli_tail(s: float, weights: IntArray, shares: FloatArray) -> float:
    """Return log P(sum_i w_i B_i >= s) for independent Bernoulli B_i; w_i > 0 whole numbers.

    The law is built up summand by summand, tilted, without subtraction.
    """
    from scipy import special

    most = int(weights.sum())
    if math.isnan(s):
        return math.nan
    if s <= 0:
        return 0.0
    if s > most:
        return -math.inf
    s = math.ceil(s - 1e-9)
    if s == most:
        return float(np.log(shares).sum())
    if s <= float(weights @ shares):
        return math.log1p(-math.exp(bernoulli_tail(most - s + 1, weights, 1 - shares)))
    logit = special.logit(shares)
    t = _root(lambda t: float(weights @ special.expit(logit + t * weights)) - s)
    lifted = np.log(shares) + t * weights
    norms = np.logaddexp(np.log1p(-shares), lifted)
    start, law = _coin_law(weights, np.exp(lifted - norms))
    above = law[max(s - start, 0) :]
    tail = float(above @ np.exp(-t * (max(start - s, 0) + np.arange(len(above)))))
    return min(0.0, float(norms.sum()) - t * s + math.log(tail))


def _coin_law(weights: IntArray, shares: FloatArray) -> tuple[int, FloatArray]:
    """The law of sum_i w_i B_i: its first number and probabilities, without the ends."""
    start, law = 0, np.ones(1)
    order = np.argsort(weights, kind="stable")  # small ones first: the law stays short longer
    for i, (weight, p) in enumerate(
        zip(weights[order].tolist(), shares[order].tolist(), strict=True)
    ):
        longer = np.zeros(len(law) + weight)
        np.multiply(law, 1 - p, out=longer[: len(law)])
        longer[weight:] += law * p
        law = longer
        if i % 16 == 15:
            kept = np.flatnonzero(law > _TRIM)
            start += int(kept[0])
            law = law[kept[0] : kept[-1] + 1]
    return start, law


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
