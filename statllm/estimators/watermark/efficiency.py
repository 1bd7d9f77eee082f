"""How fast evidence grows with the length of a text, and the least length that can do."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from statllm.estimators.watermark.chosen import ChosenLaw, score
from statllm.ragged import FloatArray

SumTest = Literal["sum", "log", "optimal"]


def rate(law: ChosenLaw, test: SumTest = "sum", delta: float = 0.01) -> float:
    """Return the exponent R of a sum test's misses: P(miss) is about exp(-n R) at a fixed alpha.

    R = -inf_(theta >= 0) [theta E_0 h + log E_1 exp(-theta h)] (Li, Ruan, Wang, Long and Su 2024,
    who take the least over the class of laws whose largest probability is at most 1 - Delta;
    `ChosenLaw.least_favourable` attains it).

    Parameters
    ----------
    law : ChosenLaw
    test : {"sum", "log", "optimal"}
        h = -log(1 - y), log y or h_Delta(y).
    delta : float
        Of ``"optimal"``.

    Returns
    -------
    float
        Nats per token.

    Examples
    --------
    >>> law = ChosenLaw.least_favourable(0.1)
    >>> [round(rate(law, test, delta=0.1), 5) for test in ("sum", "log", "optimal")]
    [0.0265, 0.01808, 0.02879]
    """
    from scipy import optimize, special

    p, m = law.probabilities, law.masses
    if test == "sum":  # E (1 - Y)^theta by the beta function

        def exponent(theta: float) -> float:
            logs = special.betaln(1 / p, 1 + theta) - np.log(p)
            return theta + float(special.logsumexp(logs, b=m))

        most = 60.0
    elif test == "log":

        def exponent(theta: float) -> float:
            return -theta + math.log(float(np.sum(m / (1 - theta * p))))

        most = (1 - 1e-9) / float(p.max())
    else:
        y, complement, mass = law.cells()
        h = score(test, y, complement, delta)
        uniform = ChosenLaw(np.ones(1), np.ones(1)).cells()[2]
        kept = np.isfinite(h)
        null_mean = float(uniform[kept] @ h[kept])

        def exponent(theta: float) -> float:
            return theta * null_mean + float(special.logsumexp(-theta * h[kept], b=mass[kept]))

        most = 60.0
    found = optimize.minimize_scalar(exponent, bounds=(0, most), options={"xatol": 1e-10})
    return max(-float(found.fun), 0.0)


def information(law: ChosenLaw) -> float:
    """Return the mean evidence of a token for the best test, KL(watermarked || chance).

    E log f(Y) for the pivot's density f: no test's log p falls faster than this per token
    (Stein's lemma).

    Examples
    --------
    >>> round(information(ChosenLaw.least_favourable(0.5)), 4)    # log 2 - 1/2
    0.1931
    """
    y, _, mass = law.cells()
    density = law.log_density(y)
    used = mass > 0
    return float(mass[used] @ density[used])


def stein_tokens(law: ChosenLaw, alpha: float) -> float:
    """Return log(1 / alpha) / `information`: roughly the least tokens that any test needs.

    Raises
    ------
    ValueError
        If `alpha` isn't in (0, 1).

    Examples
    --------
    >>> round(stein_tokens(ChosenLaw.least_favourable(0.1), 1e-6))
    447
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    evidence = information(law)
    return -math.log(alpha) / evidence if evidence > 1e-15 else math.inf


def green_rate(share: float, raised: float) -> float:
    """Return the exponent of misses of a count of green tokens, KL(share || raised).

    Parameters
    ----------
    share, raised : float
        Probability of green by chance and under the watermark, in (0, 1).

    Raises
    ------
    ValueError
        Unless 0 < share <= raised < 1.

    Examples
    --------
    >>> round(green_rate(0.25, 0.5), 4)
    0.1308
    """
    if not 0 < share <= raised < 1:
        raise ValueError(f"0 < share <= raised < 1 must hold, not {share:g}, {raised:g}")
    return share * math.log(share / raised) + (1 - share) * math.log((1 - share) / (1 - raised))


def green_share(probabilities: FloatArray, share: float = 0.25, bias: float = 2.0) -> FloatArray:
    """Return how often a biased model writes green, per position, on average over keys.

    With green mass G the biased law has a G / (1 - G + a G), a = exp(bias) (Kirchenbauer et al.
    2023). G is the sum of the probabilities of tokens that are green with probability `share`
    each, so that with c = a - 1

    E a G / (1 + c G) = a / c (1 - int_0^inf exp(-s) prod_v (1 - share + share exp(-s c p_v)) ds),

    by the trapezoidal rule in log s. Mass beyond the given tokens is taken to be tokens as large as
    the smallest of them.

    Parameters
    ----------
    probabilities : ndarray, shape (n_positions, k)
        Largest probabilities of the model's law.
    share : float
        Of the vocabulary on the green list, in (0, 1).
    bias : float
        delta, added to the logits of green tokens; above 0.

    Returns
    -------
    ndarray, shape (n_positions,)

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    Two tokens of 1/2: G is 0, 1/2 or 1.

    >>> a = np.exp(2.0)
    >>> exact = 6 / 16 * a / (1 + a) + 1 / 16
    >>> bool(np.isclose(green_share(np.array([[0.5, 0.5]])), exact))
    True
    """
    top = np.atleast_2d(np.asarray(probabilities, np.float64))
    if not 0 < share < 1 or bias <= 0:
        raise ValueError(f"share must lie in (0, 1) and bias above 0, not {share:g}, {bias:g}")
    if top.size == 0 or not np.all((top >= 0) & (top <= 1)) or top.sum(axis=1).max() > 1 + 1e-4:
        raise ValueError("probabilities must have shape (n_positions, k) and rows that sum to 1")
    c = math.expm1(bias)
    logs_of_s = np.arange(-36, 4, 0.15)
    nodes = np.exp(logs_of_s)
    weights = 0.15 * np.exp(logs_of_s - nodes)
    rest = np.maximum(1 - top.sum(axis=1), 0.0)
    size = np.maximum(np.minimum(top.min(axis=1), rest), 1e-12)
    mean = np.full(len(top), 1 - weights.sum())
    for node, weight in zip(nodes, weights, strict=True):
        logs = np.log1p(share * np.expm1(-node * c * top)).sum(axis=1)
        logs += rest / size * np.log1p(share * np.expm1(-node * c * size))
        mean += weight * np.exp(logs)
    return np.asarray((1 + 1 / c) * (1 - mean))
