"""Pairs: five of each, five of the twenty-five, all drawn at random."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.journey import JourneyPairsSettings, journey_pairs
from statllm.pairs import check_pairs


def pool(right: list[int], wrong: list[int]) -> Generations:
    rows = [
        ([f"r{i}" for i in range(a)] + [f"w{i}" for i in range(b)], [True] * a + [False] * b)
        for a, b in zip(right, wrong, strict=True)
    ]
    ids = [f"p{i}" for i in range(len(rows))]
    return Generations(
        pa.table(
            {"prompt_id": ids, "prompt": ids, "response": [r for r, _ in rows],
             "correct": [c for _, c in rows]}
        )
    )  # fmt: skip


def test_five_pairs_of_five_and_five() -> None:
    found = journey_pairs(pool([10, 5, 4, 16], [10, 15, 16, 4]))
    assert found.counts() == {"kept": 2, "too_few_right": 1, "too_few_wrong": 1}
    assert found.ledger["n_right"].to_pylist() == [10, 5, 4, 16]
    pairs = found.pairs.to_pylist()
    assert [pair["prompt_id"] for pair in pairs] == ["p0"] * 5 + ["p1"] * 5
    for start in (0, 5):
        some = [(pair["chosen"], pair["rejected"]) for pair in pairs[start : start + 5]]
        assert len(set(some)) == 5
        assert all(a[0] == "r" and b[0] == "w" for a, b in some)
        assert len({a for a, _ in some}) <= 5
    check_pairs(found.pairs)


def test_few_are_used_where_asked_for() -> None:
    settings = JourneyPairsSettings(fewer="use")
    found = journey_pairs(pool([1, 2, 0, 9], [1, 1, 20, 1]), settings)
    assert found.ledger["n_pairs"].to_pylist() == [1, 2, 0, 5]
    assert found.counts() == {"kept": 3, "too_few_right": 1}
    assert {pair["rejected"] for pair in found.pairs.to_pylist()} == {"w0"}


def test_every_pair_is_as_likely_as_any_other() -> None:
    """Chi-squared over the 2 x 10 x 10 cells, and over which five are drawn."""
    n = 4000
    found = journey_pairs(pool([10] * n, [10] * n), JourneyPairsSettings(seed=1))
    for side in ("chosen_index", "rejected_index"):
        counts = np.bincount(found.pairs[side].to_numpy() % 10, minlength=10)
        # Up to 5 pairs of a prompt are alike: an error of sqrt(.09 x 5 / 20,000) = .005 at worst.
        assert abs(counts / counts.sum() - 0.1).max() < 0.011
    first = found.pairs.filter(pa.array([i % 5 == 0 for i in range(5 * n)]))
    cells = first["chosen_index"].to_numpy() * 10 + first["rejected_index"].to_numpy() - 10
    assert stats.chisquare(np.bincount(cells, minlength=100)).pvalue > 1e-3


def test_the_order_of_prompts_decides_nothing() -> None:
    table = pool([9, 8, 7], [6, 7, 8]).table
    forward = journey_pairs(Generations(table)).pairs.to_pylist()
    back = journey_pairs(Generations(table.take([2, 1, 0]))).pairs.to_pylist()
    assert sorted(p["pair_id"] + p["chosen"] + p["rejected"] for p in forward) == sorted(
        p["pair_id"] + p["chosen"] + p["rejected"] for p in back
    )
    other = journey_pairs(Generations(table), JourneyPairsSettings(seed=5)).pairs.to_pylist()
    assert other != forward


def test_unknown_and_cut_responses_are_neither() -> None:
    table = pa.table(
        {
            "prompt_id": ["a", "b"], "prompt": ["A", "B"],
            "response": [["r", "w", "cut"], ["x", "y", "z"]],
            "correct": [[True, False, False], [None, None, None]],
            "finish_reason": [["stop", "stop", "length"], ["stop"] * 3],
        }
    )  # fmt: skip
    found = journey_pairs(Generations(table), JourneyPairsSettings(fewer="use"))
    assert found.counts() == {"kept": 1, "no_reference": 1}
    assert found.pairs["rejected"].to_pylist() == ["w"]
    with pytest.raises(InputError, match="'correct'"):
        journey_pairs(Generations(table.drop(["correct"])))
