"""Confidence over windows against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.estimators.likelihood.token_entropy import self_certainty
from statllm.estimators.likelihood.windows import group_confidence, token_confidence
from statllm.ragged import Ragged

ROWS = st.lists(st.lists(st.floats(-5, 5), max_size=25), min_size=1, max_size=5)


def plain(row: list[float], summary: str, window: int) -> float:
    """Fu et al. (2025), section 3.1."""
    if not row:
        return float("nan")
    size = min(window, len(row))
    groups = [np.mean(row[i : i + size]) for i in range(len(row) - size + 1)]
    if summary == "mean":
        return float(np.mean(row))
    if summary == "lowest":
        return float(min(groups))
    if summary == "tail":
        return float(groups[-1])
    return float(np.mean(sorted(groups)[: max(1, int(len(groups) * 0.1))]))


@settings(deadline=None, max_examples=60)
@given(ROWS, st.integers(1, 12))
@pytest.mark.parametrize("summary", ["mean", "lowest", "bottom", "tail"])
def test_windows_equal_the_loop(summary: str, rows: list[list[float]], window: int) -> None:
    found = group_confidence(rows, summary, window)  # type: ignore[arg-type]
    expected = [plain(row, summary, window) for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_far_levels_keep_their_digits() -> None:
    rows = [np.full(5000, 1e8).tolist(), np.linspace(0, 1, 5000).tolist()]
    found = group_confidence(rows, "lowest", 1000)
    assert found[0] == pytest.approx(1e8, rel=1e-15)
    assert found[1] == pytest.approx(np.linspace(0, 1, 5000)[:1000].mean(), rel=1e-12)


def test_token_confidence() -> None:
    table = np.log(np.random.default_rng(0).dirichlet(np.ones(5), 30))
    np.testing.assert_allclose(token_confidence(table, "deepconf"), -table.mean(axis=1))
    # All tokens listed: self-certainty. A scaled-down list: the same, as only shares count.
    np.testing.assert_allclose(token_confidence(table), self_certainty(table))
    np.testing.assert_allclose(token_confidence(table - 2.0), self_certainty(table))
    ragged = Ragged.from_lists([[-1.0, -2.0], [], [-0.5]])
    found = token_confidence(ragged, "deepconf")
    assert found[[0, 2]].tolist() == [1.5, 0.5]
    assert np.isnan(found[1])


def test_nan_reaches_every_summary() -> None:
    rows = [[1.0, float("nan"), 9.0], [1.0]]
    for summary in ("mean", "lowest", "bottom", "tail"):
        found = group_confidence(rows, summary, 1)  # type: ignore[arg-type]
        assert np.isnan(found).tolist() == [True, False]


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        group_confidence([[1.0]], window=0)
    with pytest.raises(ValueError, match="share"):
        group_confidence([[1.0]], "bottom", share=0.0)
    with pytest.raises(ValueError, match="summary"):
        group_confidence([[1.0]], "best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind"):
        token_confidence([[-1.0]], "top")  # type: ignore[arg-type]
