"""Stage `choose`: after how many steps a training is best, by problems that it doesn't see."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from statllm.errors import InputError
from statllm.estimators.comparison import mean_estimate
from statllm.estimators.proportions import proportion
from statllm.files import link_folder, read_json, read_parquet, sha256, write_json, write_parquet
from statllm.launch import train_under
from statllm.ragged import BoolArray, FloatArray
from statllm.results import Estimate
from statllm.stages.problems import load_problems, problem_file
from statllm.stages.reward import rated, rater
from statllm.stages.run_folder import Run
from statllm.stages.stage import OF_EVALUATION, Inputs, Stage, thoughts_of

if TYPE_CHECKING:
    from statllm.generations import Generations

#: What the stage leaves: a row per step, the weights of the best, and the trial's training curve.
STEPS, CHOSEN, CURVE = "steps.parquet", "chosen", "trial.parquet"

# As `statllm.scoring.score` calls them; of one sample, the pass rate is its verdict.
_COLUMNS = {"greedy_correct": "pass_rate", "majority_correct": "majority_answer_correct"}
_UNITS = {"vote_share": "share of votes", "pass_rate": "share of samples", "reward": "reward"}


def chosen_step(path: Path) -> int:
    """Return the step that a table of steps names as chosen."""
    table = read_parquet(path)
    return int(table.filter(table["chosen"])["step"][0].as_py())


def _choose(run: Run, iteration: int) -> dict[str, int]:
    settings = run.settings(iteration)
    choice = settings.choice
    assert choice is not None
    problems = load_problems(choice.problems)
    pairs = read_parquet(run.path(iteration, "pairs.parquet"))
    seen = pc.is_in(pairs["prompt_id"], problems["prompt_id"].combine_chunks())
    rest = pairs.filter(pc.invert(seen))
    if rest.num_rows == 0:
        raise InputError(
            f"choice.problems holds the prompts of all {pairs.num_rows} pairs of iteration "
            f"{iteration}: no pair is left to train on"
        )
    work = _work(run, iteration)
    trial, about = work / "model", work / "trial.json"
    if not about.exists():  # written last: a model without it may lack steps
        training = settings.training.model_copy(update={"keep_every": choice.every})
        made = train_under(
            run.recipe.launch,
            run.model(iteration - 1),
            rest,
            trial,
            training,
            curve=work / CURVE,
        )
        write_json({"pairs": made.n_pairs}, about)
    n_pairs = read_json(about)["pairs"]
    folders = {int(path.name.removeprefix("step_")): path for path in kept_steps(trial)}
    figures = {step: _figure(run, iteration, folders[step], problems, work) for step in folders}
    # the first of several that are equally good: the least training
    best = max(figures, key=lambda step: (figures[step].value, -step))
    rows = [
        {"step": step, "n_pairs": n_pairs, **figure.to_dict(), "chosen": step == best}
        for step, figure in figures.items()
    ]
    if not choice.retrain:
        link_folder(folders[best], run.path(iteration, CHOSEN))
        shutil.copyfile(work / CURVE, run.path(iteration, CURVE))
    write_parquet(pa.Table.from_pylist(rows), run.path(iteration, STEPS))
    shutil.rmtree(work)
    counts = {"problems": problems.num_rows, "pairs": n_pairs, "steps tried": len(rows)}
    return {**counts, "held out": pairs.num_rows - rest.num_rows, "step": best}


def kept_steps(model: Path) -> list[Path]:
    """Return the folders of the models that a training with ``keep_every`` has kept, in order."""
    folder = model.with_name(f"{model.name}.steps")
    return sorted(folder.glob("step_*"), key=lambda path: int(path.name.removeprefix("step_")))


def _work(run: Run, iteration: int) -> Path:
    """The folder of an unfinished choice; one of other settings, or of other pairs, is emptied."""
    work = run.path(iteration, "choose.work")
    request = {
        "settings": _settings(run, iteration),
        "pairs": sha256(run.path(iteration, "pairs.parquet")),
    }
    request = json.loads(json.dumps(request, default=str))  # as it is read: tuples are lists
    path = work / "request.json"
    if not path.exists() or read_json(path) != request:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_json(request, path)
    return work


def _figure(run: Run, iteration: int, model: Path, problems: pa.Table, work: Path) -> Estimate:
    """How good a step's model is on the held-out problems."""
    settings = run.settings(iteration)
    choice = settings.choice
    assert choice is not None
    values = work / f"{model.name}.parquet"
    if not values.exists():
        answers = _answers(run, iteration, model, problems, work)
        write_parquet(pa.table({"value": _values(choice.by, answers)}), values)
    found = read_parquet(values)["value"].to_numpy()
    if choice.by in ("greedy_correct", "majority_correct"):
        return proportion(found.sum(), len(found)).named(choice.by, "share of problems")
    return mean_estimate(found).named(choice.by, _UNITS[choice.by])


