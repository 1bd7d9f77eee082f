"""Privacy estimators against dp-accounting, closed forms and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from statllm.estimators.privacy import (
    epsilon_lower_bound,
    epsilon_of_one_run,
    forget_quality,
    gaussian_delta,
    gaussian_epsilon,
    gaussian_mu,
    model_utility,
    mu_lower_bound,
    renyi_epsilon,
    subsampled_renyi,
    tpr_at_fpr,
    truth_ratio,
    truth_ratio_utility,
)
from statllm.ragged import Ragged


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "epsilon"),
    [
        # dp_accounting 0.6: RdpAccountant over the same orders, PoissonSampledDpEvent of a
        # GaussianDpEvent, get_epsilon(1e-5).
        (256 / 60000, 1.1, 3515, 1.2811442759635217),
        (0.01, 0.8, 1000, 3.7252402212476152),
        (0.1, 2.0, 200, 3.6797458455819205),
        (1.0, 5.0, 10, 2.814109167845533),
    ],
)
def test_renyi_accounting_is_dp_accounting(
    rate: float, noise: float, steps: int, epsilon: float
) -> None:
    assert renyi_epsilon(1e-5, rate, noise, steps) == pytest.approx(epsilon, rel=1e-12)


def test_subsampled_divergence_by_quadrature() -> None:
    """The definition: E_q (p / q)^a for q = N(0, s^2) and p = (1 - r) N(0, s^2) + r N(1, s^2)."""
    rate, noise = 0.3, 1.2

    def integrand(x: float, order: int) -> float:
        q = stats.norm.pdf(x, 0, noise)
        p = (1 - rate) * q + rate * stats.norm.pdf(x, 1, noise)
        return float(q * (p / q) ** order)

    for order, found in zip((2, 5), subsampled_renyi(rate, noise, 7, [2, 5]), strict=True):
        value = integrate.quad(integrand, -15, 20, args=(order,))[0]
        assert found == pytest.approx(7 * math.log(value) / (order - 1), rel=1e-8)


def test_gaussian_privacy_golden() -> None:
    mu = gaussian_mu(256 / 60000, 1.1, 15 * 60000 // 256)
    assert mu == pytest.approx(0.28677, abs=5e-6)
    assert gaussian_epsilon(1e-5, mu) == pytest.approx(1.0770, abs=5e-5)
    assert gaussian_delta(gaussian_epsilon(1e-9, 2.0), 2.0) == pytest.approx(1e-9, rel=1e-6)
    assert gaussian_epsilon(0.5, 0.1) == 0


def test_accounting_bounds_the_audit() -> None:
    """Attack the Gaussian mechanism itself: the bound is below its true mu in 95 % and more."""
    rng = np.random.default_rng(0)
    mu, n, above, bounds = 1.5, 2000, 0, []
    for _ in range(300):
        out, inside = rng.normal(0, 1, n), rng.normal(mu, 1, n)
        fp, fn = int(np.sum(out > 2)), int(np.sum(inside <= 2))
        bound = mu_lower_bound(fp, n, fn, n).low
        above += bound > mu
        bounds.append(bound)
        epsilon = epsilon_lower_bound(fp, n, fn, n, 1e-5).low
        assert epsilon < gaussian_epsilon(1e-5, mu)
    assert above / 300 <= 0.05 + 3 * 0.0126
    assert np.mean(bounds) > 1.2  # and it isn't trivially small


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_one_run_bound_holds_for_randomised_response(epsilon: float) -> None:
    """Each canary's bit is told right with probability e^eps / (1 + e^eps): exactly eps-private."""
    rng = np.random.default_rng(1)
    m, share = 500, math.exp(epsilon) / (1 + math.exp(epsilon))
    bounds = [epsilon_of_one_run(int(rng.binomial(m, share)), m, m).low for _ in range(1000)]
    assert np.mean(np.array(bounds) > epsilon) <= 0.05 + 3 * 0.007
    assert np.mean(np.array(bounds) > epsilon) > 0.02  # exact, up to the steps of the binomial
    assert epsilon_of_one_run(400, 500, 500, delta=1e-5).low < epsilon_of_one_run(400, 500, 500).low


def test_no_evidence_is_no_epsilon() -> None:
    assert epsilon_lower_bound(500, 1000, 500, 1000).low == 0
    assert epsilon_of_one_run(50, 100, 100).low == 0
    assert epsilon_of_one_run(0, 0, 10).low == 0


def test_tpr_counts_tied_scores_together() -> None:
    others = [0.0] * 90 + [1.0] * 8 + [2.0] * 2
    found = tpr_at_fpr([2.0, 1.0, 1.0, 0.0], others, 0.05)
    assert (found.threshold, found.tpr.value, found.fpr.value) == (2.0, 0.25, 0.02)
    tied = tpr_at_fpr([3.0, 1.0], [1.0] * 100, 0.05)
    assert (tied.tpr.value, tied.fpr.value) == (0.5, 0.0)


def test_tpr_is_scikit_learn_s_roc() -> None:
    from sklearn.metrics import roc_curve

    rng = np.random.default_rng(2)
    members, others = rng.normal(0.7, 1, 800).round(2), rng.normal(0, 1, 900).round(2)
    labels = np.repeat([1, 0], [800, 900])
    fpr, tpr, _ = roc_curve(labels, np.concatenate([members, others]), drop_intermediate=False)
    for wanted in (0.01, 0.05, 0.3):
        assert tpr_at_fpr(members, others, wanted).tpr.value == tpr[fpr <= wanted].max()


def test_tpr_interval_covers() -> None:
    """The truth at the threshold that was made: 500 repeats, error .01."""
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(500):
        found = tpr_at_fpr(rng.normal(1, 1, 200), rng.normal(0, 1, 300), 0.05)
        inside += stats.norm.sf(found.threshold, 1, 1) in found.tpr.interval()
    assert inside / 500 > 0.95 - 0.03


def test_unlearning() -> None:
    ratio = truth_ratio(Ragged.from_lists([[math.log(0.2), math.log(0.4)]]), [math.log(0.6)])
    assert ratio[0] == pytest.approx(0.5)
    assert truth_ratio_utility(ratio)[0] == pytest.approx(0.5)
    rng = np.random.default_rng(4)
    first, second = rng.random(40), rng.random(50) + 0.3
    assert forget_quality(first, second).p_value == pytest.approx(
        stats.ks_2samp(first, second).pvalue
    )


def test_utility_is_the_harmonic_mean_and_its_error_the_simulated_one() -> None:
    rng = np.random.default_rng(5)
    means = (0.4, 0.7, 0.9)
    values, errors = [], []
    for _ in range(500):
        parts = {str(m): rng.binomial(1, m, 150) for m in means}
        found = model_utility(parts)
        assert found.value == pytest.approx(stats.hmean([p.mean() for p in parts.values()]))
        values.append(found.value)
        errors.append(found.se)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.12)


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="needs 100 non-members"):
        tpr_at_fpr([1.0], [0.0] * 50, 0.01)
    with pytest.raises(ValueError, match="members is NaN at place 0"):
        tpr_at_fpr([math.nan], [0.0] * 50, 0.1)
    with pytest.raises(ValueError, match="7 false positives in 5 runs"):
        epsilon_lower_bound(7, 5, 0, 5)
    with pytest.raises(ValueError, match="impossible"):
        epsilon_of_one_run(5, 4, 10)
    with pytest.raises(ValueError, match="noise must be positive"):
        renyi_epsilon(1e-5, 0.1, 0.0, 1)
    with pytest.raises(ValueError, match="rouge has a score of -1"):
        model_utility({"rouge": [-1.0]})
