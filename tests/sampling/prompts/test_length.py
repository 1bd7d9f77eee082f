"""Words as NLTK counts them, and limits on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.sampling.prompts import SCALES, count_words, length_prompts, load_template, shortest

REFERENCES = json.loads(
    (Path(__file__).parents[2] / "references" / "prompt_words.json").read_text(encoding="utf-8")
)
LIFT = load_template("lift_words")
TWO = pa.table({"prompt_id": ["a", "b"], "prompt": ["Why?", "Who?"]})


@pytest.mark.parametrize("case", REFERENCES["words"], ids=lambda case: repr(case["text"][:12]))
def test_counts_of_nltk(case: dict[str, Any]) -> None:
    assert count_words(case["text"]) == case["count"]


def test_limits_are_scaled_exactly() -> None:
    asked = length_prompts(TWO, [10, 155], LIFT, SCALES)
    table = asked.to_pylist()
    assert [row["max_words"] for row in table if row["original_prompt_id"] == "a"] == list(
        range(10, 0, -1)
    )
    for row in table:  # tenths, in whole numbers
        assert row["max_words"] == round(row["scale"] * 10) * row["limit"] // 10
        assert row["prompt_id"] == f"{row['original_prompt_id']}@{row['scale']:g}"
        assert row["prompt"].startswith(
            f"Answer the following instruction using {row['max_words']} words or less.\n\nWh"
        )
    # in floating point, 0.7 * 90 is below 63
    assert length_prompts(TWO, 90, LIFT, (0.7,))["max_words"].to_pylist() == [63, 63]
    assert length_prompts(TWO, 3, LIFT, (0.1,))["max_words"].to_pylist() == [1, 1]


def test_one_scale_keeps_the_identifiers() -> None:
    asked = length_prompts(TWO, pa.chunked_array([[5, 6]]), LIFT, (1.0,))
    assert asked["prompt_id"].to_pylist() == ["a", "b"]
    assert asked["original_prompt"].to_pylist() == ["Why?", "Who?"]
    assert asked["limit"].to_pylist() == asked["max_words"].to_pylist() == [5, 6]


def test_messages() -> None:
    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]
    asked = length_prompts(pa.table({"prompt_id": ["a"], "prompt": [talk]}), 9, LIFT)
    system, user = asked["prompt"][0].as_py()
    assert system == talk[0]
    assert user["content"] == "Answer the following instruction using 9 words or less.\n\nWhy?"


def test_the_shortest_answer() -> None:
    assert shortest(pa.chunked_array([[["Don't go.", "Stay."], ["One, two."]]])) == [1, 2]
    assert shortest(["Don't go."]) == [3]
    with pytest.raises(InputError, match="row 1: texts"):
        shortest([["a"], []])
    with pytest.raises(InputError, match="row 0: texts"):
        shortest([["a", None]])
    with pytest.raises(InputError, match="row 0: the shortest text has no words"):
        shortest([["a", "!"]])
    with pytest.raises(InputError, match="row 1: texts"):
        shortest(["a", 7])


@pytest.mark.parametrize(
    ("limits", "scales", "message"),
    [
        ([5, 0], (1,), "row 1: the limit is 0"),
        ([5, None], (1,), "row 1: the limit is None"),
        ([5.5, 1], (1,), "row 0: the limit is 5.5"),
        ([float("nan"), 1], (1,), "row 0: the limit is nan"),
        ([float("inf"), 1], (1,), "row 0: the limit is inf"),
        ([True, 1], (1,), "row 0: the limit is True"),
        (["5", 1], (1,), "row 0: the limit is '5'"),
        ([1, 10**20], (1,), "row 1: the limit is 1000"),
        ([5, 5], (1e300,), r"a limit times the scale 1e\+300"),
        ([5], (1,), "not 1 for 2 prompts"),
        ([5, 5], (), "at least one scale"),
        ([5, 5], (0,), "must be positive"),
        ([5, 5], (1, 1.0), "must differ"),
    ],
)
def test_what_is_no_limit(limits: list[Any], scales: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        length_prompts(TWO, limits, LIFT, scales)
