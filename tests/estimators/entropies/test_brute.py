"""Each estimator against a slow scalar version, written from the papers and not from ours."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import digamma, gammaln, polygamma

from statllm.estimators.entropies.bayes import trigamma
from statllm.estimators.entropies.estimate import entropy
from statllm.estimators.entropies.formulas import _series_tail
from statllm.estimators.entropies.nsb import log_rising

votes = st.lists(st.integers(1, 9), min_size=1, max_size=7).filter(lambda row: sum(row) >= 2)
EULER = 0.5772156649015329


def harmonic_digamma(n: int) -> float:
    """ψ at a whole number: -γ + Σ 1/j."""
    return -EULER + sum(1 / j for j in range(1, n))


def plugin(counts: list[int]) -> float:
    total = sum(counts)
    return -sum(n / total * math.log(n / total) for n in counts if n)


def miller_madow(counts: list[int]) -> float:
    return plugin(counts) + (len(counts) - 1) / (2 * sum(counts))


def jackknife(counts: list[int]) -> float:
    """Leave every single vote out."""
    samples = [answer for answer, n in enumerate(counts) for _ in range(n)]
    total = len(samples)
    without = [
        plugin([rest.count(answer) for answer in set(rest)])
        for rest in (samples[:i] + samples[i + 1 :] for i in range(total))
    ]
    return total * plugin(counts) - (total - 1) * sum(without) / total


def zhang(counts: list[int]) -> float:
    """Zhang (2012), equation with the product."""
    total, value = sum(counts), 0.0
    for n in counts:
        for v in range(1, total - n + 1):
            product = math.prod(1 - (n - 1) / (total - j) for j in range(1, v + 1))
            value += n / total * product / v
    return value


def grassberger1988(counts: list[int]) -> float:
    total = sum(counts)
    return sum(
        n / total * (math.log(total) - harmonic_digamma(n) - (-1) ** n / (n + 1)) for n in counts
    )


def grassberger2003(counts: list[int]) -> float:
    """G(n) = ψ(n) + (-1)^n ∫₀¹ x^(n-1)/(1+x) dx, the paper's integral form."""
    total = sum(counts)

    def g(n: int) -> float:
        return harmonic_digamma(n) + (-1) ** n * quad(lambda x: x ** (n - 1) / (1 + x), 0, 1)[0]

    return math.log(total) - sum(n * g(n) for n in counts) / total


def chao_shen(counts: list[int]) -> float:
    total, singles = sum(counts), counts.count(1)
    coverage = 1 - (total - 1 if singles == total else singles) / total
    value = 0.0
    for n in counts:
        p = coverage * n / total
        value -= p * math.log(p) / (1 - (1 - p) ** total)
    return value


def chao_wang_jost(counts: list[int]) -> float:
    """Equations 7 and 8 of the paper as printed, with digits to spare for the cancellation."""
    mpmath.mp.dps = 200
    total, f1, f2 = sum(counts), counts.count(1), counts.count(2)
    first = sum(
        mpmath.mpf(n) / total * sum(mpmath.mpf(1) / k for k in range(n, total)) for n in counts
    )
    if f2:
        a = mpmath.mpf(2 * f2) / ((total - 1) * f1 + 2 * f2)
    elif f1:
        a = mpmath.mpf(2) / ((total - 1) * (f1 - 1) + 2)
    else:
        a = mpmath.mpf(1)
    if f1 == 0 or a == 1:
        return float(first)
    rest = -mpmath.log(a) - sum((1 - a) ** r / r for r in range(1, total))
    return float(first + mpmath.mpf(f1) / total * (1 - a) ** (1 - total) * rest)


@pytest.mark.parametrize(
    "scalar",
    [
        plugin,
        miller_madow,
        jackknife,
        zhang,
        grassberger1988,
        grassberger2003,
        chao_shen,
        chao_wang_jost,
    ],
    ids=lambda f: f.__name__,
)
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(votes, min_size=1, max_size=3))
def test_against_scalar(scalar: Callable[[list[int]], float], rows: list[list[int]]) -> None:
    got = entropy(rows, scalar.__name__, se="none").value
    assert got == pytest.approx([scalar(row) for row in rows], abs=1e-9)


# ---- estimators that need K, on the full vector with its zeros ---------------------------------


def padded(counts: list[int], k: int) -> list[int]:
    return counts + [0] * (k - len(counts))


