"""How many tokens a count of tournament bits (SynthID) needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark._search import check_share, fewest_tokens
from statllm.estimators.watermark._tournament import tournament_law
from statllm.estimators.watermark.nulls._tilted import tilted_window
from statllm.ragged import FloatArray


def tournament_bits(
    probabilities: ArrayLike,
    depth: int = 30,
    leaves: int = 2,
    n_draws: int = 20_000,
    rng: np.random.Generator | int = 0,
) -> FloatArray:
    """Return the law of the number of bits that a watermarked token has, by simulated tournaments.

    At a position drawn from those given, every token gets `depth` fair bits; layer by layer p(v)
    becomes p(v) (1 + g(v) - G), G the mass of tokens with bit 1 (Dathathri et al. 2024; for other
    `leaves` see `SynthId.reweighted`); and a token is drawn.

    Parameters
    ----------
    probabilities : array_like, shape (n_positions, k)
        Largest probabilities of the sampling law. The rest is taken to be up to 32 tokens, none
        larger than the smallest given one unless they have to be.
    depth, leaves : int
        Of the scheme.
    n_draws : int
        Tokens simulated: the mean number of bits has a standard error of about
        sqrt(`depth` / `n_draws`) / 2.
    rng : Generator or int

    Returns
    -------
    ndarray, shape (depth + 1,)
        P(0 bits), P(1 bit), ...

    Raises
    ------
    ValueError
        If a probability is out of range, or depth, leaves or n_draws too small.

    Examples
    --------
    One layer of a coin: the bit is 1 with probability 1/2 + (1 - 1/2) / 4.

    >>> law = tournament_bits([[0.5, 0.5]], depth=1)
    >>> bool(abs(law[1] - 0.625) < 0.01)
    True
    """
    weights = np.ones(max(depth, 0), np.int64)
    return tournament_law(probabilities, weights, leaves, n_draws, rng)


def bits_power(n: int, law: ArrayLike, alpha: float = 1e-6, share: float = 0.5) -> float:
    """Return the probability that n independent tokens have significantly many bits.

    The critical count is the exact binomial one; the count under the watermark is the n-fold
    convolution of the law.

    Parameters
    ----------
    n : int
    law : array_like, shape (depth + 1,)
        Of the number of bits of a token: `tournament_bits`.
    alpha : float
    share : float
        Of bits that are 1 by chance.

    Raises
    ------
    ValueError
        If a number is out of range, or the law doesn't sum to 1.

    Examples
    --------
    >>> round(bits_power(1, [0.0, 0.2, 0.8], alpha=0.3), 6)    # 2 of 2 bits, by chance in 1 of 4
    0.8
    """
    from scipy import stats

    check_share("alpha", alpha)
    check_share("share", share)
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    pmf = np.asarray(law, np.float64)
    if pmf.ndim != 1 or np.any(pmf < 0) or abs(pmf.sum() - 1) > 1e-9:
        raise ValueError("law must be one-dimensional, not negative, and sum to 1")
    critical = int(stats.binom.isf(alpha, n * (len(pmf) - 1), share)) + 1
    window = tilted_window(0.0, [pmf], np.array([n]))
    return float(min(window.law[max(critical - window.start, 0) :].sum(), 1.0))


def bits_tokens_needed(
    law: ArrayLike, alpha: float = 1e-6, wanted: float = 0.99, share: float = 0.5
) -> int:
    """Return the fewest tokens at which a count of bits has the power that is wanted.

    Parameters
    ----------
    law, alpha, share
        As for `bits_power`.
    wanted : float

    Raises
    ------
    ValueError
        If a number is out of range, or 4 million tokens aren't enough.

    Examples
    --------
    >>> bits_tokens_needed([0.0, 0.2, 0.8], alpha=0.01, wanted=0.9)
    9
    """
    check_share("wanted", wanted)
    return fewest_tokens(lambda n: bits_power(n, law, alpha, share) >= wanted)
