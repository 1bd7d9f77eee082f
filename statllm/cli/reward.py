"""`statllm reward`: what a reward model says about every response."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel

from statllm.cli.common import (
    InputFile,
    Prompt,
    PromptId,
    Response,
    Where,
    conditions,
    console,
    estimates,
    mapping,
)
from statllm.cli.engine import Stored, engine_settings, part_progress
from statllm.cli.settings import with_settings
from statllm.engines.models import ModelEngineSettings


@with_settings(ModelEngineSettings)
def reward(
    model: Annotated[Path, typer.Argument(help="Folder of a reward model.")],
    source: InputFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Parquet, JSONL; with --engine also a folder.")
    ],
    member: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of another model of an ensemble; may be repeated."),
    ] = None,
    gap_variance: Annotated[
        Literal["none", "laplace", "ensemble"],
        typer.Option(
            help="Add reward_sd and reward_gap_var: from the model's own covariance "
            "(train-reward makes it), or from the spread of MODEL and its --members."
        ),
    ] = "none",
    column: Annotated[str, typer.Option(help="Name of the column of rewards.")] = "reward",
    objectives: Annotated[
        bool, typer.Option("--objectives", help="Add what a gated model says about each objective.")
    ] = False,
    chat: Annotated[
        bool, typer.Option("--chat", help="Take a prompt that is text for a user's one message.")
    ] = False,
    token_budget: Annotated[
        int, typer.Option(min=1, help="Tokens of a batch, padding included.")
    ] = 16384,
    too_long: Annotated[
        Literal["error", "null"],
        typer.Option(help="A text with more tokens than the model reads: stop, or no reward."),
    ] = "error",
    dtype: Annotated[
        str, typer.Option(help="Of the model: float32, bfloat16, float16, or auto.")
    ] = "float32",
    device: Annotated[str, typer.Option(help="auto is CUDA where there is one.")] = "auto",
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of rewards that are known; left out: the user's cache folder."),
    ] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    response: Response = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Add a column of rewards to a table of responses. Goes on where it was stopped.

    Examples:

        statllm reward ./skywork-reward samples.parquet -o rewarded.parquet --chat

        statllm reward rm samples.parquet -o rewarded.parquet --gap-variance laplace

        statllm reward rm samples.parquet -o r.parquet --member rm2 --member rm3
        --gap-variance ensemble

        statllm reward rm samples -o rewarded --engine ray --gpus 1
    """
    from statllm._formats import check_output
    from statllm.generations import Generations
    from statllm.scoring.reward_models import RewardModel, add_rewards

    _, engine = engine_settings(settings or {}, BaseModel)
    columns = mapping(prompt_id=prompt_id, prompt=prompt, response=response)
    models = [
        RewardModel(
            folder,
            device=device,
            dtype=dtype,
            token_budget=token_budget,
            cache=cache,
            chat=chat,
            too_long=too_long,
        )
        for folder in (model, *(member or ()))
    ]
    rewarded: Any
    options: Any = {"column": column, "gap_variance": gap_variance, "objectives": objectives}
    if engine is None:
        check_output(output)
        generations = Generations.read(source, columns, conditions(where))
        rewarded = add_rewards(generations, models, **options)
        rewarded.write(output)
    else:
        from statllm.engines import Source
        from statllm.engines.rewards import reward_file

        given = Source(source, columns, conditions(where))
        with part_progress() as on_part:
            reward_file(tuple(models), given, output, **options, settings=engine, on_part=on_part)
        rewarded = Stored(output)
    out = console()
    out.print(estimates(f"{output}: {rewarded.n_prompts} prompts", _figures(rewarded, column)))
    missing = sum(int(chunk.flatten().null_count) for chunk in rewarded.column(column).chunks)
    if missing:
        out.print(f"{missing} responses are too long for the model and have no {column}")


def _figures(rewarded: Any, column: str) -> list[Any]:
    """Data-set figures; the prompt is the sampling unit."""
    import numpy as np
    import pyarrow as pa

    from statllm.estimators.comparison import mean_estimate
    from statllm.estimators.rewards import reward_summary

    found = reward_summary(rewarded.column(column), missing="drop")
    figures = {"mean": found.mean, "gap": found.gap}
    name = f"{column}_gap_var"
    if name in rewarded:
        variance = rewarded.column(name).cast(pa.float64()).to_numpy()
        figures["gap_var"] = variance
    shown = []
    for name, values in figures.items():
        known = values[np.isfinite(values)]
        if len(known):
            unit = "reward squared" if name == "gap_var" else "reward"
            shown.append(mean_estimate(known).named(f"mean {column}_{name}", unit))
    return shown
