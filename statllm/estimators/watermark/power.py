"""How many tokens a test needs, to know before a watermark is switched on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark._search import check_share, fewest_tokens
from statllm.estimators.watermark.chosen import ChosenLaw, score
from statllm.estimators.watermark.efficiency import SumTest
from statllm.estimators.watermark.nulls._tilted import tilted_window
from statllm.ragged import FloatArray

_STEPS = 64  # of a lattice, per standard deviation of the score


def critical_value(n: int, alpha: float, test: SumTest = "sum", delta: float = 0.01) -> float:
    """Return the smallest score sum of n tokens that is significant at level alpha.

    Exact for ``"sum"`` and ``"log"`` (gamma quantiles), for ``"optimal"`` from the tilted law of
    its lattice. inf where n tokens can't be significant.

    Parameters
    ----------
    n : int
    alpha : float
    test : {"sum", "log", "optimal"}
    delta : float
        Of ``"optimal"``.

    Raises
    ------
    ValueError
        If a number is out of range or the test is another.

    Examples
    --------
    >>> round(critical_value(200, 0.05), 3), round(critical_value(200, 0.05, "log"), 3)
    (223.816, -177.32)
    """
    from scipy import special

    check_share("alpha", alpha)
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    if test == "sum":
        return float(special.gammainccinv(n, alpha))
    if test == "log":
        return -float(special.gammaincinv(n, alpha))
    if test != "optimal":
        raise ValueError(f"test must be one of sum, log, optimal, not {test!r}")
    return _lattice_critical(n, math.log(alpha), _chance(delta))


def power(
    n: int, law: ChosenLaw, alpha: float = 1e-6, test: SumTest = "sum", delta: float = 0.01
) -> float:
    """Return the probability that n independent tokens of a law are significant.

    The score's law is put on a lattice of 64 steps per standard deviation, which keeps its mean and
    adds less than 1 in 10,000 to its variance, and is convolved by FFT.

    Parameters
    ----------
    n : int
        Scored tokens: distinct (seed, target) pairs.
    law : ChosenLaw
        Of the chosen token's probability: from sampled log probabilities, the largest probabilities
        or a bound on them.
    alpha : float
    test : {"sum", "log", "optimal"}
    delta : float
        Of ``"optimal"``, chosen before.

    Raises
    ------
    ValueError
        If a number is out of range or the test is another.

    Examples
    --------
    >>> law = ChosenLaw.least_favourable(0.3)
    >>> round(power(300, law), 3), round(power(182, law, test="optimal", delta=0.3), 3)
    (0.99, 0.99)
    """
    return _power(n, critical_value(n, alpha, test, delta), _lattice(law, test, delta))


def tokens_needed(
    law: ChosenLaw,
    alpha: float = 1e-6,
    wanted: float = 0.99,
    test: SumTest = "sum",
    delta: float = 0.01,
) -> int:
    """Return the fewest tokens at which a test has the power that is wanted.

    Parameters
    ----------
    law : ChosenLaw
        Of a typical text, or of the hardest that has to be found: power is that of texts whose
        tokens follow this law, and texts differ.
    alpha : float
    wanted : float
        Power, in (0, 1).
    test : {"sum", "log", "optimal"}
    delta : float
        Of ``"optimal"``.

    Raises
    ------
    ValueError
        If a number is out of range, or 4 million tokens aren't enough.

    Examples
    --------
    >>> tokens_needed(ChosenLaw.least_favourable(0.5))
    240
    """
    check_share("wanted", wanted)
    lattice = _lattice(law, test, delta)

    def enough(n: int) -> bool:
        return _power(n, critical_value(n, alpha, test, delta), lattice) >= wanted

    return fewest_tokens(enough)


def green_power(n: ArrayLike, share: float, raised: float, alpha: float = 1e-6) -> FloatArray:
    """Return the probability that n tokens have significantly many greens, by exact binomials.

    Parameters
    ----------
    n : array_like of int
        Distinct (seed, target) pairs.
    share : float
        Probability of green by chance.
    raised : float
        Mean probability of green under the watermark: `green_share`. Where it differs between
        tokens, the count varies less than is assumed here.
    alpha : float

    Raises
    ------
    ValueError
        Unless 0 < share <= raised < 1 and 0 < alpha < 1.

    Examples
    --------
    >>> green_power([50, 100], 0.25, 0.5).round(3)
    array([0.161, 0.691])
    """
    from scipy import stats

    check_share("alpha", alpha)
    if not 0 < share <= raised < 1:
        raise ValueError(f"0 < share <= raised < 1 must hold, not {share:g}, {raised:g}")
    lengths = np.asarray(n, np.int64)
    most = stats.binom.isf(alpha, lengths, share)  # P(G > most) <= alpha
    return np.asarray(stats.binom.sf(most, lengths, raised))


def green_tokens_needed(
    share: float, raised: float, alpha: float = 1e-6, wanted: float = 0.99
) -> int:
    """Return the fewest tokens from which on a count of greens has the power that is wanted.

    The power of a count isn't monotone in n: it drops where the critical count grows by one.

    Parameters
    ----------
    share, raised, alpha : float
        As for `green_power`.
    wanted : float

    Raises
    ------
    ValueError
        If a number is out of range, or 4 million tokens aren't enough.

    Examples
    --------
    >>> green_tokens_needed(0.25, 0.5)
    183
    """
    check_share("wanted", wanted)
    top = 2 * fewest_tokens(lambda n: float(green_power(n, share, raised, alpha)) >= wanted)
    short = np.flatnonzero(green_power(np.arange(1, top + 1), share, raised, alpha) < wanted)
    return int(short[-1]) + 2 if len(short) else 1


@dataclass(frozen=True)
class _Lattice:
    """A score's law: P(score = low + j step)."""

    low: float
    step: float
    law: FloatArray


