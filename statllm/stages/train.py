"""Stage `train`: the iteration's model, for all its steps or for those that were chosen."""

from __future__ import annotations

import shutil
from typing import Any

from statllm.files import link_folder, read_parquet
from statllm.launch import train_under
from statllm.stages.choose import CHOSEN, CURVE, STEPS, chosen_step
from statllm.stages.run_folder import Run
from statllm.stages.stage import Inputs, Stage, always


def _train(run: Run, iteration: int) -> dict[str, int]:
    settings = run.settings(iteration)
    training, choice = settings.training, settings.choice
    curve = run.path(iteration, "training.parquet")
    if choice is not None:
        step = chosen_step(run.path(iteration, STEPS))
        if not choice.retrain:
            return _take_over(run, iteration, step)
        training = training.model_copy(update={"max_steps": step})
    summary = train_under(
        run.recipe.launch,
        run.model(iteration - 1),
        run.path(iteration, "pairs.parquet"),
        run.path(iteration, "model"),
        training,
        curve=curve,
    )
    return {
        "pairs": summary.n_pairs,
        "steps": summary.n_steps,
        **{f"dropped: {reason}": count for reason, count in sorted(summary.drops.items())},
    }


def _take_over(run: Run, iteration: int, step: int) -> dict[str, int]:
    """The chosen weights become the iteration's model; they aren't copied where links will do."""
    link_folder(run.path(iteration, CHOSEN), run.path(iteration, "model"))
    shutil.copyfile(run.path(iteration, CURVE), run.path(iteration, "training.parquet"))
    steps = read_parquet(run.path(iteration, STEPS))
    return {"pairs": steps["n_pairs"][0].as_py(), "steps": step}


def _inputs(run: Run, iteration: int) -> Inputs:
    inputs: Inputs = {
        "model": run.model(iteration - 1),
        "pairs.parquet": run.path(iteration, "pairs.parquet"),
    }
    choice = run.settings(iteration).choice
    if choice is not None:
        inputs[STEPS] = run.path(iteration, STEPS)
        if not choice.retrain:
            inputs[CHOSEN] = run.path(iteration, CHOSEN)
    return inputs


def _settings(run: Run, iteration: int) -> Any:
    settings = run.settings(iteration)
    training = settings.training.model_dump()
    return training if settings.choice is None else [training, settings.choice.retrain]


TRAIN = Stage(_inputs, _settings, always("model", "training.parquet"), _train)
