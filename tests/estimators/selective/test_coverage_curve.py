"""The risk-coverage curve: counts, ties, pointwise and simultaneous bands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.estimators.selective.coverage_curve import coverage_curve

PAIRS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30
)


@settings(deadline=None)
@given(PAIRS, st.integers(0, 2**32 - 1))
def test_counts(pairs: list[tuple[float, bool]], seed: int) -> None:
    score = np.array([s for s, _ in pairs])
    right = np.array([r for _, r in pairs])
    order = np.random.default_rng(seed).permutation(len(score))
    curve = coverage_curve(score[order], right[order])
    assert list(curve.threshold) == sorted(set(score), reverse=True)
    for threshold, kept, wrong in zip(curve.threshold, curve.kept, curve.wrong, strict=True):
        assert kept == (score >= threshold).sum()
        assert wrong == (~right & (score >= threshold)).sum()
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(1 - right.mean())
    for kind in ("pointwise", "bonferroni", "dkw"):
        low, high = curve.band(kind=kind)
        assert np.all((low <= curve.risk) & (curve.risk <= high))
        assert np.all((low >= 0) & (high <= 1))


def test_pointwise_band_is_the_exact_binomial_one() -> None:
    curve = coverage_curve([5, 4, 3, 2, 1], [1, 1, 0, 1, 0])
    low, high = curve.band(0.9)
    for i in range(5):
        exact = stats.binomtest(int(curve.wrong[i]), int(curve.kept[i])).proportion_ci(0.9)
        assert (low[i], high[i]) == pytest.approx((exact.low, exact.high))
    wide = curve.band(0.9, "bonferroni")
    assert wide[1] == pytest.approx(curve.band(0.98)[1])  # 1 - 0.1 / 5


def test_working_points() -> None:
    # fd-shifts' table: coverage, risk and threshold at a coverage of 0.5 and of 0.95.
    alternating, ascending = np.arange(100) % 2, np.linspace(0, 1, 100)
    plateaus = np.repeat([0.2, 0.4, 0.6, 0.8], 25)
    assert coverage_curve(alternating, alternating).accuracy_at_coverage(0.5).value == 1
    assert coverage_curve(alternating, alternating).accuracy_at_coverage(0.95).value == 0.5
    assert coverage_curve(np.ones(100), alternating).accuracy_at_coverage(0.5).n == 100
    at = coverage_curve(ascending, alternating).accuracy_at_coverage(0.95)
    assert (at.n, 1 - at.value) == (95, pytest.approx(0.4947368, abs=1e-7))
    assert coverage_curve(plateaus, alternating).accuracy_at_coverage(0.7).n == 75
    assert coverage_curve(ascending, alternating).coverage_at_risk(0.4949) == 0.97
    assert coverage_curve(ascending, ascending > 2).coverage_at_risk(0.5) == 0


def test_exact_share_of_answers_is_enough() -> None:
    curve = coverage_curve(np.arange(10.0), np.ones(10))
    assert [curve.accuracy_at_coverage(k / 10).n for k in range(1, 11)] == list(range(1, 11))


def test_edges() -> None:
    empty = coverage_curve([], [])
    assert (empty.n, len(empty.coverage)) == (0, 0)
    assert all(len(empty.band(kind=kind)[0]) == 0 for kind in ("pointwise", "bonferroni", "dkw"))
    assert np.isnan(empty.accuracy_at_coverage(0.5).value)
    assert empty.coverage_at_risk(0.5) == 0
    assert list(coverage_curve([0.5], [1]).to_frame()["kept"]) == [1]
    curve = coverage_curve([0.5, 0.4], [1, 0])
    with pytest.raises(ValueError, match="scores are NaN"):
        coverage_curve([0.5, np.nan], [1, 0])
    with pytest.raises(ValueError, match="true or false"):
        coverage_curve([0.5, 0.4], [1, 0.5])
    with pytest.raises(ValueError, match="kind must be"):
        curve.band(kind="normal")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="level must lie"):
        curve.band(1.0, "dkw")
    with pytest.raises(ValueError, match="coverage must lie"):
        curve.accuracy_at_coverage(0)
    with pytest.raises(ValueError, match="max_risk must lie"):
        curve.coverage_at_risk(1.5)


@pytest.mark.parametrize("kind", ["bonferroni", "dkw"])
def test_simultaneous_bands_hold_everywhere(kind: str) -> None:
    # Scores are uniform and right with probability equal to the score: risk (1 - t) / 2.
    rng = np.random.default_rng(9)
    held = pointwise = 0
    for _ in range(500):
        score = rng.uniform(size=150)
        curve = coverage_curve(score, rng.uniform(size=150) < score)
        low, high = curve.band(kind=kind)
        # Given the next lower score, the kept answers are a sample from above it.
        truth = (1 - np.append(curve.threshold[1:], 0.0)) / 2
        within = (low <= truth) & (truth <= high)
        if kind == "dkw":  # holds at any threshold, so at the scores themselves too
            truth_at_score = (1 - curve.threshold) / 2
            within &= (low <= truth_at_score) & (truth_at_score <= high)
        held += np.all(within)
        low, high = curve.band()
        pointwise += np.all((low <= truth) & (truth <= high))
    assert held / 500 >= 0.95
    assert pointwise / 500 < 0.9  # what the correction is for
