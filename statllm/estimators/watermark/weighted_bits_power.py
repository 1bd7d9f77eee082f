"""How many tokens the weighted mean of tournament bits (SynthID) needs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark._search import check_share, fewest_tokens
from statllm.estimators.watermark._tournament import tournament_law
from statllm.estimators.watermark.nulls._tilted import tilted_window
from statllm.estimators.watermark.nulls.lattice import weighted_bits_log_tail
from statllm.ragged import FloatArray, IntArray


def layer_weights(depth: int) -> IntArray:
    """Return SynthID's weights of layers, from 10 down to 1, as the smallest whole numbers.

    Examples
    --------
    >>> layer_weights(4)
    array([10,  7,  4,  1])
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, not {depth}")
    whole = 10 * (depth - 1) - 9 * np.arange(depth) if depth > 1 else np.ones(1, np.int64)
    return np.asarray(whole // np.gcd.reduce(whole), np.int64)


def tournament_weights(
    probabilities: ArrayLike,
    depth: int = 30,
    leaves: int = 2,
    n_draws: int = 20_000,
    rng: np.random.Generator | int = 0,
) -> FloatArray:
    """Return the law of a watermarked token's weighted number of bits, by simulated tournaments.

    As `tournament_bits`, with the bit of layer l counted `layer_weights`[l] times.

    Parameters
    ----------
    probabilities : array_like, shape (n_positions, k)
        Largest probabilities of the sampling law, as for `tournament_bits`.
    depth, leaves, n_draws : int
    rng : Generator or int

    Returns
    -------
    ndarray, shape (sum of weights + 1,)

    Raises
    ------
    ValueError
        If a probability is out of range, or depth, leaves or n_draws too small.

    Examples
    --------
    >>> law = tournament_weights([[0.5, 0.5]], depth=4, n_draws=4_000)
    >>> len(law), bool(law @ np.arange(23) > 12)    # 11 by chance
    (23, True)
    """
    return tournament_law(probabilities, layer_weights(depth), leaves, n_draws, rng)


def weighted_bits_critical(n: int, depth: int, alpha: float = 1e-6, share: float = 0.5) -> int:
    """Return the smallest weighted number of bits of n tokens that is significant.

    Parameters
    ----------
    n, depth : int
    alpha : float
    share : float
        Of bits that are 1 by chance.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    One token of 4 layers: 22 of 22 by chance in 1 of 16.

    >>> weighted_bits_critical(1, 4, 0.07)
    22
    """
    check_share("alpha", alpha)
    check_share("share", share)
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    weights = layer_weights(depth)
    low, high = 0, n * int(weights.sum()) + 1  # not significant at low, nothing at high
    while high - low > 1:
        middle = (low + high) // 2
        log_p = float(np.ravel(weighted_bits_log_tail([float(middle)], weights, [n], share))[0])
        low, high = (low, middle) if log_p <= math.log(alpha) else (middle, high)
    return high


def weighted_bits_power(
    n: int, law: ArrayLike, depth: int = 30, alpha: float = 1e-6, share: float = 0.5
) -> float:
    """Return the probability that n independent tokens have a significant weighted mean.

    Parameters
    ----------
    n : int
    law : array_like, shape (sum of weights + 1,)
        From `tournament_weights`.
    depth : int
        Of the scheme.
    alpha, share : float
        As for `weighted_bits_critical`.

    Raises
    ------
    ValueError
        If a number is out of range, or the law doesn't sum to 1 or has another length.

    Examples
    --------
    >>> law = np.zeros(23)
    >>> law[[0, 22]] = 0.2, 0.8
    >>> round(weighted_bits_power(1, law, 4, 0.07), 6)
    0.8
    """
    pmf = np.asarray(law, np.float64)
    if pmf.shape != (int(layer_weights(depth).sum()) + 1,):
        raise ValueError(f"law must have {int(layer_weights(depth).sum()) + 1} probabilities")
    if np.any(pmf < 0) or abs(pmf.sum() - 1) > 1e-9:
        raise ValueError("law must not be negative, and sum to 1")
    critical = weighted_bits_critical(n, depth, alpha, share)
    window = tilted_window(0.0, [pmf], np.array([n]))
    return float(min(window.law[max(critical - window.start, 0) :].sum(), 1.0))


def weighted_bits_tokens_needed(
    law: ArrayLike, depth: int = 30, alpha: float = 1e-6, wanted: float = 0.99, share: float = 0.5
) -> int:
    """Return the fewest tokens at which the weighted mean has the power that is wanted.

    Parameters
    ----------
    law, depth, alpha, share
        As for `weighted_bits_power`.
    wanted : float

    Raises
    ------
    ValueError
        If a number is out of range, or 4 million tokens aren't enough.

    Examples
    --------
    >>> law = np.zeros(23)
    >>> law[[0, 22]] = 0.2, 0.8
    >>> weighted_bits_tokens_needed(law, 4, 0.01, 0.9)
    16
    """
    check_share("wanted", wanted)
    return fewest_tokens(lambda n: weighted_bits_power(n, law, depth, alpha, share) >= wanted)
