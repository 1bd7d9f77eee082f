"""The folder of an unfinished training, and how its last checkpoint becomes a model folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from statllm.errors import InputError
from statllm.files import (
    atomic_folder,
    read_json,
    sweep_leftovers,
    sweep_temporary,
    write_json,
    write_parquet,
)
from statllm.models import check_model_folder, is_local
from statllm.training.settings import PreferenceSettings, TrainingSettings

#: What a trained model folder takes over from the model that it was trained from.
COPIED_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)

_HUB_FILES = ("*.json", "*.jinja", "*.model", "*.safetensors", "*.txt")

#: The training curve; SFT has `logp` where preferences have the rest, and figures of held-out pairs
#: are null between evaluations.
CURVE_COLUMNS: dict[str, pa.DataType] = {
    "step": pa.int32(),
    "epoch": pa.float64(),
    "n_rows": pa.int32(),
    **dict.fromkeys(
        (
            "loss",
            "loss_dpo",
            "loss_nll",
            "logp",
            "logp_chosen",
            "logp_rejected",
            "reward_chosen",
            "reward_rejected",
            "margin",
            "accuracy",
            "weight",
            "grad_norm",
            "learning_rate",
            "eval_loss",
            "eval_loss_se",
            "eval_margin",
            "eval_margin_se",
            "eval_accuracy",
            "eval_accuracy_se",
            "eval_logp_chosen",
            "eval_logp_rejected",
        ),
        pa.float64(),
    ),
}

#: Checkpoints are the folders ``step_<number>``; where they stand is in the file.
STEP, STATE_FILE = "step_", "trainer_state.json"

# They don't decide what comes out, so a run may go on with other values.
_INDIFFERENT = {"checkpoint_every", "logging_steps", "report_to"}


def local_folder(model: str | Path) -> Path:
    """Return a model's folder; one that is named by its place on the hub is fetched first.

    Raises
    ------
    InputError
        If it isn't a model folder, or can't be fetched.
    """
    if is_local(model):
        return check_model_folder(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(model), allow_patterns=list(_HUB_FILES)))
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"model {model} can't be fetched: {reason}") from error


def first_process() -> bool:
    """Whether this is the only process of a training, or the first of those that were launched.

    What a process alone must do, before it knows of the others.
    """
    return os.environ.get("RANK", "0") == "0"


def open_partial(
    out: str | Path, start: Path, inputs: dict[str, str], settings: TrainingSettings
) -> Path:
    """Return ``<out>.partial``, new or of a run with the same inputs and settings.

    A run that has no checkpoint yet has done nothing that would be lost.

    Raises
    ------
    InputError
        If it belongs to another run (the first difference is named), or if `out` is the starting
        model or something else that mustn't be replaced.
    """
    out = Path(out)
    if out.exists() and out.resolve() == start.resolve():
        raise InputError(f"{out} is the model that the training starts from; choose another output")
    ours = (out / "config.json").is_file() or (out.is_dir() and not any(out.iterdir()))
    if out.exists() and not ours:
        raise InputError(f"{out} exists and isn't a model folder; choose another output")
    folder = out.with_name(f"{out.name}.partial")
    if not first_process():
        return folder
    kind = type(settings).__name__
    decides = settings.model_dump(mode="json", exclude=_INDIFFERENT)
    wanted = {"kind": kind, **inputs, **decides}
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1:  # each has written its part of a checkpoint
        wanted["processes"] = size
    path = folder / "request.json"
    if folder.exists():
        sweep_temporary(folder)
        if not path.exists() and any(folder.iterdir()):
            raise InputError(f"{folder} is in the way: it isn't the folder of a training")
    if path.exists() and latest_checkpoint(folder) is not None:
        found = read_json(path)
        for key in sorted(wanted.keys() | found.keys()):
            if wanted.get(key) != found.get(key):
                raise InputError(
                    f"{folder} holds an unfinished training with another '{key}'; "
                    "remove it, or choose another output folder"
                )
    else:
        write_json(wanted, path)
    return folder


def discard(folder: Path) -> None:
    """Remove a folder so that no kill can leave a part of it under its name."""
    hidden = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    folder.rename(hidden)
    shutil.rmtree(hidden)


def table_digest(table: pa.Table) -> str:
    """Digest of a table's content, whatever its chunks."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def reference_path(folder: Path, rows: pa.Table, model: str, settings: PreferenceSettings) -> Path:
    """Where the reference's log-probabilities of these rows lie.

    Parameters
    ----------
    folder : Path
        That of the pairs.
    rows : pa.Table
        Token ids.
    model : str
        Digest of the reference's folder.
    settings : PreferenceSettings
        Of which the number formats count.
    """
    digest = table_digest(rows.select(["prompt_ids", "chosen_ids", "rejected_ids"]))
    kind = f"{settings.weight_dtype}-{settings.dtype}"
    return folder / f"reference-{digest[:12]}-{model[:12]}-{kind}.parquet"


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the latest checkpoint of a trainer's folder; each is whole or absent."""
    steps = [int(path.name.removeprefix(STEP)) for path in folder.glob(f"{STEP}*")]
    if not steps:
        return None
    return folder / f"{STEP}{max(steps)}"


