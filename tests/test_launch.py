"""Trainings of a run under a launcher: two processes, kill -9, and what is told of mistakes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.errors import InputError
from statllm.files import read_json, read_parquet
from statllm.lab import careful_solution, generate
from statllm.launch import train_under
from statllm.loop import run
from statllm.processes import StageProcesses
from statllm.recipe import Recipe, dump_recipe, make_recipe
from statllm.stages import Run, resolve_model, stage_key
from statllm.training import PreferenceSettings, SFTSettings

TORCHRUN = ("torchrun", "--nproc_per_node", "2")
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "model": "lab",
    "problems": {"source": "lab:train", "n": 40},
    "sampling": {"n": 6, "temperature": 1.0, "max_new_tokens": 60},
    "selection": {"rule": "scpo", "settings": {"threshold": 0.3}},
    "choice": {"problems": {"source": "lab:train", "n": 8}, "every": 10, "retrain": True},
    "training": {
        "loss": "scpo", "learning_rate": 1e-3, "batch_size": 4, "max_steps": 20,
        "lr_scheduler": "constant", "checkpoint_every": 5,
    },
    "evaluation": {"problems": {"source": "lab:test", "n": 4}, "k": 2},
    "iterations": [{}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def on_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of a launcher are those of two CPUs, and of this Python without its PATH."""
    pytest.importorskip("accelerate")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(make_recipe(RECIPE), tmp_path_factory.mktemp("alone"), isolate=False)


def without_trainings(finished: Run, folder: Path) -> None:
    """The same run, stopped before its first training."""
    shutil.copytree(finished.folder, folder)
    shutil.rmtree(folder / "iteration_1" / "model")
    for name in ("choose.json", "steps.parquet", "train.json", "training.parquet", "evaluate.json"):
        (folder / "iteration_1" / name).unlink()


