"""Conformal risk control against brute force and simulated risk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.estimators.conformal.law import conformal_quantile
from statllm.estimators.conformal.risk import conformal_risk_control


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=20), st.integers(1, 19), st.integers(1, 3))
def test_setting_equals_the_definition(cuts: list[int], twentieths: int, bound: int) -> None:
    """Loss `bound` until the item's own cut, then 0; settings 1..5."""
    grid = np.arange(1, 6)
    losses = bound * (grid < np.array(cuts)[:, None]).astype(float)
    alpha = bound * twentieths / 20
    control = conformal_risk_control(losses, grid, alpha, bound)
    n = len(cuts)
    good = [
        g
        for g, column in zip(grid, losses.T, strict=True)
        if n / (n + 1) * column.mean() + bound / (n + 1) <= alpha + 1e-12
    ]
    assert control.attained == bool(good)
    assert control.setting == (min(good) if good else 5)
    assert bool(control.note) != control.attained
    order = np.random.default_rng(0).permutation(n)
    assert conformal_risk_control(losses[order], grid, alpha, bound).setting == control.setting


def test_miscoverage_loss_gives_split_conformal() -> None:
    rng = np.random.default_rng(1)
    for n, alpha in [(30, 0.1), (57, 0.25), (99, 0.05)]:
        scores = rng.random(n)
        grid = np.sort(scores)
        control = conformal_risk_control(scores[:, None] > grid, grid, alpha)
        assert control.setting == conformal_quantile(scores, alpha)


def test_expected_loss_is_controlled() -> None:
    """Share of a response's wrong claims that stay in, over 600 calibration sets of 25."""
    rng = np.random.default_rng(2)
    grid = np.linspace(0, 1, 41)

    def draw(n: int) -> np.ndarray:
        scores = rng.random((n, 6)) ** rng.uniform(0.3, 3, (n, 1))
        return np.mean(scores[:, :, None] > grid, axis=1)

    losses, test = [], draw(20_000).mean(axis=0)
    for _ in range(600):
        losses.append(test[conformal_risk_control(draw(25), grid, 0.2).index])
    se = np.std(losses) / np.sqrt(600)
    assert 0.15 < np.mean(losses) < 0.2 + 3 * se


def test_too_few_items_are_reported() -> None:
    control = conformal_risk_control([[1.0, 0.0]], [0.0, 1.0], 0.1)
    assert not control.attained
    assert control.setting == 1.0
    assert "1 items are too few" in control.note
    unattained = conformal_risk_control(np.ones((50, 2)), [0.0, 1.0], 0.1)
    assert "no setting" in unattained.note
    empty = conformal_risk_control(np.empty((0, 2)), [0.0, 1.0], 0.1)
    assert not empty.attained


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="must not rise"):
        conformal_risk_control([[0.0, 1.0]], [0.0, 1.0], 0.5)
    with pytest.raises(ValueError, match="1 losses are NaN"):
        conformal_risk_control([[np.nan, 0.0]], [0.0, 1.0], 0.5)
    with pytest.raises(ValueError, match="above bound"):
        conformal_risk_control([[2.0, 0.0]], [0.0, 1.0], 0.5)
    with pytest.raises(ValueError, match="rising numbers"):
        conformal_risk_control([[1.0, 0.0]], [1.0, 0.0], 0.5)
    with pytest.raises(ValueError, match="alpha must lie"):
        conformal_risk_control([[1.0, 0.0]], [0.0, 1.0], 1.5)
