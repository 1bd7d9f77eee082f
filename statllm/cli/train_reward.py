"""`statllm train-reward`: preference pairs in, a reward model out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import console, estimates
from statllm.cli.settings import validated, with_settings
from statllm.training.reward_model import RewardSettings


@with_settings(RewardSettings)
def train_reward(
    model: Annotated[str, typer.Argument(help="A decoder to start from, or lab.")],
    pairs: Annotated[
        Path, typer.Argument(help="Parquet from `statllm select`: prompt, chosen, rejected.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the reward model.")],
    curve: Annotated[
        Path | None, typer.Option(help="Where the training curve goes (Parquet).")
    ] = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Train a reward model (Bradley-Terry), with the covariance of its head. Resumes when killed.

    Examples:

        statllm train-reward lab pairs.parquet -o rm --learning-rate 1e-3 --batch-size 32

        statllm train-reward ./my-model pairs.parquet -o rm --learning-rate 2e-6 --chat
    """
    from statllm.stages import resolve_model
    from statllm.training.reward_model import train_reward_model

    done = train_reward_model(
        resolve_model(model),
        pairs,
        output,
        validated(RewardSettings, settings or {}),
        curve=curve,
    )
    out = console()
    dropped = "".join(f", {count} dropped ({reason})" for reason, count in done.drops.items())
    out.print(
        f"{output}: {done.n_pairs} pairs{dropped}, {done.n_held_out} held out, {done.n_steps} steps"
    )
    if done.n_held_out:
        out.print(estimates("held-out pairs", [done.accuracy, done.log_loss]))
