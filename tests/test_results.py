"""Results against scipy's normal quantiles."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from statllm.results import Estimate, Interval, TestResult, format_p


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_the_default_interval_is_normal(level: float) -> None:
    interval = Estimate(3.0, 0.5, 10, "mean").interval(level)
    low, high = stats.norm.interval(level, 3.0, 0.5)
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert 3.0 in interval
    assert 9.0 not in interval


def test_an_estimate_can_carry_its_own_interval() -> None:
    exact = Estimate(0.5, 0.1, 4, "x", interval_of=lambda level: Interval(0, 1, level, "all"))
    row = exact.named("share", "votes").to_frame().iloc[0]
    assert (row["low"], row["high"], row["unit"]) == (0, 1, "votes")


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_outside_0_1_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        Estimate(0.0, 1.0, 1, "x").interval(level)


def test_p_values_are_written_where_they_underflow() -> None:
    assert format_p(-1e5 * math.log(10) + math.log(2.5)) == "= 2.5e-100000"
    assert format_p(math.log(0.05)) == "= 0.05"
    assert format_p(math.nan) == "undefined"
    assert format_p(-math.inf) == "= 0"
    assert "p = 0.05" in TestResult(1, 0.05, math.log(0.05), "less", 3, "t", "").summary()
