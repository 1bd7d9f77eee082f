"""The study of journeys: fair arms, errors that aren't learned, and what noise must do to F1."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from statllm.journey import Node, Tree
from statllm.journey.recipe import read_journey_recipe
from statllm.lab import model_path
from statllm.models import load_tokenizer

FOLDER = Path(__file__).parents[2] / "studies" / "journey"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"journey_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"journey_{name}"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def study() -> ModuleType:
    return loaded("study")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(model_path())


def tree(number: int, wrong: bool = True) -> Tree:
    """A step that is tried wrongly first, and an answer."""
    bad = (Node(0, f"First 2 + {number} = 1.", right=False, rationale="it is not 1."),)
    right = Node(0, f"First 2 + {number} = {number + 2}.", right=True)
    at = 2 if wrong else 1
    end = Node(at, f" #### {number + 2}", right=True, end="answer", correct=True)
    nodes = (Node(-1), *(bad if wrong else ()), right, end)
    return Tree(f"p{number}", f"Q: {number}?\nA:\n", str(number + 2), nodes)


def test_seeds_change_problems_and_draws_and_nothing_else(study: ModuleType) -> None:
    base = read_journey_recipe(FOLDER / "lab.yaml")
    one, two = (study.FULL.changed(base, seed).model_dump() for seed in (0, 3))

    def different(a: Any, b: Any, place: str = "") -> set[str]:
        if isinstance(a, dict):
            return set().union(*(different(a[key], b[key], f"{place}.{key}") for key in a))
        return {place} if a != b else set()

    assert all(place.endswith(".seed") for place in different(one, two))
    assert len(different(one, two)) == 10
    assert study.FULL.seeds >= 5


def test_arms_have_equal_examples_or_equal_tokens(study: ModuleType, tokenizer: Any) -> None:
    base = read_journey_recipe(FOLDER / "lab.yaml")
    exact = [tree(number, wrong=number % 3 > 0) for number in range(30)]
    size = study.Size(seeds=1, trees=30, examples=12, pair_problems=1, test=1)
    tables, about = study.examples({0.0: exact, study.FLIP: exact[::-1]}, base, size, 4, tokenizer)
    assert tables["journey"].num_rows == tables["shortcut"].num_rows == 12
    assert sorted(tables["journey"]["prompt_id"].to_pylist()) == sorted(
        tables["shortcut"]["prompt_id"].to_pylist()
    )
    assert all(
        "Wait, it is not 1. Back." in text for text in tables["journey"]["response"].to_pylist()
    )
    assert not any("Wait" in text for text in tables["shortcut"]["response"].to_pylist())
    assert tables["random shortcuts"].num_rows == 12
    # The control isn't chosen by what went wrong.
    assert any(int(p[1:]) % 3 == 0 for p in tables["random shortcuts"]["prompt_id"].to_pylist())
    equal, long = about["tokens, shortcut, equal tokens"], about["tokens, journey"]
    assert long <= equal <= long + 30
    assert about["kept"] + about["no_wrong_trial"] == 30


def test_tokens_are_filled_up_with_whole_examples(study: ModuleType, tokenizer: Any) -> None:
    table = pa.table({"prompt_id": list("abc"), "response": ["1 1", "2 2 2", "3"]})
    for tokens in (1, 4, 9, 40):
        taken = study.up_to_tokens(table, tokens, tokenizer, 0)
        lengths = study.response_tokens(taken, tokenizer)
        assert lengths.sum() >= tokens > lengths[:-1].sum()


def test_expected_f1_is_that_of_flipped_labels() -> None:
    rewards = loaded("process_rewards")
    rng = np.random.default_rng(0)
    wrong = rng.random(400_000) < 0.2
    said = wrong ^ (rng.random(len(wrong)) < 0.3)
    assert metrics.f1_score(wrong, said) == pytest.approx(rewards.expected_f1(0.2, 0.3), abs=0.005)
    assert rewards.expected_f1(0.4, 0.0) == 1.0
