"""Selection and abstention: against loops, published ranks and simulated error rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from statllm.estimators.conformal.abstention import fact_test, order_statistic_rank
from statllm.estimators.conformal.selection import conformal_selection

LEVELS = st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0])


@settings(deadline=None)
@given(
    st.lists(st.tuples(LEVELS, st.booleans()), max_size=30),
    st.lists(LEVELS, max_size=15),
    st.sampled_from([0.1, 0.25, 0.5]),
)
def test_selection_equals_conformal_alignment(
    calibration: list[tuple[float, bool]], test: list[float], alpha: float
) -> None:
    """The lowest t with (1 + #{bad, >= t}) / (n + 1) * m / #{test >= t} <= alpha (Gui et al.)."""
    fit = np.array([s for s, _ in calibration])
    good = np.array([y for _, y in calibration], dtype=bool)
    scores = np.array(test)
    picked = conformal_selection(fit, good, scores, alpha)
    n, m = len(fit), len(scores)
    passing = [
        t
        for t in set(test)
        if (1 + np.sum(~good & (fit >= t))) / (n + 1) * m / np.sum(scores >= t)
        <= alpha * (1 + 1e-9)
    ]
    cut = min(passing) if passing else np.inf
    np.testing.assert_array_equal(picked.selected, scores >= cut)
    assert picked.score_threshold == cut
    p = [(1 + np.sum(~good & (fit >= s))) / (n + 1) for s in scores]
    np.testing.assert_allclose(picked.p_values, p)
    if m:
        order = np.random.default_rng(0).permutation(m)
        again = conformal_selection(fit, good, scores[order], alpha)
        np.testing.assert_array_equal(again.selected, picked.selected[order])


def test_step_up_equals_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        good = rng.random(80) < 0.6
        fit, scores = rng.normal(size=80) + good, rng.normal(size=60) + (rng.random(60) < 0.6)
        picked = conformal_selection(fit, good, scores, 0.2, smoothed=True, rng=rng)
        rejected = multipletests(picked.p_values, 0.2, method="fdr_bh")[0]
        np.testing.assert_array_equal(picked.selected, rejected)
        if picked.n_selected:
            assert picked.p_threshold == picked.p_values[picked.selected].max()
            assert picked.score_threshold == scores[picked.selected].min()


def plain_difference(fit: np.ndarray, truth: np.ndarray, scores: np.ndarray, c: float) -> list:
    v = truth - fit
    return [(np.sum(v <= c - s) + 1) / (len(fit) + 1) for s in scores]


def test_difference_scores_use_the_numeric_truth() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=70)
    fit, scores = truth + rng.normal(size=70), rng.normal(size=20)
    picked = conformal_selection(fit, truth, scores, 0.3, threshold=0.5, kind="difference")
    np.testing.assert_allclose(picked.p_values, plain_difference(fit, truth, scores, 0.5))


@pytest.mark.parametrize("kind", ["clip", "difference"])
@pytest.mark.parametrize("smoothed", [False, True])
def test_false_discovery_rate(kind: str, smoothed: bool) -> None:
    """400 splits: the rate is at most alpha; the best wrong answers score high."""
    rng = np.random.default_rng(2)
    rates, found = [], []
    for _ in range(400):
        truth = rng.normal(size=160)
        score = truth + rng.normal(size=160) * 0.7
        picked = conformal_selection(
            score[:80],
            truth[:80],
            score[80:],
            0.2,
            0.0,
            kind,
            smoothed,
            rng,  # type: ignore[arg-type]
        )
        good = truth[80:] > 0
        rates.append(picked.false_discovery_proportion(good))
        found.append(np.sum(picked.selected & good) / good.sum())
    assert np.mean(rates) <= 0.2 + 3 * np.std(rates) / 20
    assert np.mean(found) > (0.4 if kind == "clip" else 0.15)  # and it isn't empty


def test_rate_on_real_answers(shared_data: Path) -> None:
    """Select LLaMA-13B's right MMLU answers by their probability, 300 random splits."""
    import pyarrow.parquet as pq

    frame = pq.read_table(shared_data / "calib_conformal_mmlu" / "probs.parquet").to_pandas()
    asked = frame[frame["prompt"] == 0]
    probs = asked[["pA", "pB", "pC", "pD"]].to_numpy()
    good, score = probs.argmax(1) == asked["label"].to_numpy(), probs.max(1)
    rng = np.random.default_rng(7)
    rates, picked = [], []
    for _ in range(300):
        order = rng.permutation(len(score))
        fit, test = order[:1000], order[1000:2000]
        found = conformal_selection(score[fit], good[fit], score[test], 0.3)
        rates.append(found.false_discovery_proportion(good[test]))
        picked.append(found.n_selected)
    assert np.mean(~good) > 0.5  # without selection
    assert np.mean(rates) <= 0.3 + 3 * np.std(rates) / np.sqrt(300)
    assert np.mean(picked) > 50


def test_rate_when_all_is_bad() -> None:
    rng = np.random.default_rng(3)
    picks = [
        conformal_selection(
            rng.integers(0, 5, 30),
            np.zeros(30),
            rng.integers(0, 5, 20),
            0.1,
            smoothed=True,
            rng=rng,
        ).n_selected
        > 0
        for _ in range(1500)
    ]
    assert np.mean(picks) <= 0.1 + 3 * np.sqrt(0.09 / 1500)
    assert np.mean(picks) > 0.02


