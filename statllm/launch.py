"""Trainings of a recipe: in this process, or in those that a launcher starts."""

from __future__ import annotations

import gc
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from statllm.errors import InputError
from statllm.files import write_json, write_parquet
from statllm.processes import die_with_parent
from statllm.training.settings import PreferenceSettings, SFTSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from statllm.training import TrainingSummary


def _words(value: Any) -> Any:
    return shlex.split(value) if isinstance(value, str) else value


#: A recipe's key. It doesn't decide what comes out: the same run may go on under another one.
Launch = Annotated[
    Annotated[tuple[str, ...], Field(min_length=1)] | None,
    BeforeValidator(_words),
    Field(
        description="The command under which trainings run, such as `accelerate launch "
        "--config_file fsdp.yaml`, in words or as a text; it starts statllm's training with `-m`. "
        "Null: in the process of the run, on one GPU."
    ),
]


def launcher(launch: tuple[str, ...]) -> list[str]:
    """Return a launcher's words with the place of the first: in this Python's environment or PATH.

    Raises
    ------
    InputError
        If there is no such command, or this process is a launcher's itself.

    Examples
    --------
    >>> launcher(("no-such-command", "--x"))
    Traceback (most recent call last):
    ...
    statllm.errors.InputError: launch: there is no command 'no-such-command'
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("launch: a launcher has started this process already: leave out one")
    name = launch[0]
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise InputError(f"launch: there is no command '{name}'")
    return [found, *launch[1:]]


def train_under(
    launch: tuple[str, ...] | None,
    model: str | Path,
    data: pa.Table | str | Path,
    out: str | Path,
    settings: PreferenceSettings | SFTSettings,
    *,
    curve: str | Path | None = None,
    progress: bool = True,
    **held: str | Path | None,
) -> TrainingSummary:
    """Train on preferences, or on responses, as the settings say.

    Parameters
    ----------
    launch : tuple of str, optional
        The launcher; left out, this process trains.
    model, data, out, settings, curve, progress
        As in `statllm.training.train_preference`, and so is what is returned and raised.
    **held
        Of preferences: paths of `reference` and `held_out`.

    Raises
    ------
    InputError
        If the launcher can't be started.
    RuntimeError
        If it fails; the command and its exit code are named.
    """
    from statllm.training.launched import DATA, read_summary, training

    given = {name: value for name, value in held.items() if value is not None}
    options = {"curve": curve, "progress": progress, **given}
    if launch is None:
        return training(model, data, out, settings, **options)
    command, out = launcher(launch), Path(out)
    # of a run that was killed, nothing in it is of use: what was trained lies beside the output
    work = out.with_name(f".{out.name}.launched.tmp")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    is_path = isinstance(data, str | Path)
    if not is_path:
        write_parquet(data, work / DATA)
    request = {
        "kind": type(settings).__name__,
        "model": str(model),
        "data": str(data) if is_path else None,
        "out": str(out),
        "settings": settings.model_dump(mode="json"),
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in options.items()},
    }
    _release_memory()
    try:
        command += ["-m", "statllm.training.launched", str((work / "request.json").resolve())]
        code = _run(command, request, work / "request.json")
        summary = read_summary(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if summary is None:  # who leaves word has published the model, whatever the launcher says
        missing = "" if code else ", but hasn't trained"
        raise RuntimeError(f"launch: '{shlex.join(command)}' ended with code {code}{missing}")
    return summary


def _release_memory() -> None:
    """Give back what torch keeps of the GPU after models that this process has sampled from."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def _run(command: list[str], request: dict[str, Any], path: Path) -> int:
    """Run a command to its end; what it prints goes to our error stream.

    It ends with this process however this one ends, and so do the trainings that it has started:
    their standard input is a pipe whose other end is ours alone.
    """
    theirs, ours = os.pipe()
    try:
        pipe = os.fstat(theirs)
        write_json({**request, "pipe": [pipe.st_dev, pipe.st_ino]}, path)
        return subprocess.run(
            command, stdin=theirs, stdout=sys.__stderr__, preexec_fn=die_with_parent
        ).returncode
    finally:
        os.close(theirs)
        os.close(ours)
