"""`statllm train`: preference pairs in, a better model out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import console
from statllm.cli.settings import validated, with_settings
from statllm.training import PreferenceSettings


@with_settings(PreferenceSettings)
def train(
    model: Annotated[str, typer.Argument(help="The model that generated the pairs, or lab.")],
    pairs: Annotated[Path, typer.Argument(help="Parquet from `statllm select`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.")],
    reference: Annotated[
        str | None, typer.Option(help="Reference model; the starting model when left out.")
    ] = None,
    curve: Annotated[
        Path | None, typer.Option(help="Where the training curve goes (Parquet).")
    ] = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Train on preference pairs; the reference is the model given. Resumes when killed.

    Examples:

        statllm train lab pairs.parquet -o better --loss scpo --learning-rate 3e-4

        statllm train ./my-model pairs.parquet -o better --loss irpo --beta 0.1 --epochs 1
    """
    from statllm.stages import resolve_model
    from statllm.training import train_preference

    summary = train_preference(
        resolve_model(model),
        pairs,
        output,
        validated(PreferenceSettings, settings or {}),
        reference=None if reference is None else resolve_model(reference),
        curve=curve,
    )
    dropped = "".join(f", {count} dropped ({reason})" for reason, count in summary.drops.items())
    console().print(f"{output}: {summary.n_pairs} pairs{dropped}, {summary.n_steps} steps")
