"""The study of RIP: its files are valid, its golden cases hold, its shares are shares."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from statllm.experiment import read_experiment
from statllm.generations import Generations
from statllm.lab.chains import read_chain
from statllm.lab.pool import corrupted_pool
from statllm.lab.prompt_writer import plain
from statllm.recipe import read_recipe
from statllm.selection import RipSettings, preset, rip

FOLDER = Path(__file__).parents[2] / "studies" / "rip"
NOT_THE_PAPERS = {"seed", "missing"}


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rip_study", FOLDER / "study.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(FOLDER))  # the study put it there for the modules beside it
    return module


@pytest.fixture(scope="module")
def writing(study: ModuleType) -> ModuleType:
    return sys.modules["self_rip"]


def pool(gaps: list[float], worst: list[float], lengths: list[int]) -> Generations:
    """One prompt per gap: the worst response has a given reward and length; one lies between."""
    rows = list(zip(gaps, worst, lengths, strict=True))
    return Generations(
        pa.table(
            {
                "prompt_id": [f"p{i}" for i in range(len(rows))],
                "prompt": ["P"] * len(rows),
                "response": [["best", "x" * n, "mid"] for _, _, n in rows],
                "reward": [[low + gap, low, low + gap / 2] for gap, low, _ in rows],
            }
        )
    )


def test_the_recipe_has_the_papers_settings() -> None:
    recipe = read_recipe(FOLDER / "recipe.yaml")
    known = preset("rip-wildchat-8b")
    found = recipe.iteration(1).selection.resolved()
    assert found.model_dump(exclude=NOT_THE_PAPERS) == (
        known.settings.model_dump(exclude=NOT_THE_PAPERS)
    )
    assert found.missing == "drop"  # the reward model's context is shorter than the policy's
    assert recipe.choice is not None
    assert (recipe.choice.by, recipe.choice.retrain) == ("reward", False)
    assert (recipe.sampling.n, recipe.sampling.temperature, recipe.sampling.top_p) == (
        64,
        0.8,
        0.95,
    )
    assert (recipe.training.loss, recipe.training.beta, recipe.training.batch_size) == (
        "dpo", 0.1, 64,
    )  # fmt: skip


@pytest.mark.parametrize("quick", [True, False])
def test_arms_differ_in_the_selection_alone(quick: bool) -> None:
    experiment = read_experiment(FOLDER / "lab.yaml", quick=quick)
    recipes = [experiment.recipe(arm, 0).model_dump() for arm in experiment.arms]
    for recipe in recipes:
        _, _, responses = recipe["name"].partition(" of ")
        assert recipe["sampling"].pop("n") == (
            {"32": 9, "64": 10}.get(responses, 8) if quick else int(responses or 8)
        )
        del recipe["name"], recipe["selection"]
    assert all(recipe == recipes[0] for recipe in recipes)
    assert recipes[0]["training"]["max_steps"] is not None
    assert len(experiment.seeds) == (2 if quick else 5)


@pytest.mark.parametrize(
    ("gap", "worst", "length", "kept"),
    [
        (0.042, 0.126, 1878, True),
        (0.043, 0.126, 1878, False),
        (0.042, 0.125, 1878, False),
        (0.042, 0.126, 1877, False),
    ],
)
def test_the_papers_bounds_are_absolute_and_joined_by_and(
    gap: float, worst: float, length: int, kept: bool
) -> None:
    """Each bound by itself drops a prompt, in whatever pool it stands."""
    found = rip(pool([gap], [worst], [length]), preset("rip-wildchat-8b").settings)
    assert found.counts().get("kept", 0) == kept


def test_three_medians_keep_what_all_three_keep_not_an_eighth(study: ModuleType) -> None:
    """Metrics that agree keep half; the quantiles are those of the whole pool."""
    n = 101
    order = np.arange(n)
    agree = rip(pool(list((n - order) / 10), list(order / 10), list(order + 1)), study.MEDIANS)
    assert agree.counts()["kept"] == 51
    against = rip(pool(list((order + 1) / 10), list(order / 10), list(order + 1)), study.MEDIANS)
    assert against.counts()["kept"] == 1  # the median itself: bounds are inclusive


def test_a_prompt_goes_as_a_whole() -> None:
    """Another pair of the prompt would pass the gap; none is made."""
    found = rip(pool([2.0, 0.5], [0.0, 0.0], [4, 4]), RipSettings(max_gap=1.0))
    assert found.pairs["prompt_id"].to_pylist() == ["p1"]


def test_shares_are_ratios_of_sums_with_prompts_as_clusters(study: ModuleType) -> None:
    above, below = [1, 0, 1, 1], [1, 1, 1, 1]
    found = study.share(above, below, ["p", "q", "p", "r"])
    assert found.value == pytest.approx(0.75)
    assert found.low <= found.value <= found.high
    # One cluster can't vary.
    alone = study.share(above, below, ["p"] * 4)
    assert (alone.low, alone.high) == pytest.approx((0.75, 0.75), nan_ok=True)
    assert np.isnan(study.share([0, 0], [0, 0], ["p", "q"]).value)


@pytest.mark.parametrize("quick", [True, False])
def test_self_rip_arms_differ_in_questions_and_selection_alone(quick: bool) -> None:
    experiment = read_experiment(FOLDER / "self_rip_lab.yaml", quick=quick)
    recipes = [experiment.recipe(arm, 1).model_dump() for arm in experiment.arms]
    sources = {recipe["problems"].pop("source") for recipe in recipes}
    assert sources == {
        f"runs/rip/written/1/{name}.parquet" for name in ("all", "random", "rip", "turned")
    }
    main = read_experiment(FOLDER / "lab.yaml").recipe("all", 1).model_dump()
    for recipe in recipes:
        if not quick:
            assert recipe["training"] == main["training"]
            assert recipe["sampling"] == main["sampling"]
            assert recipe["rewards"] == main["rewards"]
        del recipe["name"], recipe["selection"]
    assert all(recipe == recipes[0] for recipe in recipes)


def test_self_rips_filter_is_the_papers_without_a_gap_and_turned_round_with_one() -> None:
    experiment = read_experiment(FOLDER / "self_rip_lab.yaml")
    bounds = {arm: experiment.recipe(arm, 0).selection for arm in experiment.arms}
    filters = {arm: set(rule.settings) for arm, rule in bounds.items() if rule.settings}
    assert filters == {
        "self-rip filtered": {"min_rejected_reward", "min_rejected_length"},
        "turned filtered": {"max_rejected_reward", "max_rejected_length", "min_gap"},
    }
    for arm in ("self-rip", "turned"):
        as_many = bounds[f"{arm} part"].as_many_as
        assert as_many is not None
        assert as_many.settings == bounds[f"{arm} filtered"].settings


def test_the_recipe_of_self_rip_has_the_papers_settings() -> None:
    recipe = read_recipe(FOLDER / "self_rip.yaml")
    settings = recipe.iteration(1).selection.resolved().model_dump(exclude=NOT_THE_PAPERS)
    assert settings == preset("rip-self-rip").settings.model_dump(exclude=NOT_THE_PAPERS)
    first = read_recipe(FOLDER / "recipe.yaml")
    assert recipe.new_problems is not None
    assert recipe.new_problems.template_name == "self_rip"
    assert recipe.problems.source == f"runs/{first.name}/iteration_1/pairs.parquet"
    for name in ("model", "sampling", "rewards", "choice", "training"):
        assert getattr(recipe, name) == getattr(first, name)
    assert recipe.iteration(1).selection.resolved().missing == "drop"


@pytest.mark.slow
def test_the_writers_questions_are_as_spoilt_as_their_examples(writing: ModuleType) -> None:
    """The shipped writer itself; what is spoilt, the pool says of examples, the reader of texts."""
    pool = corrupted_pool(120, seed=9)
    table = pool.set_column(1, "prompt", pa.array([plain(p) for p in pool["prompt"].to_pylist()]))
    clean = pc.equal(table["kind"], "clean")
    n, unreadable = 40, {}
    for name, examples in (
        ("clean", table.filter(clean)),
        ("spoilt", table.filter(pc.invert(clean))),
    ):
        written, dropped = writing.write_questions(examples, n, 0)
        assert 0 <= dropped < 0.34  # else there would be too few
        assert written.num_rows == n
        assert set(written["shown"].to_pylist()) == ({0} if name == "clean" else {4})
        for row in written.to_pylist():
            reading = read_chain(plain(row["prompt"]))
            assert reading.fault == row["fault"]
            assert (row["reference"] is None) == (row["fault"] is not None)
        unreadable[name] = sum(f not in (None, "impossible") for f in written["fault"].to_pylist())
    # Were both shares equal, so large a difference would come less than once in 10,000 times.
    assert unreadable["spoilt"] - unreadable["clean"] > 0.45 * n
