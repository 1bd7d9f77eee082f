"""Prediction rejection: published values, ties, both conventions."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.estimators.selective.auroc import auroc
from statllm.estimators.selective.rejection import prr, rejection

PAIRS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.sampled_from([0.0, 0.25, 1.0])),
    min_size=4,
    max_size=30,
)


def example() -> tuple[np.ndarray, np.ndarray]:
    """RandomState(1): p = uniform(100), u = uniform(100), right where u <= p."""
    state = np.random.RandomState(1)
    p, u = state.uniform(size=100), state.uniform(size=100)
    return p, u <= p


def rejection_area(quality: np.ndarray, share: float) -> float:
    """Mean quality of the kept ones, over the numbers rejected; most confident first."""
    n = len(quality)
    return float(np.mean([quality[: n - r].mean() for r in range(int(share * n))]))


def test_published_values() -> None:
    # lm-polygraph's PredictionRejectionArea, with the exact expectation of a random order.
    p, right = example()
    whole, half = rejection(p, right), rejection(p, right, max_rejection=0.5)
    assert (whole.raw, whole.oracle, whole.random, whole.ratio.value) == pytest.approx(
        (0.7785223217, 0.8704514470, 0.54, 0.7218074665), abs=1e-10
    )
    assert (half.raw, half.oracle, half.random, half.ratio.value) == pytest.approx(
        (0.6506592788, 0.7409028938, 0.54, 0.5508097802), abs=1e-10
    )
    assert prr(p, right, 0.5).value == half.ratio.value


@pytest.mark.parametrize("correct", [[1] * 500 + [0] * 500, [0] * 500 + [1] * 500, [1, 0, 0] * 7])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.37])
def test_constant_score_gains_nothing(correct: list[int], share: float) -> None:
    # Sorting without care for ties gives +1.0 or -1.0 by the order of the rows.
    score = np.full(len(correct), 0.7)
    assert prr(score, correct, share).value == 0.0
    assert prr(score, correct, rejected="corrected").value == 0.0


@pytest.mark.parametrize("share", [1.0, 0.5, 0.34])
def test_ties_are_averaged_over_all_orders(share: float) -> None:
    rng = np.random.default_rng(2)
    for _ in range(8):
        score, quality = rng.integers(0, 3, 6).astype(float), rng.uniform(size=6)
        orders = [sorted(order, key=lambda i: -score[i]) for order in permutations(range(6))]
        brute = np.mean([rejection_area(quality[order], share) for order in orders])
        best = rejection_area(np.sort(quality)[::-1], share)
        areas = rejection(score, quality, share)
        assert areas.raw == pytest.approx(brute, abs=1e-12)
        assert areas.oracle == pytest.approx(best, abs=1e-12)
        assert areas.random == pytest.approx(quality.mean())
        ratio = (brute - quality.mean()) / (best - quality.mean())
        assert areas.ratio.value == pytest.approx(ratio, abs=1e-12)


def test_random_area_is_the_expectation_of_random_orders() -> None:
    rng = np.random.default_rng(3)
    quality = rng.uniform(size=40)
    for share in (1.0, 0.5):
        areas = [rejection_area(rng.permutation(quality), share) for _ in range(1500)]
        mean, error = np.mean(areas), np.std(areas) / np.sqrt(1500)
        assert abs(rejection(rng.uniform(size=40), quality, share).random - mean) < 4 * error


def test_corrected_answers_give_the_gini_coefficient() -> None:
    p, right = example()
    areas = rejection(p.round(1), right, rejected="corrected")
    assert areas.ratio.value == pytest.approx(2 * auroc(p.round(1), right).value - 1)
    assert areas.ratio.se == pytest.approx(2 * auroc(p.round(1), right).se, rel=0.03)
    # The curve drawn point by point: rejected ones count as right.
    order = np.argsort(-p)
    curve = [(right[order][:k].sum() + 100 - k) / 100 for k in range(101)]
    exact = rejection(p, right, rejected="corrected")
    assert exact.raw == pytest.approx(np.trapezoid(curve) / 100)
    assert exact.random == pytest.approx((1 + right.mean()) / 2)


@settings(deadline=None)
@given(PAIRS, st.sampled_from([1.0, 0.5]), st.integers(0, 2**32 - 1))
def test_properties(pairs: list[tuple[float, float]], share: float, seed: int) -> None:
    score, correct = (np.array(column) for column in zip(*pairs, strict=True))
    ratio = prr(score, correct, share)
    if np.ptp(correct) == 0:
        assert np.isnan(ratio.value)
        return
    order = np.random.default_rng(seed).permutation(len(score))
    assert prr(score[order], correct[order], share).value == pytest.approx(ratio.value, abs=1e-9)
    assert prr(score, 0.1 + correct / 2, share).value == pytest.approx(ratio.value, abs=1e-9)
    assert prr(correct, correct, share).value == pytest.approx(1)
    assert ratio.value <= 1 + 1e-12
    worst = prr(-correct, correct, share).value
    assert worst <= ratio.value + 1e-12


def test_error_is_that_of_leaving_out_one_at_a_time() -> None:
    p, right = example()
    for options in ({}, {"max_rejection": 0.5}, {"rejected": "corrected"}):
        left = np.array(
            [prr(np.delete(p, i), np.delete(right, i), **options).value for i in range(100)]
        )
        error = np.sqrt(99 / 100 * ((left - left.mean()) ** 2).sum())
        assert prr(p, right, **options).se == pytest.approx(error)


def test_edges() -> None:
    assert np.isnan(prr([], []).value)
    assert np.isnan(prr([0.3], [1]).value)
    perfect = prr([1.0, 2.0, 3.0], [0, 1, 1])
    assert perfect.value == pytest.approx(1)
    assert np.isnan(perfect.interval().low)
    with pytest.raises(ValueError, match="scores are NaN"):
        prr([0.1, np.nan, 0.3], [0, 1, 1])
    assert prr([0.1, np.nan, 0.3, 0.2], [0, 1, 1, 1], missing="drop").n == 3
    with pytest.raises(ValueError, match="rejects none"):
        prr([0.1, 0.2], [0, 1], max_rejection=0.3)
    with pytest.raises(ValueError, match="max_rejection must lie"):
        prr([0.1, 0.2], [0, 1], max_rejection=0.0)
    with pytest.raises(ValueError, match="max_rejection must be 1"):
        prr([0.1, 0.2], [0, 1], max_rejection=0.5, rejected="corrected")
    with pytest.raises(ValueError, match="rejected must be"):
        prr([0.1, 0.2], [0, 1], rejected="kept")  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [50, 200])
def test_interval_covers(n: int) -> None:
    rng = np.random.default_rng(n)

    def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
        p = rng.beta(5, 2, size)
        return p, rng.uniform(size=size) < p

    forms = [{}, {"max_rejection": 0.5}, {"rejected": "corrected"}]
    big = draw(200_000)
    truth = [prr(*big, **form).value for form in forms]
    hits = np.zeros(3)
    for _ in range(500):
        sample = draw(n)
        hits += [t in prr(*sample, **form).interval() for t, form in zip(truth, forms, strict=True)]
    assert np.all((hits / 500 > 0.915) & (hits / 500 < 0.98))
