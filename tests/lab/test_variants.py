"""Problems in other words, with other names and more steps: solved again from their text."""

from __future__ import annotations

from itertools import islice

import pytest

from statllm.errors import InputError
from statllm.lab import generate
from statllm.lab.reading import read_problem
from statllm.lab.variants import NEW_NAMES, as_table, longer, renamed, reworded
from statllm.lab.world import _NAMES, apply, split_of


def test_other_words_mean_the_same() -> None:
    for problem in islice(generate("test", 2), 100):
        other = reworded(problem)
        assert other.text != problem.text
        assert other.problem_id == problem.problem_id
        reading = read_problem(other.text).problem
        assert reading is not None
        assert (reading.start, reading.steps, reading.answer) == (
            problem.start, problem.steps, problem.answer,
        )  # fmt: skip
        assert reworded(problem) == other
        assert reworded(problem, seed=1) != other


def test_only_the_names_are_new() -> None:
    for problem in islice(generate("test", 2), 100):
        other = renamed(problem)
        words, new = problem.text.split(" "), other.text.split(" ")
        changed = {
            (a.rstrip("."), b.rstrip(".")) for a, b in zip(words, new, strict=True) if a != b
        }
        assert changed
        assert {a for a, _ in changed} <= set(_NAMES)
        assert {b for _, b in changed} <= set(NEW_NAMES)
        assert len({b for _, b in changed}) == len(changed)  # two people stay two
        assert not any(name in new or f"{name}." in new for name in _NAMES)


@pytest.mark.parametrize("n_steps", [4, 5])
def test_longer_chains_are_right(n_steps: int) -> None:
    seen = set()
    for problem in islice(longer(n_steps, "test", 3), 60):
        value = problem.start
        for (operation, n), result in zip(problem.steps, problem.values, strict=True):
            value = apply(value, operation, n)
            assert value == result
            assert 0 <= value <= 60
        assert problem.answer == value
        assert split_of(problem.start, problem.steps) == "test"
        assert len(problem.steps) == n_steps
        sentences = problem.text.split(". ")
        assert len(sentences) == n_steps + 2
        assert sentences[1].startswith("First")
        assert sentences[n_steps].startswith("Finally")
        seen.add((problem.start, problem.steps))
    assert len(seen) == 60
    table = as_table(islice(longer(n_steps, "test", 3), 3))
    assert table.column_names == ["prompt_id", "prompt", "reference"]


def test_wrong_input() -> None:
    with pytest.raises(InputError, match="at least 4"):
        next(longer(3))
    with pytest.raises(InputError, match="unknown split 'dev'"):
        next(longer(4, "dev"))  # type: ignore[arg-type]
