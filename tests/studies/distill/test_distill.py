"""The study of two-stage distillation: fair arms, equal budgets, scores counted by hand."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from itertools import combinations
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from statllm.distill import compare_probe
from statllm.distill.recipe import read_distill_recipe
from statllm.distill.run import distill_plan
from statllm.generations import Generations
from statllm.lab import model_path
from statllm.training import SFTSettings

FOLDER = Path(__file__).parents[3] / "studies" / "distill"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("distill_study", FOLDER / "study.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["distill_study"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def arms(study: ModuleType) -> ModuleType:
    return sys.modules["distill_arms"]


@pytest.fixture(scope="module")
def asked(study: ModuleType) -> ModuleType:
    return sys.modules["distill_answers"]


def test_the_recipe_has_what_the_paper_states() -> None:
    recipe = read_distill_recipe(FOLDER / "recipe.yaml")
    filters = recipe.filters
    assert (filters.images, filters.proofs, filters.answers) == (True, True, "closed")
    assert recipe.rewrite is not None
    assert recipe.rewrite.template == "reformat_solution"  # which asks for a box
    assert recipe.chains.right
    assert isinstance(recipe.stage_1, SFTSettings)
    plan = distill_plan(recipe)
    assert plan.index("solutions") < plan.index("stage_1") < plan.index("stage_2")
    assert recipe.evaluation is not None
    assert recipe.evaluation.k > 1


@pytest.mark.parametrize("quick", [True, False])
def test_settings(arms: ModuleType, quick: bool) -> None:
    settings = arms.read_settings(FOLDER / "lab.yaml", quick)
    assert len(settings.seeds) == (2 if quick else 5)
    # Maj@k without replacement needs k samples; short answers have half of the long ones' tokens
    assert settings.samples >= max(settings.budgets)
    assert settings.long["learning_rate"] == settings.short["learning_rate"]


def test_equal_tokens(arms: ModuleType) -> None:
    """Long responses of 6 tokens against short ones of 3, the end of text counted."""
    long, short = pa.table({"response": ["1 + 1 ="] * 3}), pa.table({"response": ["1"] * 5})
    from statllm.models import load_tokenizer

    n_long, n_short = (
        len(load_tokenizer(model_path())(t["response"][0].as_py())["input_ids"]) + 1
        for t in (long, short)
    )
    steps = arms.equal_tokens(40, long, short, model_path())
    assert steps == round(40 * n_long / n_short)
    assert steps > 40


def test_what_the_arms_read(arms: ModuleType, tmp_path: Path) -> None:
    settings = arms.read_settings(FOLDER / "lab.yaml", quick=True)
    settings = settings.model_copy(update={"problems": 8})
    made = arms.data(settings, model_path(), tmp_path, seed=0)
    assert made["both"].num_rows == made["short"].num_rows + made["long"].num_rows
    assert made["short"].num_rows == settings.problems
    counts = json.loads((tmp_path / "chains.json").read_text())
    assert made["long"].num_rows == counts["right"]["kept"]
    assert sum(counts["right"].values()) == settings.problems * settings.chains
    answers = dict(zip(made["short"]["prompt"].to_pylist(),
                       (t.split("#### ")[1] for t in made["short"]["response"].to_pylist()),
                       strict=True))  # fmt: skip
    for row in made["long"].to_pylist():
        assert row["response"].split("#### ")[1] == answers[row["prompt"]]
    again = arms.data(settings, model_path(), tmp_path, seed=0)
    assert all(again[name].equals(made[name]) for name in made)


def answered(
    names: list[str], said: list[list[str]], right: list[list[bool]], **more
) -> Generations:
    n = len(names)
    return Generations(
        pa.table({"prompt_id": names, "answer": said, "correct": right,
                  "n_tokens": pa.array([[10] * len(s) for s in said], pa.list_(pa.int32())),
                  **{key: value for key, value in more.items() if len(value) == n}})
    )  # fmt: skip


def test_measures_counted_by_hand(asked: ModuleType) -> None:
    names = ["a", "b", "c"]
    plain = answered(names, [["1"], ["2"], ["9"]], [[True], [True], [False]])
    found = {
        "plain": plain,
        "reworded": answered(names, [["1"], ["3"], ["9"]], [[True], [False], [False]]),
        "renamed": plain,
        "longer": answered(["x", "y", "z"], [["0"]] * 3, [[True], [False], [False]]),
        "misled": answered(names, [["5"], ["2"], ["9"]], [[False], [True], [False]],
                           suggested=["5", "6", "9"], probe=["misled"] * 3),
        "irrelevant": answered(names, [["1"], ["6"], ["8"]], [[True], [False], [False]]),
    }  # fmt: skip
    scores = asked.measures(found)
    assert scores["right"].tolist() == [1, 1, 0]
    assert scores["same answer, other words"].tolist() == [1, 0, 1]
    assert scores["swayed"].tolist() == [1, 0, 0]  # c gave it unasked
    assert scores["distracted"].tolist() == [0, 1, -1]
    assert scores["right when misled"].tolist() == [0, 1, 0]
    assert scores["right, longer"].mean() == pytest.approx(1 / 3)
    assert scores["swayed"].mean() == pytest.approx(
        compare_probe(plain, found["misled"]).suggested.difference.value
    )
    assert set(scores) == set(asked.UNITS)


def test_budgets_pay_whole_samples(asked: ModuleType) -> None:
    ks = np.arange(1, 9)
    votes = {arm: np.tile(ks / 10, (2, 3, 1)) for arm in ("two stages", "short", "very long")}
    cost = {"two stages": 40.0, "short": 19.0, "very long": 90.0}
    scores, paid = asked.at_budgets(votes, cost, (1, 2, 4))
    assert paid == {
        "right at 1 x the tokens": {"two stages": 1, "short": 2, "very long": 1},
        "right at 2 x the tokens": {"two stages": 2, "short": 4, "very long": 1},
        "right at 4 x the tokens": {"two stages": 4, "short": 8, "very long": 1},
    }
    assert (scores["right at 2 x the tokens"]["short"] == 0.4).all()


def test_majorities_by_brute_force(asked: ModuleType) -> None:
    said = ["1", "1", "2", "3", "2"]
    right = [s == "1" for s in said]
    found = {"samples": answered(["a"], [said], [right])}
    votes = asked.majorities(found, 4)
    for k in range(1, 5):
        wins = []
        for drawn in combinations(said, k):
            counts = {s: drawn.count(s) for s in drawn}
            top = [s for s, n in counts.items() if n == max(counts.values())]
            wins.append(("1" in top) / len(top))
        assert votes[0, k - 1] == pytest.approx(math.fsum(wins) / len(wins))


def test_mistakes_counted_by_hand(asked: ModuleType) -> None:
    texts = [
        ["First 1 + 1 = 3. First 1 + 1 = 2. #### 2"],  # done again, and right
        ["First 1 + 1 = 2. Then 2 + 2 = 4. #### 4"],  # misread: all of it is true
        ["First 1 + 1 = 3. #### 3"],
    ]
    given = answered(["a", "b", "c"], [["2"], ["4"], ["3"]], [[True], [False], [False]],
                     response=texts)  # fmt: skip
    assert list(asked.mistakes([{"plain": given, "samples": given}]).values()) == [
        3, 2, 1, 1, 3, 1, 1,
    ]  # fmt: skip


def test_a_page_and_its_rows(study: ModuleType) -> None:
    before = answered(["a", "b"], [["1"], ["2"]], [[True], [True]])
    after = answered(["a", "b"], [["5"], ["2"]], [[False], [True]], suggested=["5", "5"],
                     probe=["misled"] * 2)  # fmt: skip
    rows = study.probe_rows({"short/misled": [compare_probe(before, after)] * 3})
    assert [(row["outcome"], row["pairs"], row["lost"], row["gained"]) for row in rows] == [
        ("right", 6, 3, 0), ("the suggested answer", 6, 0, 3),
    ]  # fmt: skip
    chains = {"right": {"kept": 3, "wrong": 1}, "unverified": {"kept": 4}, "redone": 2, "tokens": 9}
    facts = {"cost": {"short": 20.0}, "paid": {"1 x": {"short": 2}}, "chains": {0: chains},
             "mistakes": {"short": {"wrong": 5}}}  # fmt: skip
    text = study.page(rows, facts)
    assert "| short | misled | right | 6 | 3 | 0 |" in text
    assert "| 0 | 3 | 1 | 0 | 0 | 2 | 9 | 4 |" in text