def finished(folder: Path) -> tuple[Path, list[dict[str, Any]]] | None:
    """Return the checkpoint of the last step and the log up to it, None if it isn't reached."""
    checkpoint = latest_checkpoint(folder)
    if checkpoint is None:
        return None
    state = read_json(checkpoint / STATE_FILE)
    return (checkpoint, state["history"]) if state["step"] >= state["n_steps"] else None


def best_step(history: Sequence[Mapping[str, Any]], figure: str) -> int | None:
    """Step of the best evaluation: the least loss, or the greatest margin or accuracy.

    Examples
    --------
    >>> history = [{"step": 1, "eval_loss": 0.7}, {"step": 2}, {"step": 3, "eval_loss": 0.6}]
    >>> best_step(history, "loss"), best_step(history[1:2], "loss")
    (3, None)
    """
    name, sign = f"eval_{figure}", 1 if figure == "loss" else -1
    found = [(sign * row[name], int(row["step"])) for row in history if name in row]
    return min(found)[1] if found else None


def training_curve(history: list[dict[str, Any]], n_rows: int) -> pa.Table:
    """Return one row per optimizer step, with those of `CURVE_COLUMNS` that the log has.

    The epoch counts the rows seen.
    """
    seen = accumulate(row["n_rows"] for row in history)
    steps = [{**row, "epoch": rows / n_rows} for row, rows in zip(history, seen, strict=True)]
    return pa.table(
        {
            name: pa.array([row.get(name) for row in steps], kind)
            for name, kind in CURVE_COLUMNS.items()
            if any(name in row for row in steps)
        }
    )


def publish(
    checkpoint: Path,
    start: Path,
    out: Path,
    curve: pa.Table | None,
    curve_path: str | Path | None,
) -> None:
    """Write the curve, then the model folder: weights of the checkpoint, all else of `start`.

    transformers would write its own training flags into the configuration (no cache, the
    tokenizer's padding); the one thing that changed is the precision of the weights. An adapter
    is added to the weights that it was trained on, and lies beside them in ``adapter``.
    """
    if curve is not None and curve_path is not None:
        sweep_leftovers(Path(curve_path))
        write_parquet(curve, curve_path)
    sweep_leftovers(out)
    adapter = (checkpoint / "adapter_config.json").is_file()
    with atomic_folder(out) as folder:
        if adapter:
            merge(start, checkpoint, folder)
        for weights in sorted(checkpoint.glob("*.safetensors*")):
            shutil.copyfile(weights, (folder / "adapter" if adapter else folder) / weights.name)
        config = read_json(start / "config.json")
        config.pop("torch_dtype", None)
        write_json({**config, "dtype": _dtype(folder)}, folder / "config.json")
        for name in COPIED_FILES:
            if (start / name).is_file():
                shutil.copyfile(start / name, folder / name)


def publish_steps(work: Path, start: Path, out: Path, steps: Sequence[int]) -> None:
    """Write the models of these steps beside the output, each as `publish` does.

    Folders of steps that an earlier training has left there are removed.
    """
    folder = out.with_name(f"{out.name}.steps")
    if folder.exists():
        discard(folder)
    for step in steps:
        publish(work / f"{STEP}{step}", start, folder / f"{STEP}{step}", None, None)


def merge(start: Path, adapter: Path, folder: Path) -> None:
    """Write a model's weights with an adapter's product added to them, and the adapter itself."""
    from statllm.adapters import merge_adapter
    from statllm.models import load_model
    from statllm.training.weights import no_bar

    merged = merge_adapter(load_model(start, device="cpu"), adapter)
    with no_bar():
        merged.save_pretrained(folder)
    (folder / "adapter").mkdir()
    shutil.copyfile(adapter / "adapter_config.json", folder / "adapter" / "adapter_config.json")


def _dtype(folder: Path) -> str:
    """Number format of the weights in a folder."""
    from safetensors import safe_open

    with safe_open(min(folder.glob("*.safetensors")), "pt") as file:
        kind = file.get_slice(min(file.keys())).get_dtype()
    return {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}[kind]
