"""Scaling fits against per-seed least squares, scipy, finite differences, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from statllm.estimators.comparison import crossed_mean, mean_estimate, t_test
from statllm.estimators.scaling import (
    curvature,
    reported_trend,
    scaling_difference,
    scaling_fit,
)
from statllm.estimators.scaling._laws import fit_power

SIZES = np.array([25.0, 50.0, 100.0, 200.0])


def crossed_scores(
    rng: np.random.Generator, curve: np.ndarray, seeds: int = 5, items: int = 60
) -> np.ndarray:
    """Scores whose seeds and items both have levels and slopes of their own."""
    x = np.log2(SIZES / SIZES[0])
    level = rng.normal(0, 0.03, (seeds, 1, 1)) + rng.normal(0, 0.3, (1, 1, items))
    slope = rng.normal(0, 0.01, (seeds, 1, 1)) + rng.normal(0, 0.05, (1, 1, items))
    noise = rng.normal(0, 0.2, (seeds, len(SIZES), items))
    return curve[None, :, None] + level + slope * x[None, :, None] + noise


def slopes(scores: np.ndarray) -> np.ndarray:
    """Least-squares slope in log2 n along axis 1, by numpy."""
    flat = np.moveaxis(scores, 1, 0).reshape(len(SIZES), -1)
    found = np.polyfit(np.log2(SIZES), flat, 1)[0]
    return found.reshape(np.delete(scores.shape, 1))


def test_the_gain_is_the_mean_of_each_seed_s_own_slope() -> None:
    scores = np.random.default_rng(0).normal(0.5, 0.1, (6, 4))
    gain = scaling_fit(scores, SIZES).parameters["gain per doubling"]
    expected = mean_estimate(slopes(scores))
    assert gain.value == pytest.approx(expected.value)
    assert gain.se == pytest.approx(expected.se)
    assert gain.df == pytest.approx(5)


def test_with_items_the_error_is_that_of_the_crossed_table_of_slopes() -> None:
    scores = crossed_scores(np.random.default_rng(1), 0.3 + 0.05 * np.arange(4))
    gain = scaling_fit(scores, SIZES).parameters["gain per doubling"]
    expected = crossed_mean(slopes(scores))
    assert gain.value == pytest.approx(expected.value)
    assert gain.se == pytest.approx(expected.se)
    assert gain.df == pytest.approx(expected.df)


def test_the_power_law_is_scipy_s_least_squares() -> None:
    rng = np.random.default_rng(2)
    means = 0.8 - 0.5 * (SIZES / 25) ** -0.7 + rng.normal(0, 0.01, 4)
    fit = scaling_fit(np.stack([means - 0.01, means + 0.01]), SIZES, "power")
    law = lambda n, c, k, a: c - k * (n / 25) ** -a  # noqa: E731
    expected, _ = optimize.curve_fit(law, SIZES, means, p0=(0.8, 0.5, 0.5))
    found = [fit.parameters[name].value for name in ("limit", "distance", "exponent")]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert fit.predict(400).value == pytest.approx(law(400, *expected), rel=1e-4)


def test_the_power_law_s_gradient_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(3)
    means = 0.8 - 0.5 * (SIZES / 25) ** -0.7 + rng.normal(0, 0.01, 4)
    fitted = fit_power(SIZES, means)
    for j in range(4):
        step = np.eye(4)[j] * 1e-4
        up, down = fit_power(SIZES, means + step), fit_power(SIZES, means - step)
        numeric = (up.values - down.values) / 2e-4
        np.testing.assert_allclose(fitted.gradient[:, j], numeric, rtol=2e-3)


def test_a_line_or_a_step_has_no_exponent() -> None:
    line = np.tile(0.1 * np.arange(4), (3, 1)) + np.arange(3)[:, None] * 0.01
    fit = scaling_fit(line, SIZES, "power")
    assert not fit.identified
    assert all(np.isnan(p.se) for p in fit.parameters.values())
    assert np.isnan(fit.parameters["exponent"].interval().low)


@pytest.mark.parametrize("score", [0.0, 0.1, 0.5, 0.7, 1.0])
def test_a_flat_curve_has_no_gain_and_no_curvature(score: float) -> None:
    """By rounding the gain was 1e-17 without an error, which a test took for certain."""
    for shape in ((5, 4), (5, 4, 30)):
        scores = np.full(shape, score)
        fit = scaling_fit(scores, SIZES)
        found = [fit.parameters["gain per doubling"], curvature(scores, SIZES), *fit.residuals()]
        found.append(scaling_difference(fit, scaling_fit(scores / 3, SIZES), "gain per doubling"))
        assert [(one.value, t_test(one).p_value) for one in found] == [(0.0, 1.0)] * 7


def test_a_difference_is_paired_by_seed() -> None:
    """The seeds' own levels and slopes, shared by both sets, fall out."""
    rng = np.random.default_rng(4)
    shared = rng.normal(0, 0.2, (5, 1)) + rng.normal(0, 0.05, (5, 1)) * np.arange(4)
    a = shared + rng.normal(0, 0.002, (5, 4))
    b = shared + 0.03 * np.arange(4) + rng.normal(0, 0.002, (5, 4))
    fits = scaling_fit(a, SIZES), scaling_fit(b, SIZES)
    gap = scaling_difference(*fits, "gain per doubling")
    assert gap.value == pytest.approx(slopes(b - a).mean())
    assert gap.se == pytest.approx(mean_estimate(slopes(b - a)).se)
    assert gap.se < fits[0].parameters["gain per doubling"].se / 5
    last = scaling_difference(*fits, "score at 200 examples")
    assert last.value == pytest.approx((b - a)[:, -1].mean())


