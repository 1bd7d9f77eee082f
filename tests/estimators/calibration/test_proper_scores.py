"""Scores against scikit-learn; the CORP parts against its isotonic regression."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss

from statllm.estimators.calibration.corp import ScoreDecomposition, corp_decomposition
from statllm.estimators.calibration.proper_scores import brier_score, log_score
from statllm.estimators.comparison import mean_estimate

ROWS = st.lists(
    st.tuples(st.sampled_from([0.05, 0.2, 0.5, 0.6, 0.95]), st.booleans(), st.integers(1, 3)),
    min_size=2,
    max_size=30,
)


def values(parts: ScoreDecomposition) -> SimpleNamespace:
    return SimpleNamespace(**{name: part.value for name, part in vars(parts).items()})


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_scores_and_parts_equal_scikit_learn(rows: list[tuple[float, bool, int]]) -> None:
    p, y, w = (np.array(column) for column in zip(*rows, strict=True))
    w = w.astype(float)
    # One distinct confidence at a time, so that ties share a value.
    r = IsotonicRegression(y_min=0, y_max=1).fit(p, y, sample_weight=w).predict(p)
    for score, loss, ours in (
        ("brier", lambda f: np.average((f - y) ** 2, weights=w), brier_score),
        ("log", lambda f: log_loss(y, f, sample_weight=w, labels=[0, 1]), log_score),
    ):
        parts = values(corp_decomposition(p, y, score, weights=w))  # type: ignore[arg-type]
        c = np.full(len(p), np.average(y, weights=w))
        assert ours(p, y, weights=w).value == pytest.approx(loss(p))
        assert parts.score == pytest.approx(loss(p))
        assert parts.uncertainty == pytest.approx(loss(c), abs=1e-7)
        assert parts.miscalibration == pytest.approx(loss(p) - loss(r), abs=1e-7)
        assert parts.discrimination == pytest.approx(loss(c) - loss(r), abs=1e-7)
        assert min(parts.miscalibration, parts.discrimination) > -1e-12
        total = parts.miscalibration - parts.discrimination + parts.uncertainty
        assert total == pytest.approx(parts.score)
        order = np.random.default_rng(0).permutation(len(p))
        again = values(corp_decomposition(p[order], y[order], score, weights=w[order]))  # type: ignore[arg-type]
        assert again.miscalibration == pytest.approx(parts.miscalibration)
        copies = np.repeat(np.arange(len(p)), w.astype(int))
        copied = values(corp_decomposition(p[copies], y[copies], score))  # type: ignore[arg-type]
        assert copied.discrimination == pytest.approx(parts.discrimination)


def test_class_probabilities() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 2, 1], 80)
    label, group = rng.integers(0, 3, 80), np.repeat(np.arange(20), 4)
    assert log_score(p, label).value == pytest.approx(log_loss(label, p))
    assert brier_score(p, label).value == pytest.approx(brier_score_loss(label, p))
    two = np.column_stack([1 - p[:, 0], p[:, 0]])
    right = label == 0
    assert brier_score(two, right).value == pytest.approx(2 * brier_score(p[:, 0], right).value)
    each = -np.log(p[np.arange(80), label])
    clustered, known = log_score(p, label, clusters=group), mean_estimate(each, group)
    assert (clustered.value, clustered.se, clustered.n) == pytest.approx(
        (known.value, known.se, 20)
    )
    assert clustered.interval() == known.interval()


def test_partial_outcomes() -> None:
    # Half right is the mean of a right and a wrong row, for the log score.
    assert log_score([0.7], [0.5]).value == pytest.approx(log_score([0.7] * 2, [0, 1]).value)
    assert brier_score([0.7], [0.5]).value == pytest.approx(0.04)


def test_impossible_events_and_no_rows() -> None:
    assert log_score([0.0, 0.5], [1, 1]).value == np.inf
    assert np.isnan(log_score([0.0, 0.5], [1, 1]).se)
    assert log_score([0.0, 0.5], [1, 1]).interval().high == np.inf
    assert log_score([0.0, 1.0], [0, 1]).value == 0
    # ... but not where it has no weight.
    assert log_score([0.0, 0.5], [1, 1], weights=[0, 1]).value == pytest.approx(np.log(2))
    free = corp_decomposition([0.0, 0.5, 0.5], [1, 1, 0], "log", weights=[0, 1, 1])
    assert free.miscalibration.value == pytest.approx(0)
    assert log_score([[1.0, 0.0]], [1]).value == np.inf
    parts = corp_decomposition([0.0, 0.5], [1, 1], "log")
    assert parts.miscalibration.value == np.inf
    assert parts.miscalibration.interval().high == np.inf
    assert np.isnan(brier_score([], []).value)
    assert np.isnan(corp_decomposition([], []).score.value)
    frame = corp_decomposition([0.3], [1]).to_frame()
    assert list(frame["value"]) == pytest.approx([0.49, 0.49, 0, 0])
    assert frame["high"].isna().all()  # one row says nothing about its error


@pytest.mark.parametrize("score", [brier_score, log_score, corp_decomposition])
def test_wrong_input_is_refused(score: Any) -> None:
    for p, y, words in (
        ([0.5, 1.2], [0, 1], "between 0 and 1"),
        ([0.5, np.nan], [0, 1], "1 of 2 rows have a NaN"),
        ([0.5], [0, 1], "one length"),
    ):
        with pytest.raises(ValueError, match=words):
            score(p, y)
    assert score([0.5, np.nan], [0, 1], missing="drop").n == 1
    with pytest.raises(ValueError, match="score must be"):
        corp_decomposition([0.5], [1], "spherical")  # type: ignore[arg-type]
