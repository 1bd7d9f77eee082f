"""How many tokens the sum test needs where two keys are mixed by a coin that nobody sees."""

from __future__ import annotations

import math

import numpy as np

from statllm.estimators.watermark._search import check_share, fewest_tokens
from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.nulls._tilted import tilted_window
from statllm.estimators.watermark.nulls.exponential_sums import two_gamma_log_tail
from statllm.ragged import FloatArray

_STEPS = 64  # of the lattice, per standard deviation of the score


def dual_critical(n: int, alpha: float, mixing: float = 0.1) -> float:
    """Return the smallest (1 - m) S_A + m S_B of n tokens that is significant, m = `mixing`.

    Parameters
    ----------
    n : int
    alpha : float
    mixing : float
        Probability of the second key, in (0, 1): `alpha` of `VllmDualGumbel`.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    With equal shares it is half a Gamma(2 n) variable:

    >>> from scipy import special
    >>> bool(np.isclose(2 * dual_critical(50, 1e-6, 0.5), special.gammainccinv(100, 1e-6)))
    True
    """
    from scipy import optimize

    check_share("alpha", alpha)
    check_share("mixing", mixing)
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")

    def excess(x: float) -> float:
        return float(two_gamma_log_tail(x, n, (1 - mixing, mixing))) - math.log(alpha)

    high = float(n)
    while excess(high) > 0:
        high *= 2
    return float(optimize.brentq(excess, 1e-12, high, rtol=1e-10))


def dual_power(n: int, law: ChosenLaw, alpha: float = 1e-6, mixing: float = 0.1) -> float:
    """Return the probability that n independent tokens of a law are significant under two keys.

    A token's score is (1 - m) a + m b, where a, or with probability m b, is the score under the
    watermark and the other one is exponential. Its law is put on a lattice and convolved, as in
    `power`.

    Parameters
    ----------
    n : int
        Scored tokens: distinct (seed, target) pairs.
    law : ChosenLaw
    alpha : float
    mixing : float
        Probability of the second key.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> law = ChosenLaw.least_favourable(0.3)
    >>> round(dual_power(300, law, mixing=0.1), 2)    # one key alone: .99
    0.95
    """
    return _power(n, dual_critical(n, alpha, mixing), *_lattice(law, mixing))


def dual_tokens_needed(
    law: ChosenLaw, alpha: float = 1e-6, wanted: float = 0.99, mixing: float = 0.1
) -> int:
    """Return the fewest tokens at which the sum test of two keys has the power that is wanted.

    Parameters
    ----------
    law, alpha, mixing
        As for `dual_power`.
    wanted : float

    Raises
    ------
    ValueError
        If a number is out of range, or 4 million tokens aren't enough.

    Examples
    --------
    >>> dual_tokens_needed(ChosenLaw.least_favourable(0.5))
    289
    """
    check_share("wanted", wanted)
    lattice = _lattice(law, mixing)
    return fewest_tokens(lambda n: _power(n, dual_critical(n, alpha, mixing), *lattice) >= wanted)


def _lattice(law: ChosenLaw, mixing: float) -> tuple[float, FloatArray]:
    """Step, and P(score = 0), P(score = step), ..."""
    check_share("mixing", mixing)
    chance = ChosenLaw(np.ones(1), np.ones(1))
    cells = [(-np.log(which.cells()[1]), which.cells()[2]) for which in (law, chance)]
    variances = [float(mass @ (x - float(mass @ x)) ** 2) for x, mass in cells]
    spread = ((1 - mixing) ** 2 + mixing**2) * min(variances)
    step = math.sqrt(spread) / _STEPS
    one, other = 1 - mixing, mixing
    first = np.convolve(_shared(*cells[0], one / step), _shared(*cells[1], other / step))
    second = np.convolve(_shared(*cells[1], one / step), _shared(*cells[0], other / step))
    found = np.zeros(max(len(first), len(second)))
    found[: len(first)] += one * first
    found[: len(second)] += other * second
    return step, found


def _shared(values: FloatArray, mass: FloatArray, scale: float) -> FloatArray:
    """The law of values x scale on whole numbers, each shared by two so that the mean stays."""
    place = values * scale
    floor = place.astype(np.int64)
    above = place - floor
    found = np.bincount(floor, mass * (1 - above), int(floor.max()) + 2)
    found += np.bincount(floor + 1, mass * above, len(found))
    return np.asarray(found, np.float64)


def _power(n: int, critical: float, step: float, law: FloatArray) -> float:
    window = tilted_window(0.0, [law], np.array([n]))
    tails = np.cumsum(window.law[::-1])[::-1]
    halved = (tails + np.append(tails[1:], 0.0)) / 2  # between lattice points
    place = critical / step - window.start
    return float(np.interp(place, np.arange(len(tails)), halved, 1.0, 0.0))
