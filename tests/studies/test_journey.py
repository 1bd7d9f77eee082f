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
    path = list(sys.path)
    try:
        spec.loader.exec_module(module)  # which finds the files beside it
    finally:
        sys.path[:] = path
    return module


@pytest.fixture(scope="module")
def study() -> ModuleType:
    return loaded("study")


@pytest.fixture(scope="module")
def texts(study: ModuleType) -> ModuleType:
    return sys.modules["journey_examples"]


@pytest.fixture(scope="module")
def dpo(study: ModuleType) -> ModuleType:
    return sys.modules["journey_dpo"]


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


def test_arms_have_equal_examples_or_equal_tokens(texts: ModuleType, tokenizer: Any) -> None:
    base = read_journey_recipe(FOLDER / "lab.yaml")
    exact = [tree(number, wrong=number % 3 > 0) for number in range(30)]
    trees = {0.0: exact, texts.FLIP: exact[::-1]}
    tables, about = texts.examples(trees, base, 12, 4, tokenizer)
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


def test_tokens_are_filled_up_with_whole_examples(texts: ModuleType, tokenizer: Any) -> None:
    table = pa.table({"prompt_id": list("abc"), "response": ["1 1", "2 2 2", "3"]})
    for tokens in (1, 4, 9, 40):
        taken = texts.up_to_tokens(table, tokens, tokenizer, 0)
        lengths = texts.response_tokens(taken, tokenizer)
        assert lengths.sum() >= tokens > lengths[:-1].sum()


def test_expected_f1_is_that_of_flipped_labels() -> None:
    rewards = loaded("process_rewards")
    rng = np.random.default_rng(0)
    wrong = rng.random(400_000) < 0.2
    said = wrong ^ (rng.random(len(wrong)) < 0.3)
    assert metrics.f1_score(wrong, said) == pytest.approx(rewards.expected_f1(0.2, 0.3), abs=0.005)
    assert rewards.expected_f1(0.4, 0.0) == 1.0


def test_random_sides_are_the_same_pairs_half_of_them_turned(dpo: ModuleType) -> None:
    n = 400
    pairs = pa.table(
        {
            "prompt": [f"{i}?" for i in range(n)],
            "chosen": [f"right {i}" for i in range(n)],
            "rejected": [f"wrong {i}" for i in range(n)],
            "chosen_ids": [[i, 1] for i in range(n)],
            "rejected_ids": [[i, 2] for i in range(n)],
        }
    )
    found = dpo.turned(pairs, 5)
    assert found.schema == pairs.schema
    turned = 0
    for i, row in enumerate(found.to_pylist()):
        sides = {(row["chosen"], *row["chosen_ids"]), (row["rejected"], *row["rejected_ids"])}
        assert sides == {(f"right {i}", i, 1), (f"wrong {i}", i, 2)}  # ids go with their text
        assert row["prompt"] == f"{i}?"
        turned += row["chosen"].startswith("wrong")
    assert 150 < turned < 250
    assert dpo.turned(pairs, 6) != found


def test_log_odds_have_the_error_of_the_bootstrap(dpo: ModuleType) -> None:
    rng = np.random.default_rng(3)
    scores = rng.binomial(3, rng.beta(4, 2, 300)) / 3
    found = dpo.linearised_logit(scores[None])[0]
    logit = lambda m: np.log(m / (1 - m))  # noqa: E731
    assert found.mean() == pytest.approx(logit(scores.mean()))
    again = logit(rng.choice(scores, (4000, 300)).mean(axis=1))
    assert found.std(ddof=1) / np.sqrt(300) == pytest.approx(again.std(), rel=0.06)


def test_an_interaction_is_a_difference_of_gains_and_depends_on_the_scale(
    dpo: ModuleType, study: ModuleType
) -> None:
    """Both gain one unit of log odds: nothing on that scale, but something in shares."""
    rng = np.random.default_rng(4)
    at = {"journey": 0.0, "shortcut": 2.0, "journey + DPO": 1.0, "shortcut + DPO": 3.0}
    at |= {"journey + DPO, equal pairs": 1.0}
    at |= {f"{kind} + DPO, random sides": at[kind] for kind in dpo.KINDS}
    made = {arm: (rng.random((5, 4000)) < 1 / (1 + np.exp(-x))) * 1.0 for arm, x in at.items()}
    result = dpo.interaction({"sampled right": made, "greedy right": made}, study.UNITS)
    first = {each.measure: each for each in result.contrasts if each.name.startswith("DPO after j")}
    gains = [made[f"{kind} + DPO"].mean() - made[kind].mean() for kind in dpo.KINDS]
    assert first["sampled right"].estimate.value == pytest.approx(gains[0] - gains[1])
    assert first["sampled right"].test.p_value < 1e-6
    assert 0 in first["sampled right, log odds"].estimate.interval(0.99)
