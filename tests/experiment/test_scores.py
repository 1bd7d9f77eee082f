"""Arms compared on measures of one's own: the same figures as the textbook's, errors named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from statllm.errors import InputError
from statllm.estimators.comparison import crossed_mean, t_test
from statllm.experiment import compare_scores
from statllm.experiment.report import markdown

RNG = np.random.default_rng(3)
A, B = RNG.random((5, 40)), RNG.random((5, 40))
START = RNG.random((1, 40))


def test_differences_are_those_of_crossed_means_and_p_is_adjusted() -> None:
    found = compare_scores(
        {"x": {"a": A, "b": B, "start": START}},
        [("a", "b"), ("a", "start")],
        {"x": "points"},
        name="tried",
        seeds=[3, 4, 5, 6, 7],
    )
    assert (found.name, found.seeds, found.n_problems) == ("tried", (3, 4, 5, 6, 7), 40)
    expected = [crossed_mean(A - B), crossed_mean(A - START)]
    for contrast, estimate in zip(found.contrasts, expected, strict=True):
        assert contrast.estimate.value == pytest.approx(estimate.value)
        assert contrast.estimate.se == pytest.approx(estimate.se)
    p = np.exp([t_test(estimate).log_p_value for estimate in expected])
    holm = np.exp([contrast.log_p_holm for contrast in found.contrasts])
    order = np.argsort(p)
    assert holm[order[0]] == pytest.approx(min(1, 2 * p[order[0]]))
    assert holm[order[1]] == pytest.approx(min(1, max(2 * p[order[0]], p[order[1]])))


def test_one_model_counts_once_per_seed_and_its_table_has_no_iterations() -> None:
    found = compare_scores({"x": {"a": A, "start": START}}, [("a", "start")], {"x": "points"})
    start = next(level for level in found.levels if level.arm == "start")
    assert start.estimate.value == pytest.approx(START.mean())
    page = markdown(found)
    assert "| arm | mean | interval |" in page
    assert "**x** (points)" in page


def test_what_was_not_scored_is_left_out() -> None:
    holed = A.copy()
    holed[2, 5] = np.nan
    found = compare_scores({"x": {"a": holed, "b": B}}, [("a", "b")], {"x": "points"})
    known = np.isfinite(holed)
    assert found.contrasts[0].estimate.value == pytest.approx((A - B)[known].mean())


def test_levels_of_shares_stay_within_0_and_1_and_those_of_other_units_do_not() -> None:
    few = np.zeros((5, 40))
    few[0, 3] = few[2, 3] = 1
    scores = {"a": few, "b": np.zeros((5, 40))}
    found = compare_scores({"right": scores, "x": scores}, [], {"right": "share", "x": "points"})
    ends = {(level.measure, level.arm): level.estimate.interval() for level in found.levels}
    assert ends["x", "a"].low < 0 == ends["right", "a"].low
    assert ends["x", "a"].high == ends["right", "a"].high
    assert ends["right", "b"].high == pytest.approx(1 - 0.025 ** (1 / 40))  # none of 40, exactly
    assert ends["x", "b"].high == 0
    gains = compare_scores({"gain": {"a": few - 0.5}}, [], {"gain": "share"}).levels[0].estimate
    assert gains.interval().low < gains.value < 0


@pytest.mark.parametrize(
    ("scores", "comparisons", "message"),
    [
        ({"x": {"a": A}}, [("a", "b")], "arm 'b' has no scores of x"),
        ({"x": {"a": A, "b": B[:, :30]}}, [("a", "b")], "x of 'b' has shape"),
        ({"x": {"a": A, "b": B[:3]}}, [("a", "b")], "x of 'b' has shape"),
        ({"x": {"a": A[0]}}, [], "not \\(seeds, problems\\)"),
        ({"x": {"a": A}, "y": {"a": A}}, [], "measure 'y' has no unit"),
        ({"x": {}}, [], "there are no scores of x"),
        ({}, [], "there are no scores"),
        ({"x": {"a": START}}, [], "at least two seeds"),
    ],
)
def test_what_is_wrong_is_named(scores: Any, comparisons: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare_scores(scores, comparisons, {"x": "points"})
