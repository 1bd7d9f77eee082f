"""The TPO study: its arms differ in what they say, its problems in the marker alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from statllm.experiment import read_experiment
from statllm.files import read_parquet
from statllm.recipe import read_recipe

FOLDER = Path(__file__).parents[3] / "studies" / "tpo"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tpo_study", FOLDER / "study.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tpo_study"] = module
    spec.loader.exec_module(module)
    return module


def test_arms_differ_in_what_they_say_alone() -> None:
    experiment = read_experiment(FOLDER / "lab.yaml")
    assert len(experiment.seeds) == 5
    recipes = {arm: experiment.recipe(arm, 0).model_dump() for arm in experiment.arms}
    for recipe in recipes.values():
        del recipe["name"]
    thought = recipes["thought"]
    for arm in ("no length control", "failures dropped", "random pairs"):
        changed = {key for key in thought if thought[key] != recipes[arm][key]}
        assert changed == {"selection"}
    assert recipes["no length control"]["selection"]["settings"]["rho"] == 0
    # the rater can't see the working
    assert thought["rewards"]["lab"]["careful"] == 0


@pytest.mark.parametrize(("quick", "lessons"), [(True, 2), (False, 200)])
def test_few_seeds_do_not_make_a_worse_start(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bool, lessons: int
) -> None:
    taught: list[int] = []
    monkeypatch.setattr(study, "teach", lambda out, steps: taught.append(steps))
    study.prepare(read_experiment(FOLDER / "lab.yaml", quick=quick, seeds=[0, 1]), tmp_path)
    assert taught == [lessons]


def test_problems_are_the_same_but_for_the_marker(study: ModuleType, tmp_path: Path) -> None:
    experiment = read_experiment(FOLDER / "lab.yaml", quick=True)
    (tmp_path / "start").mkdir()  # as if it were made
    prepared = study.prepare(experiment, tmp_path)
    for name in ("train_1", "train_2", "test"):
        plain, direct = (read_parquet(tmp_path / f"{name}{s}.parquet") for s in ("", "_direct"))
        assert plain["prompt_id"].equals(direct["prompt_id"])
        for a, b in zip(plain["prompt"].to_pylist(), direct["prompt"].to_pylist(), strict=True):
            assert b == f"{a}####"
    used = [
        set(read_parquet(tmp_path / f"train_{k}.parquet")["prompt_id"].to_pylist()) for k in (1, 2)
    ]
    assert not used[0] & used[1]  # fresh problems in each iteration
    thought, direct = (prepared.recipe(arm, 1) for arm in ("thought", "direct"))
    assert thought.thoughts is not None
    assert direct.thoughts is None
    for k in (1, 2):
        a, b = thought.iteration(k).problems, direct.iteration(k).problems
        assert (a.seed, a.n) == (b.seed, b.n)
        assert b.source == a.source.replace(".parquet", "_direct.parquet")
        assert f"train_{k}" in a.source
    assert thought.iteration(1).training.model_dump(exclude={"seed"}) == direct.iteration(
        1
    ).training.model_dump(exclude={"seed"})


def test_measures_read_what_is_shown(study: ModuleType) -> None:
    assert study.shown_words("First 2 + 2 = 4. #### The number is 4.", False) == 4
    assert np.isnan(study.shown_words("First 2 + 2 = 4.", False))
    assert study.shown_words(" The number is 4.", True) == 4
    table = pa.table(
        {
            "greedy_response": ["Hm. #### 4", "#### It is 5."],
            "greedy_correct": [True, False],
            "majority_correct": [False, True],
            "parse_failures": [0.5, 0.0],
            "thought_tokens": [3.0, None],
        }
    )
    direct = table.set_column(0, "greedy_response", pa.array([" 4", " It is 5."]))
    tables = {arm: [table, table] for arm in (*study.THINKERS, study.START)}
    tables |= {arm: [direct, direct] for arm in ("direct", study.START_DIRECT)}
    found = study.measured(tables)
    assert found["words"]["words"]["thought"].tolist() == [[1.0, 3.0]] * 2
    assert found["words"]["words"]["direct"].tolist() == [[1.0, 3.0]] * 2
    assert found["compute"]["right"]["direct, majority of 4"].tolist() == [[0.0, 1.0]] * 2
    assert found["compute"]["right"]["thought"].tolist() == [[1.0, 0.0]] * 2
    for name, comparisons in study.COMPARISONS.items():
        for scores in found[name].values():
            assert {arm for both in comparisons for arm in both} <= set(scores)


def test_the_papers_recipe_is_one() -> None:
    recipe = read_recipe(FOLDER / "recipe.yaml")
    assert recipe.thoughts is not None
    assert recipe.thoughts.template == "tpo_specific"
    sources = [recipe.iteration(k).problems.source for k in (1, 2, 3, 4)]
    assert len(set(sources)) == 4  # no prompt is used twice
    first = recipe.iteration(1)
    assert (first.sampling.n, first.sampling.temperature, first.sampling.top_p) == (8, 0.8, 0.95)
    assert (first.training.epochs, first.training.loss, first.problems.n) == (10, "dpo", 5000)
