"""`statllm train`: preference pairs in, a better model out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.cli.common import console
from statllm.cli.settings import validated, with_settings
from statllm.errors import InputError
from statllm.launch import train_under
from statllm.training import PreferenceSettings

if TYPE_CHECKING:
    from statllm.training import TrainingSummary
    from statllm.training_recipe import TrainingRecipe


@with_settings(PreferenceSettings)
def train(
    model: Annotated[
        str, typer.Argument(help="The model that generated the pairs, or lab; or a recipe (YAML).")
    ],
    pairs: Annotated[
        Path | None, typer.Argument(help="Parquet from `statllm select`; none with a recipe.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the new model.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Reference model; the starting model when left out.")
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option("--eval", help="Held-out pairs: loss, margin and accuracy on them."),
    ] = None,
    curve: Annotated[
        Path | None, typer.Option(help="Where the training curve goes (Parquet).")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A paper's settings, such as scpo-gsm8k; single options override it."),
    ] = None,
    iteration: Annotated[int, typer.Option(min=1, help="Of the preset.")] = 1,
    settings: dict[str, Any] | None = None,
) -> None:
    """Train on preference pairs; the reference is the model given. Resumes when killed.

    A recipe holds model, data, output, kind (preference or sft), eval, preset and training;
    options override its settings.

    Examples:

        statllm train lab pairs.parquet -o better --loss scpo --learning-rate 3e-4

        statllm train ./my-model pairs.parquet -o better --preset irpo-gsm8k

        statllm train ./my-model pairs.parquet -o better --lora-rank 16 --dtype bfloat16

        statllm train ./my-model pairs.parquet -o better --eval dev.parquet --eval-every 50

        statllm train recipe.yaml
    """
    from statllm.stages import resolve_model
    from statllm.training import train_preference
    from statllm.training_recipe import preset_settings

    given = settings or {}
    if Path(model).suffix in (".yaml", ".yml"):
        named = {"PAIRS": pairs, "--output": output, "--reference": reference, "--eval": held_out,
                 "--curve": curve, "--preset": preset}  # fmt: skip
        for name, value in named.items():
            if value is not None:
                raise InputError(f"{name} stands in the recipe {model}")
        from statllm.training_recipe import read_training_recipe

        recipe = read_training_recipe(model, given)
        _print(train_recipe(recipe, Path(recipe.output)))
        return
    if pairs is None or output is None:
        missing = "PAIRS" if pairs is None else "--output"
        raise InputError(f"{missing} is missing: a model, pairs and --output, or a recipe (.yaml)")
    base = {} if preset is None else preset_settings(preset, iteration)
    summary = train_preference(
        resolve_model(model),
        pairs,
        output,
        validated(PreferenceSettings, {**base, **given}),
        reference=None if reference is None else resolve_model(reference),
        held_out=held_out,
        curve=curve,
    )
    _print(said(output, summary))


def train_recipe(recipe: TrainingRecipe, output: Path) -> str:
    """Train as a recipe says, and return what there is to say."""
    from statllm.stages import resolve_model

    summary = train_under(
        recipe.launch,
        resolve_model(recipe.model),
        recipe.data,
        output,
        recipe.settings(),
        curve=recipe.curve,
        reference=None if recipe.reference is None else resolve_model(recipe.reference),
        held_out=recipe.eval,
    )
    return said(output, summary, "pairs" if recipe.kind == "preference" else "examples")


def said(output: Path, summary: TrainingSummary, what: str = "pairs") -> str:
    """Return what a training did, in lines."""
    from statllm.training.progress import held_out_text

    dropped = "".join(f", {count} dropped ({reason})" for reason, count in summary.drops.items())
    lines = [f"{output}: {summary.n_pairs} {what}{dropped}, {summary.n_steps} steps"]
    if summary.n_held_out:
        kept = next(row for row in summary.curve.to_pylist() if row["step"] == summary.step)
        lines.append(
            f"weights of step {summary.step}; {summary.n_held_out} held-out pairs: "
            f"{held_out_text(kept)}"
        )
    if summary.speed is not None:
        lines.append(summary.speed.summary())
    return "\n".join(lines)


def _print(text: str) -> None:
    """Print once, however many processes train."""
    from statllm.training.folder import first_process

    if first_process():
        console().print(text)
