"""Stage `evaluate`: held-out problems, greedily and by samples."""

from __future__ import annotations

import pyarrow as pa

from statllm.errors import InputError
from statllm.files import write_parquet
from statllm.stages.problems import load_problems, problem_file
from statllm.stages.run_folder import Run
from statllm.stages.stage import OF_EVALUATION, Stage, always, thoughts_of


def _evaluate(run: Run, iteration: int) -> dict[str, int]:
    from statllm.evaluation import evaluate

    problems = load_problems(run.recipe.evaluation.problems)
    _check_references(problems)
    table = evaluate(
        run.model(iteration),
        problems,
        run.recipe.evaluation,
        run.recipe.scoring,
        seed=run.recipe.derived_seed(0, "evaluate"),
        sampling=run.recipe.sampling,
        work=run.path(iteration, "evaluation.work"),
        thoughts=run.recipe.thoughts,
    )
    write_parquet(table, run.path(iteration, "evaluation.parquet"))
    return {"prompts": table.num_rows}


def _check_references(problems: pa.Table) -> None:
    """Refuse problems without a known answer before they are sampled."""
    n = problems.num_rows
    missing = problems["reference"].null_count if "reference" in problems.column_names else n
    if missing:
        raise InputError(
            f"evaluation.problems: {missing} of {n} have no reference, and what is counted are "
            "right answers"
        )


EVALUATE = Stage(
    lambda run, k: {"model": run.model(k), **problem_file(run.recipe.evaluation.problems)},
    lambda run, k: {
        "evaluation": run.recipe.evaluation.model_dump(),
        "scoring": run.recipe.scoring.model_dump(),
        "seed": run.recipe.derived_seed(0, "evaluate"),
        "sampling": run.recipe.sampling.model_dump(exclude=OF_EVALUATION),
        **thoughts_of(run),
    },
    always("evaluation.parquet"),
    _evaluate,
)
