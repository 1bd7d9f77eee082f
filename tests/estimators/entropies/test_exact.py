"""Exact expectations: every possible outcome of a small multinomial, against published formulas."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import digamma, gammaln, polygamma

from statllm.estimators.entropies.estimate import entropy

TRUTHS = [(0.5, 0.5), (0.9, 0.1), (0.6, 0.3, 0.1), (0.25, 0.25, 0.25, 0.25), (0.97, 0.02, 0.01)]
SIZES = [2, 3, 4, 7]


def shannon(p: tuple[float, ...]) -> float:
    return -sum(x * math.log(x) for x in p)


def outcomes(n: int, k: int) -> Iterator[tuple[int, ...]]:
    """All ways to share n votes among k answers."""
    for bars in itertools.combinations(range(n + k - 1), k - 1):
        yield tuple(np.diff((-1, *bars, n + k - 1)) - 1)


@cache
def sample_space(n: int, p: tuple[float, ...]) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Outcomes and their multinomial probabilities."""
    all_counts = list(outcomes(n, len(p)))
    logs = []
    for row in all_counts:
        terms = (c * math.log(x) - math.lgamma(c + 1) for c, x in zip(row, p, strict=True))
        logs.append(math.lgamma(n + 1) + sum(terms))
    return all_counts, np.exp(logs)


def expected(name: str, n: int, p: tuple[float, ...]) -> float:
    counts, probability = sample_space(n, p)
    assert probability.sum() == pytest.approx(1, abs=1e-12)
    return float(probability @ entropy(counts, name, se="none").value)


@pytest.mark.parametrize("p", TRUTHS)
@pytest.mark.parametrize("n", SIZES)
class TestExpectation:
    def test_zhang(self, n: int, p: tuple[float, ...]) -> None:
        """Zhang (2012): E = Σ_{v<N} (1/v) Σ p (1-p)^v, so the bias is the rest of the series."""
        formula = sum(x * (1 - x) ** v / v for v in range(1, n) for x in p)
        assert expected("zhang", n, p) == pytest.approx(formula, abs=1e-12)
        missing = sum(x * (1 - x) ** v / v for v in range(n, 20_000) for x in p)
        assert shannon(p) - formula == pytest.approx(missing, abs=1e-9)

    def test_grassberger_2003(self, n: int, p: tuple[float, ...]) -> None:
        """Schürmann (2004), J. Phys. A 37:L295: with ψ(N) for ln N the bias is
        -Σ p ∫₀^{1-2p} t^{N-1}/(1-t) dt, which falls off like |1-2p|^N."""
        bias = math.log(n) - digamma(n)
        bias -= sum(x * quad(lambda t: t ** (n - 1) / (1 - t), 0, 1 - 2 * x)[0] for x in p)
        assert expected("grassberger2003", n, p) - shannon(p) == pytest.approx(bias, abs=1e-9)

    def test_plugin(self, n: int, p: tuple[float, ...]) -> None:
        """The counts are binomial one by one."""
        formula = -sum(
            math.comb(n, c) * x**c * (1 - x) ** (n - c) * c / n * math.log(c / n)
            for x in p
            for c in range(1, n + 1)
        )
        assert expected("plugin", n, p) == pytest.approx(formula, abs=1e-12)

    def test_jackknife(self, n: int, p: tuple[float, ...]) -> None:
        """A sample without one vote is a sample of N - 1: E = N E_N - (N-1) E_{N-1}."""
        formula = n * expected("plugin", n, p) - (n - 1) * expected("plugin", n - 1, p)
        assert expected("jackknife", n, p) == pytest.approx(formula, abs=1e-12)

    def test_miller_madow(self, n: int, p: tuple[float, ...]) -> None:
        """The correction's expectation is [Σ 1 - (1-p)^N - 1] / 2N."""
        correction = (sum(1 - (1 - x) ** n for x in p) - 1) / (2 * n)
        formula = expected("plugin", n, p) + correction
        assert expected("miller_madow", n, p) == pytest.approx(formula, abs=1e-12)


def log_evidence(counts: tuple[int, ...], b: float) -> float:
    """Dirichlet-multinomial probability of the counts under pseudo-count b."""
    n, k = sum(counts), len(counts)
    value = gammaln(n + 1) + gammaln(k * b) - gammaln(n + k * b)
    return float(value + sum(gammaln(c + b) - gammaln(b) - gammaln(c + 1) for c in counts))


@pytest.mark.parametrize("a", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize(("n", "k"), [(1, 2), (4, 2), (3, 3), (5, 4)])
def test_wolpert_wolf_averages_to_its_prior(a: float, n: int, k: int) -> None:
    """Laws of total expectation and variance over all data, with the prior's own moments."""
    counts = list(outcomes(n, k))
    probability = np.exp([log_evidence(row, a) for row in counts])
    assert probability.sum() == pytest.approx(1, abs=1e-12)
    posterior = entropy(counts, "wolpert_wolf", n_categories=k, prior=a)
    prior_mean = digamma(k * a + 1) - digamma(a + 1)
    assert probability @ posterior.value == pytest.approx(prior_mean, abs=1e-12)
    # Wolpert and Wolf's variance of the prior itself: all α_i = a.
    prior_variance = (a + 1) / (k * a + 1) * polygamma(1, a + 1) - polygamma(1, k * a + 1)
    total = probability @ (posterior.se**2 + posterior.value**2) - prior_mean**2
    assert total == pytest.approx(prior_variance, abs=1e-10)


@pytest.mark.parametrize("a", [0.1, 0.5, 1.0, 3.0])
def test_prior_variance_by_integration(a: float) -> None:
    """The variance formula used above, for two categories, from the Beta density."""

    def moment(power: int) -> float:
        def integrand(s: float) -> float:  # p = s^(1/a) removes the singularity at 0
            p = s ** (1 / a)
            h = -p * math.log(p) - (1 - p) * math.log1p(-p) if 0 < p < 1 else 0.0
            return h**power * (1 - p) ** (a - 1) / a

        norm = math.exp(2 * math.lgamma(a) - math.lgamma(2 * a))
        return 2 * quad(integrand, 0, 0.5**a, epsabs=1e-13)[0] / norm

    variance = (a + 1) / (2 * a + 1) * polygamma(1, a + 1) - polygamma(1, 2 * a + 1)
    assert moment(2) - moment(1) ** 2 == pytest.approx(variance, abs=1e-10)


@pytest.mark.parametrize(("n", "k"), [(1, 2), (4, 2), (3, 3)])
def test_nsb_averages_to_half_of_ln_k(n: int, k: int) -> None:
    """Its prior mean entropy is uniform on (0, ln K), and so is its average over all data."""

    def slope(b: float) -> float:
        return float(k * polygamma(1, k * b + 1) - polygamma(1, b + 1))

    def evidence(counts: tuple[int, ...]) -> float:
        def integrand(t: float) -> float:
            b = math.exp(t)
            return math.exp(log_evidence(counts, b)) * slope(b) * b / math.log(k)

        return sum(quad(integrand, t, t + 2, epsabs=1e-12)[0] for t in range(-30, 18, 2))

    counts = list(outcomes(n, k))
    probability = np.array([evidence(row) for row in counts])
    assert probability.sum() == pytest.approx(1, abs=1e-6)
    average = probability @ entropy(counts, "nsb", n_categories=k).value
    assert average == pytest.approx(math.log(k) / 2, abs=1e-6)