def test_toy_power() -> None:
    """Logistic toy, n = m = 500: rate near alpha and more selected at a larger alpha."""
    rng = np.random.default_rng(4)
    power = {}
    for alpha in (0.1, 0.2):
        rates, found = [], []
        for _ in range(150):
            x = rng.normal(size=1000)
            good = rng.random(1000) < 1 / (1 + np.exp(-2 * x))
            picked = conformal_selection(x[:500], good[:500], x[500:], alpha)
            rates.append(picked.false_discovery_proportion(good[500:]))
            found.append(np.sum(picked.selected & good[500:]) / good[500:].sum())
        assert np.mean(rates) <= alpha + 3 * np.std(rates) / np.sqrt(150)
        power[alpha] = np.mean(found)
    assert power[0.2] > power[0.1] > 0.1


def test_too_few_items_select_nothing() -> None:
    picked = conformal_selection([0.1] * 5, [1] * 5, [9.0, 8.0], 0.1)
    assert picked.n_selected == 0
    assert "5 calibration items are too few" in picked.note
    assert picked.score_threshold == np.inf
    assert conformal_selection([], [], [1.0], 0.1).n_selected == 0
    assert conformal_selection([0.1] * 20, [1] * 20, [], 0.1).note == ""
    assert conformal_selection([0.1] * 20, [1] * 20, [9.0], 0.1).selected.all()


def test_wrong_selection_input_is_refused() -> None:
    with pytest.raises(ValueError, match="are NaN"):
        conformal_selection([0.1, np.nan], [1, 0], [0.2])
    with pytest.raises(ValueError, match="are NaN"):
        conformal_selection([0.1, 0.2], [1, np.nan], [0.2])
    with pytest.raises(ValueError, match="threshold is needed"):
        conformal_selection([0.1, 0.2], [0.5, 2.0], [0.2])
    with pytest.raises(ValueError, match="2 values"):
        conformal_selection([0.1, 0.2], [1], [0.2])
    with pytest.raises(ValueError, match="kind must be"):
        conformal_selection([0.1], [1], [0.2], kind="ratio")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="good must be"):
        conformal_selection([0.1], [1], [0.2]).false_discovery_proportion([True, False])


# ---- answer or abstain ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "alpha", "delta", "rank"),
    [
        (50, 0.1, 0.05, 49),
        (100, 0.1, 0.05, 96),
        (100, 0.05, 0.05, 99),
        (500, 0.05, 0.05, 484),
        (1000, 0.05, 0.01, 966),
    ],
)
def test_ranks(n: int, alpha: float, delta: float, rank: int) -> None:
    # Computed elsewhere from the binomial sum of the paper.
    assert order_statistic_rank(n, alpha, delta) == rank
    # The upper limit of the k-th order statistic: F(T_(k)) ~ Beta(k, n + 1 - k).
    assert stats.beta.cdf(1 - alpha, rank, n + 1 - rank) <= delta
    assert stats.beta.cdf(1 - alpha, rank - 1, n + 2 - rank) > delta


def test_violations_are_rare() -> None:
    """2000 calibration sets of 60 wrong answers; uniform certainty, so type I error is 1 - T."""
    rng = np.random.default_rng(5)
    errors = np.array(
        [1 - fact_test(rng.random(60), np.zeros(60), 0.1, 0.05).threshold for _ in range(2000)]
    )
    assert np.mean(errors > 0.1) <= 0.05 + 3 * np.sqrt(0.05 / 2000)
    assert np.mean(errors > 0.1) > 0.001
    tied = np.array(
        [
            np.mean(
                np.arange(6) / 5 > fact_test(rng.integers(0, 6, 60) / 5, np.zeros(60)).threshold
            )
            for _ in range(500)
        ]
    )
    assert np.mean(tied > 0.1) <= 0.05 + 3 * np.sqrt(0.05 / 500)


def test_right_answers_do_not_move_the_threshold() -> None:
    wrong = np.linspace(0, 1, 80)
    alone = fact_test(wrong, np.zeros(80))
    mixed = fact_test(np.append(wrong, [5.0] * 30), np.append(np.zeros(80), np.ones(30)))
    assert alone.threshold == mixed.threshold
    assert mixed.n_wrong == 80
    assert mixed.answers([alone.threshold, 2.0]).tolist() == [False, True]


def test_too_few_wrong_answers_mean_abstention() -> None:
    test = fact_test([0.1] * 28, [0] * 28)
    assert test.rank is None
    assert not test.answers([1e9]).any()
    assert "at least 29 are needed" in test.note
    assert order_statistic_rank(29, 0.1, 0.05) == 29
    assert order_statistic_rank(0, 0.1, 0.05) is None
    assert fact_test([], []).rank is None


def test_wrong_abstention_input_is_refused() -> None:
    with pytest.raises(ValueError, match="are NaN"):
        fact_test([np.nan], [0])
    with pytest.raises(ValueError, match="must be 2 labels"):
        fact_test([0.1, 0.2], [0])
    with pytest.raises(ValueError, match="true or false"):
        fact_test([0.1], [2])
    with pytest.raises(ValueError, match="delta must lie"):
        fact_test([0.1], [0], delta=0.0)
    with pytest.raises(ValueError, match="are NaN"):
        fact_test([0.1], [0]).answers([np.nan])
