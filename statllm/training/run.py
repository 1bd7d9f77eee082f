"""Train a model folder into another one; a run that was killed goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from statllm._formats import read_rows
from statllm.errors import InputError
from statllm.files import sha256
from statllm.models import load_model, load_tokenizer
from statllm.training.before import (
    check_memory,
    check_some_weight,
    pair_rows,
    say_layout,
    say_overlap,
)
from statllm.training.data import Rows, check_examples, model_limits, to_rows
from statllm.training.folder import (
    STEP,
    best_step,
    discard,
    finished,
    first_process,
    latest_checkpoint,
    local_folder,
    open_partial,
    publish,
    publish_steps,
    reference_path,
    table_digest,
    training_curve,
)
from statllm.training.progress import ProgressLine
from statllm.training.schedule import kept_steps
from statllm.training.settings import PreferenceSettings, SFTSettings

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
    n_held_out : int
        Pairs that were evaluated, whose figures are in the curve (``eval_loss`` and so on).
    step : int
        Whose weights these are: the last, or the best on the held-out pairs.
    """

    model: Path
    n_input: int
    n_pairs: int
    n_steps: int
    drops: dict[str, int]
    dropped: pa.Table
    curve: pa.Table
    speed: Throughput | None = None
    n_held_out: int = 0
    step: int = 0


def train_preference(
    model: str | Path,
    pairs: pa.Table | str | Path,
    out: str | Path,
    settings: PreferenceSettings,
    *,
    reference: str | Path | None = None,
    held_out: pa.Table | str | Path | None = None,
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
        the result is the same to the last bit. With ``settings.keep_every`` the models on the way
        are in ``<out>.steps/step_<n>``.
    settings : PreferenceSettings
    reference : str or Path, optional
        The reference model; left out, it is `model`, as the papers have it.
    held_out : pa.Table or path, optional
        Pairs that aren't trained on: their loss, margin and accuracy are evaluated at the end,
        and every ``settings.eval_every`` steps. What is trained doesn't depend on it, unless
        ``settings.keep_best`` chooses among the steps.
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
    if held_out is None and (settings.eval_every or settings.keep_best):
        raise InputError("eval_every and keep_best need held-out pairs (--eval)")
    start = local_folder(model)
    other = None if reference is None else local_folder(reference)
    table, rows = pair_rows(pairs, start, settings)
    if settings.weighted:
        check_some_weight(rows.table)
    inputs = {"model": sha256(start), "data": table_digest(table)}
    inputs["reference"] = inputs["model"] if other is None else sha256(other)
    aside: Rows | None = None
    if held_out is not None:
        try:
            table, aside = pair_rows(held_out, start, settings)
        except InputError as error:
            raise InputError(f"held-out pairs: {error}") from error
        inputs["held_out"] = table_digest(table)
    folder = open_partial(out, start, inputs, settings)
    live = settings.needs_reference and not settings.precompute_reference

    def known(of: pa.Table | str | Path | None, rows: Rows | None) -> Path | None:
        if of is None or rows is None:
            return None
        beside = folder if isinstance(of, pa.Table) else Path(of).parent
        return reference_path(beside, rows.table, inputs["reference"], settings)

    def trainer(on_step: OnStep) -> Trainer:
        from statllm.training.preference import preference_trainer

        check_memory(start, rows, ("chosen_ids", "rejected_ids"), settings, live)
        return preference_trainer(
            load_model(start, settings.weight_dtype),
            rows.table,
            settings,
            folder,
            reference=None if other is None else load_model(other, settings.weight_dtype),
            reference_path=known(pairs, rows),
            held_out=None if aside is None else aside.table,
            held_out_reference_path=known(held_out, aside),
            starts_at_reference=inputs["reference"] == inputs["model"],
            callbacks=callbacks,
            on_step=on_step,
        )

    line = ProgressLine(settings.logging_steps, shown=progress and first_process())
    say_layout(start, settings, line)
    if aside is not None:
        line.say_rows(aside.n_input, aside.drops, "held-out pairs to evaluate")
        say_overlap(rows.table, aside.table, line)
    return _finish(trainer, folder, start, Path(out), rows, line, curve, settings, aside)


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
    if settings.use_weights:
        check_some_weight(rows.table)
    inputs = {"model": sha256(start), "data": table_digest(table)}
    folder = open_partial(out, start, inputs, settings)

    def trainer(on_step: OnStep) -> Trainer:
        from statllm.training.sft import sft_trainer

        check_memory(start, rows, ("response_ids",), settings, False)
        return sft_trainer(
            load_model(start, settings.weight_dtype),
            rows.table,
            settings,
            folder,
            callbacks=callbacks,
            on_step=on_step,
        )

    line = ProgressLine(settings.logging_steps, shown=progress and first_process())
    say_layout(start, settings, line)
    return _finish(trainer, folder, start, Path(out), rows, line, curve, settings)


def _finish(
    trainer: Callable[[OnStep], Trainer],
    folder: Path,
    start: Path,
    out: Path,
    rows: Rows,
    line: ProgressLine,
    curve: str | Path | None,
    settings: PreferenceSettings | SFTSettings,
    held_out: Rows | None = None,
) -> TrainingSummary:
    """Train from the last checkpoint, if there is one, and publish that or the best one."""
    from statllm.training.distributed import processes

    line.say_rows(rows.n_input, rows.drops)
    group = processes()
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
    best = settings.keep_best if isinstance(settings, PreferenceSettings) else None
    if best is not None:
        checkpoint = folder / f"{STEP}{best_step(history, best)}"
    steps = training_curve(history, rows.table.num_rows)
    group.wait()  # until all have read it
    if first_process():
        per_epoch = -(-rows.table.num_rows // settings.batch_size)
        publish_steps(folder, start, out, kept_steps(settings, per_epoch, len(history)))
        publish(checkpoint, start, out, steps, curve)
        discard(folder)
    group.wait()
    return TrainingSummary(
        model=out,
        n_input=rows.n_input,
        n_pairs=rows.table.num_rows,
        n_steps=steps.num_rows,
        drops=rows.drops,
        dropped=rows.dropped,
        curve=steps,
        speed=speed,
        n_held_out=0 if held_out is None else held_out.table.num_rows,
        step=int(checkpoint.name.removeprefix(STEP)),
    )
