"""Choosing the number of steps on held-out problems, in a run of the lab's model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from statllm.errors import InputError
from statllm.evaluation import answered, evaluation_sampling
from statllm.files import read_json, read_parquet, sha256
from statllm.loop import run
from statllm.recipe import make_recipe
from statllm.stages import Run, execute, is_complete
from statllm.stages.choose import kept_steps

BASE: dict[str, Any] = {
    "name": "tiny",
    "model": "lab",
    "problems": {"source": "lab:train", "n": 40},
    "sampling": {"n": 6, "temperature": 1.0, "max_new_tokens": 80},
    "selection": {"rule": "scpo", "settings": {"threshold": 0.3}},
    "training": {"loss": "scpo", "beta": 0.3, "learning_rate": 1e-3, "batch_size": 8},
    "evaluation": {"problems": {"source": "lab:test", "n": 4}, "k": 2},
    "iterations": [{}],
}
HELD_OUT = {"source": "lab:train", "n": 12}  # the first 12 of the 40: the same seed


def made(folder: Path, **choice: Any) -> Run:
    content = {**BASE, "training": {**BASE["training"], "max_steps": 9}}
    content["choice"] = {"problems": HELD_OUT, **choice}
    return run(make_recipe(content), folder, isolate=False)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(tmp_path_factory.mktemp("kept"), every=4)


def test_the_weights_of_the_best_step_are_the_iterations(kept: Run) -> None:
    from statllm.lab import problems
    from statllm.training import train_preference

    steps = read_parquet(kept.path(1, "steps.parquet")).to_pylist()
    assert [row["step"] for row in steps] == [4, 8, 9]
    assert all(row["unit"] == "share of problems" and row["n"] == 12 for row in steps)
    assert all(row["low"] <= row["value"] <= row["high"] for row in steps)
    best = max(steps, key=lambda row: (row["value"], -row["step"]))
    assert [row["step"] for row in steps if row["chosen"]] == [best["step"]]
    # by hand: train on the pairs of other problems for all steps, keep that step, ask it
    held = problems("train", 12)
    pairs = read_parquet(kept.path(1, "pairs.parquet"))
    rest = pairs.filter([p not in held["prompt_id"].to_pylist() for p in
                         pairs["prompt_id"].to_pylist()])  # fmt: skip
    assert 0 < rest.num_rows < pairs.num_rows
    training = kept.settings(1).training.model_copy(update={"keep_every": 4})
    out = kept.folder / "by_hand"
    train_preference(kept.model(0), rest, out, training, progress=False)
    folders = kept_steps(out)
    assert [folder.name for folder in folders] == ["step_4", "step_8", "step_9"]
    assert sha256(folders[-1] / "model.safetensors") == sha256(out / "model.safetensors")
    found = {path.name: sha256(path / "model.safetensors") for path in folders}
    assert sha256(kept.path(1, "model/model.safetensors")) == found[f"step_{best['step']}"]
    assert len(set(found.values())) == 3
    greedy, votes = evaluation_sampling(
        kept.recipe.evaluation, kept.recipe.sampling, seed=kept.recipe.derived_seed(1, "choose")
    )
    for folder, row in zip(folders, steps, strict=True):
        answers = answered(
            folder, held, greedy, votes, kept.recipe.scoring, None, out / "answers.parquet"
        )
        right = [row[0] for row in answers.column("correct").to_pylist()]
        assert row["value"] == pytest.approx(np.mean(right)), row["step"]


def test_what_is_left_and_what_is_counted(kept: Run) -> None:
    counts = read_json(kept.record(1, "choose"))["counts"]
    pairs = read_parquet(kept.path(1, "pairs.parquet")).num_rows
    assert counts["pairs"] + counts["held out"] == pairs
    assert (counts["problems"], counts["steps tried"]) == (12, 3)
    assert read_parquet(kept.path(1, "training.parquet")).num_rows == 9
    assert not kept.path(1, "choose.work").exists()
    assert read_json(kept.record(1, "train"))["counts"]["steps"] == counts["step"]


def test_retraining_takes_so_many_steps_on_all_pairs(tmp_path: Path) -> None:
    again = made(tmp_path, every=4, retrain=True)
    step = read_json(again.record(1, "choose"))["counts"]["step"]
    counts = read_json(again.record(1, "train"))["counts"]
    pairs = read_parquet(again.path(1, "pairs.parquet")).num_rows
    assert (counts["steps"], counts["pairs"]) == (step, pairs)
    assert read_parquet(again.path(1, "training.parquet")).num_rows == step
    assert not again.path(1, "chosen").exists()


def test_every_epoch_by_votes_without_references(tmp_path: Path) -> None:
    content = {**BASE, "training": {**BASE["training"], "epochs": 2}}
    content["choice"] = {"problems": HELD_OUT, "by": "vote_share"}
    done = run(make_recipe(content), tmp_path, isolate=False)
    steps = read_parquet(done.path(1, "steps.parquet")).to_pylist()
    pairs = read_json(done.record(1, "choose"))["counts"]["pairs"]
    per_epoch = -(-pairs // 8)
    assert [row["step"] for row in steps] == [per_epoch, 2 * per_epoch]
    assert {row["unit"] for row in steps} == {"share of votes"}


def test_by_reward_asks_the_recipes_rater(tmp_path: Path) -> None:
    content = {
        **BASE,
        "rewards": {"lab": {"noise": 0.0}},
        "training": {**BASE["training"], "max_steps": 2},
        "choice": {"problems": HELD_OUT, "by": "reward", "every": 1},
    }
    done = run(make_recipe(content), tmp_path, isolate=False)
    steps = read_parquet(done.path(1, "steps.parquet")).to_pylist()
    assert [row["unit"] for row in steps] == ["reward", "reward"]
    assert all(np.isfinite(row["value"]) and row["se"] > 0 for row in steps)


def test_a_choice_goes_on_from_what_was_measured(
    kept: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the first measured step; then neither it nor the training is done again."""
    import shutil

    from statllm.stages import choose

    copy = Run(tmp_path / "run", kept.recipe)
    shutil.copytree(kept.folder, copy.folder)
    wanted = sha256(copy.path(1, "steps.parquet"))
    for name in ("choose.json", "steps.parquet"):
        copy.path(1, name).unlink()
    measured: list[str] = []
    genuine = choose._answers

    def answers(run: Run, k: int, model: Path, *rest: Any) -> Any:
        if len(measured) == 1:
            measured.append("killed")
            raise KeyboardInterrupt
        measured.append(model.name)
        return genuine(run, k, model, *rest)

    monkeypatch.setattr(choose, "_answers", answers)
    with pytest.raises(KeyboardInterrupt):
        execute(copy, 1, "choose")
    monkeypatch.setattr("statllm.training.train_preference", None)  # not to be called again
    execute(copy, 1, "choose")
    assert measured == ["step_4", "killed", "step_8", "step_9"]
    assert sha256(copy.path(1, "steps.parquet")) == wanted
    assert is_complete(copy, 1, "choose")
    assert is_complete(copy, 1, "train")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"choice": {"problems": HELD_OUT, "every": 0}}, "every must be at least 1, or 'epoch'"),
        ({"choice": {"problems": HELD_OUT, "every": "day"}}, "key 'choice.every':"),
        ({"choice": {"problems": HELD_OUT, "by": "luck"}}, "key 'choice.by'"),
        ({"choice": {"problems": HELD_OUT, "by": "reward"}}, "the recipe lacks rewards"),
        (
            {"choice": {"problems": HELD_OUT, "by": "reward"}, "rewards": {"judge": "lab"}},
            "a pairwise judge rates the responses of one model among themselves",
        ),
        ({"choice": {"by": "vote_share"}}, "key 'choice.problems' is missing"),
        (
            {
                "choice": {"problems": HELD_OUT},
                "training": {**BASE["training"], "keep_every": 2},
            },
            "training.keep_every and choice exclude each other",
        ),
        ({"training": {**BASE["training"], "keep_every": 0}}, "keep_every must be at least 1"),
    ],
)
def test_choices_that_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_recipe({**BASE, **change})


