"""Stage `select`: preference pairs by a rule, and a ledger of what became of every prompt."""

from __future__ import annotations

from statllm.errors import InputError
from statllm.files import write_parquet
from statllm.generations import Generations
from statllm.stages.run_folder import Run
from statllm.stages.stage import Stage, always


def _select(run: Run, iteration: int) -> dict[str, int]:
    from statllm.selection import matched, select
    from statllm.selection.lift import lift

    settings = run.settings(iteration).selection
    scored = Generations.read(run.scores(iteration))
    selection = select(settings.rule, scored, settings.resolved())
    if settings.as_many_as is not None:
        other = select(settings.as_many_as.rule, scored, settings.as_many_as.resolved())
        seed = run.recipe.derived_seed(iteration, "match")
        selection = matched(selection, other.counts()["kept"], seed)
    if selection.pairs.num_rows == 0:
        raise InputError(
            f"{settings.rule} kept no pair in iteration {iteration}: {selection.summary()}"
        )
    pairs, counts = selection.pairs, {}
    if settings.lift is not None:
        lifted = lift(pairs, settings.lift)
        pairs = lifted.pairs
        counts = {f"lift: {reason}": count for reason, count in lifted.counts().items()}
        if pairs.num_rows == 0:
            raise InputError(f"selection.lift left no pair in iteration {iteration}: {counts}")
    write_parquet(selection.ledger, run.path(iteration, "ledger.parquet"))
    write_parquet(pairs, run.path(iteration, "pairs.parquet"))
    kept = sum(selection.ledger["kept"].to_pylist())
    return {"prompts": scored.n_prompts, "kept": kept, "pairs": pairs.num_rows, **counts}


SELECT = Stage(
    lambda run, k: {run.scores(k).name: run.scores(k)},
    lambda run, k: run.settings(k).selection.model_dump(),
    always("pairs.parquet", "ledger.parquet"),
    _select,
)
