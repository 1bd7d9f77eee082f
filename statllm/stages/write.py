"""Stage `write`: a model writes new problems like those of the recipe (ScPO, Self-RIP)."""

from __future__ import annotations

import shutil
from typing import Any

import pyarrow as pa

from statllm.errors import InputError
from statllm.files import write_parquet
from statllm.generations import Generations
from statllm.stages.problems import load_problems, problem_file, resolve_model
from statllm.stages.run_folder import Run
from statllm.stages.stage import Inputs, Stage, always


def _model(run: Run, iteration: int) -> str:
    settings = run.settings(iteration).new_problems
    assert settings is not None
    return run.model(iteration - 1) if settings.model is None else resolve_model(settings.model)


def _write(run: Run, iteration: int) -> dict[str, int]:
    from statllm.sampling.prompts import generate_questions, load_template

    iteration_settings = run.settings(iteration)
    settings = iteration_settings.new_problems
    assert settings is not None
    seeds = load_problems(iteration_settings.problems)
    work = run.path(iteration, "write.work")
    work.mkdir(exist_ok=True)
    made = generate_questions(
        _model(run, iteration),
        settings.bare(seeds),
        settings.count,
        settings.variant,
        settings.drawn(),
        template=None if settings.template is None else load_template(settings.template),
        examples=settings.examples,
        chat=settings.chat,
        out=work / "texts.parquet",
    )
    new = settings.asked(made.questions, seeds, iteration)
    if settings.use == "instead" and new.num_rows == 0:
        raise InputError(f"no new problem was kept in iteration {iteration}: {made.summary()}")
    written = pa.array([False] * seeds.num_rows + [True] * new.num_rows)
    every = Generations(pa.concat_tables([seeds, new], promote_options="default"))
    every = every.with_columns({"written": written}).table  # an earlier run's is replaced
    if settings.use == "instead":
        every = every.slice(seeds.num_rows)
    write_parquet(made.ledger, run.path(iteration, "written-ledger.parquet"))
    write_parquet(every, run.path(iteration, "problems.parquet"))
    shutil.rmtree(work)
    dropped = {f"dropped: {why}": n for why, n in made.counts().items() if why != "kept"}
    return {"texts": made.n_generations, "new problems": new.num_rows, **dropped}


def _inputs(run: Run, iteration: int) -> Inputs:
    problems = problem_file(run.settings(iteration).problems)
    return {"model": _model(run, iteration), **problems}


def _settings(run: Run, iteration: int) -> dict[str, Any]:
    from statllm.sampling.prompts import load_template

    settings = run.settings(iteration)
    assert settings.new_problems is not None
    decides = settings.model_dump(include={"problems", "new_problems"})
    name = settings.new_problems.template_name
    return {**decides, "template": load_template(name).digest}


WRITE = Stage(_inputs, _settings, always("problems.parquet", "written-ledger.parquet"), _write)
