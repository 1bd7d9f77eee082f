"""The study of LIFT: its files are valid, its arms differ as said, its tables are arithmetic."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from statllm.experiment import compare_scores, read_experiment
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


@pytest.mark.parametrize("quick", [False, True])
def test_arms_differ_in_what_is_asked_again_alone(quick: bool) -> None:
    experiment = read_experiment(FOLDER / "lab.yaml", quick=quick)
    recipes = {arm: experiment.recipe(arm, 0).model_dump() for arm in experiment.arms}
    lifts = {arm: recipe["selection"].pop("lift") for arm, recipe in recipes.items()}
    assert lifts["plain"] is None
    assert lifts["lift"]["originals"]
    assert not lifts["limits only"]["originals"]
    for recipe in recipes.values():
        del recipe["name"]
    assert all(recipe == recipes["plain"] for recipe in recipes.values())
    assert len(experiment.seeds) == (2 if quick else 5)


def test_the_papers_recipe_is_one() -> None:
    assert read_recipe(FOLDER / "recipe.yaml").selection.lift is not None


def test_tables_are_means_and_differences_of_the_scores(study: ModuleType) -> None:
    rng = np.random.default_rng(0)
    names = ["start", "plain", "lift", "limits only"]
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


def test_what_wins_keeps_the_limit_and_is_not_worse(
    study: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of 4, 1 and 2 words, right, wrong and right, at a limit of 2, against a wrong one."""
    import pyarrow as pa

    texts = ["one two three #### 4", "#", "so 4"]
    table = pa.table({"prompt_id": ["a", "b", "c"], "prompt": ["A", "B", "C"]})
    said = table.append_column("response", pa.array([[text] for text in texts]))
    said = said.append_column("correct", pa.array([[True], [False], [True]]))
    monkeypatch.setattr(study, "sample", lambda *_: said)
    monkeypatch.setattr(study, "score", lambda given: given)
    found = study.asked("model", table, 2, np.zeros(3))
    assert found["words"].tolist() == [study.count_words(text) for text in texts]
    assert found["violations"].tolist() == [1, 0, 0]
    assert found["wins"].tolist() == [0, 0.5, 1]
