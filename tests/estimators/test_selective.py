"""AUROC against sklearn, a quadratic loop and published values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from statllm.estimators.selective import auroc

PAIRS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 1.0, 3.0]), st.booleans()), max_size=25
)


def plain_delong(score: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """All pairs written out."""
    positive, negative = score[label], score[~label]
    kernel = np.array([[(p > q) + 0.5 * (p == q) for q in negative] for p in positive])
    variance = kernel.mean(1).var(ddof=1) / len(positive)
    variance += kernel.mean(0).var(ddof=1) / len(negative)
    return kernel.mean(), np.sqrt(variance)


@settings(deadline=None)  # other work may share the machine
@given(PAIRS)
def test_value_and_error_equal_all_pairs_written_out(pairs: list[tuple[float, bool]]) -> None:
    score = np.array([s for s, _ in pairs])
    label = np.array([right for _, right in pairs], dtype=bool)
    assume(min(label.sum(), (~label).sum()) > 1)
    area = auroc(score, label)
    value, se = plain_delong(score, label)
    assert area.value == pytest.approx(value)
    assert area.value == pytest.approx(roc_auc_score(label, score))
    assert area.se == pytest.approx(se, abs=1e-12)
    # Turning the score round turns the area round; a rising transform changes nothing.
    assert auroc(-score, label).value == pytest.approx(1 - value)
    assert auroc(np.exp(score), label).se == pytest.approx(se, abs=1e-12)
    order = np.random.default_rng(0).permutation(len(score))
    assert auroc(score[order], label[order]).value == pytest.approx(value)


def test_published_value() -> None:
    # RandomState(1): p = uniform(100), u = uniform(100), y = (u <= p).
    state = np.random.RandomState(1)
    p, u = state.uniform(size=100), state.uniform(size=100)
    area = auroc(p, u <= p)
    assert area.value == pytest.approx(0.8128019324, abs=1e-10)
    assert area.se == pytest.approx(0.0412743086, abs=1e-10)
    # With 100 scores and A = .81, both intervals hold the same middle.
    logit, plain = area.interval(), auroc(p, u <= p, interval="plain").interval()
    z = stats.norm.ppf(0.975)
    assert (plain.low, plain.high) == pytest.approx(
        (area.value - z * area.se, area.value + z * area.se)
    )
    centre = np.log(area.value / (1 - area.value))
    spread = z * area.se / (area.value * (1 - area.value))
    expected = 1 / (1 + np.exp(-np.array([centre - spread, centre + spread])))
    assert (logit.low, logit.high) == pytest.approx(tuple(expected))


def test_constant_score_knows_nothing() -> None:
    for label in ([True] * 5 + [False] * 5, [False] * 5 + [True] * 5):
        assert auroc(np.full(10, 0.3), label).value == 0.5  # whatever the order of the rows


def test_separated_classes_keep_an_honest_interval() -> None:
    area = auroc([3, 4, 5, 0, 1], [1, 1, 1, 0, 0])
    assert (area.value, area.se) == (1.0, 0.0)
    interval = area.interval()
    # Two disjoint pairs, both concordant: the exact limit of 2 out of 2.
    assert (interval.low, interval.high) == pytest.approx((0.025 ** (1 / 2), 1.0))
    worst = auroc([0, 1, 3, 4, 5], [1, 1, 0, 0, 0]).interval()
    assert (worst.low, worst.high) == pytest.approx((0.0, 1 - 0.025 ** (1 / 2)))


def test_one_class_or_one_member_has_no_error() -> None:
    assert np.isnan(auroc([1.0, 2.0], [True, True]).value)
    assert np.isnan(auroc([1.0, 2.0], [True, True]).interval().low)
    single = auroc([1.0, 2.0, 0.0], [False, True, False])
    assert single.value == 1.0
    assert np.isnan(single.se)
    assert np.isnan(auroc([], []).value)


def test_missing_scores_are_refused_or_dropped() -> None:
    score, label = [0.1, float("nan"), 0.9, 0.4], [False, True, True, False]
    with pytest.raises(ValueError, match="1 of 4 scores are NaN"):
        auroc(score, label)
    assert auroc(score, label, missing="drop").n == 3


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        auroc([1.0, 2.0], [True])
    with pytest.raises(ValueError, match="true or false"):
        auroc([1.0, 2.0], [1, 2])
    with pytest.raises(ValueError, match="interval must be"):
        auroc([1.0], [True], interval="wald")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="missing must be"):
        auroc([1.0], [True], missing="zero")  # type: ignore[arg-type]


@pytest.mark.parametrize(("m", "n"), [(100, 20), (30, 30)])
def test_logit_interval_covers(m: int, n: int) -> None:
    rng = np.random.default_rng(6)
    truth = stats.norm.cdf(1.5 / np.sqrt(2))
    label = np.repeat([True, False], [m, n])
    hits, errors, values = 0, [], []
    for _ in range(4000):
        area = auroc(rng.normal(size=m + n) + 1.5 * label, label)
        hits += truth in area.interval()
        errors.append(area.se)
        values.append(area.value)
    assert 0.93 < hits / 4000 < 0.97
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.06)