def test_no_pair_left_is_said(tmp_path: Path) -> None:
    content = {**BASE, "choice": {"problems": {"source": "lab:train", "n": 40}}}
    with pytest.raises(InputError, match="choice.problems holds the prompts of all"):
        run(make_recipe(content), tmp_path, isolate=False)


def test_accuracy_needs_references(tmp_path: Path) -> None:
    from statllm.files import write_parquet
    from statllm.lab import problems

    write_parquet(problems("train", 12).drop_columns(["reference"]), tmp_path / "dev.parquet")
    content = {**BASE, "training": {**BASE["training"], "max_steps": 1}}
    content["choice"] = {"problems": {"source": str(tmp_path / "dev.parquet")}}
    with pytest.raises(InputError, match="have no references; vote_share needs none"):
        run(make_recipe(content), tmp_path / "run", isolate=False)


def test_an_experiments_seeds_hold_out_their_own_problems() -> None:
    from statllm.experiment import Experiment

    base = {**BASE, "choice": {"problems": HELD_OUT}}
    experiment = Experiment(
        name="x", base=base, arms={"a": {}}, comparisons=({"arm": "a", "against": "start"},)
    )
    for seed in (0, 3):
        recipe = experiment.recipe("a", seed)
        assert recipe.choice is not None
        assert recipe.problems.seed == recipe.choice.problems.seed == seed


def test_a_kill_between_the_trial_and_its_record_costs_the_trial_alone(
    kept: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from statllm.stages import choose

    copy = Run(tmp_path / "run", kept.recipe)
    shutil.copytree(kept.folder, copy.folder)
    wanted = sha256(copy.path(1, "steps.parquet"))
    copy.path(1, "choose.json").unlink()
    genuine = choose.write_json

    def killed(value: Any, path: Path) -> None:
        if path.name == "trial.json":
            raise KeyboardInterrupt
        genuine(value, path)

    monkeypatch.setattr(choose, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        execute(copy, 1, "choose")
    assert copy.path(1, "choose.work/model").is_dir()
    monkeypatch.setattr(choose, "write_json", genuine)
    execute(copy, 1, "choose")
    assert sha256(copy.path(1, "steps.parquet")) == wanted


def test_rewards_that_are_missing_are_left_out() -> None:
    import pyarrow as pa

    from statllm.generations import Generations
    from statllm.stages.choose import _values

    def rated(rewards: list[list[float | None]]) -> Generations:
        ids = [str(i) for i in range(len(rewards))]
        return Generations(pa.table({"prompt_id": ids, "reward": rewards}))

    some = rated([[1.0, None], [float("nan"), None], [2.0, 4.0]])
    assert _values("reward", some).tolist() == [1.0, 3.0]
    with pytest.raises(InputError, match="no response to choice.problems got one"):
        _values("reward", rated([[None], [float("nan")]]))
