"""The stages of an iteration; each reads files, writes files, and runs in its own process."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from statllm._version import __version__
from statllm.errors import InputError
from statllm.files import read_json, sha256, sweep_temporary, write_json, write_parquet
from statllm.generations import Generations
from statllm.recipe import Problems, Recipe, read_recipe
from statllm.sampling.settings import ANSWER_SETTINGS

#: In their order; "reward" only where the recipe has rewards.
STAGES = ("sample", "score", "reward", "select", "train", "evaluate")


@dataclass(frozen=True)
class Run:
    """A run folder and its recipe; knows where every artefact lies."""

    folder: Path
    recipe: Recipe

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open an existing run folder.

        Raises
        ------
        InputError
            If it holds no run.yaml.
        """
        folder = Path(folder)
        if not (folder / "run.yaml").is_file():
            raise InputError(f"{folder} is not a run folder: run.yaml is missing")
        return cls(folder, read_recipe(folder / "run.yaml"))

    @property
    def n_iterations(self) -> int:
        """Number of iterations after the starting model."""
        return len(self.recipe.iterations)

    def path(self, iteration: int, name: str) -> Path:
        """Return the path of an artefact of an iteration."""
        return self.folder / f"iteration_{iteration}" / name

    def model(self, iteration: int) -> str:
        """Return the model after `iteration` iterations; 0 is the one that the run starts from."""
        if iteration == 0:
            return resolve_model(self.recipe.model)
        return str(self.path(iteration, "model"))

    def record(self, iteration: int, stage: str) -> Path:
        """Return the path of the file that says that a stage is complete."""
        return self.path(iteration, f"{stage}.json")

    def plan(self) -> list[tuple[int, str]]:
        """Return the stages in order: the starting model is evaluated first."""
        later = [
            (k, stage)
            for k in range(1, self.n_iterations + 1)
            for stage in STAGES
            if stage != "reward" or self.rewarded(k)
        ]
        return [(0, "evaluate"), *later]

    def rewarded(self, iteration: int) -> bool:
        """Whether the iteration's responses get rewards."""
        return self.recipe.iteration(iteration).rewards is not None

    def scores(self, iteration: int) -> Path:
        """Return the path of what the selection reads."""
        name = "rewards.parquet" if self.rewarded(iteration) else "scores.parquet"
        return self.path(iteration, name)


@dataclass(frozen=True)
class Stage:
    """What a stage reads, what decides its outcome, what it writes, and how."""

    inputs: Callable[[Run, int], dict[str, str | Path]]
    settings: Callable[[Run, int], Any]
    outputs: tuple[str, ...]
    execute: Callable[[Run, int], dict[str, int]]


def resolve_model(name: str) -> str:
    """Return the folder of the built-in model for 'lab', any other name as it is."""
    if name != "lab":
        return name
    from statllm.lab import model_path

    return str(model_path())


def load_problems(source: Problems) -> pa.Table:
    """Read prompts; `n` of them are drawn with the source's seed, in the file's order.

    Raises
    ------
    InputError
        If there are fewer than `n`.
    """
    import numpy as np

    if source.source.startswith("lab:"):
        from statllm.lab import problems

        split: Any = source.source.removeprefix("lab:")  # an unknown one is refused there
        return problems(split, source.n or 1000, source.seed)
    table = Generations.read(source.source, source.columns).table
    if source.n is None or source.n == table.num_rows:
        return table
    if source.n > table.num_rows:
        raise InputError(
            f"{source.source} has {table.num_rows} problems, {source.n} were asked for"
        )
    rng = np.random.default_rng(source.seed)
    return table.take(np.sort(rng.choice(table.num_rows, source.n, replace=False)))


# ---- the stages ---------------------------------------------------------------------------------


def _sample(run: Run, iteration: int) -> dict[str, int]:
    from statllm.sampling import sample
    from statllm.sampling.prompts import thought_prompts

    settings = run.recipe.iteration(iteration)
    prompts = load_problems(settings.problems)
    if run.recipe.thoughts is not None:
        prompts = thought_prompts(prompts, run.recipe.thoughts.load())
    table = sample(
        run.model(iteration - 1),
        prompts,
        settings.sampling,
        out=run.path(iteration, "samples.parquet"),
        scoring=run.recipe.scoring,
    )
    counts = {"prompts": table.num_rows, "samples": int(Generations(table).n_samples.sum())}
    if settings.sampling.stop:
        counts["decided"] = sum(table["stop_decided"].to_pylist())
    return counts


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
    scored.write(run.path(iteration, "scores.parquet"))
    votes = int(sum(scored.column("n_votes").to_pylist()))
    return {"prompts": scored.n_prompts, "votes": votes, **counts}


