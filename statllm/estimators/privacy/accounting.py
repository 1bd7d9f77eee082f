"""What DP-SGD promises: Gaussian and Rényi accounting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from statllm.estimators._arrays import between, whole

#: Orders at which Rényi divergences are computed.
ORDERS = (*range(2, 65), 80, 96, 128, 256, 512, 1024)


def gaussian_mu(sampling_rate: float, noise: float, steps: int) -> float:
    """Return mu of DP-SGD in the limit of many steps.

    rate sqrt(T (e^(1 / noise^2) - 1)) (Dong, Roth and Su 2022, corollary 4; Bu et al. 2020). A
    central limit theorem: it's optimistic for few steps, where `renyi_epsilon` is a guarantee.

    Parameters
    ----------
    sampling_rate : float
        Batch size over rows.
    noise : float
        Standard deviation of the noise over the clipping norm.
    steps : int

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> round(gaussian_mu(256 / 60000, 1.1, 15 * 60000 // 256), 3)
    0.287
    """
    _check(sampling_rate, noise, steps)
    try:
        return sampling_rate * math.sqrt(steps * math.expm1(1 / noise / noise))
    except OverflowError:  # next to no noise: no privacy
        return math.inf


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Return delta at an epsilon under mu-Gaussian privacy.

    Phi(-eps / mu + mu / 2) - e^eps Phi(-eps / mu - mu / 2) (Balle and Wang 2018; Dong, Roth and Su
    2022, corollary 1).

    Examples
    --------
    >>> round(gaussian_delta(1.0, 1.0), 4)
    0.1269
    """
    from scipy import special

    if not (epsilon >= 0 and mu > 0):
        raise ValueError(f"epsilon {epsilon} must be at least 0 and mu {mu} positive")
    if math.isinf(epsilon):
        return 0.0
    if math.isinf(mu):
        return 1.0
    ratio = epsilon / mu
    first = float(special.log_ndtr(mu / 2 - ratio))
    second = epsilon + float(special.log_ndtr(-mu / 2 - ratio))
    if math.isinf(first):  # far out in the tail
        return 0.0
    return math.exp(first) * max(-math.expm1(second - first), 0.0)


def gaussian_epsilon(delta: float, mu: float) -> float:
    """Return epsilon at a delta under mu-Gaussian privacy; the inverse of `gaussian_delta`.

    Examples
    --------
    >>> round(gaussian_epsilon(1e-5, 1.0), 3)
    4.377
    """
    from scipy import optimize

    between(delta, "delta")
    if gaussian_delta(0.0, mu) <= delta:
        return 0.0
    if math.isinf(mu):
        return math.inf
    high = 1.0
    while gaussian_delta(high, mu) > delta:
        high *= 2
    return float(optimize.brentq(lambda e: gaussian_delta(e, mu) - delta, 0.0, high, xtol=1e-12))


def subsampled_renyi(
    sampling_rate: float, noise: float, steps: int, orders: Sequence[int] = ORDERS
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Rényi divergences of `steps` steps of the Poisson-subsampled Gaussian mechanism.

    At whole orders a: ln(sum_k C(a, k) (1 - q)^(a - k) q^k e^(k (k - 1) / (2 noise^2))) / (a - 1)
    (Mironov, Talwar and Zhang 2019, section 3.3), times the steps.

    Parameters
    ----------
    sampling_rate, noise, steps
        As for `gaussian_mu`; rows are drawn independently (Poisson), for neighbours that differ by
        adding or removing a row.
    orders : sequence of int
        At least 2.

    Returns
    -------
    ndarray of float64, shape (n_orders,)

    Examples
    --------
    >>> subsampled_renyi(1.0, 2.0, 1, [2, 4])  # a / (2 noise^2)
    array([0.25, 0.5 ])
    """
    from scipy import special

    _check(sampling_rate, noise, steps)
    if len(orders) == 0:
        raise ValueError("orders must not be empty")

    def exponent(k: NDArray[np.int64]) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):  # next to no noise: infinite
            return np.asarray(k * (k - 1) / 2 / noise / noise)

    found = []
    for order in (whole(order, "orders", 2) for order in orders):
        k = np.arange(order + 1)
        terms = (
            special.gammaln(order + 1)
            - special.gammaln(k + 1)
            - special.gammaln(order - k + 1)
            + special.xlog1py(order - k, -sampling_rate)
            + special.xlogy(k, sampling_rate)
            + exponent(k)
        )
        found.append(steps * float(special.logsumexp(terms)) / (order - 1))
    return np.array(found)


def renyi_epsilon(
    delta: float, sampling_rate: float, noise: float, steps: int, orders: Sequence[int] = ORDERS
) -> float:
    """Return epsilon of DP-SGD at a delta, guaranteed.

    min over orders a of rdp_a + ln((a - 1) / a) - (ln delta + ln a) / (a - 1) (Canonne, Kamath and
    Steinke 2020, proposition 12).

    Parameters
    ----------
    delta : float
    sampling_rate, noise, steps, orders
        As for `subsampled_renyi`.

    Examples
    --------
    >>> round(renyi_epsilon(1e-5, 256 / 60000, 1.1, 15 * 60000 // 256), 3)
    1.281
    """
    between(delta, "delta")
    rdp = subsampled_renyi(sampling_rate, noise, steps, orders)
    a = np.asarray(orders, np.float64)
    epsilon = rdp + np.log1p(-1 / a) - (math.log(delta) + np.log(a)) / (a - 1)
    return max(float(epsilon.min()), 0.0)


def _check(sampling_rate: float, noise: float, steps: int) -> None:
    if not 0 < sampling_rate <= 1:
        raise ValueError(f"sampling_rate must be above 0 and at most 1, not {sampling_rate}")
    if not noise > 0:
        raise ValueError(f"noise must be positive, not {noise}")
    whole(steps, "steps", 1)
