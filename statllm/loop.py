"""Iterate sample -> score -> select -> train -> evaluate, one process per stage; resumable."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from statllm.errors import InputError
from statllm.files import read_json, sha256, write_json, write_parquet, write_text
from statllm.launch import launcher
from statllm.processes import StageProcesses
from statllm.recipe import Recipe, dump_recipe, read_recipe
from statllm.stages import Run, adopt, check_sources, execute, is_complete

#: Called before and after each stage: (iteration, stage, state), state one of
#: "start", "done", "kept" (complete before) and "copied" (from another run).
Listener = Callable[[int, str, str], None]

_LOCK_PATIENCE = 5.0  # seconds: a killed run's child may outlive it for a moment


def run(
    recipe: Recipe,
    folder: str | Path,
    *,
    reuse: Sequence[str | Path] = (),
    isolate: bool = True,
    processes: StageProcesses | None = None,
    listener: Listener | None = None,
) -> Run:
    """Run a recipe in `folder`, or go on where an earlier attempt stopped.

    Parameters
    ----------
    recipe : Recipe
    folder : str or Path
        Made if missing. If it holds a run already, that must be of the same recipe, but for
        `launch`; complete stages are not redone, an incomplete one goes on from its last shard or
        checkpoint.
    reuse : sequence of paths, optional
        Other runs; a stage with the same settings and inputs is copied from them.
    isolate : bool
        One operating-system process per stage, so that its memory is returned (default).
        False runs the stages in this process.
    processes : StageProcesses, optional
        Where the processes come from: several runs start faster if they share it.
    listener : callable, optional
        Told of every stage's start and end.

    Returns
    -------
    Run
        The folder then holds every iteration's artefacts, metrics.parquet and manifest.json.

    Raises
    ------
    InputError
        If a file of problems or the launcher is missing, the folder holds another recipe's run,
        another process works in it, or a stage refuses its input.
    RuntimeError
        If a stage's process fails.
    """
    tell = listener or (lambda iteration, stage, state: None)
    check_sources(recipe)
    if recipe.launch is not None:
        launcher(recipe.launch)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        _locked(folder) as lock,
        StageProcesses() if processes is None else nullcontext(processes) as nursery,
    ):
        _write_recipe(recipe, folder)
        this = Run(folder, recipe)
        others = [Run.open(other) for other in reuse]
        for iteration, stage in this.plan():
            if is_complete(this, iteration, stage):
                tell(iteration, stage, "kept")
                continue
            if any(adopt(this, other, iteration, stage) for other in others):
                tell(iteration, stage, "copied")
                continue
            tell(iteration, stage, "start")
            this.record(iteration, stage).unlink(missing_ok=True)
            if isolate:
                nursery.run(folder, iteration, stage, lock)
            else:
                execute(this, iteration, stage)
            tell(iteration, stage, "done")
        _write_summary(this)
    return this


def _write_recipe(recipe: Recipe, folder: Path) -> None:
    """Store the resolved recipe; another one in the same folder is refused, by its first key.

    `launch` decides nothing: who gets more GPUs goes on with the same run.
    """
    path, text = folder / "run.yaml", dump_recipe(recipe)
    if path.exists():
        known = dump_recipe(read_recipe(path, launch=recipe.launch))
        if known != text:
            raise InputError(
                f"{folder} holds a run of another recipe ({_first_difference(known, text)}); "
                "choose another folder, or remove that one"
            )
    write_text(text, path)


def _first_difference(known: str, text: str) -> str:
    old, new = known.splitlines(), text.splitlines()
    for there, here in zip(old, new, strict=False):
        if there != here:
            return f"there '{there.strip()}', here '{here.strip()}'"
    return "one is longer"


def _write_summary(this: Run) -> None:
    """Write metrics.parquet and the manifest, which names every artefact by its digest."""
    from statllm.evaluation import run_metrics
    from statllm.versions import versions

    write_parquet(run_metrics(this), this.folder / "metrics.parquet")
    records = {
        f"iteration_{iteration}/{stage}": read_json(this.record(iteration, stage))
        for iteration, stage in this.plan()
    }
    artefacts = {
        f"{name.split('/')[0]}/{output}": digest
        for name, record in records.items()
        for output, digest in record["outputs"].items()
    }
    manifest = {
        "recipe": this.recipe.name,
        "seed": this.recipe.seed,
        "run.yaml": sha256(this.folder / "run.yaml"),
        "metrics.parquet": sha256(this.folder / "metrics.parquet"),
        "artefacts": artefacts,
        "counts": {name: record["counts"] for name, record in records.items()},
        "versions": versions(),
    }
    write_json(manifest, this.folder / "manifest.json")


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the folder's lock; children inherit it, so a killed parent's child keeps it too."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    deadline = time.monotonic() + _LOCK_PATIENCE
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InputError(f"another process is working in {folder}") from None
                time.sleep(0.1)
        yield handle
    finally:
        os.close(handle)
