"""Thresholds with a guarantee: MAPIE's decisions, definitions, violations counted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.estimators.selective.risk_bounds import risk_upper_bound
from statllm.estimators.selective.risk_control import (
    learn_then_test,
    rcps_threshold,
    reject_familywise,
    selective_threshold,
)

# MAPIE 1.6.0, control_fwer(p, 0.05, ...).
P = [0.0343, 0.4847, 0.0, 0.005, 0.0, 0.1708, 0.0609, 0.4033, 0.3223, 0.0422, 0.0225, 0.2783]
MAPIE = {"bonferroni": [2, 4], "holm": [2, 3, 4], "fixed-sequence": [0]}
CORRECTIONS = ["fixed-sequence", "fallback", "holm", "bonferroni"]


@pytest.mark.parametrize("method", MAPIE)
def test_corrections_equal_mapie(method: str) -> None:
    assert list(np.flatnonzero(reject_familywise(P, 0.05, method))) == MAPIE[method]


def test_holm_equals_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.beta(0.3, 4, 9).round(3)
        for method in ("holm", "bonferroni"):
            expected = multipletests(p, 0.05, method)[0]
            assert list(reject_familywise(p, 0.05, method)) == list(expected)


def test_fallback_passes_levels_on() -> None:
    # Levels: .0125; .025 after a rejection; .0375; back to .0125 after a failure.
    assert list(reject_familywise([0.012, 0.024, 0.037, 0.05], 0.05, "fallback")) == [1, 1, 1, 1]
    assert list(reject_familywise([0.012, 0.026, 0.013, 0.0125], 0.05, "fallback")) == [1, 0, 0, 1]


@pytest.mark.parametrize("method", CORRECTIONS)
def test_corrections_at_the_edges(method: str) -> None:
    assert len(reject_familywise([], 0.05, method)) == 0
    assert list(reject_familywise([np.nan, 0.0], 0.05, method)) in ([False, True], [False, False])
    assert list(reject_familywise([0.05], 0.05, method)) == [True]
    with pytest.raises(ValueError, match="method must be one of"):
        reject_familywise([0.1], 0.05, "sidak")  # type: ignore[arg-type]


def test_threshold_is_the_last_whose_clopper_pearson_limits_all_hold() -> None:
    rng = np.random.default_rng(3)
    score = rng.uniform(size=500)
    right = rng.uniform(size=500) < 0.7 + 0.3 * score
    rule = selective_threshold(score, right, max_risk=0.15, delta=0.1, candidates=25)
    ranked = right[np.argsort(-score)]
    last = 0
    for kept in range(20, 501, 20):
        errors = int((~ranked[:kept]).sum())
        limit = stats.binomtest(errors, kept, alternative="less").proportion_ci(0.9).high
        if limit > 0.15:
            break
        last = kept
    assert last > 0
    assert rule.kept == last
    assert rule.threshold == np.sort(score)[::-1][last - 1]
    assert rule.keep(score).sum() == last
    assert rule.risk == pytest.approx((~ranked[:last]).mean())
    assert rule.coverage == last / 500
    assert f"{last} of 500 kept" in rule.summary()
    assert rule.to_frame()["valid"].sum() == rule.valid.sum()


def test_no_valid_threshold_means_abstaining_on_all() -> None:
    rng = np.random.default_rng(4)
    score = rng.uniform(size=200)
    for right in (np.zeros(200), rng.uniform(size=200) < 0.5):
        rule = selective_threshold(score, right, max_risk=0.05)
        assert not rule.certified
        assert (rule.threshold, rule.kept, rule.coverage) == (math.inf, 0, 0.0)
        assert math.isnan(rule.risk)
        assert not rule.keep([0.9, math.inf, math.nan]).any()
        assert "abstain on all" in rule.summary()
    for empty in (selective_threshold([], []), rcps_threshold([], [])):
        assert not empty.certified
    # 28 right answers can't show a risk below 10 %, 29 can: 0.9^29 < 0.05.
    assert not selective_threshold(np.ones(28), np.ones(28)).certified
    assert selective_threshold(np.ones(29), np.ones(29)).certified


def test_a_missing_score_is_never_kept() -> None:
    rule = selective_threshold(np.arange(60.0), np.ones(60))
    assert list(rule.keep([math.nan, 100.0])) == [False, True]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.4, 0.8]), st.booleans()), min_size=1, max_size=80),
    st.integers(0, 2**32 - 1),
    st.sampled_from(CORRECTIONS),
)
def test_ties_stay_together_in_any_order_of_rows(
    pairs: list[tuple[float, bool]], seed: int, correction: str
) -> None:
    score = np.array([s for s, _ in pairs])
    right = np.array([r for _, r in pairs])
    order = np.random.default_rng(seed).permutation(len(score))
    here = selective_threshold(score, right, 0.3, 0.2, correction)
    there = selective_threshold(score[order], right[order], 0.3, 0.2, correction)
    assert (here.threshold, here.kept) == (there.threshold, there.kept)
    assert here.kept == (score >= here.threshold).sum()
    # A fixed list of thresholds says the same as the distinct scores it holds.
    fixed = selective_threshold(score, right, 0.3, 0.2, correction, candidates=[0.1, 0.4, 0.8])
    every = selective_threshold(score, right, 0.3, 0.2, correction, candidates=1000)
    if len(set(score)) == 3:
        assert (fixed.threshold, fixed.kept) == (every.threshold, every.kept)


def test_rcps_is_the_lowest_threshold_down_to_which_the_bound_holds() -> None:
    rng = np.random.default_rng(6)
    score = rng.uniform(size=300).round(2)
    right = rng.uniform(size=300) < 0.6 + 0.4 * score
    for tail in ("binomial", "hoeffding-bentkus"):
        rule = rcps_threshold(score, right, max_risk=0.12, tail=tail)
        lowest = math.inf
        for threshold in np.unique(score)[::-1]:
            share = float(np.mean((score >= threshold) & ~right))
            if risk_upper_bound(share, 300, 0.05, tail) > 0.12:
                break
            lowest = threshold
        assert rule.threshold == lowest
        assert rule.risk == pytest.approx(np.mean((score >= lowest) & ~right))
        # The same as learn then test along the sequence of those losses.
        grid = np.unique(score)[::-1]
        losses = (score[:, None] >= grid) & ~right[:, None]
        control = learn_then_test(losses, 0.12, tail=tail)
        assert control.last is not None
        assert grid[control.last] == lowest


def test_learn_then_test_with_bets() -> None:
    losses = np.random.default_rng(2).beta([1, 2, 6], 20, (200, 3))
    control = learn_then_test(losses, 0.15, tail="betting")
    assert list(control.valid) == [True, True, False]
    assert control.risk == pytest.approx(losses.mean(axis=0))
    assert learn_then_test(np.ones((50, 2)), 0.1).last is None
    assert learn_then_test(np.empty((0, 2)), 0.1).last is None


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="max_risk must lie"):
        selective_threshold([0.1], [1], max_risk=0)
    with pytest.raises(ValueError, match="delta must lie"):
        rcps_threshold([0.1], [1], delta=1)
    with pytest.raises(ValueError, match="scores are NaN"):
        selective_threshold([np.nan, 0.1], [1, 0])
    with pytest.raises(ValueError, match="candidates must be at least 1"):
        selective_threshold([0.1], [1], candidates=0)
    with pytest.raises(ValueError, match="aren't NaN"):
        selective_threshold([0.1], [1], candidates=[0.1, np.nan])
    with pytest.raises(ValueError, match="binomial"):
        selective_threshold(np.ones(60), np.full(60, 0.99))
    quality = selective_threshold(np.ones(60), np.full(60, 0.99), tail="hoeffding-bentkus")
    assert quality.certified
    with pytest.raises(ValueError, match="two-dimensional"):
        learn_then_test([0.1, 0.2], 0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        learn_then_test([[0.1, np.nan]], 0.1)


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("tied", [False, True])
def test_guarantee_is_violated_no_more_than_delta(correction: str, tied: bool) -> None:
    # Scores are uniform and right with probability (1 + score) / 2, so that the selective risk
    # at t is (1 - t) / 4: above 0.15 below t = 0.4.
    rng = np.random.default_rng(8)
    delta, runs = 0.1, 800
    violated = certified = 0
    for _ in range(runs):
        u = rng.uniform(size=200)
        right = rng.uniform(size=200) < (1 + u) / 2
        score = np.floor(u * 10) / 10 if tied else u
        rule = selective_threshold(score, right, 0.15, delta, correction)
        certified += rule.certified
        # Untied: the kept are a sample from above the next score below.
        below = score[score < rule.threshold].max(initial=0.0)
        at = rule.threshold if tied else below
        violated += rule.certified and (1 - at) / 4 > 0.15 + 1e-12
    assert violated / runs <= delta + 2 * math.sqrt(delta * (1 - delta) / runs)
    assert certified > 0.2 * runs


def test_guarantee_at_its_edge() -> None:
    # A useless score with a risk just above the limit: any certificate is a violation.
    rng = np.random.default_rng(9)
    delta, runs = 0.1, 800
    wrong = {"fixed-sequence": 0, "fallback": 0, "holm": 0, "bonferroni": 0}
    joint = 0
    for _ in range(runs):
        score, right = rng.uniform(size=150), rng.uniform(size=150) >= 0.2
        for correction in wrong:
            wrong[correction] += selective_threshold(score, right, 0.2, delta, correction).certified
        rule = rcps_threshold(score, right, 0.1, delta)
        joint += rule.certified and 0.2 * (1 - rule.threshold) > 0.1
    limit = delta + 2 * math.sqrt(delta * (1 - delta) / runs)
    assert max(wrong.values()) / runs <= limit
    assert joint / runs <= limit
    assert wrong["fixed-sequence"] / runs > delta / 5  # not trivially safe
