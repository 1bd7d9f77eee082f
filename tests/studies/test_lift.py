"""The study of LIFT: its files are valid, its arms differ as said, its tables are arithmetic."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from statllm.experiment import compare_scores, read_experiment
from statllm.lab import model_path, problems
from statllm.recipe import read_recipe

FOLDER = Path(__file__).parents[2] / "studies" / "lift"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lift_study", FOLDER / "study.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def asking(study: ModuleType) -> ModuleType:
    return sys.modules["lift_answers"]


@pytest.fixture(scope="module")
def scaling(study: ModuleType) -> ModuleType:
    return sys.modules["lift_scaled_limits"]


@pytest.mark.parametrize("quick", [False, True])
def test_arms_differ_in_what_their_names_say_alone(quick: bool) -> None:
    experiment = read_experiment(FOLDER / "lab.yaml", quick=quick)
    recipes = {arm: experiment.recipe(arm, 0).model_dump() for arm in experiment.arms}
    lifts = {arm: recipe["selection"].pop("lift") for arm, recipe in recipes.items()}
    prices = {arm: recipe["training"].pop("length_penalty") for arm, recipe in recipes.items()}
    losses = {arm: recipe["training"].pop("loss") for arm, recipe in recipes.items()}
    assert [arm for arm, found in lifts.items() if found] == ["lift", "limits only", "random lift"]
    assert lifts["lift"] == lifts["random lift"] == {**lifts["limits only"], "originals": True}
    assert [arm for arm, loss in losses.items() if loss == "rdpo"] == ["rdpo .01", "rdpo .1"]
    assert (prices["rdpo .01"], prices["rdpo .1"]) == (0.01, 0.1)  # the paper's
    chance = recipes["random lift"].pop("selection")
    assert chance["rule"] == "random"
    assert chance["as_many_as"] == {  # as many problems, and pairs of each, as the others have
        name: recipes["lift"]["selection"][name] for name in ("rule", "settings")
    }
    recipes["random lift"]["selection"] = recipes["lift"]["selection"]
    for recipe in recipes.values():
        del recipe["name"]
    assert all(recipe == recipes["plain"] for recipe in recipes.values())
    assert len(experiment.seeds) == (2 if quick else 5)


def test_the_papers_recipe_is_one() -> None:
    selection = read_recipe(FOLDER / "recipe.yaml").selection
    assert selection.lift is not None
    assert (selection.lift.min_difference, selection.lift.margin) == (10, 10)
    assert selection.lift.originals
    assert selection.settings == {"missing": "drop"}  # best against worst, no bounds


def test_tables_are_means_and_differences_of_the_scores(study: ModuleType) -> None:
    rng = np.random.default_rng(0)
    names = ["start", *read_experiment(FOLDER / "lab.yaml").arms]
    scores: dict[str, Any] = {
        measure: {name: rng.random((5, 30)) for name in names} for measure in study.UNITS
    }
    result = compare_scores(scores, study.CONTRASTS, study.UNITS)
    levels, rows = study.levels(result), study.contrasts(result)
    for measure, arms in scores.items():
        for name, values in arms.items():
            found = levels[measure][name]
            assert found["value"] == pytest.approx(values.mean())
            assert found["low"] < found["value"] < found["high"]
    assert len(rows) == len(study.UNITS) * len(study.CONTRASTS)
    for row in rows:
        arm, against = row["comparison"].split(" - ")
        difference = scores[row["measure"]][arm] - scores[row["measure"]][against]
        assert row["value"] == pytest.approx(difference.mean())
        assert row["unit"] == study.UNITS[row["measure"]]


def test_what_wins_keeps_the_limit_and_is_not_worse(asking: ModuleType) -> None:
    """Answers of 3, 1 and 2 words at a limit of 2, right, wrong and right, against a wrong one."""
    found = {
        "words": np.array([3.0, 1.0, 2.0]), "right": np.array([1.0, 0.0, 1.0]),
        "limits": np.full(3, 2.0),
    }  # fmt: skip
    scores = asking.scored(found, np.zeros(3))
    assert scores["violations"].tolist() == [1, 0, 0]
    assert scores["wins"].tolist() == [0, 0.5, 1]
    assert "wins" not in asking.scored(found)


def test_answers_come_back_by_set(asking: ModuleType) -> None:
    """The lab's model, asked two sets at once, says what it says to each alone."""
    test = problems("test", 6)
    sets = {"one": asking.limited(test, 4), "two": asking.limited(test, 9, (1.0, 0.5))}
    both = asking.answered(model_path(), sets)
    assert both["two"]["limits"].tolist() == [9] * 6 + [4] * 6
    for name, table in sets.items():
        alone = asking.answered(model_path(), {name: table})[name]
        for measure, values in alone.items():
            np.testing.assert_array_equal(both[name][measure], values)
    # The same prompts, since half of 9 is 4.
    np.testing.assert_array_equal(both["one"]["words"], both["two"]["words"][6:])


def test_limits_are_the_words_of_the_written_solutions(asking: ModuleType) -> None:
    """'First 27 - 11 = 16. Then 16 * 3 = 48. #### 48': seven numbers and two words."""
    assert asking.solution_words(1, 0) == [9]


def test_obeying_is_what_the_number_changes(scaling: ModuleType) -> None:
    """One model writes as many words as it may, one always 8, on problems with limits of 10."""
    scales = np.array(scaling.SCALES)
    limits = np.repeat(np.floor(10 * scales + 1e-9)[:, None], 3, axis=1)
    right = np.ones_like(limits)
    right[:, 2] = 0

    def said(words: Any) -> list[dict[str, Any]]:
        table = {"words": np.broadcast_to(words, limits.shape), "right": right, "limits": limits}
        return [{name: values.ravel() for name, values in table.items()}] * 2

    by_scale, over = scaling.measured({"reads": said(limits), "deaf": said(8.0)})
    assert over["violations"]["reads"].tolist() == [[0] * 3] * 2
    assert over["violations"]["deaf"].tolist() == [[0.7] * 3] * 2  # at .7 and below
    # Ten words break the limits of .9 to .1, if the answers to the whole one are counted there.
    assert over["obeyed"]["reads"].tolist() == [[1] * 3] * 2
    assert over["obeyed"]["deaf"].tolist() == [[0] * 3] * 2
    assert over["shortened"]["reads"].tolist() == [[9] * 3] * 2
    assert over["shortened"]["deaf"].tolist() == [[0] * 3] * 2
    np.testing.assert_allclose(over["wins"]["deaf"], [[0.15, 0.15, 0]] * 2)
    assert [scores["violations"]["deaf"].mean() for scores in by_scale] == [0] * 3 + [1] * 7
