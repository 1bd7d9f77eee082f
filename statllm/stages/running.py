"""Running a stage, and whether it is complete: its record names all that decided its outcome."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from statllm._version import __version__
from statllm.errors import InputError
from statllm.files import read_json, sha256, sweep_temporary, write_json
from statllm.stages.choose import CHOOSE
from statllm.stages.evaluate import EVALUATE
from statllm.stages.reward import REWARD
from statllm.stages.run_folder import STAGES, Run
from statllm.stages.sample import SAMPLE, SCORE
from statllm.stages.select import SELECT
from statllm.stages.stage import Stage
from statllm.stages.train import TRAIN
from statllm.stages.write import WRITE

_STAGES: Mapping[str, Stage] = dict(
    zip(STAGES, (WRITE, SAMPLE, SCORE, REWARD, SELECT, CHOOSE, TRAIN, EVALUATE), strict=True)
)


def stage_key(run: Run, iteration: int, stage: str) -> tuple[str, dict[str, str]]:
    """Return the digest of all that decides a stage's outcome, and the inputs' digests."""
    spec = _STAGES[stage]
    inputs = {name: _digest(path) for name, path in spec.inputs(run, iteration).items()}
    decides = {
        "stage": stage,
        "settings": spec.settings(run, iteration),
        "inputs": inputs,
        "statllm": __version__,
    }
    text = json.dumps(decides, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest(), inputs


def _digest(path: str | Path) -> str:
    """Digest of a file or folder; a hub name stands for itself."""
    return sha256(path) if Path(path).exists() else f"name:{path}"


def is_complete(run: Run, iteration: int, stage: str) -> bool:
    """Whether the stage's record fits the recipe, its inputs, and the files that it names."""
    path = run.record(iteration, stage)
    if not path.is_file():
        return False
    record = read_json(path)
    outputs = _STAGES[stage].outputs(run, iteration)
    if any(not run.path(iteration, name).exists() for name in outputs):
        return False
    if record["key"] != stage_key(run, iteration, stage)[0]:
        return False
    return all(sha256(run.path(iteration, n)) == d for n, d in record["outputs"].items())


def execute(run: Run, iteration: int, stage: str) -> None:
    """Run one stage and write its record, which makes it complete."""
    spec = _STAGES[stage]
    folder = run.path(iteration, "")
    folder.mkdir(parents=True, exist_ok=True)
    sweep_temporary(folder)
    key, inputs = stage_key(run, iteration, stage)
    counts = spec.execute(run, iteration)
    names = spec.outputs(run, iteration)
    outputs = {name: sha256(run.path(iteration, name)) for name in names}
    record = {"key": key, "inputs": inputs, "outputs": outputs, "counts": counts}
    write_json(record, run.record(iteration, stage))


def adopt(run: Run, other: Run, iteration: int, stage: str) -> bool:
    """Copy a stage's outputs from another run where exactly the same stage is complete there."""
    record_path = other.record(iteration, stage)
    if not record_path.is_file():
        return False
    record = read_json(record_path)
    if record["key"] != stage_key(run, iteration, stage)[0]:
        return False
    if not is_complete(other, iteration, stage):
        return False
    for name in record["outputs"]:
        source, target = other.path(iteration, name), run.path(iteration, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
    write_json(record, run.record(iteration, stage))
    return True


def main(arguments: list[str] | None = None) -> int:
    """Entry point of a stage's process; the loop starts it."""
    parser = argparse.ArgumentParser(prog="python -m statllm.stages")
    parser.add_argument("folder")
    parser.add_argument("iteration", type=int)
    parser.add_argument("stage", choices=STAGES)
    given = parser.parse_args(arguments)
    try:
        execute(Run.open(given.folder), given.iteration, given.stage)
    except InputError as error:
        print(error)
        return 2
    return 0
