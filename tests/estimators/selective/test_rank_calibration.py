"""Rank correlations against scipy and loops; rank calibration against its definition."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.estimators.selective.auroc import auroc
from statllm.estimators.selective.rank_calibration import rank_calibration_error
from statllm.estimators.selective.rank_correlation import (
    kendall,
    pair_counts,
    reversed_pairs_proportion,
    spearman,
)

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=25)


def published_data() -> tuple[np.ndarray, np.ndarray]:
    # RandomState(1): p = uniform(100), u = uniform(100), y = (u <= p).
    state = np.random.RandomState(1)
    p, u = state.uniform(size=100), state.uniform(size=100)
    return p, (u <= p).astype(float)


def test_published_values() -> None:
    p, y = published_data()
    # lm-polygraph 0.7.0, ue_metrics.
    assert reversed_pairs_proportion(p, y, "lm_polygraph").value == pytest.approx(0.0465)
    assert spearman(p, y).value == pytest.approx(0.5400793370, abs=1e-10)
    assert kendall(p, y).value == pytest.approx(0.4431723120, abs=1e-10)
    area = auroc(p, y)
    share = reversed_pairs_proportion(p, y)
    assert share.value == pytest.approx(1 - area.value)
    assert share.se == pytest.approx(area.se, rel=0.02)


@settings(deadline=None, max_examples=40)
@given(PAIRS)
def test_values_and_errors_equal_scipy_and_the_jackknife(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, dtype=float).T
    n = len(x)
    signs = np.sign(np.subtract.outer(x, x)) * np.sign(np.subtract.outer(y, y))
    concordant, discordant = pair_counts(x, y)
    assert concordant.tolist() == (signs > 0).sum(axis=1).tolist()
    assert discordant.tolist() == (signs < 0).sum(axis=1).tolist()
    for ours, theirs in ((kendall, stats.kendalltau), (spearman, stats.spearmanr)):
        found = ours(x, y)
        if len(set(x)) == 1 or len(set(y)) == 1:
            assert np.isnan(found.value)
            continue
        assert found.value == pytest.approx(theirs(x, y).statistic, abs=1e-12)
        keep = [np.delete(np.arange(n), i) for i in range(n)]
        if any(len(set(z[k])) == 1 for z in (x, y) for k in keep):
            assert np.isnan(found.se)
            continue
        without = np.array([theirs(x[k], y[k]).statistic for k in keep])
        se = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
        assert found.se == pytest.approx(se, abs=1e-9)
        turned = ours(-x, y)
        assert turned.value == pytest.approx(-found.value, abs=1e-12)


def plain_rpp(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean([((x <= x[i]) & (y > y[i])).mean() for i in range(len(x))]))


def test_reversed_pairs_with_ties() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, 50).astype(float), rng.integers(0, 3, 50).astype(float)
    found = reversed_pairs_proportion(x, y, "lm_polygraph").value
    # The count of lm-polygraph turns round which of a pair is looked at; ties count whole.
    assert found == pytest.approx(np.mean([((x >= x[i]) & (y < y[i])).mean() for i in range(50)]))
    assert found == pytest.approx(plain_rpp(x, y))
    assert reversed_pairs_proportion(np.ones(50), y).value == 0.5
    assert np.isnan(reversed_pairs_proportion(x, np.ones(50)).value)
    clustered = reversed_pairs_proportion(x, y, clusters=np.arange(50) // 2)
    assert clustered.n == 25
    single = reversed_pairs_proportion(x, y, clusters=np.arange(50))
    assert single.se == pytest.approx(reversed_pairs_proportion(x, y).se)


def test_intervals_cover() -> None:
    rng = np.random.default_rng(1)
    truth = {
        kendall: 2 / np.pi * np.arcsin(0.6),
        spearman: 6 / np.pi * np.arcsin(0.3),
        reversed_pairs_proportion: 0.5 - np.arcsin(0.6) / np.pi,
    }
    hits = dict.fromkeys(truth, 0)
    for _ in range(300):
        x, y = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 50).T
        for function, value in truth.items():
            hits[function] += value in function(x, y).interval()
    assert all(0.92 < h / 300 < 0.985 for h in hits.values()), hits


def plain_rce(score: np.ndarray, y: np.ndarray, n_bins: int) -> float:
    """Huang et al. (2024), answer by answer, with confidence for uncertainty."""
    n = len(score)
    order = np.argsort(score)
    edges = [round(e) for e in np.linspace(0, n, n_bins + 1)]
    fitted = np.zeros(n)
    for low, high in pairwise(edges):
        fitted[low:high] = y[order][low:high].mean()
    fitted = fitted.round(12)  # equal means are equal, whatever the order of their sums
    share = np.array([((fitted <= f).sum() - 1) / (n - 1) for f in fitted])
    for low, high in pairwise(edges):
        share[low:high] = share[low:high].mean() - (high - low - 1) / (2 * (n - 1))
    return float(np.abs(share - np.arange(n) / (n - 1)).mean())


def test_rce_equals_the_authors_formula() -> None:
    rng = np.random.default_rng(2)
    for n, bins in ((100, 20), (57, 7), (40, 40)):
        score, y = rng.uniform(size=n), rng.uniform(size=n).round(1)
        found = rank_calibration_error(score, y, bins, n_draws=1)
        assert found.value == pytest.approx(plain_rce(score, y, bins))
    # Strictly rising: no error beyond that of the bins' middles. Falling: the largest.
    rising = rank_calibration_error(np.arange(100.0), np.linspace(0, 1, 100), 100, n_draws=1)
    assert rising.value == pytest.approx(0, abs=1e-12)
    falling = rank_calibration_error(-np.arange(100.0), np.linspace(0, 1, 100), 100, n_draws=1)
    assert falling.value == pytest.approx(0.5, abs=0.01)


def test_rank_calibrated_scores_are_not_rejected_and_others_are() -> None:
    rng = np.random.default_rng(3)
    p, excess = [], []
    for seed in range(60):
        score = rng.uniform(size=200)
        found = rank_calibration_error(score, rng.uniform(size=200) < score, n_draws=60, rng=seed)
        p.append(found.p_value)
        excess.append(found.excess)
    assert np.mean(np.array(p) <= 0.1) < 0.2
    assert abs(np.mean(excess)) < 0.02
    score = rng.uniform(size=400)
    bent = rng.uniform(size=400) < np.abs(2 * score - 1)
    assert rank_calibration_error(score, bent, n_draws=100).p_value < 0.02


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 3 rows hold NaN"):
        kendall([1.0, np.nan, 2.0], [1.0, 2.0, 3.0])
    assert kendall([1, np.nan, 2, 3, 4], [1, 2, 3, 5, 4], missing="drop").n == 4
    with pytest.raises(ValueError, match="one length"):
        spearman([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="quality must lie"):
        rank_calibration_error([0.1, 0.2], [2.0, 0.0], 2)
    with pytest.raises(ValueError, match="n_bins"):
        rank_calibration_error([0.1, 0.2], [1.0, 0.0])
    assert np.isnan(spearman([1.0], [1.0]).value)
    assert np.isnan(kendall([], []).value)
