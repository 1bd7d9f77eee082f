"""A training in the processes of a launcher: `-m statllm.training.launched REQUEST.json`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from statllm.errors import InputError
from statllm.files import read_json, read_parquet, write_json, write_parquet
from statllm.training.folder import first_process
from statllm.training.run import TrainingSummary
from statllm.training.settings import PreferenceSettings, SFTSettings

#: What lies in the folder of a request: data that were given as a table, and what was done.
DATA, SUMMARY = "data.parquet", "summary.json"
_TABLES = ("dropped", "curve")


def training(
    model: str | Path,
    data: pa.Table | str | Path,
    out: str | Path,
    settings: PreferenceSettings | SFTSettings,
    **options: Any,
) -> TrainingSummary:
    """Train on preferences, or on responses, as the settings say."""
    from statllm.training import train_preference, train_sft

    if isinstance(settings, SFTSettings):
        return train_sft(model, data, out, settings, **options)
    return train_preference(model, data, out, settings, **options)


def main(path: Path) -> int:
    """Train as a request says; the first process leaves word of it beside the request."""
    request = read_json(path)
    _end_with_asker(request["pipe"])
    settings: type[PreferenceSettings | SFTSettings] = (
        SFTSettings if request["kind"] == SFTSettings.__name__ else PreferenceSettings
    )
    data = request["data"]
    try:
        summary = training(
            request["model"],
            read_parquet(path.with_name(DATA)) if data is None else data,
            request["out"],
            settings.model_validate(request["settings"]),
            **request["options"],
        )
    except InputError as error:
        write_json({"error": str(error)}, path.with_name(SUMMARY))
        return 2
    if first_process():
        write_summary(summary, path.parent)
    return 0


def _end_with_asker(pipe: list[int]) -> None:
    """End this process with the one that waits for it, even if that is ended by kill -9.

    A launcher that dies so doesn't take along its workers, to which torchrun gives sessions of
    their own. But they inherit its standard input, a pipe that nobody but the asker could write to.
    """
    with suppress(OSError):
        found = os.fstat(0)
        if [found.st_dev, found.st_ino] == pipe:  # a launcher may give them another input
            threading.Thread(target=_await_end, daemon=True).start()


def _await_end() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def write_summary(summary: TrainingSummary, folder: Path) -> None:
    """Write what a training did; the file `SUMMARY` is the last one."""
    fields = dict(vars(summary))
    for name in _TABLES:
        write_parquet(fields.pop(name), folder / f"{name}.parquet")
    fields["model"] = str(summary.model)
    fields["speed"] = None if summary.speed is None else asdict(summary.speed)
    write_json(fields, folder / SUMMARY)


def read_summary(folder: Path) -> TrainingSummary | None:
    """Read what a training did; None where it didn't come to its end.

    Raises
    ------
    InputError
        That the training was refused with.
    """
    if not (folder / SUMMARY).exists():
        return None
    fields = read_json(folder / SUMMARY)
    if "error" in fields:
        raise InputError(fields["error"])
    if fields["speed"] is not None:
        from statllm.training.throughput import Throughput

        fields["speed"] = Throughput(**fields["speed"])
    tables = {name: read_parquet(folder / f"{name}.parquet") for name in _TABLES}
    return TrainingSummary(**{**fields, **tables, "model": Path(fields["model"])})


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