def shrinkage(counts: list[int], k: int) -> float:
    total = sum(counts)
    p = [n / total for n in padded(counts, k)]
    distance = sum((1 / k - x) ** 2 for x in p)
    strength = 1.0
    if distance > 1e-14:
        strength = min(1.0, sum(x * (1 - x) for x in p) / (total - 1) / distance)
    mixed = [strength / k + (1 - strength) * x for x in p]
    return -sum(x * math.log(x) for x in mixed if x > 0)


def dirichlet(counts: list[int], k: int, a: float) -> float:
    total = sum(counts) + k * a
    return -sum((n + a) / total * math.log((n + a) / total) for n in padded(counts, k))


def wolpert_wolf(counts: list[int], k: int, a: float) -> tuple[float, float]:
    """E[H] and E[H²] as Wolpert and Wolf give them, double sum and all."""
    alpha = np.array(padded(counts, k), dtype=float) + a
    total = alpha.sum()
    mean = digamma(total + 1) - (alpha / total * digamma(alpha + 1)).sum()
    second = 0.0
    for i in range(k):
        for j in range(k):
            if i == j:
                x = digamma(alpha[i] + 2) - digamma(total + 2)
                term = x**2 + polygamma(1, alpha[i] + 2) - polygamma(1, total + 2)
                second += alpha[i] * (alpha[i] + 1) * term
            else:
                x = digamma(alpha[i] + 1) - digamma(total + 2)
                y = digamma(alpha[j] + 1) - digamma(total + 2)
                second += alpha[i] * alpha[j] * (x * y - polygamma(1, total + 2))
    second /= total * (total + 1)
    return float(mean), math.sqrt(max(second - mean**2, 0))


@settings(max_examples=40, deadline=None)
@given(counts=votes, more=st.integers(0, 6), a=st.sampled_from([0.01, 0.5, 1.0, 7.3]))
def test_known_categories_against_scalar(counts: list[int], more: int, a: float) -> None:
    k = len(counts) + more
    got = entropy(counts, "shrinkage", n_categories=k).value[0]
    assert got == pytest.approx(shrinkage(counts, k), abs=1e-12)
    got = entropy(counts, "dirichlet", n_categories=k, prior=a).value[0]
    assert got == pytest.approx(dirichlet(counts, k, a), abs=1e-12)
    posterior = entropy(counts, "wolpert_wolf", n_categories=k, prior=a)
    mean, sd = wolpert_wolf(counts, k, a)
    assert posterior.value[0] == pytest.approx(mean, abs=1e-12)
    assert posterior.se[0] == pytest.approx(sd, abs=1e-6)


def test_named_priors() -> None:
    counts, k = [4, 2, 1], 6
    for name, a in (
        ("jeffreys", 1 / 2),
        ("laplace", 1),
        ("schurmann_grassberger", 1 / 6),
        ("minimax", math.sqrt(7) / 6),
    ):
        for estimator in ("dirichlet", "wolpert_wolf"):
            named = entropy(counts, estimator, n_categories=k, prior=name)
            number = entropy(counts, estimator, n_categories=k, prior=a)
            assert named.value[0] == pytest.approx(number.value[0], abs=1e-14)
    assert (
        entropy(counts, "dirichlet", n_categories=k).value
        == entropy(counts, "dirichlet", n_categories=k, prior="jeffreys").value
    )
    assert (
        entropy(counts, "wolpert_wolf", n_categories=k).value
        == entropy(counts, "wolpert_wolf", n_categories=k, prior="laplace").value
    )


# ---- NSB against adaptive quadrature over β itself ---------------------------------------------


def nsb(counts: list[int], k: int) -> tuple[float, float]:
    """Posterior moments by scipy's quad on pieces of ln β, likelihood and moments as printed."""

    def log_weight(t: float) -> float:
        b = math.exp(t)
        slope = k * polygamma(1, k * b + 1) - polygamma(1, b + 1)
        evidence = gammaln(k * b) - gammaln(sum(counts) + k * b)
        evidence += sum(gammaln(n + b) - gammaln(b) for n in counts)
        return float(evidence + math.log(slope) + t)

    grid = np.linspace(-25, 12, 400)
    top = max(log_weight(t) for t in grid)

    def integrate(f: Callable[[float], float]) -> float:
        return sum(
            quad(lambda t: f(t) * math.exp(log_weight(t) - top), a, a + 1, epsabs=1e-13)[0]
            for a in range(-25, 12)
        )

    mass = integrate(lambda t: 1.0)
    mean = integrate(lambda t: wolpert_wolf(counts, k, math.exp(t))[0]) / mass

    def second(t: float) -> float:
        m, sd = wolpert_wolf(counts, k, math.exp(t))
        return m**2 + sd**2

    return mean, math.sqrt(integrate(second) / mass - mean**2)


