"""ZebraLogic's prompts: the worked examples are right, and what is asked for can be read."""

from __future__ import annotations

import json
from itertools import pairwise, permutations, product

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.sampling.prompts import (
    VARIANTS,
    few_shot_prompts,
    load_template,
    read_questions,
    solution_prompts,
)
from statllm.scoring.grids import grid_answer

SOLVE, DRESS = load_template("scpo_zebra"), load_template("scpo_zebra_puzzle")


def test_the_worked_example_is_the_only_solution() -> None:
    """The clues of the template's example, over all grids; and its own answer, as it is read."""
    grids = [
        list(zip(names, pets, strict=True))
        for names, pets in product(
            permutations(["ada", "bo", "kai"]), permutations(["cat", "dog", "fish"])
        )
    ]
    fitting = [
        grid
        for grid in grids
        if grid[2][0] == "kai"
        and any(left[1] == "fish" and right[0] == "bo" for left, right in pairwise(grid))
        and ("bo", "dog") not in grid
    ]
    assert len(fitting) == 1
    shown = SOLVE.user.partition("And its solution:")[2].partition("The puzzle to solve:")[0]
    assert json.loads(grid_answer(shown) or "") == [sorted(house) for house in fitting[0]]


def test_the_example_of_a_new_puzzle_is_read_as_one() -> None:
    """The renamed puzzle differs from the given one by the map alone."""
    example = DRESS.user.partition("New attribute map:\n")[2].partition("Now this is given")[0]
    said = pa.table({"prompt_id": ["new-0"], "response": [[example, "I'd rather not."]]})
    first, second = read_questions(DRESS, said)
    assert second.failure == "no_question"
    given = DRESS.user.partition("<given>\n")[2].partition("</given>")[0]
    for old, new in (
        ("Ada", "Uma"), ("Bo", "Kai"), ("Pets", "Instruments"), ("cat", "harp"), ("dog", "flute"),
    ):  # fmt: skip
        assert old in given
        given = given.replace(old, new)
    assert first.text == given.strip()


def test_what_is_sent() -> None:
    texts = ["There are 4 houses.", "There are 5 {prompt}."]
    puzzles = pa.table({"prompt_id": ["a", "b"], "prompt": texts})
    asked = solution_prompts(puzzles, SOLVE)
    sent = asked["prompt"].to_pylist()
    assert [text.partition("The puzzle to solve:\n\n")[2] for text in sent] == texts
    assert asked["original_prompt"].to_pylist() == texts
    with pytest.raises(InputError, match="is for length, not solution"):
        solution_prompts(puzzles, load_template("lift_words"))
    variant = VARIANTS["scpo-zebra"]
    assert (variant.template, variant.temperature, variant.top_p) == (DRESS.name, 0.7, 0.9)
    new = few_shot_prompts(puzzles, 3, DRESS)
    assert [len(ids) for ids in new["example_ids"].to_pylist()] == [1, 1, 1]
    for row in new.to_pylist():
        shown = texts["ab".index(row["example_ids"][0])]
        assert row["prompt"][0]["content"].endswith(f"<given>\n{shown}\n</given>\n")
