"""Length limits: by hand, and the coverage of clustered intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from statllm.estimators.proportions import wilson
from statllm.estimators.winrate import (
    length_instructed_win_rate,
    violation_curve,
    violation_rate,
)


def test_a_violation_is_more_words_than_the_limit() -> None:
    found = violation_rate([99, 100, 101, 300], [100, 100, 100, 400])
    assert found.value == 0.25
    low, high = wilson(1, 4)
    assert (found.interval().low, found.interval().high) == (float(low), float(high))
    assert violation_rate([99, 100, 101, 300], [100, 100, 100, 400], scale=0.7).value == 1.0


def test_clusters() -> None:
    """Four copies of every answer say no more than one."""
    words, limits = np.array([90, 120, 101, 100, 80, 70, 130, 60]), np.full(8, 100)
    one = violation_rate(words, limits, clusters=np.arange(8))
    four = violation_rate(
        np.repeat(words, 4), np.repeat(limits, 4), clusters=np.repeat(range(8), 4)
    )
    assert four.se == pytest.approx(one.se)
    assert four.interval().low == pytest.approx(one.interval().low)
    none = violation_rate([1] * 12, [5] * 12, clusters=np.repeat(range(3), 4))
    assert none.interval().high == pytest.approx(float(wilson(0, 3)[1]))


def test_curve() -> None:
    words = np.array([[90, 60], [90, 60], [30, 20]])
    rates = violation_curve(words, [100, 100], (1.0, 0.7, 0.3))
    assert [rate.value for rate in rates] == [0, 0.5, 0]
    with pytest.raises(ValueError, match="3 rows, there are 2 scales"):
        violation_curve(words, [100, 100], (1.0, 0.5))


class TestWinRate:
    outcome = (1.0, 0.5, math.nan, 1.0)
    words = (90, 100, 150, 120)
    limits = (100, 100, 100, 100)

    def test_a_violator_loses_whatever_the_judge_says(self) -> None:
        found = length_instructed_win_rate(self.outcome, self.words, self.limits)
        assert found.value == (1 + 0.5 + 0 + 0) / 4

    def test_where_the_baseline_breaks_the_limit(self) -> None:
        theirs = (101, 90, 200, 90)
        lose = length_instructed_win_rate((0, 0.5, 1, 1), self.words, self.limits,
                                          baseline_words=theirs)  # fmt: skip
        assert lose.value == (1 + 0.5 + 0 + 0) / 4
        tie = length_instructed_win_rate(
            (0, 0.5, 1, 1), self.words, self.limits, baseline_words=theirs, both="tie"
        )
        assert tie.value == (1 + 0.5 + 0.5 + 0) / 4

    def test_scaled_limits(self) -> None:
        found = length_instructed_win_rate(self.outcome, self.words, self.limits, scale=0.95)
        assert found.value == 0.25

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match=r"not nan \(row 2\)"):
            length_instructed_win_rate(self.outcome, (1, 1, 1, 1), self.limits)
        with pytest.raises(ValueError, match=r"words must not be negative or NaN \(row 0\)"):
            violation_rate([math.nan], [3])
        with pytest.raises(ValueError, match="one length"):
            violation_rate([1, 2], [3])
        with pytest.raises(ValueError, match="scale"):
            violation_rate([1], [3], scale=0)
        with pytest.raises(ValueError, match="both"):
            length_instructed_win_rate([1], [1], [3], both="win")  # type: ignore[arg-type]


@pytest.mark.slow
def test_coverage_of_clustered_violation_rates() -> None:
    """Prompts have their own rates, Beta(1, 7): mean 1/8; 60 prompts of 5 answers."""
    rng, runs = np.random.default_rng(0), 1500
    prompt = np.repeat(np.arange(60), 5)
    plain, clustered = [], []
    for _ in range(runs):
        broken = rng.random(300) < rng.beta(1, 7, 60)[prompt]
        words, limits = np.where(broken, 2, 1), np.ones(300)
        plain.append(0.125 in violation_rate(words, limits).interval())
        clustered.append(0.125 in violation_rate(words, limits, clusters=prompt).interval())
    error = math.sqrt(0.05 * 0.95 / runs)
    assert abs(np.mean(clustered) - 0.95) < 4 * error
    assert np.mean(plain) < 0.95 - 4 * error
