"""The studies of ScPO and IRPO: the papers' settings, fair arms, and figures counted by hand."""

from __future__ import annotations

import importlib.util
import sys
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from statllm.experiment import read_experiment
from statllm.recipe import read_recipe
from statllm.selection import preset

STUDIES = Path(__file__).parents[2] / "studies"


def study_of(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_study", STUDIES / name / "study.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"{name}_study"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scpo_study() -> ModuleType:
    return study_of("scpo")


@pytest.fixture(scope="module")
def irpo_study() -> ModuleType:
    return study_of("irpo")


@pytest.mark.parametrize(
    ("study", "temperatures", "thresholds"),
    [("scpo", (0.7, 0.7), (0.5, 0.7)), ("irpo", (0.8, 0.8, 1.3, 1.3), None)],
)
def test_recipes_have_the_papers_settings(
    study: str, temperatures: tuple[float, ...], thresholds: tuple[float, ...] | None
) -> None:
    recipe = read_recipe(STUDIES / study / "recipe.yaml")
    iterations = [recipe.iteration(k + 1) for k in range(len(recipe.iterations))]
    assert tuple(each.sampling.temperature for each in iterations) == temperatures
    if thresholds is not None:
        assert tuple(each.selection.settings["threshold"] for each in iterations) == thresholds
    for number, each in enumerate(iterations, 1):
        known = preset(f"{study}-gsm8k", iteration=number)
        assert each.selection.resolved().model_dump(exclude={"seed"}) == (
            known.settings.model_dump(exclude={"seed"})
        )
        assert (each.sampling.n, each.sampling.top_p) == (
            known.sampling.n, known.sampling.top_p or 1.0,
        )  # fmt: skip
        training = each.training
        assert (training.loss, training.beta, training.nll_coefficient, training.batch_size) == (
            known.training.loss, known.training.beta, known.training.alpha, 16,
        )  # fmt: skip
        assert training.learning_rate in known.training.learning_rate
        assert training.max_steps == known.training.max_steps
        assert known.training.epochs in (None, training.epochs)


@pytest.mark.parametrize("quick", [True, False])
def test_arms_that_are_compared_take_equally_many_steps(quick: bool) -> None:
    for name in ("scpo", "irpo"):
        experiment = read_experiment(STUDIES / name / "lab.yaml", quick=quick)
        assert len(experiment.seeds) == (2 if quick else 5)

        def steps(arm: str, iteration: int | None, experiment=experiment) -> int:
            recipe = experiment.recipe(arm, 0)
            last = iteration or len(recipe.iterations)
            return sum(recipe.iteration(k).training.max_steps or 0 for k in range(1, last + 1))

        for each in experiment.comparisons:
            # Further iterations against the first ones: that is the question.
            longer = (each.iteration or 1) > (each.against_iteration or 1)
            if each.against != "start" and not longer:
                there = steps(each.against, each.against_iteration)
                assert steps(each.arm, each.iteration) == there > 0


def test_votes_are_counted_by_answer(scpo_study: ModuleType) -> None:
    assert scpo_study.votes_of(["A"] * 5 + ["B"] * 2 + ["C"]) == [5] * 5 + [2] * 2 + [1]
    table = pa.table(
        {
            "prompt_id": ["p"],
            "answer": [["7", "7", None, "8"]],
            "correct": [[True, True, None, False]],
        }
    )
    assert scpo_study.answered([table], 3) == [
        {"prompt": "p", "scores": [2 / 3, 2 / 3], "right": [True, True]}
    ]
    (row,) = scpo_study.answered([table], 4)
    assert (row["scores"], row["right"]) == ([0.5, 0.5, 0.25], [True, True, False])


def test_somers_d_is_scipys(scpo_study: ModuleType) -> None:
    """Over all samples, of the score given the verdict."""
    rng = np.random.default_rng(3)
    rows = [
        {
            "prompt": str(i),
            "scores": (rng.integers(1, 9, 8) / 8).tolist(),
            "right": (rng.random(8) < 0.4).tolist(),
        }
        for i in range(40)
    ]
    found = scpo_study.knowledge("votes", rows)
    scores, right = (np.concatenate([row[name] for row in rows]) for name in ("scores", "right"))
    expected = stats.somersd(right.astype(int), scores).statistic
    assert float(found["Somers' D, all samples"].split()[0]) == pytest.approx(expected, abs=6e-4)
    counts = np.zeros(3)
    for row in rows:
        pairs = list(zip(row["scores"], row["right"], strict=True))
        for (a, good), (b, bad) in product(pairs, pairs):
            if good and not bad:
                counts += [a > b, a == b, a < b]
    shares = [float(found[name].split()[0]) for name in (
        "right above wrong", "equal", "right below wrong"
    )]  # fmt: skip
    assert shares == pytest.approx(counts / counts.sum(), abs=6e-4)
    within = float(found["Somers' D, within prompts"].split()[0])
    assert within == pytest.approx((counts[0] - counts[2]) / counts.sum(), abs=6e-4)


def test_margin_is_chosen_right_less_rejected_right(scpo_study: ModuleType) -> None:
    right = {"p": [True, False], "q": [False, False], "r": [False, True]}
    pairs = [
        {"prompt_id": p, "chosen_index": 0, "rejected_index": 1, "weight": w}
        for p, w in (("p", 0.5), ("q", 0.25), ("r", 0.25))
    ]
    found = scpo_study.pair_quality("pairs", 1, [(pair, right) for pair in pairs])
    assert found["per seed"] == "3"
    assert found["chosen right"].startswith("0.333 ")
    assert found["rejected right"].startswith("0.333 ")
    assert found["margin"].startswith("+0.000 ")
    assert found["margin, weighted"].startswith("+0.250 ")  # (.5 - .25) / 1


def test_half_of_the_semi_supervised_problems_have_a_reference(
    scpo_study: ModuleType, tmp_path: Path
) -> None:
    experiment = read_experiment(STUDIES / "scpo" / "lab.yaml", quick=True)
    more = scpo_study.semi_supervised(experiment, tmp_path)
    recipe = more.recipe("semi-supervised", 0)
    assert recipe.iteration(1).selection.settings["labels"] == "use"
    from statllm.stages import load_problems

    drawn = load_problems(recipe.problems)
    assert drawn.num_rows == recipe.problems.n
    assert 0 < drawn["reference"].null_count < drawn.num_rows
    whole = pa.parquet.read_table(tmp_path / "half.parquet")
    assert whole["reference"].null_count == whole.num_rows // 2
    # No other key differs from the arm that it is compared with.
    plain = more.recipe("scpo", 0)
    assert recipe.training == plain.training
    assert recipe.sampling == plain.sampling


def write_curve(path: Path, logp: list[float], reward: list[float]) -> None:
    path.mkdir(parents=True)
    import pyarrow.parquet as pq

    columns = {f"logp_{side}": logp for side in ("chosen", "rejected")}
    columns |= {f"reward_{side}": reward for side in ("chosen", "rejected")}
    pq.write_table(pa.table(columns), path / "training.parquet")


def test_change_of_log_probability_is_counted_from_the_same_batch(
    irpo_study: ModuleType, tmp_path: Path
) -> None:
    """Of the model less that of the reference, which DPO's reward / beta gives away."""
    import yaml

    experiment = read_experiment(STUDIES / "irpo" / "lab.yaml", quick=True)
    reference, nan = np.array([-5.0, -7.0, -4.0, -6.0]), [float("nan")] * 4
    change = {"irpo": [0, 0.5, 1.0, 2.0], "dpo": [0, -0.5, -1.0, -2.0],
              "sft on chosen": [0, 1.0, 2.0, 3.0]}  # fmt: skip
    for seed in experiment.seeds:
        for arm, values in change.items():
            folder = tmp_path / arm / f"seed_{seed}"
            logp = reference + values
            reward = (0.1 * np.array(values)).tolist() if arm == "dpo" else nan
            write_curve(folder / "iteration_1", logp.tolist(), reward)
            recipe = experiment.recipe(arm, seed).model_dump(mode="json")
            (folder / "run.yaml").write_text(yaml.safe_dump(recipe))
    found = irpo_study.curves(experiment, tmp_path)
    for arm, values in change.items():
        assert found[arm, "chosen"] == pytest.approx(np.array([values] * 2))
    table = irpo_study.at_the_end(found)
    assert table["irpo - dpo, chosen"].value == pytest.approx(4.0)  # the last quarter: one step
    # Another first batch: the arms can't be compared step by step.
    other = tmp_path / "irpo" / "seed_0" / "iteration_1"
    (other / "training.parquet").unlink()
    other.rmdir()
    write_curve(other, (reference + 1).tolist(), nan)
    with pytest.raises(ValueError, match="irpo, seed 0: its first batch is not that of dpo"):
        irpo_study.curves(experiment, tmp_path)


def test_gold_chains_are_right_and_of_the_other_arms_problems(
    irpo_study: ModuleType, tmp_path: Path
) -> None:
    from statllm.scoring.answers import extract
    from statllm.stages import load_problems

    experiment = read_experiment(STUDIES / "irpo" / "lab.yaml", quick=True)
    more = irpo_study.gold_chains(experiment, tmp_path)
    for seed in experiment.seeds:
        recipe, plain = more.recipe("gold chains", seed), more.recipe("irpo", seed)
        drawn, same = load_problems(recipe.problems), load_problems(plain.problems)
        for name in ("prompt_id", "prompt", "reference"):
            assert drawn[name].to_pylist() == same[name].to_pylist()
        for row in drawn.to_pylist():
            assert extract(row["gold_response"]) == row["reference"]
        assert recipe.iteration(1).selection.settings["gold"] == "last"
        assert recipe.training == plain.training


def test_written_problems_add_to_the_recipes_own(scpo_study: ModuleType) -> None:
    experiment = read_experiment(STUDIES / "scpo" / "lab.yaml", quick=True)
    more = scpo_study.with_new_problems(experiment)
    recipe, plain = more.recipe("new problems", 1), more.recipe("scpo", 1)
    assert recipe.new_problems is not None
    assert recipe.new_problems.count == plain.problems.n
    assert recipe.problems == plain.problems
    assert more.recipe("more problems", 1).problems.n == 2 * (plain.problems.n or 0)
    for other in ("new problems", "more problems"):
        assert more.recipe(other, 1).training == plain.training


def test_written_problems_are_counted_by_fault(
    scpo_study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    from statllm.lab import problems

    good = problems("train", 2)["prompt"].to_pylist()
    names = ["own", "w1", "w2", "w3"]
    place = tmp_path / "iteration_1"
    place.mkdir()
    written = pa.table(
        {
            "prompt_id": names,
            "prompt": [good[0], good[1], "Q: Why?\nA:\n", "Q: Why not?\nA:\n"],
            "written": [False, True, True, True],
        }
    )
    pq.write_table(written, place / "problems.parquet")
    ledger = pa.table({"prompt_id": names, "kept": [True, True, False, True]})
    pq.write_table(ledger, place / "ledger.parquet")

    class Folder:
        def path(self, iteration: int, name: str) -> Path:
            return tmp_path / f"iteration_{iteration}" / name

    monkeypatch.setattr(scpo_study, "open_run", lambda *_: Folder())
    experiment = read_experiment(STUDIES / "scpo" / "lab.yaml", seeds=[0, 1])
    found = {row["problems"]: row for row in scpo_study.written_problems(experiment, tmp_path)}
    assert {name: row["per seed"] for name, row in found.items()} == {
        "the recipe's own": "1", "written, without a fault": "1", "written, no_question": "2",
    }  # fmt: skip
    assert found["written, no_question"]["kept by votes"].startswith("0.500 ")
    assert found["written, without a fault"]["kept by votes"].startswith("1.000 ")


def test_tried_steps_are_means_over_seeds(irpo_study: ModuleType, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    experiment = read_experiment(STUDIES / "irpo" / "lab.yaml", seeds=[0, 1])
    for seed, (first, best) in enumerate([(0.4, 8), (0.6, 16)]):
        place = tmp_path / "chosen step" / f"seed_{seed}"
        (place / "iteration_1").mkdir(parents=True)
        (place / "run.yaml").write_text(
            (STUDIES.parent / "statllm" / "lab" / "recipes" / "scpo.yaml").read_text()
        )
        rows = [
            {"step": 8, "value": first, "chosen": best == 8},
            {"step": 16, "value": 0.5, "chosen": best == 16},
        ]
        pq.write_table(pa.Table.from_pylist(rows), place / "iteration_1" / "steps.parquet")
    lines = irpo_study.tried_steps(experiment, tmp_path).splitlines()
    assert [line.split("|")[1:3] + line.split("|")[4:5] for line in lines[2:]] == [
        [" 8 ", " 0.500 ", " 1 "], [" 16 ", " 0.500 ", " 1 "],
    ]  # fmt: skip
