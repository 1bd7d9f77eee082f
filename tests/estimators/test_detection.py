"""Precision, recall and F1: values by scikit-learn, errors by the jackknife and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from statllm.estimators.detection import detection, f1_difference


def drawn(rng: np.random.Generator, clusters: int, quality: float = 0.8):
    """Steps of problems: some problems have more errors, and are harder to judge."""
    sizes = rng.integers(1, 9, clusters)
    owner = np.repeat(np.arange(clusters), sizes)
    hard = rng.beta(2, 5, clusters)[owner]
    actual = rng.random(len(owner)) < hard
    right = rng.random(len(owner)) < np.clip(quality + 0.3 * (0.3 - hard), 0, 1)
    return np.where(right, actual, ~actual), actual, owner


def test_values_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        guess, actual, owner = drawn(rng, 20)
        found = detection(guess, actual, owner)
        assert found.precision.value == pytest.approx(metrics.precision_score(actual, guess))
        assert found.recall.value == pytest.approx(metrics.recall_score(actual, guess))
        assert found.f1.value == pytest.approx(metrics.f1_score(actual, guess))
        assert found.accuracy.value == pytest.approx(metrics.accuracy_score(actual, guess))
        (tn, fp), (fn, tp) = metrics.confusion_matrix(actual, guess)
        assert found.specificity.value == pytest.approx(tn / (tn + fp))
        counts = (
            found.true_negative,
            found.false_positive,
            found.false_negative,
            found.true_positive,
        )
        assert counts == (tn, fp, fn, tp)


def test_errors_are_the_jackknifes() -> None:
    """Leaving out one problem at a time; linearised errors agree to a few per cent."""
    guess, actual, owner = drawn(np.random.default_rng(1), 150)
    second = np.where(np.random.default_rng(2).random(len(actual)) < 0.9, actual, ~actual)
    left = [owner != one for one in np.unique(owner)]
    g = len(left)

    def jackknife(statistic) -> float:
        values = np.array([statistic(rows) for rows in left])
        return float(np.sqrt((g - 1) / g * ((values - values.mean()) ** 2).sum()))

    found = detection(guess, actual, owner)
    assert found.f1.se == pytest.approx(
        jackknife(lambda r: metrics.f1_score(actual[r], guess[r])), rel=0.05
    )
    assert found.precision.se == pytest.approx(
        jackknife(lambda r: metrics.precision_score(actual[r], guess[r])), rel=0.05
    )
    gain = f1_difference(guess, second, actual, owner)
    assert gain.value == pytest.approx(
        metrics.f1_score(actual, second) - metrics.f1_score(actual, guess)
    )
    assert gain.se == pytest.approx(
        jackknife(
            lambda r: metrics.f1_score(actual[r], second[r]) - metrics.f1_score(actual[r], guess[r])
        ),
        rel=0.05,
    )
    assert gain.interval().low < gain.value < gain.interval().high
    nothing = f1_difference(guess, guess, actual, owner)
    assert (nothing.value, nothing.se) == (0.0, 0.0)


def test_intervals_stay_within_bounds_and_extremes_have_one() -> None:
    perfect = detection([1, 1, 0, 0], [1, 1, 0, 0])
    for figure in perfect.figures():
        interval = figure.interval()
        assert figure.value == 1
        assert interval.high == 1
        assert 0 < interval.low < 1
    few = detection([1, 1, 1, 0], [1, 1, 0, 1], clusters=list("aabb"))
    assert all(0 <= f.interval(0.999).low <= f.interval(0.999).high <= 1 for f in few.figures())


def test_one_problem_has_no_interval() -> None:
    figure = detection([1, 0, 1], [1, 1, 0], clusters=list("aaa")).f1
    assert figure.value == 0.5
    assert np.isnan([figure.se, figure.interval().low, figure.interval().high]).all()


def test_nothing_found_is_undefined_not_zero() -> None:
    found = detection([0, 0, 0], [0, 1, 0])
    assert np.isnan(found.precision.value)
    assert (found.recall.value, found.f1.value) == (0.0, 0.0)
    assert np.isnan(detection([0, 0], [0, 0]).f1.value)
    assert np.isnan(f1_difference([0, 0], [0, 1], [0, 0]).value)


def test_order_and_names_of_clusters_decide_nothing() -> None:
    rng = np.random.default_rng(5)
    guess, actual, owner = drawn(rng, 30)
    order = rng.permutation(len(guess))
    named = np.array([f"p{one}" for one in owner])
    a, b = detection(guess, actual, owner), detection(guess[order], actual[order], named[order])
    for one, other in zip(a.figures(), b.figures(), strict=True):
        assert one.value == pytest.approx(other.value)
        assert one.se == pytest.approx(other.se)


@pytest.mark.parametrize(
    ("guess", "actual", "clusters", "complaint"),
    [
        ([1, 0], [1], None, "2 predictions and 1 truths"),
        ([0.5, 1], [1, 0], None, "predicted must be true or false"),
        ([1, np.nan], [1, 0], None, "predicted must be"),
        ([1, 0], [1, 0], ["a"], "1 cluster labels for 2 rows"),
        ([[1]], [1], None, "one dimension"),
    ],
)
def test_what_is_refused(guess, actual, clusters, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        detection(guess, actual, clusters)


@pytest.mark.slow
def test_intervals_cover() -> None:
    """1,500 samples of 40 problems; the truth from 400,000 problems."""
    rng = np.random.default_rng(9)
    guess, actual, _ = drawn(rng, 400_000)
    truth = {
        "precision": metrics.precision_score(actual, guess),
        "recall": metrics.recall_score(actual, guess),
        "F1": metrics.f1_score(actual, guess),
        "accuracy": metrics.accuracy_score(actual, guess),
    }
    hits = dict.fromkeys(truth, 0)
    n = 1500
    for _ in range(n):
        for figure in detection(*drawn(rng, 40)).figures():
            if figure.name in truth:
                hits[figure.name] += truth[figure.name] in figure.interval()
    for name, hit in hits.items():
        assert 0.93 < hit / n < 0.975, (name, hit / n)
