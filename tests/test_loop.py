"""The whole flow on the lab model: artefacts, resume, refusal, and kill -9."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.files import read_json, read_parquet, sha256, write_parquet
from statllm.generations import Generations
from statllm.lab import problems
from statllm.loop import run
from statllm.processes import StageProcesses
from statllm.recipe import Recipe, dump_recipe, make_recipe, read_recipe

TINY: dict[str, Any] = {
    "name": "tiny",
    "model": "lab",
    "problems": {"source": "lab:train", "n": 40},
    "sampling": {"n": 6, "temperature": 1.0, "max_new_tokens": 80, "shard_size": 16},
    "selection": {"rule": "scpo", "settings": {"threshold": 0.3}},
    "training": {
        "loss": "scpo",
        "beta": 0.3,
        "learning_rate": 3e-4,
        "batch_size": 8,
        "checkpoint_every": 2,
    },
    "evaluation": {"problems": {"source": "lab:test", "n": 30}, "k": 4},
    "iterations": [{}, {"selection": {"settings": {"threshold": 0.5}}}],
}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return make_recipe(TINY)


@pytest.fixture(scope="module")
def finished(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run(recipe, folder, isolate=False)
    return folder


def test_every_artefact_is_there_and_counts_add_up(finished: Path) -> None:
    manifest = read_json(finished / "manifest.json")
    for name, digest in manifest["artefacts"].items():
        assert sha256(finished / name) == digest, name
    for k in (1, 2):
        folder = finished / f"iteration_{k}"
        ledger = read_parquet(folder / "ledger.parquet")
        pairs = read_parquet(folder / "pairs.parquet")
        assert ledger.num_rows == Generations.read(folder / "samples.parquet").n_prompts == 40
        kept = [r["prompt_id"] for r in ledger.to_pylist() if r["kept"]]
        assert sorted(kept) == sorted(set(pairs["prompt_id"].to_pylist()))
        assert (folder / "model" / "model.safetensors").is_file()
    metrics = read_parquet(finished / "metrics.parquet").to_pylist()
    names = {(m["iteration"], m["name"]) for m in metrics}
    assert {(2, "greedy_accuracy"), (2, "majority@4_accuracy"), (2, "greedy_gain")} <= names
    for row in metrics:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["unit"]


def test_overrides_hold_for_their_iteration_only(recipe: Recipe) -> None:
    thresholds = [recipe.iteration(k).selection.settings["threshold"] for k in (1, 2)]
    assert thresholds == [0.3, 0.5]
    assert recipe.iteration(1).sampling.seed != recipe.iteration(2).sampling.seed


def test_a_complete_run_is_not_redone(finished: Path, recipe: Recipe) -> None:
    states = []
    run(recipe, finished, isolate=False, listener=lambda k, stage, state: states.append(state))
    assert set(states) == {"kept"}


def test_a_changed_artefact_is_made_again_with_what_follows(finished: Path, recipe: Recipe) -> None:
    before = sha256(finished / "manifest.json")
    (finished / "iteration_2" / "pairs.parquet").write_bytes(b"spoiled")
    redone = []

    def listener(iteration: int, stage: str, state: str) -> None:
        if state == "done":
            redone.append((iteration, stage))

    run(recipe, finished, isolate=False, listener=listener)
    assert redone == [(2, "select")]  # the same pairs again: what follows is still valid
    assert sha256(finished / "manifest.json") == before


def test_equal_stages_are_copied_from_another_run(
    finished: Path, recipe: Recipe, tmp_path: Path
) -> None:
    other = make_recipe({**TINY, "name": "other", "training": {**TINY["training"], "beta": 0.2}})
    seen: dict[tuple[int, str], str] = {}

    def listener(iteration: int, stage: str, state: str) -> None:
        seen[iteration, stage] = state
        if (iteration, stage) == (1, "train"):
            raise KeyboardInterrupt  # far enough

    with pytest.raises(KeyboardInterrupt):
        run(other, tmp_path, isolate=False, reuse=[finished], listener=listener)
    assert seen == {
        (0, "evaluate"): "copied",
        (1, "sample"): "copied",
        (1, "score"): "copied",
        (1, "select"): "copied",
        (1, "train"): "start",
    }


def test_another_recipe_in_the_same_folder_is_refused(finished: Path) -> None:
    other = make_recipe({**TINY, "seed": 1})
    with pytest.raises(InputError, match="another recipe .there 'seed: 0', here 'seed: 1'"):
        run(other, finished, isolate=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samplign": {}}, "unknown key 'samplign'"),
        ({"sampling": {"n": 0}}, "key 'sampling.n'"),
        ({"selection": {"rule": "best"}}, "rule 'best' is unknown; rules: scpo"),
        (
            {"selection": {"rule": "scpo", "settings": {"tau": 1}}},
            "rule 'scpo' has no setting 'tau'",
        ),
        ({"iterations": [{"training": {"bta": 1}}]}, r"unknown key 'iterations\[1\].training.bta'"),
        ({"sampling": {"adapter": "lora"}}, "sampling.adapter would be applied to every"),
        ({"iterations": []}, "key 'iterations'"),
        ({"model": None}, "key 'model'"),
        ({"name": ""}, "key 'name'"),
        ({"iterations": [{"selection": None}]}, r"key 'iterations\[1\].selection'"),
        ({"iterations": [{"selection": {"settings": None}}]}, r"\[1\].selection.settings'"),
        ({"iterations": [{"selection": {"rule": ["scpo"]}}]}, r"\[1\].selection.rule'"),
        ({"iterations": [{}, {"training": None}]}, r"key 'iterations\[2\].training'"),
        ({"iterations": [{"rewards": {}}]}, "name one of model, judge, lab, not none"),
        ({"selection": {"rule": "tpo"}}, "selection rule 'tpo' needs the part rewards"),
        ({"iterations": [{}, {"selection": {"rule": "rip"}}]}, "rule 'rip' needs the part rewards"),
    ],
)
def test_recipes_that_are_refused_and_how(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_recipe({**TINY, **change})


def test_a_later_iteration_may_have_a_part_that_the_recipe_lacks() -> None:
    later = {"rewards": {"lab": {}}, "selection": {"rule": "rip"}, "extra": {"n": 2}}
    recipe = make_recipe({**TINY, "iterations": [{}, later]})
    assert recipe.iteration(1).rewards is None
    rewards = recipe.iteration(2).rewards
    assert rewards is not None
    assert rewards.lab is not None
    assert rewards.lab.seed == rewards.judging.seed == recipe.derived_seed(2, "reward")


@pytest.mark.parametrize("known", [[None] * 4, ["1", None, "3", "4"], None])
def test_held_out_problems_without_references_are_refused_before_they_are_sampled(
    known: list[str | None] | None, tmp_path: Path
) -> None:
    asked = problems("test", 4).drop_columns(["reference"])
    if known is not None:
        asked = asked.append_column("reference", pa.array(known, pa.string()))
    write_parquet(asked, tmp_path / "heldout.parquet")
    source = {"problems": {"source": str(tmp_path / "heldout.parquet")}, "k": 2}
    missing = 4 if known is None else known.count(None)
    with pytest.raises(InputError, match=f"evaluation.problems: {missing} of 4 have no reference"):
        run(make_recipe({**TINY, "evaluation": source}), tmp_path / "run", isolate=False)
    assert not list((tmp_path / "run").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"problems": {"source": "none.jsonl"}}, r"iterations\[1\].problems"),
        ({"evaluation": {"problems": {"source": "none.jsonl"}}}, "evaluation.problems"),
        (
            {"iterations": [{}, {"choice": {"problems": {"source": "none.jsonl"}}}]},
            r"iterations\[2\].choice.problems",
        ),
    ],
)
def test_a_missing_file_is_named_before_anything_is_run(
    change: dict[str, Any], key: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"{key}: there is no file none.jsonl"):
        run(make_recipe({**TINY, **change}), tmp_path / "run", isolate=False)
    assert not (tmp_path / "run").exists()


def test_responses_that_end_at_a_stop_string_are_trained_on_with_an_end(tmp_path: Path) -> None:
    """Their tokens hold a part of the string and no end: such pairs were all left out."""
    recipe = make_recipe(
        {
            **TINY,
            "sampling": {**TINY["sampling"], "stop_strings": ["####"]},
            "scoring": {"rule": "number"},
            "evaluation": {"problems": {"source": "lab:test", "n": 4}, "k": 2},
            "training": {**TINY["training"], "max_steps": 2},
            "iterations": [{}],
        }
    )
    done = run(recipe, tmp_path, isolate=False)
    pairs = read_parquet(done.path(1, "pairs.parquet"))
    assert pairs.num_rows > 3
    for side in ("chosen", "rejected"):
        assert not any("####" in text for text in pairs[side].to_pylist())
    counts = read_json(done.record(1, "train"))["counts"]
    assert counts == {"pairs": pairs.num_rows, "steps": 2}  # none is dropped


def test_a_recipe_survives_its_file(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(dump_recipe(recipe))
    assert read_recipe(path) == recipe
    path.write_text("name: [")
    with pytest.raises(InputError, match="is not YAML"):
        read_recipe(path)


def test_a_model_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    recipe = make_recipe({**TINY, "model": str(tmp_path / "model")})
    with pytest.raises(InputError, match="model"):
        run(recipe, tmp_path / "run")  # in its own process: the message crosses over


# ---- kill -9 ------------------------------------------------------------------------------------


def start(recipe: Path, folder: Path) -> subprocess.Popen[bytes]:
    code = "import sys; from statllm.loop import run; from statllm.recipe import read_recipe; "
    code += "run(read_recipe(sys.argv[1]), sys.argv[2])"
    with folder.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(recipe), str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


def kill_and_rerun(recipe: Path, folder: Path, after: float) -> None:
    process = start(recipe, folder)
    time.sleep(after)
    os.kill(process.pid, signal.SIGKILL)  # the parent alone: its child must follow by itself
    process.wait()
    assert start(recipe, folder).wait() == 0, folder.with_suffix(".log").read_text()


@pytest.fixture(scope="module")
def undisturbed(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "recipe.yaml"
    path.write_text(dump_recipe(recipe))
    began = time.monotonic()
    assert start(path, folder / "run").wait() == 0
    return folder, time.monotonic() - began


def check_kills(undisturbed: tuple[Path, float], tmp_path: Path, moments: list[float]) -> None:
    folder, seconds = undisturbed
    wanted = read_json(folder / "run" / "manifest.json")
    for trial, share in enumerate(moments):
        killed = tmp_path / f"killed_{trial}"
        kill_and_rerun(folder / "recipe.yaml", killed, share * seconds)
        assert read_json(killed / "manifest.json") == wanted, f"killed at {share:.2f} of the run"
        leftovers = [p.name for p in killed.rglob("*") if p.name.endswith((".tmp", ".partial"))]
        assert leftovers == []


def test_processes_and_one_process_give_the_same(
    finished: Path, undisturbed: tuple[Path, float]
) -> None:
    assert read_json(undisturbed[0] / "run" / "manifest.json") == read_json(
        finished / "manifest.json"
    )


@pytest.mark.slow
def test_fresh_interpreters_and_forks_give_the_same(finished: Path, tmp_path: Path) -> None:
    short = make_recipe({**TINY, "iterations": [{}]})
    for fork in (True, False):
        with StageProcesses(fork) as processes:
            run(short, tmp_path / str(fork), processes=processes)
        artefacts = read_json(tmp_path / str(fork) / "manifest.json")["artefacts"]
        assert artefacts.items() <= read_json(finished / "manifest.json")["artefacts"].items()


@pytest.mark.parametrize("fork", [True, False])
def test_refusals_and_failures_cross_over(fork: bool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.yaml").write_text(dump_recipe(make_recipe({**TINY, "model": "./nothing"})))
    with StageProcesses(fork) as processes, open(tmp_path / "lock", "w") as lock:
        with pytest.raises(InputError, match="model folder nothing does not exist"):
            processes.run(folder, 0, "evaluate", lock.fileno())
        with pytest.raises(RuntimeError, match="'sample' of iteration 7 ended with code 1"):
            processes.run(folder, 7, "sample", lock.fileno())  # no such iteration: a traceback
        (folder / "run.yaml").unlink()
        with pytest.raises(InputError, match="run.yaml is missing"):  # and it still serves
            processes.run(folder, 0, "evaluate", lock.fileno())


def test_killed_once_and_run_again(undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    check_kills(undisturbed, tmp_path, [0.55])


@pytest.mark.slow
def test_killed_at_twenty_moments(undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    rng = random.Random(0)
    check_kills(undisturbed, tmp_path, [rng.uniform(0.02, 0.98) for _ in range(20)])