@pytest.mark.parametrize(
    ("counts", "k"), [([3], 2), ([2, 2], 3), ([6, 1], 4), ([1, 1, 1], 3), ([4, 2, 1], 5)]
)
def test_nsb_against_adaptive_quadrature(counts: list[int], k: int) -> None:
    mean, sd = nsb(counts, k)
    got = entropy(counts, "nsb", n_categories=k)
    assert got.value[0] == pytest.approx(mean, abs=1e-6)  # quad stops at β = e^12
    assert got.se[0] == pytest.approx(sd, abs=1e-5)


@pytest.mark.parametrize("counts", [[1], [10**6], [1] * 300, [5] * 400, [10**6, 1], [10**6] * 3])
def test_nsb_where_the_posterior_is_extreme(counts: list[int]) -> None:
    """Very narrow, very flat, or at the end of the range: against mpmath."""
    mpmath.mp.dps = 60
    k, total = len(counts) + 7, sum(counts)
    sizes = sorted(set(counts))

    def log_weight(t: float) -> mpmath.mpf:
        b = mpmath.e**t
        slope = k * mpmath.psi(1, k * b + 1) - mpmath.psi(1, b + 1)
        value = mpmath.loggamma(k * b) - mpmath.loggamma(total + k * b)
        for n in sizes:
            value += counts.count(n) * (mpmath.loggamma(n + b) - mpmath.loggamma(b))
        return value + mpmath.log(slope) + t

    def mean_at(t: float) -> mpmath.mpf:
        b = mpmath.e**t
        alpha = total + k * b
        seen = sum(counts.count(n) * (n + b) * mpmath.psi(0, n + b + 1) for n in sizes)
        return mpmath.psi(0, alpha + 1) - (seen + 7 * b * mpmath.psi(0, b + 1)) / alpha

    coarse = np.linspace(-45, 75, 160)
    logs = np.array([float(log_weight(t)) for t in coarse])
    alive = coarse[logs > logs.max() - 45]
    fine = np.linspace(alive[0] - 0.8, alive[-1] + 0.8, 300)
    weight = [mpmath.e ** (log_weight(t) - logs.max()) for t in fine]
    mean = sum(w * mean_at(t) for w, t in zip(weight, fine, strict=True)) / sum(weight)
    got = entropy(counts, "nsb", n_categories=k).value[0]
    assert got == pytest.approx(float(mean), rel=1e-8)


# ---- the numerical kernels ---------------------------------------------------------------------


def test_trigamma() -> None:
    z = np.concatenate([np.linspace(1, 30, 500), 10.0 ** np.arange(2, 60)])
    np.testing.assert_allclose(trigamma(z), polygamma(1, z), rtol=1e-14)


def test_log_rising_against_mpmath() -> None:
    mpmath.mp.dps = 120
    z, n = np.meshgrid(10.0 ** np.arange(-50, 51, 4), [1.0, 2.0, 17.0, 1e3, 1e6])
    exact = [
        float(mpmath.loggamma(mpmath.mpf(a) + b) - mpmath.loggamma(a))
        for a, b in zip(z.ravel(), n.ravel(), strict=True)
    ]
    np.testing.assert_allclose(log_rising(z, n).ravel(), exact, rtol=1e-12, atol=1e-11)


def test_series_tail_against_mpmath() -> None:
    """Also where the printed formula loses every digit, and for a nearly diverging series."""
    mpmath.mp.dps = 60
    for n in (2, 3, 10, 252, 1000):
        for a in (2 / ((n - 1) ** 2 + 2), 0.01, 0.3, 0.9, 0.999):
            q = 1 - mpmath.mpf(a)
            exact = q / n * mpmath.hyp2f1(1, n, n + 1, q)
            got = _series_tail(np.array([float(n)]), np.array([a]))[0]
            assert got == pytest.approx(float(exact), rel=1e-12)
    assert _series_tail(np.array([5.0]), np.array([1.0]))[0] == 0