def test_curvature_is_the_quadratic_s_coefficient() -> None:
    scores = np.random.default_rng(5).normal(0.5, 0.1, (6, 4))
    z = np.linspace(-1, 1, 4)
    expected = np.polyfit(z, scores.T, 2)[0]
    found = curvature(scores, SIZES)
    assert found.value == pytest.approx(expected.mean())
    assert found.se == pytest.approx(mean_estimate(expected).se)


def test_a_published_trend_is_weighted_least_squares() -> None:
    from statsmodels.api import WLS, add_constant

    p, n, sizes = np.array([0.2902, 0.2537, 0.2612]), 448, np.array([0.5, 1.5, 2.8])
    found = reported_trend(p, n, sizes)
    weights = n / (p * (1 - p))
    model = WLS(p, add_constant(np.log2(sizes)), weights=weights).fit()
    assert found.gain.value == pytest.approx(model.params[1])
    assert found.gain.se == pytest.approx(np.sqrt(model.normalized_cov_params[1, 1]))
    chi2 = float(weights @ model.resid**2)
    assert found.line.p_value == pytest.approx(stats.chi2.sf(chi2, 1))
    # WebInstruct's fall on GPQA is within the noise of 448 questions.
    assert 0 in found.gain.interval()


@pytest.mark.parametrize(
    ("accuracies", "n", "sizes", "message"),
    [
        ([0.5, np.nan], 100, [1, 2], "strictly between 0 and 1"),
        ([0.5, 0.6], 0, [1, 2], "n_items must be at least 1"),
        ([0.5, 0.6], np.nan, [1, 2], "n_items must be at least 1, not nan"),
        ([0.5, 0.6], 100, [1, np.nan], "positive and all different"),
    ],
)
def test_wrong_published_rows(
    accuracies: list[float], n: int, sizes: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        reported_trend(accuracies, n, sizes)


@pytest.mark.parametrize(
    ("scores", "sizes", "law", "message"),
    [
        (np.ones((1, 4)), SIZES, "log", "at least two seeds"),
        (np.ones((3, 4)), SIZES[:3], "log", "3 sizes for scores at 4"),
        (np.full((3, 4), np.nan), SIZES, "log", "seed 0 at size 25 isn't finite"),
        (np.ones((3, 2)), SIZES[:2], "power", "needs as many sizes"),
        (np.ones((3, 4)), [1, 1, 2, 3], "log", "all different"),
        (np.ones((3, 4)), SIZES, "exp", "log or power"),
    ],
)
def test_wrong_input(scores: np.ndarray, sizes: np.ndarray, law: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scaling_fit(scores, sizes, law)  # type: ignore[arg-type]


def test_the_gain_s_interval_covers() -> None:
    rng, truth = np.random.default_rng(6), 0.04
    covered = rejected = 0
    for _ in range(400):
        fit = scaling_fit(crossed_scores(rng, 0.3 + truth * np.arange(4)), SIZES)
        gain = fit.parameters["gain per doubling"]
        covered += truth in gain.interval()
        rejected += t_test(curvature(fit._scores, SIZES)).p_value < 0.05
    assert 0.92 <= covered / 400 <= 0.985
    assert rejected / 400 <= 0.085


@pytest.mark.slow
def test_the_power_law_s_intervals_cover() -> None:
    rng = np.random.default_rng(7)
    truth = {"limit": 0.8, "distance": 0.5, "exponent": 0.8}
    curve = 0.8 - 0.5 * (SIZES / 25) ** -0.8
    covered = dict.fromkeys(truth, 0)
    runs = 400
    for _ in range(runs):
        scores = curve + rng.normal(0, 0.01, (8, 1)) + rng.normal(0, 0.01, (8, 4))
        fit = scaling_fit(scores, SIZES, "power")
        for name, value in truth.items():
            covered[name] += value in fit.parameters[name].interval()
    for name, count in covered.items():
        assert 0.90 <= count / runs <= 0.99, (name, count / runs)


def test_residuals_are_those_of_each_seed_s_own_line() -> None:
    scores = np.random.default_rng(11).normal(0.5, 0.1, (6, 4))
    x = np.log2(SIZES)
    own = np.stack([row - np.polyval(np.polyfit(x, row, 1), x) for row in scores])
    for found, expected in zip(scaling_fit(scores, SIZES).residuals(), own.T, strict=True):
        assert found.value == pytest.approx(expected.mean())
        assert found.se == pytest.approx(expected.std(ddof=1) / np.sqrt(6))


def test_residuals_of_the_power_law_move_as_refits_say() -> None:
    rng = np.random.default_rng(12)
    scores = 0.8 - 0.5 * (SIZES / 25) ** -0.7 + rng.normal(0, 0.01, (5, 4))
    fit = scaling_fit(scores, SIZES, "power")
    found = fit.residuals()
    assert sum(one.value**2 for one in found) == pytest.approx(4 * fit.rms**2)
    # The infinitesimal jackknife, by refitting with one seed a little heavier.
    step, moved = 1e-4, []
    for seed in range(5):
        weight = np.ones(5)
        weight[seed] += step
        curve = np.average(scores, axis=0, weights=weight)
        again = scaling_fit(np.stack([curve, curve]), SIZES, "power").residuals()
        moved.append([(a.value - b.value) / step for a, b in zip(again, found, strict=True)])
    for place, one in enumerate(found):
        influence = 5 * np.array(moved)[:, place]
        assert one.se == pytest.approx(np.sqrt((influence**2).sum() / (5 * 4)), rel=0.02)


def test_residuals_find_a_curve_that_no_line_is() -> None:
    curve = 0.02 + 0.4 * (SIZES / 25) ** -2.5
    scores = crossed_scores(np.random.default_rng(13), curve, 8, 200)
    line, power = (scaling_fit(scores, SIZES, law).residuals() for law in ("log", "power"))
    assert min(t_test(one).p_value for one in line) < 0.001
    assert min(t_test(one).p_value for one in power) > 0.01