@lru_cache(maxsize=16)
def _chance(delta: float) -> _Lattice:
    return _lattice(ChosenLaw(np.ones(1), np.ones(1)), "optimal", delta)


def _lattice(law: ChosenLaw, test: SumTest, delta: float) -> _Lattice:
    y, complement, mass = law.cells()
    # a few midpoints at the end near 0 have next to no mass: they count as its start
    values = score(test, np.maximum(y, 1e-9), complement, delta)
    mean = float(mass @ values)
    step = math.sqrt(float(mass @ (values - mean) ** 2)) / _STEPS
    low = float(values.min())
    place = (values - low) / step
    floor = place.astype(np.int64)
    above = place - floor  # shared between two points, so that the mean stays
    found = np.bincount(floor, mass * (1 - above), int(floor.max()) + 2)
    found += np.bincount(floor + 1, mass * above, len(found))
    return _Lattice(low, step, np.asarray(found, np.float64))


def _power(n: int, critical: float, lattice: _Lattice) -> float:
    if critical == math.inf:
        return 0.0
    window = tilted_window(0.0, [lattice.law], np.array([n]))
    tails = np.cumsum(window.law[::-1])[::-1]
    halved = (tails + np.append(tails[1:], 0.0)) / 2  # between lattice points
    place = (critical - n * lattice.low) / lattice.step - window.start
    return float(np.interp(place, np.arange(len(tails)), halved, 1.0, 0.0))


def _lattice_critical(n: int, log_alpha: float, lattice: _Lattice) -> float:
    """Where the log tail of n scores falls to `log_alpha`, above their mean."""
    from scipy import optimize, special

    number = np.arange(len(lattice.law))
    logs = np.log(np.maximum(lattice.law, 1e-300))

    def bound(tilt: float) -> float:  # Chernoff's, at the tilted mean: close, and never below
        lifted = logs + tilt * number
        norm = float(special.logsumexp(lifted))
        return n * (norm - tilt * float(np.exp(lifted - norm) @ number)) - log_alpha

    high = 1e-4
    while bound(high) > 0:
        high *= 2
        if high > 1e3:
            return math.inf
    tilt = float(optimize.brentq(bound, 0.0, high, rtol=1e-6))
    window = tilted_window(tilt, [lattice.law], np.array([n]))
    tails = window.log_tails()
    halved = np.logaddexp(tails, np.append(tails[1:], -np.inf)) - math.log(2)
    middle, reach = int(window.law @ np.arange(len(tails))), int(6 * window.sd) + 2
    near = slice(max(0, middle - reach), middle + reach)  # elsewhere the tilted law is noise
    places = np.arange(len(tails))[near]
    place = float(np.interp(-log_alpha, -halved[near], places)) + window.start
    return n * lattice.low + lattice.step * place
