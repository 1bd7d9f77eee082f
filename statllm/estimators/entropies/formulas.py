"""Entropy estimators in closed form, as functions of vote profiles. Sources in each docstring."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, xlog1py, xlogy

from statllm.errors import InputError
from statllm.estimators.entropies.profiles import FloatArray, Profiles

PRIORS = ("jeffreys", "laplace", "schurmann_grassberger", "minimax")
Prior = str | float


def _difference(n: FloatArray) -> FloatArray:
    """n ln n - (n-1) ln(n-1), without cancellation."""
    return np.asarray(np.log(n) - xlog1py(n - 1, -1 / n))


def _sign(n: FloatArray) -> FloatArray:
    """(-1)^n."""
    return 1.0 - 2.0 * (n % 2)


def _g1988(n: FloatArray) -> FloatArray:
    return np.asarray(digamma(n) + _sign(n) / (n + 1))


def _g2003(n: FloatArray) -> FloatArray:
    return np.asarray(digamma(n) + _sign(n) / 2 * (digamma((n + 1) / 2) - digamma(n / 2)))


# Ĥ = Σ (n_i/N) [a(N) - b(n_i)]: a mean over votes, and one look-up per count.
_AVERAGES: dict[str, tuple[Callable[..., NDArray[np.float64]], Callable[[FloatArray], FloatArray]]]
_AVERAGES = {
    "plugin": (np.log, np.log),
    "jackknife": (_difference, _difference),
    "zhang": (digamma, digamma),
    "grassberger1988": (np.log, _g1988),
    "grassberger2003": (np.log, _g2003),
}


def _average(name: str, profiles: Profiles) -> FloatArray:
    a, b = _AVERAGES[name]
    votes = profiles.votes.values.astype(np.float64)
    return profiles.total(profiles.p * (a(profiles.spread(profiles.n)) - b(votes)))


def plugin(profiles: Profiles) -> FloatArray:
    """-Σ p̂ ln p̂ with p̂ = n_i/N: the maximum-likelihood value, biased down by about (m-1)/2N."""
    return _average("plugin", profiles)


def miller_madow(profiles: Profiles) -> FloatArray:
    """Plug-in + (m-1)/2N, m the observed answers (Miller 1955)."""
    return plugin(profiles) + (profiles.m - 1) / (2 * profiles.n)


def jackknife(profiles: Profiles) -> FloatArray:
    """N Ĥ - (N-1) mean Ĥ₋ᵢ of the plug-in (Zahl 1977, Ecology 58:907).

    Written out, Σ (n_i/N) [d(N) - d(n_i)] with d(n) = n ln n - (n-1) ln(n-1).
    """
    return _average("jackknife", profiles)


def zhang(profiles: Profiles) -> FloatArray:
    """Σ (n_i/N) Σ_v (1/v) Π_j (1 - (n_i-1)/(N-j)) (Zhang 2012, Neural Computation 24:1368).

    The inner sum is ψ(N) - ψ(n_i). Its expectation is Σ_{v<N} (1/v) Σ p (1-p)^v exactly.
    """
    return _average("zhang", profiles)


def grassberger1988(profiles: Profiles) -> FloatArray:
    """Σ (n_i/N) (ln N - ψ(n_i) - (-1)^{n_i}/(n_i+1)) (Grassberger 1988, Phys. Lett. A 128:369)."""
    return _average("grassberger1988", profiles)


def grassberger2003(profiles: Profiles) -> FloatArray:
    """ln N - (1/N) Σ n_i G(n_i), G(n) = ψ(n) + ½(-1)ⁿ[ψ((n+1)/2) - ψ(n/2)].

    Grassberger (2003), arXiv physics/0307138. G jumps between odd and even n, so that an even
    split of ten votes, 5/5, gives 0.906 > ln 2, and 6/4 gives 0.666: nearly unbiased on the
    average over samples, but poor for comparing one prompt with another.
    """
    return _average("grassberger2003", profiles)


def chao_shen(profiles: Profiles) -> FloatArray:
    """-Σ p̃ ln p̃ / (1 - (1-p̃)^N) with p̃ = C p̂, coverage C = 1 - f₁/N.

    Chao and Shen (2003), Environ. Ecol. Stat. 10:429. When every vote is a singleton, f₁ = N - 1
    is used instead of N, as the authors and R's entropy do.
    """
    n = profiles.n
    f1 = np.minimum(profiles.answers_with(1), n - 1)
    p = profiles.spread(1 - f1 / n) * profiles.p
    seen = -np.expm1(xlog1py(profiles.spread(n), -p))
    return profiles.total(np.asarray(p * np.log(1 / p) / seen, dtype=np.float64))


def chao_wang_jost(profiles: Profiles) -> FloatArray:
    """Zhang's value plus an estimate of what it misses, from singletons and doubletons.

    Σ (n_i/N)[ψ(N) - ψ(n_i)] + (f₁/N)(1-A)^{1-N} {-ln A - Σ_{r<N} (1-A)^r/r},
    A = 2f₂/((N-1)f₁ + 2f₂), or 2/((N-1)(f₁-1) + 2) if f₂ = 0; Chao, Wang and Jost (2013),
    Methods Ecol. Evol. 4:1091.
    """
    n, f1, f2 = profiles.n, profiles.answers_with(1), profiles.answers_with(2)
    share = np.where(
        f2 > 0,
        2 * f2 / ((n - 1) * f1 + 2 * np.maximum(f2, 0.5)),
        2 / ((n - 1) * np.maximum(f1 - 1, 0) + 2),
    )
    pairs, at = np.unique(np.stack([n, share], axis=1), axis=0, return_inverse=True)
    return zhang(profiles) + f1 / n * _series_tail(pairs[:, 0], pairs[:, 1])[at.ravel()]


def _series_tail(n: FloatArray, a: FloatArray) -> FloatArray:
    """Σ_{r≥n} q^{r-n+1}/r, q = 1-a: q^{1-n} {-ln a - Σ_{r<n} q^r/r} without its cancellation.

    As the integral ∫ q e^{-nu} / (1 - q e^{-u}) du over u > 0, by the trapezoidal rule in ln u,
    where the integrand is analytic in a strip and falls off exponentially at both ends.
    """
    low, high = np.log(np.minimum(a, 1 / n)) - 37, np.log(45 / n)
    x, step = np.linspace(low, high, 256, axis=1, retstep=True)
    # Row by row in memory: else the order of summation depends on how many rows there are.
    u = np.exp(np.ascontiguousarray(x))
    with np.errstate(divide="ignore"):  # ln 0 at a = 1, where the tail is 0
        rest = -np.expm1(np.log1p(-a)[:, None] - u)
    return np.asarray(step * (1 - a) * (u * np.exp(-n[:, None] * u) / rest).sum(axis=1))


def _plugin_of(profiles: Profiles, p: FloatArray, p_unseen: FloatArray) -> FloatArray:
    """Entropy when each unseen category has probability `p_unseen`."""
    seen = profiles.total(np.asarray(xlogy(p, p), dtype=np.float64))
    unseen: FloatArray = (profiles.k - profiles.m) * xlogy(p_unseen, p_unseen)
    return -seen - unseen


def shrinkage_intensity(profiles: Profiles) -> FloatArray:
    """λ = min(1, Σ p̂(1-p̂)/(N-1) / Σ (1/K - p̂)²); 1 where nothing speaks against uniform."""
    squares = profiles.total(profiles.p**2)
    distance = squares - 1 / profiles.k
    target = (profiles.n - 1) * distance
    ratio = np.divide(1 - squares, target, out=np.ones_like(target), where=target > 1e-15)
    return np.asarray(np.minimum(ratio, 1.0))


def shrinkage(profiles: Profiles) -> FloatArray:
    """Plug-in at λ/K + (1-λ) p̂, a James-Stein mix of the shares with the uniform distribution.

    Hausser and Strimmer (2009), JMLR 10:1469; one vote gives λ = 1, that is ln K.
    """
    strength = shrinkage_intensity(profiles)
    uniform = strength / profiles.k
    p = profiles.spread(uniform) + (1 - profiles.spread(strength)) * profiles.p
    return _plugin_of(profiles, p, uniform)


def pseudo_count(profiles: Profiles, prior: Prior) -> FloatArray:
    """Votes added to each category: ½ jeffreys, 1 laplace, 1/K, or √N/K minimax, or a number."""
    if not isinstance(prior, str):
        return np.full(len(profiles), float(prior))
    return {
        "jeffreys": np.full(len(profiles), 0.5),
        "laplace": np.ones(len(profiles)),
        "schurmann_grassberger": 1 / profiles.k,
        "minimax": np.sqrt(profiles.n) / profiles.k,
    }[prior]


def check_prior(prior: object) -> None:
    """Raise unless `prior` is a known name or a positive number."""
    if isinstance(prior, str):
        if prior not in PRIORS:
            raise InputError(f"prior is {prior!r}; it must be one of {', '.join(PRIORS)}")
    elif not (np.ndim(prior) == 0 and 0 < float(prior) < np.inf):  # type: ignore[arg-type]
        raise InputError(f"prior must be a name or a positive number, not {prior!r}")


def dirichlet(profiles: Profiles, prior: Prior = "jeffreys") -> FloatArray:
    """Plug-in at the posterior mean shares (n_i + a)/(N + K a) (Agresti and Hitchcock 2005)."""
    a = pseudo_count(profiles, prior)
    total = profiles.n + profiles.k * a
    p = (profiles.votes.values + profiles.spread(a)) / profiles.spread(total)
    return _plugin_of(profiles, p, a / total)
