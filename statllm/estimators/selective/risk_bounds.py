"""Upper confidence bounds and p-values for the mean of a loss between 0 and 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Tail = Literal["binomial", "hoeffding-bentkus", "hoeffding"]


def risk_p_value(
    mean_loss: ArrayLike,
    n: ArrayLike,
    max_risk: float,
    method: Tail = "hoeffding-bentkus",
) -> FloatArray:
    """P-value of the hypothesis that the expected loss exceeds `max_risk`; small means safe.

    Parameters
    ----------
    mean_loss, n : array_like
        Mean of n independent losses; broadcast against each other.
    max_risk : float
        Alpha, in (0, 1).
    method : {"binomial", "hoeffding-bentkus", "hoeffding"}
        ``"binomial"``: P(Bin(n, alpha) <= n mean), exact; losses of 0 and 1 only.
        ``"hoeffding-bentkus"``: min(exp(-n h(min(mean, alpha), alpha)), e P(Bin(n, alpha) <=
        ceil(n mean))) with h(a, b) = a ln(a/b) + (1-a) ln((1-a)/(1-b)), for losses in [0, 1]
        (Bates et al. 2021; Angelopoulos et al. 2021, proposition 2).
        ``"hoeffding"``: its first term.

    Returns
    -------
    ndarray of float64
        1 where n = 0.

    Raises
    ------
    ValueError
        If a mean leaves [0, 1], `max_risk` (0, 1), or ``"binomial"`` meets a fractional count.

    Examples
    --------
    >>> risk_p_value([0.0, 0.02, 0.1], 100, 0.1).round(4)
    array([0.    , 0.0053, 1.    ])
    >>> float(risk_p_value(0.02, 100, 0.1, "binomial").round(4))
    0.0019
    """
    mean, count = _checked(mean_loss, n)
    if not 0 < max_risk < 1:
        raise ValueError(f"max_risk must lie between 0 and 1, not {max_risk}")
    return _tail(method)(mean, count, np.full(mean.shape, max_risk))


def risk_upper_bound(
    mean_loss: ArrayLike,
    n: ArrayLike,
    delta: float = 0.05,
    method: Tail = "hoeffding-bentkus",
) -> FloatArray:
    """Upper limit of the expected loss that holds with probability at least 1 - delta.

    The largest risk that `risk_p_value` doesn't reject at `delta`, by bisection;
    ``"binomial"`` gives the one-sided limit of Clopper and Pearson (1934) in closed form.

    Parameters
    ----------
    mean_loss, n, method
        As for `risk_p_value`.
    delta : float
        In (0, 1).

    Returns
    -------
    ndarray of float64
        1 where n = 0.

    Examples
    --------
    >>> risk_upper_bound([0.0, 0.02, 0.1], 100).round(4)
    array([0.0295, 0.0741, 0.1814])
    >>> float(risk_upper_bound(0.02, 100, method="binomial").round(4))
    0.0616
    """
    mean, count = _checked(mean_loss, n)
    _check_delta(delta)
    p_value = _tail(method)
    if method == "binomial":
        from scipy import special

        errors = _whole(mean * count)
        with np.errstate(invalid="ignore"):
            limit = special.betainccinv(errors + 1, np.maximum(count - errors, 1e-300), delta)
        return np.asarray(np.where(errors == count, 1.0, limit), dtype=np.float64)
    low, high = mean.copy(), np.ones(mean.shape)
    for _ in range(60):
        middle = (low + high) / 2
        inside = p_value(mean, count, middle) > delta
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.asarray(high, dtype=np.float64)


def betting_p_value(
    losses: ArrayLike,
    max_risk: float,
    delta: float = 0.05,
    rng: np.random.Generator | int = 0,
) -> float:
    """P-value of the hypothesis that the expected loss exceeds `max_risk`, by betting.

    The wealth K_t(R) = prod_{i <= t} (1 - nu_i (L_i - R)) of bets that the mean is below R is a
    supermartingale if it isn't (Waudby-Smith and Ramdas 2024), so 1 / max_t K_t is a p-value.
    Stakes as in Bates et al. (2021), section 3.1.3: nu_i = min(1, sqrt(2 ln(1/delta) / (n
    s_{i-1}^2))) with s_i^2 = (1/4 + sum (L_j - m_j)^2) / (i + 1) and m_i = (1/2 + sum L_j) /
    (i + 1). They adapt to the variance: sharper than `risk_p_value` where losses are seldom
    near 0 and 1.

    Parameters
    ----------
    losses : array_like of float, shape (n,)
        Independent, in [0, 1].
    max_risk : float
    delta : float
        The level at which the stakes aim; the p-value is valid whatever it is.
    rng : Generator or int
        Draws the order in which the losses are bet on, as the result depends on it.

    Returns
    -------
    float
        1 if n = 0.

    Examples
    --------
    >>> losses = [0.0, 0.2, 0.1, 0.3, 0.2] * 20
    >>> round(betting_p_value(losses, 0.2), 4), float(risk_p_value(0.16, 100, 0.2).round(4))
    (0.022, 0.5228)
    """
    x, stakes = _bets(losses, delta, rng)
    return min(1.0, float(np.exp(-_log_wealth(x, stakes, max_risk))))


def betting_upper_bound(
    losses: ArrayLike,
    delta: float = 0.05,
    rng: np.random.Generator | int = 0,
) -> float:
    """Upper limit of the expected loss by betting (Waudby-Smith and Ramdas 2024).

    The smallest risk that `betting_p_value` rejects at `delta`; parameters as there.

    Returns
    -------
    float
        1 if n = 0.

    Examples
    --------
    >>> losses = [0.0, 0.2, 0.1, 0.3, 0.2] * 20
    >>> round(betting_upper_bound(losses), 3), float(risk_upper_bound(0.16, 100).round(3))
    (0.189, 0.253)
    """
    x, stakes = _bets(losses, delta, rng)
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        rejected = _log_wealth(x, stakes, middle) > -np.log(delta)
        low, high = (low, middle) if rejected else (middle, high)
    return high


def _bets(
    losses: ArrayLike, delta: float, rng: np.random.Generator | int
) -> tuple[FloatArray, FloatArray]:
    """Losses in random order, and the stakes on them."""
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError("losses must be one-dimensional and lie between 0 and 1")
    _check_delta(delta)
    x = np.random.default_rng(rng).permutation(values)
    count = np.arange(2, len(x) + 2)
    mean = (0.5 + np.cumsum(x)) / count
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / count
    before = np.append(0.25, variance)[:-1]
    return x, np.minimum(1.0, np.sqrt(2 * np.log(1 / delta) / (max(len(x), 1) * before)))


def _log_wealth(x: FloatArray, stakes: FloatArray, risk: float) -> float:
    """Logarithm of the largest wealth."""
    with np.errstate(divide="ignore"):
        return float(np.max(np.cumsum(np.log1p(-stakes * (x - risk))), initial=0.0))


def _binomial(mean: FloatArray, n: FloatArray, risk: FloatArray) -> FloatArray:
    return _binomial_tail(_whole(mean * n), n, risk)


def _binomial_tail(count: FloatArray, n: FloatArray, risk: FloatArray) -> FloatArray:
    """P(Bin(n, risk) <= count)."""
    from scipy import special

    tail = special.betaincc(count + 1, np.maximum(n - count, 1e-300), risk)
    return np.asarray(np.where(count == n, 1.0, tail), dtype=np.float64)


def _hoeffding(mean: FloatArray, n: FloatArray, risk: FloatArray) -> FloatArray:
    from scipy import special

    low = np.minimum(mean, risk)
    divergence = special.rel_entr(low, risk) + special.rel_entr(1 - low, 1 - risk)
    # It is infinite at a risk of 1, which no losses at all don't rule out.
    return np.asarray(np.exp(-n * np.where(n == 0, 0.0, divergence)), dtype=np.float64)


def _hoeffding_bentkus(mean: FloatArray, n: FloatArray, risk: FloatArray) -> FloatArray:
    # A sum of n floats that should be whole mustn't be rounded up for its last digit.
    count = np.minimum(np.ceil(mean * n - 1e-9), n)
    bentkus = np.e * _binomial_tail(count, n, risk)
    return np.asarray(np.minimum(_hoeffding(mean, n, risk), bentkus), dtype=np.float64)


def _tail(method: str) -> Callable[[FloatArray, FloatArray, FloatArray], FloatArray]:
    tails = {
        "binomial": _binomial,
        "hoeffding-bentkus": _hoeffding_bentkus,
        "hoeffding": _hoeffding,
    }
    if method not in tails:
        raise ValueError(f"method must be one of {', '.join(tails)}, not {method!r}")
    return tails[method]


def _whole(errors: FloatArray) -> FloatArray:
    """Counts, checked to be whole."""
    rounded: FloatArray = np.round(errors)
    if np.any(np.abs(errors - rounded) > 1e-6):
        raise ValueError("losses must be 0 or 1 for the binomial tail; name another method")
    return rounded


def _checked(mean_loss: ArrayLike, n: ArrayLike) -> tuple[FloatArray, FloatArray]:
    mean, count = np.broadcast_arrays(
        np.asarray(mean_loss, dtype=np.float64), np.asarray(n, dtype=np.float64)
    )
    mean = np.where(count == 0, 0.0, mean)
    if not np.all((mean >= 0) & (mean <= 1)) or np.any(count < 0):
        raise ValueError("mean_loss must lie between 0 and 1, and n not be negative")
    return mean, count


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie between 0 and 1, not {delta}")
