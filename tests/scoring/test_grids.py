"""Grids: equal ones are written alike, and what isn't one is none."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from statllm.generations import Generations
from statllm.scoring import score
from statllm.scoring.canonical import canonical
from statllm.scoring.grids import grid_answer
from statllm.selection import scpo
from statllm.selection.settings import ScpoSettings

NAMES, DRINKS = ["Ada", "Bo", "Kai Lee"], ["tea", "milk", "7 Up"]


def answer(names: list[str], drinks: list[str], seed: int = 0) -> str:
    """The grid as a model might write it: any order, case and names of attributes."""
    rng = np.random.default_rng(seed)
    label = ["Name", "Person"][rng.integers(2)], ["Drink", "favorite drink"][rng.integers(2)]
    houses = {}
    for house in rng.permutation(len(names)).tolist():
        cells = [(label[0], names[house]), (label[1], drinks[house].upper())]
        key = ["House {}", "house  {}", "{}"][rng.integers(3)].format(house + 1)
        houses[key] = dict(cells[:: rng.choice([-1, 1])])
    whole = {"reasoning": "If {x}\nthen", "solution": houses}
    said = json.dumps(whole, indent=int(rng.integers(3))).replace("\\n", "\n")  # raw line ends
    return f"Let me think. {{Hm}}\n```json\n{said}\n```"


def test_equal_grids_are_one_answer_and_others_are_others() -> None:
    written = {grid_answer(answer(NAMES, DRINKS, seed)) for seed in range(30)}
    assert written == {'[["ada","tea"],["bo","milk"],["7 up","kai lee"]]'}
    others = {
        grid_answer(answer([NAMES[i] for i in order], DRINKS))
        for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    }
    assert len(others) == 6
    assert None not in others
    assert len({canonical(one) for one in others}) == 6  # what votes compares this form
    cells = list(zip(["1", "2", "3"], NAMES, DRINKS, strict=True))
    table = {"header": ["House", "Name", "Drink"], "rows": cells}
    assert {grid_answer(json.dumps(table))} == written
    bare = {f"House {house}": {"Name": name, "Drink": drink} for house, name, drink in cells}
    assert {grid_answer(json.dumps(bare))} == written


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "House 1: Ada",
        '{"reasoning": "..."}',
        '{"solution": "Ada"}',
        '{"solution": {}}',
        '{"solution": {"House 1": {}}}',
        '{"solution": {"House 1": "Ada"}}',
        '{"solution": {"House 1": {"Name": ""}}}',
        '{"solution": {"House 1": {"Name": "___"}}}',
        '{"solution": {"House 1": {"Name": null}}}',
        '{"solution": {"House 1": {"Name": ["Ada"]}}}',
        '{"solution": {"House 1": {"Name": "Ada"}, "House 1": {"Name": "Bo"}}}',
        '{"solution": {"House 1": {"Name": "Ada"}, "1": {"Name": "Bo"}}}',
        '{"solution": {"House 1": {"Name": "Ada"}, "House 3": {"Name": "Bo"}}}',
        '{"solution": {"House 1": {"Name": "Ada", "Pet": "cat"}, "House 2": {"Name": "Bo"}}}',
        '{"solution": {"Left house": {"Name": "Ada"}}}',
        '{"solution": {"House 1": {"Name": "Ada"}',
        '{"header": ["House", "Name"], "rows": [["1", "Ada"], 7]}',
        "{" * 5000,
    ],
)
def test_what_is_no_grid(text: str | None) -> None:
    assert grid_answer(text) is None


def test_the_last_solution_counts() -> None:
    first, second = answer(NAMES, DRINKS), answer(NAMES[::-1], DRINKS)
    assert grid_answer(f"{first} No, wait. {second}") == grid_answer(second) != grid_answer(first)


def test_scpo_on_whole_grids() -> None:
    """16 samples, 2 votes needed: one cell that differs makes another answer."""
    right, wrong = answer(NAMES, DRINKS, 1), answer(NAMES[::-1], DRINKS, 2)
    texts = [answer(NAMES, DRINKS, seed) for seed in range(5)] + [wrong] * 3 + [right] + ["hm"] * 7
    table = pa.table(
        {
            "prompt_id": ["a"],
            "prompt": ["?"],
            "response": [texts],
            "answer": [[grid_answer(text) for text in texts]],
        }
    )
    made = scpo(Generations(table), ScpoSettings(threshold=0.0, min_votes=2))
    (pair,) = made.pairs.to_pylist()
    assert (pair["chosen_votes"], pair["rejected_votes"], pair["weight"]) == (6, 3, 3 / 16)
    assert grid_answer(pair["chosen"]) == grid_answer(right)
    assert pair["rejected"] == wrong


def test_grids_as_an_answer_rule() -> None:
    cells = list(zip(["1", "2", "3"], NAMES, DRINKS, strict=True))
    right, wrong = answer(NAMES, DRINKS, 3), answer(NAMES[::-1], DRINKS, 4)
    table = pa.table(
        {
            "prompt_id": ["a"],
            "reference": [json.dumps({"header": ["House", "Name", "Drink"], "rows": cells})],
            "response": [[right, answer(NAMES, DRINKS, 5), wrong, "hm"]],
        }
    )
    scored = score(Generations(table), rule="grid")
    assert scored.column("correct").to_pylist() == [[True, True, False, False]]
    assert scored.column("n_votes").to_pylist() == [3]
