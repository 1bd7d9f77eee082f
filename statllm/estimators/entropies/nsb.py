"""The Nemenman-Shafee-Bialek entropy estimator, by quadrature over the Dirichlet parameter."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from statllm.estimators.entropies.bayes import dirichlet_moments, sum_rows, trigamma
from statllm.estimators.entropies.profiles import FloatArray, Profiles

# The integrand over t = ln β has exponential tails and is analytic in a strip of half-width π,
# so equally spaced nodes converge geometrically: 160 of them leave about 1e-12.
_NODES = 160
_SEARCH_NODES = 64
_NEGLIGIBLE = 36.0  # e^-36 of the peak is dropped
_BLOCK = 200_000  # numbers held at once: they stay in the cache


def nsb(profiles: Profiles) -> tuple[FloatArray, FloatArray]:
    """Posterior mean and sd of the entropy when the prior is nearly flat in entropy.

    A mixture of symmetric Dirichlet priors, weighted so that the prior mean entropy
    ξ(β) = ψ(Kβ+1) - ψ(β+1) is uniform on (0, ln K): Nemenman, Shafee and Bialek (2002),
    "Entropy and inference, revisited", arXiv physics/0108025. The sd takes in the spread within
    and between β (Archer, Park and Pillow 2013, Entropy 15:1738).

    Parameters
    ----------
    profiles : Profiles
        Without empty rows; with the number of categories.
    """
    mean, sd = np.zeros(len(profiles)), np.zeros(len(profiles))
    open_rows = np.flatnonzero(profiles.k > 1)  # with one category there is nothing to estimate
    widest = int(profiles.votes.lengths.max(initial=1))
    step = max(1, _BLOCK // (_NODES * widest))
    for start in range(0, len(open_rows), step):
        rows = open_rows[start : start + step]
        mean[rows], sd[rows] = _integrate(profiles.take(rows))
    return mean, sd


def _integrate(profiles: Profiles) -> tuple[FloatArray, FloatArray]:
    """Average the moments over β; the nodes sit where the profile's own integrand lives."""
    low = -np.log(profiles.k) - 45
    high = 2 * np.log(profiles.n) + 45
    for _ in range(3):  # each pass can shrink the range 30-fold
        t = _nodes(low, high, _SEARCH_NODES)
        log_weight = _log_integrand(profiles, t)
        alive = log_weight > log_weight.max(axis=1, keepdims=True) - _NEGLIGIBLE
        gap = t[:, 1] - t[:, 0]
        low = np.where(alive, t, np.inf).min(axis=1) - gap
        high = np.where(alive, t, -np.inf).max(axis=1) + gap
    t = _nodes(low, high, _NODES)
    log_weight = _log_integrand(profiles, t)
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    mean_at, variance_at = dirichlet_moments(profiles, np.exp(t))
    mean = (weight * mean_at).sum(axis=1)
    variance = (weight * (variance_at + (mean_at - mean[:, None]) ** 2)).sum(axis=1)
    return mean, np.sqrt(variance)


def _nodes(low: FloatArray, high: FloatArray, n: int) -> FloatArray:
    """Equally spaced nodes for each row, shape (n_rows, n)."""
    return low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, n)


def _log_integrand(profiles: Profiles, t: FloatArray) -> FloatArray:
    """Log of evidence(β) ξ'(β) dβ/dt at β = e^t, up to a constant."""
    beta, k = np.exp(t), profiles.k[:, None]
    votes = profiles.votes.values[:, None].astype(np.float64)
    rises = profiles.times[:, None] * log_rising(beta[profiles.votes.rows], votes)
    evidence = sum_rows(profiles, rises) - log_rising(k * beta, profiles.n[:, None])
    return np.asarray(evidence + np.log(_prior_slope(beta, k)) + t)


def _prior_slope(beta: FloatArray, k: FloatArray) -> FloatArray:
    """ξ'(β) = K ψ₁(Kβ+1) - ψ₁(β+1); by its expansion where the two terms nearly cancel."""
    far = np.maximum(beta, 100.0)
    expansion = sum(
        coefficient * (k ** (1 - power) - 1) / far**power
        for power, coefficient in ((2, -1 / 2), (3, 1 / 6), (5, -1 / 30), (7, 1 / 42))
    )
    near = np.minimum(beta, 100.0)
    direct = k * trigamma(k * near + 1) - trigamma(near + 1)
    return np.where(beta > 100.0, expansion, direct)


def log_rising(z: FloatArray, n: FloatArray) -> FloatArray:
    """ln Γ(z+n) - ln Γ(z), also where z is so large that the two are equal as floats."""
    far = np.maximum(z, 20.0)
    stirling = (far + n - 0.5) * np.log1p(n / far) - n + n * np.log(far)
    stirling += _stirling_rest(far + n) - _stirling_rest(far)
    near = np.minimum(z, 20.0)
    return np.where(z > 20.0, stirling, gammaln(near + n) - gammaln(near))


def _stirling_rest(z: FloatArray) -> FloatArray:
    """ln Γ(z) less its Stirling approximation."""
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * z**2)) / z**2) / z**2) / z
