"""The study of criteria: its tasks, its measures by hand, its files."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml

from statllm.errors import InputError
from statllm.lab.code_style import BY_NAME, check, true_findings
from statllm.recipe import read_recipe
from statllm.scoring.criteria import format_findings

FOLDER = Path(__file__).parents[3] / "studies" / "criteria"


@pytest.fixture(scope="module")
def study() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))  # as for a script: its neighbours can be imported
    try:
        spec = importlib.util.spec_from_file_location("criteria_study", FOLDER / "study.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["criteria_study"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(FOLDER))


def perfect(study: Any, tasks: Any, demos: int) -> pa.Table:
    """Answers that are true."""
    asked = study.questions(tasks, demos)
    houses = {task.name: task.house for task in tasks}
    said = [
        [
            format_findings(
                true_findings(
                    row["text"],
                    [BY_NAME[key.split("/")[1]].criterion_id for key in row["asked"]],
                    houses[row["text_id"]].remedies,
                ),
                "lines",
            )
        ]
        for row in asked.select(["text", "text_id", "asked"]).to_pylist()
    ]
    return asked.append_column("response", pa.array(said))


def test_tasks_are_the_same_every_time_and_differ_in_quality(study: Any) -> None:
    tasks = study.make_tasks(6, 3)
    assert tasks == study.make_tasks(6, 3)
    assert study.make_tasks(4, 3) == tasks[:4]
    for task in tasks:
        quality = task.quality()
        assert len(set(quality)) > 1
        for text, value in zip(task.texts, quality, strict=True):
            found = check(text, list(task.house.remedies))
            violated = sum(one.met is False for one in found.values())
            assert value == 1 - violated / 4


def test_every_cell_asks_about_every_text_and_criterion_once(study: Any) -> None:
    tasks = study.make_tasks(3, 2)
    asked = study.questions(tasks, 2)
    cells: dict[Any, list[Any]] = {}
    for row in asked.to_pylist():
        cell = row["strategy"], row["granularity"], row["n_demos"]
        places = [(row["text_id"], row["text_place"], key) for key in row["asked"]]
        cells.setdefault(cell, []).extend(places)
    assert len(cells) == 14
    everything = sorted(place for task in tasks for place in task.truth())
    assert all(sorted(places) == everything for places in cells.values())
    ids = asked["prompt_id"].to_pylist()
    assert len(set(ids)) == len(ids)


def test_a_perfect_reviewer_gets_full_marks(study: Any) -> None:
    from feedback_tables import UNITS, choices, scores, strategy_arms

    tasks = study.make_tasks(3, 2)
    found = study.findings(perfect(study, tasks, 2), tasks)
    truth = {place: one for task in tasks for place, one in task.truth().items()}
    cells = list(study.cells(2))
    table = scores([found, found], truth, cells)
    for measure in UNITS:
        for cell in cells:
            np.testing.assert_array_equal(table[cell][measure], np.ones((2, 3)))
    arms = strategy_arms(table, 2)
    assert arms["helpful"]["both or neither"].shape == (2, 3)
    quality = {task.name: task.quality() for task in tasks}
    picks, pairs = choices([found, found], quality, "aspect", 2)
    for strategy in ("base", "crit", "icl", "cricl"):
        assert (picks[strategy] >= picks["random"]).all()
        assert pairs[strategy]["chosen truly better"].value == 1


def test_measures_are_cumulative_and_by_hand(study: Any) -> None:
    from feedback_tables import measures

    tasks = study.make_tasks(2, 2)
    truth = {place: one for task in tasks for place, one in task.truth().items()}
    place = next(p for p, one in truth.items() if one.met is False and p[0] == "task0")
    n = sum(one.met is False for p, one in truth.items() if p[0] == "task0")
    total = sum(p[0] == "task0" for p in truth)
    base = {"text_id": "task0", "text_place": place[1], "criterion": place[2], "reason": ""}
    for met, inside, fix, helpful, expected in [
        (False, True, truth[place].fix, True, (1, 1, 1, 1)),
        (False, True, truth[place].fix, False, (1, 1, 1, 0)),
        (False, True, "other", True, (1, 1, 0, 0)),  # a later layer doesn't count by itself
        (False, False, truth[place].fix, True, (1, 0, 0, 0)),
        (True, True, truth[place].fix, True, (0, 0, 0, 0)),
    ]:
        rows = []
        for name, text, key in truth:
            if name == "task0" and (name, text, key) != place:
                unsaid = {"met": None, "reason": "missing", "in_text": [], "fix": ""}
                place_of = {"text_place": text, "criterion": key, "helpful": None}
                rows.append({**base, **unsaid, **place_of})
        rows.append({**base, "met": met, "in_text": [inside], "fix": fix, "helpful": helpful})
        found = measures(pa.Table.from_pylist(rows), truth)
        got = [found[m]["task0"] for m in ("found", "quoted", "right fix", "helpful")]
        assert got == [value / n for value in expected]
        assert found["right verdicts"]["task0"] == (met is False) / total


def test_choice_averages_ties_and_skips_the_unrated(study: Any) -> None:
    from feedback_tables import chosen

    quality = np.array([1.0, 0.5, 0.0])
    assert chosen([1, 1, 0], quality) == 0.75
    assert chosen([None, 0.2, 0.1], quality) == 0.5
    assert chosen([None, None, None], quality) == 0.5


def test_a_fix_helps_at_the_quotation_only(study: Any) -> None:
    tasks = study.make_tasks(4, 2)
    found = study.findings(perfect(study, tasks, 2), tasks).to_pylist()
    by_name = {task.name: task for task in tasks}
    claims = [row for row in found if row["met"] is False]
    assert claims
    for row in claims[:20]:
        assert study.helped(row, by_name)
        assert not study.helped({**row, "quotes": ["elsewhere"]}, by_name)
        assert not study.helped({**row, "fix": "be better"}, by_name)
    assert study.helped({**claims[0], "met": True}, by_name) is None


def test_files() -> None:
    recipe = read_recipe(FOLDER / "recipe.yaml")
    assert recipe.rewards is not None
    assert recipe.rewards.judging.kind == "criteria"
    settings = yaml.safe_load((FOLDER / "lab.yaml").read_text())
    assert len(settings["seeds"]) >= 5
    assert settings["quick"].keys() < settings.keys()


@pytest.mark.slow
def test_a_small_model_learns_to_write_feedback(study: Any) -> None:
    from statllm.lab.code_style.model import Training, feedback_model, feedback_tokenizer

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tokenizer = feedback_tokenizer()
    _, losses = feedback_model(tokenizer, Training(60_000), seed=3)
    assert np.mean(losses[-5:]) < 2 < 4 < np.mean(losses[:5])
    first, second = (feedback_model(tokenizer, Training(6_000), seed=3)[1] for _ in range(2))
    torch.set_num_threads(threads)
    assert first == second


def test_a_folder_with_other_settings_is_refused(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.json").write_text('{"seeds": [9]}')
    monkeypatch.setattr(sys, "argv", ["study.py", "--quick", "-o", str(tmp_path)])
    with pytest.raises(InputError, match="a study with other settings"):
        study.main()
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]
