"""Stage `sample`: responses to the problems, and `score`: what they say."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from statllm.generations import Generations
from statllm.sampling.settings import ANSWER_SETTINGS
from statllm.selection.band import BandSettings
from statllm.stages.problems import load_problems, problem_file
from statllm.stages.run_folder import Run
from statllm.stages.stage import Inputs, Stage, always, thoughts_of


def _inputs(run: Run, iteration: int) -> Inputs:
    return {"model": run.model(iteration - 1), **_problems_of(run, iteration)}


def _problems_of(run: Run, iteration: int) -> Inputs:
    settings = run.settings(iteration)
    if settings.new_problems is not None:
        return {"problems": run.path(iteration, "problems.parquet")}
    return problem_file(settings.problems)


def _settings(run: Run, iteration: int) -> dict[str, Any]:
    """How answers are read decides the samples too, where these stop by their answers."""
    iteration_settings = run.settings(iteration)
    settings = iteration_settings.model_dump(include={"problems", "sampling"})
    if settings["sampling"]["stop"]:
        settings["scoring"] = run.recipe.scoring.model_dump(include=ANSWER_SETTINGS)
    if iteration_settings.extra is not None:
        settings["extra"] = iteration_settings.extra.model_dump()
    return {**settings, **thoughts_of(run)}


def _sample(run: Run, iteration: int) -> dict[str, int]:
    from statllm.sampling import sample, with_extra
    from statllm.sampling.prompts import thought_prompts

    settings = run.settings(iteration)
    if settings.new_problems is None:
        prompts = load_problems(settings.problems)
    else:
        prompts = Generations.read(run.path(iteration, "problems.parquet")).table
    if run.recipe.thoughts is not None:
        prompts = thought_prompts(prompts, run.recipe.thoughts.load())
    out = run.path(iteration, "samples.parquet")

    def draw(how: Any, name: str) -> pa.Table:
        path = run.path(iteration, name)
        return sample(run.model(iteration - 1), prompts, how, out=path, scoring=run.recipe.scoring)

    if settings.extra is None:
        table = draw(settings.sampling, out.name)
    else:
        # kept apart until both are whole: a killed run draws neither again
        votes, hot = "samples.votes.parquet", "samples.extra.parquet"
        how = settings.extra.applied(settings.sampling, run.recipe.derived_seed(iteration, "extra"))
        table = with_extra(draw(settings.sampling, votes), draw(how, hot))
        Generations(table).write(out)
        for name in (votes, hot):
            run.path(iteration, name).unlink()
    counts = {"prompts": table.num_rows, "samples": int(Generations(table).n_samples.sum())}
    if settings.extra is not None:
        counts["extra"] = settings.extra.n * table.num_rows
    if settings.sampling.stop:
        counts["decided"] = sum(table["stop_decided"].to_pylist())
    return counts


SAMPLE = Stage(_inputs, _settings, always("samples.parquet"), _sample)


def _score(run: Run, iteration: int) -> dict[str, int]:
    from statllm.sampling.prompts import thought_counts
    from statllm.sampling.thoughts import score_shown
    from statllm.scoring import score

    samples = Generations.read(run.path(iteration, "samples.parquet"))
    thoughts, counts = run.recipe.thoughts, {}
    if thoughts is None:
        scored = score(samples, run.recipe.scoring)
    else:
        scored = score_shown(samples, thoughts, run.recipe.scoring)
        counts = {f"thoughts: {why}": n for why, n in thought_counts(scored.table).items()}
    if _selects_by_ifd(run, iteration):
        from statllm.models import load_model, load_tokenizer
        from statllm.scoring.alone import with_logprob_alone

        name, how = run.model(iteration - 1), run.settings(iteration).sampling
        model = load_model(name, how.dtype, how.device)  # as what `logprob` was computed with
        scored = with_logprob_alone(scored, model, load_tokenizer(name))
    scored.write(run.path(iteration, "scores.parquet"))
    votes = int(sum(scored.column("n_votes").to_pylist()))
    return {"prompts": scored.n_prompts, "votes": votes, **counts}


def _selects_by_ifd(run: Run, iteration: int) -> bool:
    """Whether the selection looks at responses without their prompts, which takes the model."""
    settings = run.settings(iteration).selection.resolved()
    return isinstance(settings, BandSettings) and settings.quality == "ifd"


def _score_inputs(run: Run, iteration: int) -> Inputs:
    samples: Inputs = {"samples.parquet": run.path(iteration, "samples.parquet")}
    if _selects_by_ifd(run, iteration):
        return {**samples, "model": run.model(iteration - 1)}
    return samples


SCORE = Stage(
    _score_inputs,
    lambda run, k: {**run.recipe.scoring.model_dump(), **thoughts_of(run)},
    always("scores.parquet"),
    _score,
)