def _answers(run: Run, iteration: int, model: Path, problems: pa.Table, work: Path) -> Generations:
    from statllm.evaluation import answered, evaluation_sampling

    recipe, choice = run.recipe, run.settings(iteration).choice
    assert choice is not None
    seed = recipe.derived_seed(iteration, "choose")
    greedy, votes = evaluation_sampling(recipe.evaluation, recipe.sampling, seed)
    how = greedy if choice.by == "greedy_correct" else votes
    out = work / f"{model.name}.samples.parquet"
    found = answered(model, problems, how, votes, recipe.scoring, recipe.thoughts, out)
    rewards = run.settings(iteration).rewards
    if choice.by == "reward":
        assert rewards is not None
        cache = work / f"{model.name}.rewards"
        found = rated(found, rewards, recipe.thoughts, cache)
    out.unlink()
    return found


def _values(by: str, answers: Generations) -> FloatArray:
    """A number for each problem that has one.

    A problem without any vote counts as 0, one without a known answer not at all.
    """
    if by == "reward":
        rows = answers.column("reward").to_pylist()
        known = [[r for r in row if r is not None and np.isfinite(r)] for row in rows]
        if not any(known):
            raise InputError("choice.by is reward, but no response to choice.problems got one")
        return np.array([np.mean(row) for row in known if row])
    if by != "vote_share" and not _known(answers).any():
        raise InputError(
            f"choice.by is {by}, but choice.problems have no references; vote_share needs none"
        )
    column = answers.column(_COLUMNS.get(by, by)).cast(pa.float64())
    values: FloatArray = np.nan_to_num(column.to_numpy(), nan=0.0)
    return values if by == "vote_share" else values[_known(answers)]


def _known(answers: Generations) -> BoolArray:
    """Which problems have a reference."""
    if "reference" not in answers:
        return np.zeros(answers.n_prompts, dtype=bool)
    known: BoolArray = answers.column("reference").is_valid().to_numpy()
    return known


def _outputs(run: Run, iteration: int) -> tuple[str, ...]:
    choice = run.settings(iteration).choice
    assert choice is not None
    return (STEPS,) if choice.retrain else (STEPS, CHOSEN, CURVE)


def _inputs(run: Run, iteration: int) -> Inputs:
    settings = run.settings(iteration)
    assert settings.choice is not None
    inputs: Inputs = {
        "model": run.model(iteration - 1),
        "pairs.parquet": run.path(iteration, "pairs.parquet"),
        **problem_file(settings.choice.problems),
    }
    if settings.choice.by == "reward":
        assert settings.rewards is not None
        inputs |= rater(settings.rewards)
    return inputs


def _settings(run: Run, iteration: int) -> dict[str, Any]:
    settings, recipe = run.settings(iteration), run.recipe
    assert settings.choice is not None
    decides = {
        "training": settings.training.model_dump(),
        "choice": settings.choice.model_dump(),
        "evaluation": recipe.evaluation.model_dump(exclude={"problems"}),
        "sampling": recipe.sampling.model_dump(exclude=OF_EVALUATION),
        "scoring": recipe.scoring.model_dump(),
        "seed": recipe.derived_seed(iteration, "choose"),
        **thoughts_of(run),
    }
    if settings.choice.by == "reward":
        assert settings.rewards is not None
        decides["rewards"] = settings.rewards.model_dump()
    return decides


CHOOSE = Stage(_inputs, _settings, _outputs, _choose)
