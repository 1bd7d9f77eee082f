"""Accuracy against tokens: majorities by brute force, budgets and tests by hand."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import pyarrow as pa
import pytest

from statllm.distill.accuracy import (
    EQUAL_TOKENS,
    GREEDY,
    Answers,
    accuracies,
    differences,
    draw_tokens,
)
from statllm.errors import InputError
from statllm.generations import Generations


def scored(answers: list[list[str]], tokens: int, names: str = "abcdef") -> Generations:
    """Answer 1 is right; every sample has as many tokens."""
    return Generations(
        pa.table(
            {
                "prompt_id": list(names)[: len(answers)],
                "answer": answers,
                "correct": [[answer == "1" for answer in row] for row in answers],
                "n_tokens": [[tokens] * len(row) for row in answers],
            }
        )
    )


SHORT = [["1", "1", "2", "3"], ["2", "2", "1", "1"], ["2", "1", "3", "4"], ["1", "1", "1", "1"]]
LONG = [["1", "2", "2", "2"], ["2", "2", "2", "2"], ["1", "1", "1", "2"], ["1", "2", "3", "4"]]


@pytest.fixture
def found() -> dict[str, Answers]:
    greedy = {"start": ["2", "2", "2", "1"], "last": ["1", "1", "1", "2"]}
    return {
        "start": Answers(scored([[a] for a in greedy["start"]], 7), scored(SHORT, 10)),
        "last": Answers(scored([[a] for a in greedy["last"]], 30), scored(LONG, 25)),
    }


def by_brute_force(rows: list[list[str]], k: int) -> list[float]:
    """Share of the draws of k samples whose winner is right, ties shared."""
    out = []
    for row in rows:
        wins = []
        for drawn in combinations(row, k):
            most = max(map(drawn.count, drawn))
            tied = {answer for answer in drawn if drawn.count(answer) == most}
            wins.append(("1" in tied) / len(tied))
        out.append(math.fsum(wins) / len(wins))
    return out


def test_accuracies(found: dict[str, Answers]) -> None:
    rows = accuracies(found).to_pylist()
    assert [(r["model"], r["figure"], r["k"]) for r in rows[:3]] == [
        ("start", GREEDY, 1), ("start", "majority", 1), ("start", "majority", 2),
    ]  # fmt: skip
    greedy = {row["model"]: row for row in rows if row["figure"] == GREEDY}
    assert [greedy[m]["value"] for m in found] == [0.25, 0.75]
    assert [greedy[m]["tokens"] for m in found] == [7, 30]
    # Wilson's interval of 1 in 4
    z, p, n = 1.959963984540054, 0.25, 4
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert greedy["start"]["low"] == pytest.approx(middle - half)
    for model, samples, cost in (("start", SHORT, 10), ("last", LONG, 25)):
        for k in range(1, 5):
            row = next(r for r in rows if (r["model"], r["figure"], r["k"]) ==
                       (model, "majority", k))  # fmt: skip
            assert row["value"] == pytest.approx(math.fsum(by_brute_force(samples, k)) / 4)
            assert row["tokens"] == k * cost
            assert row["band_low"] <= row["low"] <= row["value"] <= row["high"]


def test_differences_at_equal_tokens(found: dict[str, Answers], tmp_path: Path) -> None:
    greedy, equal = differences(found).to_pylist()
    assert (greedy["comparison"], greedy["measure"]) == ("last - start", GREEDY)
    assert greedy["value"] == pytest.approx(0.5)
    assert greedy["log_p_value"] == pytest.approx(math.log(2 * 5 / 16))  # 3 gained, 1 lost
    # 25 tokens pay one long sample, or two short ones
    assert (equal["measure"], equal["k"], equal["k_against"]) == (EQUAL_TOKENS, 1, 2)
    gains = [b - a for a, b in zip(by_brute_force(SHORT, 2), by_brute_force(LONG, 1), strict=True)]
    mean = math.fsum(gains) / 4
    se = math.sqrt(math.fsum((g - mean) ** 2 for g in gains) / 3 / 4)
    assert equal["value"] == pytest.approx(mean)
    assert equal["high"] - mean == pytest.approx(3.182446305284263 * se)  # t with 3
    assert equal["log_p_holm"] == equal["log_p_value"]  # a single comparison
    assert equal["detectable"] > 2 * se
    draw_tokens(found, tmp_path / "tokens.png")
    assert (tmp_path / "tokens.png").stat().st_size > 5_000


def test_a_budget_pays_no_more_than_there_is(found: dict[str, Answers]) -> None:
    found["last"] = Answers(found["last"].greedy, scored(LONG, 1000))
    _, equal = differences(found).to_pylist()
    assert (equal["k"], equal["k_against"]) == (1, 4)
    # Three models: every pair, and Holm over them.
    found["third"] = found["start"]
    rows = [row for row in differences(found).to_pylist() if row["measure"] == GREEDY]
    assert [r["comparison"] for r in rows] == ["last - start", "third - start", "third - last"]
    smallest = min(row["log_p_value"] for row in rows)
    assert min(r["log_p_holm"] for r in rows) == pytest.approx(min(0.0, smallest + math.log(3)))


def test_other_problems_are_refused(found: dict[str, Answers]) -> None:
    other = scored([["1"]] * 4, 7, names="abcx")
    found["other"] = Answers(other, found["last"].samples)
    with pytest.raises(InputError, match="start and other have answered different problems"):
        differences(found)
