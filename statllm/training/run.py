"""Train a model folder into another one; a run that was killed goes on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from statllm._formats import read_rows
from statllm.files import sha256
from statllm.models import load_model, load_tokenizer
from statllm.pairs import check_pairs
from statllm.training.data import Rows, check_examples, model_limits, to_rows
from statllm.training.folder import (
    discard,
    finished,
    latest_checkpoint,
    local_folder,
    open_partial,
    publish,
    table_digest,
    training_curve,
)
from statllm.training.progress import ProgressLine
from statllm.training.settings import LanguageModelSettings, PreferenceSettings, SFTSettings

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from statllm.training.throughput import Throughput
    from statllm.training.trainer import OnStep, Trainer


@dataclass(frozen=True)
class TrainingSummary:
    """What a training did.

    Parameters
    ----------
    model : Path
        The trained model's folder.
    n_input, n_pairs, n_steps : int
        Rows of the input, rows that were trained on (pairs, or examples of SFT), and optimizer
        steps. `n_pairs` and the drops add up to `n_input`.
    drops : dict
        Number of rows that were dropped, by reason.
    dropped : pa.Table
        Each of them: ``row``, ``prompt_id``, ``reason``.
    curve : pa.Table
        One row per optimizer step, each figure a mean over its whole batch. ``margin`` is Δ in
        nats, the rewards are β times the log-ratios, log-probabilities are nats per response.
    speed : Throughput or None
        Of this process; None where everything was done before.
    """

    model: Path
    n_input: int
    n_pairs: int
    n_steps: int
    drops: dict[str, int]
    dropped: pa.Table
    curve: pa.Table
    speed: Throughput | None = None


def train_preference(
    model: str | Path,
    pairs: pa.Table | str | Path,
    out: str | Path,
    settings: PreferenceSettings,
    *,
    reference: str | Path | None = None,
    curve: str | Path | None = None,
    progress: bool = True,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingSummary:
    """Train a model on preference pairs.

    Parameters
    ----------
    model : str or Path
        The model that the run starts from, M_t: a folder, or a name on the hub.
    pairs : pa.Table or path
        See `statllm.pairs`. Token ids are used as they are where the table has them.
    out : str or Path
        Folder of the trained model; it appears, or is replaced, as a whole at the end. Until
        then the work lies in ``<out>.partial``, from which an interrupted run goes on: on a CPU
        the result is the same to the last bit.
    settings : PreferenceSettings
    reference : str or Path, optional
        The reference model; left out, it is `model`, as the papers have it.
    curve : str or Path, optional
        Where to write the training curve (Parquet).
    progress : bool
        Show progress, and what was dropped, on the error stream.
    callbacks : sequence of transformers.TrainerCallback

    Returns
    -------
    TrainingSummary

    Raises
    ------
    InputError
        If the pairs or the model are not usable, no pair is left, or ``<out>.partial`` belongs
        to another run.
    RuntimeError
        If the first loss isn't ln 2, or a loss isn't a number.
    """
    start = local_folder(model)
    other = None if reference is None else local_folder(reference)
    table = check_pairs(pairs if isinstance(pairs, pa.Table) else read_rows(pairs))
    tokenizer = load_tokenizer(start)
    must_end = ["chosen"] if settings.keep_truncated_rejected else ["chosen", "rejected"]
    limits = model_limits(start, tokenizer, settings, must_end)
    rows = to_rows(table, ["chosen", "rejected"], tokenizer, limits)
    inputs = {"model": sha256(start), "data": table_digest(table)}
    inputs["reference"] = inputs["model"] if other is None else sha256(other)
    folder = open_partial(out, start, inputs, settings)
    live = settings.needs_reference and not settings.precompute_reference
    beside = folder if isinstance(pairs, pa.Table) else Path(pairs).parent

    def trainer(on_step: OnStep) -> Trainer:
        from statllm.training.preference import preference_trainer

        _check_memory(start, rows, ("chosen_ids", "rejected_ids"), settings, live)
        return preference_trainer(
            load_model(start, settings.weight_dtype),
            rows.table,
            settings,
            folder,
            reference=None if other is None else load_model(other, settings.weight_dtype),
            reference_path=reference_path(beside, rows.table, inputs["reference"], settings),
            starts_at_reference=inputs["reference"] == inputs["model"],
            callbacks=callbacks,
            on_step=on_step,
        )

    line = ProgressLine(settings.logging_steps, shown=progress)
    _say_layout(start, settings, line)
    return _finish(trainer, folder, start, Path(out), rows, line, curve)


def train_sft(
    model: str | Path,
    data: pa.Table | str | Path,
    out: str | Path,
    settings: SFTSettings,
    *,
    curve: str | Path | None = None,
    progress: bool = True,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingSummary:
    """Train a model on responses: the weighted NLL per token of each, the prompt masked.

    Parameters
    ----------
    data : pa.Table or path
        ``prompt`` or ``prompt_ids``, ``response`` or ``response_ids``, and, where wanted,
        ``weight``; see `statllm.training.data.EXAMPLE_COLUMNS`.
    model, out, settings, curve, progress, callbacks
        As in `train_preference`, and so are the result and what is raised.
    """
    start = local_folder(model)
    table = check_examples(data if isinstance(data, pa.Table) else read_rows(data))
    tokenizer = load_tokenizer(start)
    rows = to_rows(
        table, ["response"], tokenizer, model_limits(start, tokenizer, settings, ["response"])
    )
    inputs = {"model": sha256(start), "data": table_digest(table)}
    folder = open_partial(out, start, inputs, settings)

    def trainer(on_step: OnStep) -> Trainer:
        from statllm.training.sft import sft_trainer

        _check_memory(start, rows, ("response_ids",), settings, False)
        return sft_trainer(
            load_model(start, settings.weight_dtype),
            rows.table,
            settings,
            folder,
            callbacks=callbacks,
            on_step=on_step,
        )

    line = ProgressLine(settings.logging_steps, shown=progress)
    _say_layout(start, settings, line)
    return _finish(trainer, folder, start, Path(out), rows, line, curve)


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


def _say_layout(start: Path, settings: LanguageModelSettings, line: ProgressLine) -> None:
    """Say why a model takes the slow way, where nobody asked for it."""
    from transformers import AutoConfig

    from statllm.training.attention import can_share

    reason = can_share(AutoConfig.from_pretrained(start)) if settings.layout == "auto" else None
    if reason is not None:
        line.say(f"rows are padded and prompts computed for each response: {reason}")


def _check_memory(
    start: Path,
    rows: Rows,
    responses: Sequence[str],
    settings: LanguageModelSettings,
    live_reference: bool,
) -> None:
    """Refuse what this machine's memory doesn't hold; of several, each holds a part."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return
    from statllm.training.memory import check_training
    from statllm.training.packing import packed_length

    lengths = [
        pc.list_value_length(rows.table[name]).to_pylist() for name in ("prompt_ids", *responses)
    ]
    sizes = [packed_length(prompt, each) for prompt, *each in zip(*lengths, strict=True)]
    check_training(start, settings, sizes, live_reference=live_reference)


def _finish(
    trainer: Callable[[OnStep], Trainer],
    folder: Path,
    start: Path,
    out: Path,
    rows: Rows,
    line: ProgressLine,
    curve: str | Path | None,
) -> TrainingSummary:
    """Train from the last checkpoint, if there is one, and publish the one of the last step."""
    n_input = rows.table.num_rows + rows.dropped.num_rows
    line.say_rows(n_input, rows.drops)
    speed = None
    if finished(folder) is None:
        with line.shown() as on_step:
            made = trainer(on_step)
            made.train(latest_checkpoint(folder))
        speed = made.meter.summary()
    done = finished(folder)
    if done is None:
        raise RuntimeError("the training was stopped before its last step")
    checkpoint, history = done
    steps = training_curve(history, rows.table.num_rows)
    publish(checkpoint, start, out, steps, curve)
    discard(folder)
    return TrainingSummary(
        model=out,
        n_input=n_input,
        n_pairs=rows.table.num_rows,
        n_steps=steps.num_rows,
        drops=rows.drops,
        dropped=rows.dropped,
        curve=steps,
        speed=speed,
    )