def _reward(run: Run, iteration: int) -> dict[str, int]:
    from statllm.sampling.judge_model import open_judge
    from statllm.sampling.thoughts import rate_shown, shown
    from statllm.scoring.judges import YesNoJudge, judge
    from statllm.scoring.reward_models import RewardModel, add_rewards

    settings = run.recipe.iteration(iteration).rewards
    assert settings is not None
    scored = Generations.read(run.path(iteration, "scores.parquet"))
    sampling, thoughts = settings.sampling, run.recipe.thoughts

    def rated(rate: Callable[[Generations], Generations]) -> Generations:
        return rate(scored) if thoughts is None else rate_shown(scored, rate)

    cache = run.path(iteration, "rewards.work")
    if settings.model is not None:
        model = RewardModel(
            resolve_model(settings.model),
            device=sampling.device,
            dtype=sampling.dtype,
            cache=cache,
            chat=settings.chat,
        )
        rewarded = rated(lambda seen: add_rewards(seen, [model]))
    elif settings.judge is not None:
        name = resolve_model(settings.judge)
        asked: Any = (
            YesNoJudge.load(name, sampling.dtype, sampling.device)
            if settings.judging.kind == "yes-no"
            else open_judge(name, sampling)
        )
        seen = scored if thoughts is None else shown(scored)
        rewarded = judge(seen, asked, settings.judging, cache=cache).generations
        rewarded = rewarded.with_columns({n: scored.column(n) for n in ("prompt", "response")})
    else:
        from statllm.lab.rewards import lab_rewards

        lab = settings.lab
        assert lab is not None
        rewarded = rated(lambda seen: lab_rewards(seen, lab))
    rewarded.write(run.path(iteration, "rewards.parquet"))
    shutil.rmtree(cache, ignore_errors=True)
    missing = int(np.isnan(rewarded.ragged("reward").values).sum())
    return {"prompts": rewarded.n_prompts, "without reward": missing}


def _select(run: Run, iteration: int) -> dict[str, int]:
    from statllm.selection import matched, select
    from statllm.selection.lift import lift

    settings = run.recipe.iteration(iteration).selection
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


def _train(run: Run, iteration: int) -> dict[str, int]:
    from statllm.training import train_preference

    summary = train_preference(
        run.model(iteration - 1),
        run.path(iteration, "pairs.parquet"),
        run.path(iteration, "model"),
        run.recipe.iteration(iteration).training,
        curve=run.path(iteration, "training.parquet"),
    )
    return {
        "pairs": summary.n_pairs,
        "steps": summary.n_steps,
        **{f"dropped: {reason}": count for reason, count in sorted(summary.drops.items())},
    }


def _evaluate(run: Run, iteration: int) -> dict[str, int]:
    from statllm.evaluation import evaluate

    table = evaluate(
        run.model(iteration),
        load_problems(run.recipe.evaluation.problems),
        run.recipe.evaluation,
        run.recipe.scoring,
        seed=run.recipe.derived_seed(0, "evaluate"),
        batch_size=run.recipe.sampling.batch_size,
        max_new_tokens=run.recipe.sampling.max_new_tokens,
        work=run.path(iteration, "evaluation.work"),
        thoughts=run.recipe.thoughts,
    )
    write_parquet(table, run.path(iteration, "evaluation.parquet"))
    return {"prompts": table.num_rows}


def _from_iteration(part: str) -> Callable[[Run, int], Any]:
    return lambda run, iteration: getattr(run.recipe.iteration(iteration), part).model_dump()


def _sample_settings(run: Run, iteration: int) -> dict[str, Any]:
    """How answers are read decides the samples too, where these stop by their answers."""
    settings = run.recipe.iteration(iteration).model_dump(include={"problems", "sampling"})
    if settings["sampling"]["stop"]:
        settings["scoring"] = run.recipe.scoring.model_dump(include=ANSWER_SETTINGS)
    return {**settings, **_thoughts(run)}


def _thoughts(run: Run) -> dict[str, Any]:
    """What thought prompts decide; nothing where there are none."""
    return {} if run.recipe.thoughts is None else {"thoughts": run.recipe.thoughts.decides()}


def _artefacts(*names: str) -> Callable[[Run, int], dict[str, str | Path]]:
    return lambda run, iteration: {name: run.path(iteration, name) for name in names}


def _reward_inputs(run: Run, iteration: int) -> dict[str, str | Path]:
    settings = run.recipe.iteration(iteration).rewards
    assert settings is not None
    judge = settings.model or settings.judge
    scores: dict[str, str | Path] = {"scores.parquet": run.path(iteration, "scores.parquet")}
    return scores if judge is None else {**scores, "judge": resolve_model(judge)}


