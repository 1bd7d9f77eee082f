"""Stage `reward`: a reward model, a judge or the lab's verifier rates every response."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from statllm.generations import Generations
from statllm.stages.problems import resolve_model
from statllm.stages.run_folder import Run
from statllm.stages.stage import Inputs, Stage, always, thoughts_of

if TYPE_CHECKING:
    from statllm.recipe import Rewards
    from statllm.sampling.thoughts import ThoughtSettings


def rated(
    scored: Generations, settings: Rewards, thoughts: ThoughtSettings | None, cache: Path
) -> Generations:
    """Return scored samples with ``reward``; of thoughts nobody sees anything.

    Parameters
    ----------
    scored : Generations
        Of the stage `score`.
    settings : Rewards
    thoughts : ThoughtSettings, optional
        What asked for the samples.
    cache : Path
        Folder of what was rated; a killed run goes on from there.
    """
    from statllm.sampling.judge_model import open_judge
    from statllm.sampling.thoughts import rate_shown, shown
    from statllm.scoring.judges import YesNoJudge, judge
    from statllm.scoring.reward_models import RewardModel, add_rewards

    sampling = settings.sampling

    def seen_by(rate: Callable[[Generations], Generations]) -> Generations:
        return rate(scored) if thoughts is None else rate_shown(scored, rate)

    if settings.model is not None:
        model = RewardModel(
            resolve_model(settings.model),
            device=sampling.device,
            dtype=sampling.dtype,
            cache=cache,
            chat=settings.chat,
            too_long="null",  # counted; the rule's `missing` says what to do about them
        )
        return seen_by(lambda seen: add_rewards(seen, [model]))
    if settings.judge is not None:
        name = resolve_model(settings.judge)
        asked: Any = (
            YesNoJudge.load(name, sampling.dtype, sampling.device)
            if settings.judging.kind == "yes-no"
            else open_judge(name, sampling)
        )
        seen = scored if thoughts is None else shown(scored)
        judged = judge(seen, asked, settings.judging, cache=cache).generations
        return judged.with_columns({n: scored.column(n) for n in ("prompt", "response")})
    from statllm.lab.rewards import lab_rewards

    lab = settings.lab
    assert lab is not None
    return seen_by(lambda seen: lab_rewards(seen, lab))


def rater(settings: Rewards) -> Inputs:
    """Return the model that rates; nothing for the lab's verifier."""
    name = settings.model or settings.judge
    return {} if name is None else {"judge": resolve_model(name)}


def _reward(run: Run, iteration: int) -> dict[str, int]:
    settings = run.settings(iteration).rewards
    assert settings is not None
    scored = Generations.read(run.path(iteration, "scores.parquet"))
    cache = run.path(iteration, "rewards.work")
    rewarded = rated(scored, settings, run.recipe.thoughts, cache)
    rewarded.write(run.path(iteration, "rewards.parquet"))
    shutil.rmtree(cache, ignore_errors=True)
    missing = int(np.isnan(rewarded.ragged("reward").values).sum())
    return {"prompts": rewarded.n_prompts, "without reward": missing}


def _inputs(run: Run, iteration: int) -> Inputs:
    settings = run.settings(iteration).rewards
    assert settings is not None
    return {"scores.parquet": run.path(iteration, "scores.parquet"), **rater(settings)}


def _settings(run: Run, iteration: int) -> dict[str, Any]:
    settings = run.settings(iteration).rewards
    assert settings is not None
    return {**settings.model_dump(), **thoughts_of(run)}


REWARD = Stage(_inputs, _settings, always("rewards.parquet"), _reward)
