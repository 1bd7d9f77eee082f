"""`statllm train`: preference pairs in, a better model out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import console


def train(
    model: Annotated[str, typer.Argument(help="The model that generated the pairs, or lab.")],
    pairs: Annotated[Path, typer.Argument(help="Parquet from `statllm select`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.")],
    loss: Annotated[str, typer.Option(help="dpo, irpo or scpo.")] = "dpo",
    beta: Annotated[float | None, typer.Option(help="Strength of the KL term.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of the NLL term.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the pairs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pairs per optimizer step.")] = None,
    micro_batch_size: Annotated[
        int | None, typer.Option(help="Pairs at a time; changes memory, not the result.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="Longest prompt + response.")] = None,
    seed: Annotated[int | None, typer.Option(help="Order of the pairs.")] = None,
    curve: Annotated[
        Path | None, typer.Option(help="Where the training curve goes (Parquet).")
    ] = None,
) -> None:
    """Train on preference pairs; the reference is the model given. Resumes when killed.

    Examples:

        statllm train lab pairs.parquet -o better --loss scpo --learning-rate 3e-4

        statllm train ./my-model pairs.parquet -o better --loss irpo --beta 0.1 --epochs 1
    """
    from pydantic import ValidationError

    from statllm.errors import InputError
    from statllm.stages import resolve_model
    from statllm.training import PreferenceSettings, train_preference

    given: dict[str, Any] = {
        "loss": loss,
        "beta": beta,
        "alpha": alpha,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "batch_size": batch_size,
        "micro_batch_size": micro_batch_size,
        "max_length": max_length,
        "seed": seed,
    }
    try:
        settings = PreferenceSettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + ".".join(map(str, first["loc"])).replace("_", "-")
        raise InputError(f"{option}: {first['msg']}") from error
    summary = train_preference(resolve_model(model), pairs, output, settings, curve=curve)
    dropped = "".join(f", {count} dropped ({reason})" for reason, count in summary.drops.items())
    console().print(f"{output}: {summary.n_pairs} pairs{dropped}, {summary.n_steps} steps")