def workers(folder: Path) -> list[str]:
    """The trainings that go on in a folder, and their launchers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "statllm.training.launched" in words and str(folder) in words:
            found.append(path.parent.name)
    return found


def waited(until: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not until() and time.monotonic() < deadline:
        time.sleep(0.02)
    return until()


def gap(one: Path, two: Path) -> float:
    left, right = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert left.keys() == right.keys()
    return max(float((left[key] - right[key]).abs().max()) for key in left)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.slow
def test_killed_in_two_processes_a_run_goes_on_and_gives_what_one_gives(
    alone: Run, tmp_path: Path
) -> None:
    """The run began without a launcher; nothing but its trainings is done under it."""
    folder, recipe = tmp_path / "run", tmp_path / "recipe.yaml"
    without_trainings(alone, folder)
    several = make_recipe({**RECIPE, "launch": " ".join(TORCHRUN)})
    assert several.launch == TORCHRUN
    recipe.write_text(dump_recipe(several))
    code = "import sys; from statllm.loop import run; from statllm.recipe import read_recipe; "
    code += "run(read_recipe(sys.argv[1]), sys.argv[2])"
    with (tmp_path / "log").open("w") as log:
        started = subprocess.Popen(
            [sys.executable, "-c", code, str(recipe), str(folder)], stderr=log, stdout=log
        )
    reached = folder / "iteration_1" / "choose.work" / "model.partial" / "step_5"
    assert waited(lambda: reached.exists() or started.poll() is not None, 180)
    assert reached.exists(), (tmp_path / "log").read_text()
    assert len(workers(folder)) == 3  # torchrun, and two
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    assert waited(lambda: not workers(folder), 5), workers(folder)
    assert reached.parent.exists()

    made: list[tuple[str, str]] = []
    done = run(
        several, folder, isolate=False, listener=lambda _, stage, state: made.append((stage, state))
    )
    assert [stage for stage, state in made if state == "done"] == ["choose", "train", "evaluate"]
    steps = [read_parquet(which.path(1, "steps.parquet")) for which in (done, alone)]
    assert steps[0] == steps[1]
    assert gap(done.path(1, "model"), alone.path(1, "model")) <= 1e-5
    assert gap(done.path(1, "model"), Path(alone.model(0))) > 1e-3
    for stage in ("choose", "train"):
        records = [read_json(which.record(1, stage)) for which in (done, alone)]
        assert records[0]["counts"] == records[1]["counts"]
        assert stage_key(done, 1, stage) == stage_key(alone, 1, stage)
    assert not list(folder.rglob("*.tmp"))
    assert not list(folder.rglob("*.partial"))
    assert yaml.safe_load((folder / "run.yaml").read_text())["launch"] == list(TORCHRUN)


def test_another_launcher_is_the_same_run_and_another_seed_is_not(alone: Run) -> None:
    def states(recipe: Recipe) -> set[str]:
        found: set[str] = set()
        run(recipe, alone.folder, isolate=False, listener=lambda k, stage, s: found.add(s))
        return found

    try:
        assert states(make_recipe({**RECIPE, "launch": "python"})) == {"kept"}
        with pytest.raises(InputError, match="another recipe .there 'seed: 0', here 'seed: 1'"):
            states(make_recipe({**RECIPE, "launch": "python", "seed": 1}))
        path = alone.folder / "run.yaml"  # as of a run from before there were launchers
        content = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if k != "launch"}))
    finally:
        assert states(make_recipe(RECIPE)) == {"kept"}


def test_a_launcher_that_is_not_there_is_told_before_anything_is_run(tmp_path: Path) -> None:
    recipe = make_recipe({**RECIPE, "launch": "acelerate launch --config_file fsdp.yaml"})
    with pytest.raises(InputError, match="launch: there is no command 'acelerate'"):
        run(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("launch", "words"),
    [("", "key 'launch'"), ([], "key 'launch'"), ("a 'b", "No closing quotation"), (3, "'launch'")],
)
def test_launchers_that_are_no_commands(launch: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_recipe({**RECIPE, "launch": launch})


def pairs(n: int, weight: float = 1.0) -> pa.Table:
    rows = list(islice(generate("train", 5), n))
    return pa.table(
        {
            "prompt_id": [one.problem_id for one in rows],
            "prompt": [one.prompt for one in rows],
            "chosen": [careful_solution(one) for one in rows],
            "rejected": ["I don't know."] * n,
            "weight": [weight] * n,
        }
    )


def test_a_refusal_is_the_same_sentence(tmp_path: Path) -> None:
    settings = PreferenceSettings(loss="scpo")
    with pytest.raises(InputError) as alone:
        train_under(None, resolve_model("lab"), pairs(4, 0.0), tmp_path / "out", settings)
    with pytest.raises(InputError) as launched:
        train_under(("python",), resolve_model("lab"), pairs(4, 0.0), tmp_path / "out", settings)
    assert str(launched.value) == str(alone.value)
    assert "every weight is 0" in str(alone.value)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        (("bash", "-c", "exit 3", "it"), r"^launch: '.*/bash -c 'exit 3' it -m statllm\.training\."
         r"launched .*request\.json' ended with code 3$"),
        (("echo", "me"), "ended with code 0, but hasn't trained"),
    ],
)  # fmt: skip
def test_a_launcher_that_fails_is_named(
    launch: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match=words):
        train_under(launch, "lab", pairs(2), tmp_path / "out", PreferenceSettings())
    assert not list(tmp_path.iterdir())


def test_launchers_do_not_nest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="a launcher has started this process already"):
        train_under(("python",), "lab", pairs(2), tmp_path / "out", PreferenceSettings())


def test_an_unfinished_training_of_another_number_of_processes(tmp_path: Path) -> None:
    """What several have written part by part is not what one reads: a sentence, not a crash."""
    from statllm.training.folder import open_partial

    model = Path(resolve_model("lab"))
    known = {"model": "a", "data": "b"}
    with pytest.MonkeyPatch.context() as several:
        several.setenv("WORLD_SIZE", "2")
        folder = open_partial(tmp_path / "out", model, known, PreferenceSettings())
        (folder / "step_2").mkdir()
        assert open_partial(tmp_path / "out", model, known, PreferenceSettings()) == folder
    with pytest.raises(InputError, match="unfinished training with another 'processes'"):
        open_partial(tmp_path / "out", model, known, PreferenceSettings())


def test_responses_in_two_processes_by_the_command(tmp_path: Path) -> None:
    rows = [
        {"prompt_id": one.problem_id, "prompt": one.prompt, "response": careful_solution(one)}
        for one in islice(generate("train", 3), 11)
    ]
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"learning_rate": 1e-3, "batch_size": 4, "token_budget": 128}
    recipe = {
        "kind": "sft", "model": "lab", "data": str(tmp_path / "examples.jsonl"),
        "output": str(tmp_path / "two"), "curve": str(tmp_path / "curve.parquet"),
        "training": settings, "launch": list(TORCHRUN),
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    said = CliRunner().invoke(app, ["run", str(tmp_path / "recipe.yaml")], env={"COLUMNS": "400"})
    assert said.exit_code == 0, said.output
    assert "11 examples, 3 steps" in said.output
    one = train_under(
        None, resolve_model("lab"), recipe["data"], tmp_path / "one", SFTSettings(**settings)
    )  # fmt: skip
    assert read_parquet(tmp_path / "curve.parquet")["n_rows"] == one.curve["n_rows"]
    assert gap(tmp_path / "one", tmp_path / "two") <= 1e-5
    assert gap(tmp_path / "one", Path(resolve_model("lab"))) > 1e-3
    del recipe["launch"]  # it decides nothing
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    again = CliRunner().invoke(app, ["run", str(tmp_path / "recipe.yaml")])
    assert "two: done before" in again.output


def test_a_stage_of_a_fresh_interpreter_names_its_launcher(
    alone: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    without_trainings(alone, folder)
    with (
        StageProcesses(fork=False) as processes,
        pytest.raises(RuntimeError, match="stage 'choose' of iteration 1 ended with code 1"),
    ):
        run(make_recipe({**RECIPE, "launch": "false"}), folder, processes=processes)
    assert "false -m statllm.training.launched" in capfd.readouterr().err


def test_every_training_of_a_journey_and_a_distillation(tmp_path: Path) -> None:
    from statllm.distill import recipe as distill
    from statllm.distill.run import _Run
    from statllm.journey.recipe import read_journey_recipe
    from statllm.journey.run import run_journey
    from statllm.phases import Phases

    said = r"'.*/false -m statllm.training.launched .*' ended with code 1"
    content = {
        "name": "x", "model": "lab", "format": {"data": "lab:train", "n": 4},
        "problems": {"source": "lab:train", "n": 4}, "reward": {"reward": "lab"},
        "launch": "false",
    }  # fmt: skip
    (tmp_path / "journey.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RuntimeError, match=said):
        run_journey(read_journey_recipe(tmp_path / "journey.yaml"), tmp_path / "journey")
    content = {
        "name": "x", "student": "lab", "problems": {"source": "lab:train"},
        "teacher": {"model": "lab"}, "launch": "false",
    }  # fmt: skip
    (tmp_path / "distill.yaml").write_text(yaml.safe_dump(content))
    recipe = distill.read_distill_recipe(tmp_path / "distill.yaml")
    (tmp_path / "chains.parquet").write_bytes(b"whatever")
    stage = _Run(recipe, tmp_path, Phases(tmp_path))
    with pytest.raises(RuntimeError, match=said):
        stage._train("stage_2", Path(resolve_model("lab")), "chains", recipe.stage_2)
