"""Random pairs and subsets of equal size: what the gain of a rule is compared with."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.selection import matched, select


def table(n: int = 400, k: int = 4) -> Generations:
    responses = [[f"r{j % 3}" for j in range(k)] for _ in range(n)]
    return Generations(
        pa.table(
            {
                "prompt_id": [f"p{i}" for i in range(n)],
                "prompt": ["?"] * n,
                "response": responses,
                "answer": [["A", "B", "B", None] for _ in range(n)],
            }
        )
    )


def test_random_pairs_are_uniform_over_ordered_pairs_of_different_texts() -> None:
    """r0 stands twice among four: chosen first uniformly, then another text uniformly."""
    pairs = select("random", table(6000)).pairs
    found = pairs.group_by(["chosen_index", "rejected_index"]).aggregate([([], "count_all")])
    seen = {
        (row["chosen_index"], row["rejected_index"]): row["count_all"] / 6000
        for row in found.to_pylist()
    }
    expected = {}
    texts = ["r0", "r1", "r2", "r0"]
    for i in range(4):
        others = [j for j in range(4) if texts[j] != texts[i]]
        for j in others:
            expected[i, j] = 1 / 4 / len(others)
    assert seen.keys() == expected.keys()
    for cell, share in expected.items():
        assert abs(seen[cell] - share) < 4.5 * np.sqrt(share * (1 - share) / 6000)


def test_pairs_that_differ_by_answer() -> None:
    pairs = select("random", table(50), differ="answer", pairs_per_prompt=3).pairs
    assert len(pairs) == 150
    for row in pairs.to_pylist():
        assert {row["chosen_answer"], row["rejected_answer"]} == {"A", "B"}
    assert len(set(pairs["pair_id"].to_pylist())) == 150


def test_order_of_rows_decides_nothing() -> None:
    whole = table(30)
    turned = Generations(whole.table.take(list(range(29, -1, -1))))
    a = select("random", whole, seed=3).pairs.sort_by("prompt_id")
    b = select("random", turned, seed=3).pairs.sort_by("prompt_id")
    assert a.equals(b)


def test_reasons_add_up() -> None:
    given = Generations(
        pa.table(
            {
                "prompt_id": ["a", "b", "c", "d"],
                "prompt": ["?"] * 4,
                "response": [["x"], ["x", "x"], ["x", None], ["x", "y"]],
            }
        )
    )
    assert select("random", given).counts() == {
        "kept": 1, "too_few_responses": 2, "all_equal": 1,
    }  # fmt: skip


def test_a_matched_part_is_drawn_evenly_with_all_its_pairs() -> None:
    selection = select("random", table(200), differ="answer", pairs_per_prompt=2)
    times = np.zeros(200)
    for seed in range(300):
        part = matched(selection, 50, seed)
        assert part.counts() == {"kept": 50, "not_drawn": 150}
        assert len(part.pairs) == 100
        times += part.ledger["kept"].to_numpy(zero_copy_only=False)
        kept = part.ledger["kept"].to_pylist()
        assert part.ledger["n_pairs"].to_pylist() == [2 * one for one in kept]
    sd = np.sqrt(300 * 0.25 * 0.75)
    assert abs(times - 75).max() < 4.5 * sd
    assert 0.7 < times.std() / sd < 1.3


def test_more_than_there_are() -> None:
    with pytest.raises(InputError, match="5 prompts were to be drawn, but the selection keeps 2"):
        matched(select("random", table(2)), 5)
