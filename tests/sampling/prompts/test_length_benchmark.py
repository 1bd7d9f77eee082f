"""AlpacaEval-LI and MT-Bench-LI of any prompts: the shortest answer is limit and baseline."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.sampling.prompts import SCALES, length_benchmark, load_template

LIFT = load_template("lift_words")
TWO = pa.table({"prompt_id": ["a", "b"], "prompt": ["Why?", "Who?"], "category": ["x", "y"]})


def test_alpaca_eval_li_has_a_limit_per_prompt() -> None:
    """Words by hand: don't is 2, the comma 0."""
    answers = [["Don't go, he said.", "One two three."], ["Po.", "The Po.", "A river."]]
    made = length_benchmark(TWO, pa.chunked_array([answers]), LIFT).to_pylist()
    assert [row["prompt_id"] for row in made] == [row["question_id"] for row in made] == ["a", "b"]
    assert [row["max_words"] for row in made] == [row["baseline_words"] for row in made] == [3, 1]
    assert [row["baseline"] for row in made] == ["One two three.", "Po."]
    assert [row["original_prompt"] for row in made] == ["Why?", "Who?"]
    assert made[0]["prompt"] == ("Answer the following instruction using 3 words or less.\n\nWhy?")


def test_mt_bench_li_has_three_limits_per_question() -> None:
    """80 questions, of which three models gave three answers each, are 240 prompts."""
    n = 80
    questions = pa.table(
        {"prompt_id": [f"q{i}" for i in range(n)], "prompt": [f"Q{i}" for i in range(n)]}
    )
    answers = [
        [["word " * (1 + (i + 3 * m + draw) % 7) for m in range(3)] for draw in range(3)]
        for i in range(n)
    ]
    made = length_benchmark(questions, answers, LIFT)
    assert made.num_rows == 240
    assert len(set(made["prompt_id"].to_pylist())) == 240
    for row in made.to_pylist():
        place, number = row["prompt_id"].split("#")
        assert row["question_id"] == place
        drawn = answers[int(place[1:])][int(number) - 1]
        assert row["limit"] == min(len(text.split()) for text in drawn)
        assert row["baseline"] in drawn


def test_scales_keep_the_baseline() -> None:
    made = length_benchmark(TWO, [["w " * 10], [["w " * 20], ["w " * 30]]], LIFT, SCALES)
    assert made.num_rows == 30
    for row in made.to_pylist():
        assert row["baseline_words"] == row["limit"]
        assert row["max_words"] == round(row["scale"] * 10) * row["limit"] // 10
        assert row["prompt_id"] == f"{row['original_prompt_id']}@{row['scale']:g}"
        assert row["original_prompt_id"].split("#")[0] == row["question_id"]


def test_equally_short_answers_are_drawn_from_all_places() -> None:
    n = 300
    many = pa.table({"prompt_id": [str(i) for i in range(n)], "prompt": ["?"] * n})
    answers = [["first", "second", "third one"]] * n
    drawn = length_benchmark(many, answers, LIFT)["baseline"].to_pylist()
    assert set(drawn) == {"first", "second"}
    assert 100 < drawn.count("first") < 200  # 5.8 standard deviations each way
    assert length_benchmark(many, answers, LIFT)["baseline"].to_pylist() == drawn
    assert length_benchmark(many, answers, LIFT, seed=1)["baseline"].to_pylist() != drawn


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([["a"]], "answers are 1 rows, for 2 prompts"),
        ([["a"], []], "row 1: texts to count"),
        ([["a"], None], "row 1: texts to count"),
        ([["a"], 7], "row 1: texts to count"),
        ([[["a"], []], ["b"]], "row 0: texts to count"),
        ([["a", None], ["b"]], "row 0: texts to count"),
        ([["a"], ["b", "!"]], "row 1: the shortest text has no words"),
    ],
)
def test_what_sets_no_limit(answers: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        length_benchmark(TWO, answers, LIFT)


def test_limits_are_set_once() -> None:
    given = TWO.append_column("baseline", pa.array(["a", "b"]))
    with pytest.raises(InputError, match="column 'baseline' is already there"):
        length_benchmark(given, [["a"], ["b"]], LIFT)