_STAGES: Mapping[str, Stage] = {
    "sample": Stage(
        inputs=lambda run, k: {
            "model": run.model(k - 1),
            **_problem_file(run.recipe.iteration(k).problems),
        },
        settings=_sample_settings,
        outputs=("samples.parquet",),
        execute=_sample,
    ),
    "score": Stage(
        inputs=_artefacts("samples.parquet"),
        settings=lambda run, k: {**run.recipe.scoring.model_dump(), **_thoughts(run)},
        outputs=("scores.parquet",),
        execute=_score,
    ),
    "reward": Stage(
        inputs=_reward_inputs,
        settings=lambda run, k: {**_from_iteration("rewards")(run, k), **_thoughts(run)},
        outputs=("rewards.parquet",),
        execute=_reward,
    ),
    "select": Stage(
        inputs=lambda run, k: {run.scores(k).name: run.scores(k)},
        settings=_from_iteration("selection"),
        outputs=("pairs.parquet", "ledger.parquet"),
        execute=_select,
    ),
    "train": Stage(
        inputs=lambda run, k: {
            "model": run.model(k - 1),
            "pairs.parquet": run.path(k, "pairs.parquet"),
        },
        settings=_from_iteration("training"),
        outputs=("model", "training.parquet"),
        execute=_train,
    ),
    "evaluate": Stage(
        inputs=lambda run, k: {
            "model": run.model(k),
            **_problem_file(run.recipe.evaluation.problems),
        },
        settings=lambda run, k: {
            "evaluation": run.recipe.evaluation.model_dump(),
            "scoring": run.recipe.scoring.model_dump(),
            "seed": run.recipe.derived_seed(0, "evaluate"),
            "max_new_tokens": run.recipe.sampling.max_new_tokens,
            **_thoughts(run),
        },
        outputs=("evaluation.parquet",),
        execute=_evaluate,
    ),
}


def _problem_file(problems: Problems) -> dict[str, str | Path]:
    """The file that decides the problems; for the lab's it is the code that makes them."""
    if not problems.source.startswith("lab:"):
        return {"problems": problems.source}
    from statllm.lab import world

    return {"problems": world.__file__}


# ---- completeness -------------------------------------------------------------------------------


def stage_key(run: Run, iteration: int, stage: str) -> tuple[str, dict[str, str]]:
    """Return the digest of all that decides a stage's outcome, and the inputs' digests."""
    spec = _STAGES[stage]
    inputs = {name: _digest(path) for name, path in spec.inputs(run, iteration).items()}
    decides = {
        "stage": stage,
        "settings": spec.settings(run, iteration),
        "inputs": inputs,
        "statllm": __version__,
    }
    text = json.dumps(decides, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest(), inputs


def _digest(path: str | Path) -> str:
    """Digest of a file or folder; a hub name stands for itself."""
    return sha256(path) if Path(path).exists() else f"name:{path}"


def is_complete(run: Run, iteration: int, stage: str) -> bool:
    """Whether the stage's record fits the recipe, its inputs, and the files that it names."""
    path = run.record(iteration, stage)
    if not path.is_file():
        return False
    record = read_json(path)
    if any(not run.path(iteration, name).exists() for name in _STAGES[stage].outputs):
        return False
    if record["key"] != stage_key(run, iteration, stage)[0]:
        return False
    return all(sha256(run.path(iteration, n)) == d for n, d in record["outputs"].items())


def execute(run: Run, iteration: int, stage: str) -> None:
    """Run one stage and write its record, which makes it complete."""
    spec = _STAGES[stage]
    folder = run.path(iteration, "")
    folder.mkdir(parents=True, exist_ok=True)
    sweep_temporary(folder)
    key, inputs = stage_key(run, iteration, stage)
    counts = spec.execute(run, iteration)
    outputs = {name: sha256(run.path(iteration, name)) for name in spec.outputs}
    record = {"key": key, "inputs": inputs, "outputs": outputs, "counts": counts}
    write_json(record, run.record(iteration, stage))


def adopt(run: Run, other: Run, iteration: int, stage: str) -> bool:
    """Copy a stage's outputs from another run where exactly the same stage is complete there."""
    record_path = other.record(iteration, stage)
    if not record_path.is_file():
        return False
    record = read_json(record_path)
    if record["key"] != stage_key(run, iteration, stage)[0]:
        return False
    if not is_complete(other, iteration, stage):
        return False
    for name in record["outputs"]:
        source, target = other.path(iteration, name), run.path(iteration, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
    write_json(record, run.record(iteration, stage))
    return True


def main(arguments: list[str] | None = None) -> int:
    """Entry point of a stage's process; the loop starts it."""
    parser = argparse.ArgumentParser(prog="python -m statllm.stages")
    parser.add_argument("folder")
    parser.add_argument("iteration", type=int)
    parser.add_argument("stage", choices=STAGES)
    given = parser.parse_args(arguments)
    try:
        execute(Run.open(given.folder), given.iteration, given.stage)
    except InputError as error:
        print(error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
