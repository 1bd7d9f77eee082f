"""Arms side by side: settings, shared work, crossed errors, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from statllm.errors import InputError
from statllm.estimators.comparison import crossed_mean, t_test
from statllm.experiment import Experiment, analyse, read_experiment, run_experiment, run_study
from statllm.experiment.report import write_result
from statllm.experiment.run import run_folder
from statllm.files import read_json, read_parquet, write_parquet

BASE: dict[str, Any] = {
    "model": "lab",
    "problems": {"source": "lab:train", "n": 24},
    "sampling": {"n": 6, "temperature": 1.0, "max_new_tokens": 60},
    "selection": {"rule": "scpo", "settings": {"threshold": 0.3}},
    "training": {"loss": "scpo", "beta": 0.3, "learning_rate": 3e-4, "batch_size": 8},
    "evaluation": {"problems": {"source": "lab:test", "n": 20}, "k": 2},
    "iterations": [{}],
}
FILE: dict[str, Any] = {
    "name": "tiny",
    "seeds": [0, 1],
    "base": BASE,
    "arms": {
        "scpo": {},
        "random": {"selection": {"rule": "random"}, "training": {"loss": "dpo"}},
    },
    "comparisons": [
        {"arm": "scpo", "against": "start"},
        {"arm": "scpo", "against": "random", "claim": "votes know more than chance"},
    ],
    "quick": {"base": {"problems": {"n": 12}}},
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({**FILE, **changes}, sort_keys=False))
    return path


def test_an_experiment_runs_is_analysed_and_resumes(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path))
    stages: list[tuple[str, int, int, str, str]] = []
    folder = tmp_path / "out"
    run_experiment(experiment, folder, isolate=False, listener=lambda *at: stages.append(at))
    of_random = {(stage, state) for arm, _, _, stage, state in stages if arm == "random"}
    assert ("sample", "copied") in of_random
    assert ("evaluate", "done") in of_random
    result = analyse(experiment, folder)
    assert result.n_problems == 20
    # The contrast is the plain mean of all paired differences, read from the files themselves.
    scores = {
        (arm, seed, k): read_parquet(
            run_folder(folder, arm, seed) / f"iteration_{k}" / "evaluation.parquet"
        ).sort_by("prompt_id")["greedy_correct"].cast("float64").to_numpy()
        for arm in ("scpo", "random") for seed in (0, 1) for k in (0, 1)
    }  # fmt: skip
    expected = np.mean([scores["scpo", s, 1] - scores["random", s, 1] for s in (0, 1)])
    found = next(c for c in result.contrasts if c.name == "scpo - random")
    assert found.estimate.value == pytest.approx(expected)
    assert found.claim == "votes know more than chance"
    first = next(c for c in result.contrasts if c.name == "scpo - start")
    assert first.per_seed == pytest.approx(
        [(scores["scpo", s, 1] - scores["scpo", s, 0]).mean() for s in (0, 1)]
    )
    write_result(result, folder)
    assert {"result.md", "result.json", "result.parquet", "result.png"} <= {
        path.name for path in folder.iterdir()
    }
    assert len(read_json(folder / "result.json")["figures"]) == 4 + 6
    again: list[str] = []
    run_experiment(experiment, folder, isolate=False, listener=lambda *at: again.append(at[-1]))
    assert set(again) == {"kept"}
    problems = [
        set(read_parquet(run_folder(folder, "scpo", s) / "iteration_1/samples.parquet")["prompt_id"]
            .to_pylist()) for s in (0, 1)
    ]  # fmt: skip
    assert problems[0] != problems[1]


def test_a_study_is_the_same_with_its_own_preparation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, arms={"scpo": {}}, comparisons=[{"arm": "scpo", "against": "start"}])
    folder = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["study.py", "--quick", "-o", str(folder)])

    def shorter(experiment: Experiment, given: Path) -> Experiment:
        (given / "prepared").touch()
        base = {
            **experiment.base,
            "evaluation": {"problems": {"source": "lab:test", "n": 5}, "k": 2},
        }
        return experiment.model_copy(update={"base": base})

    experiment, found = run_study(path, "A study.\n\nMore.", shorter)
    assert found == folder
    assert (folder / "prepared").exists()
    assert read_json(folder / "result.json")["n_problems"] == 5
    samples = read_parquet(run_folder(folder, "scpo", 1) / "iteration_1" / "samples.parquet")
    assert samples.num_rows == 12
    assert experiment.seeds == (0, 1)


def test_arms_on_other_problems_are_refused(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path))
    for arm, n in (("scpo", 3), ("random", 4)):  # random is read last
        for seed in (0, 1):
            folder = run_folder(tmp_path, arm, seed)
            folder.mkdir(parents=True)
            (folder / "run.yaml").write_text(yaml.safe_dump({"name": "x", "seed": 0, **BASE}))
            table = pa.table(
                {
                    "prompt_id": [str(i) for i in range(n)],
                    "greedy_correct": [True] * n,
                    "majority_correct": [True] * n,
                }
            )
            for k in (0, 1):
                (folder / f"iteration_{k}").mkdir()
                write_parquet(table, folder / f"iteration_{k}" / "evaluation.parquet")
    with pytest.raises(InputError, match="was evaluated on other problems than the first"):
        analyse(experiment, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0]}, "seeds"),
        ({"seeds": [1, 1]}, "a seed occurs twice"),
        ({"comparisons": [{"arm": "scpo", "against": "other"}]}, "comparison with 'other'"),
        ({"comparisons": [{"arm": "start", "against": "scpo"}]}, "comparison with 'start'"),
        ({"comparisons": [{"arm": "scpo", "against": "start", "iteration": 2}]}, "1 iterations"),
        ({"measures": ["accuracy"]}, "measure 'accuracy' is unknown"),
        ({"arms": {"a/b": {}}, "comparisons": [{"arm": "a/b", "against": "start"}]}, "folder"),
        ({"arms": {"scpo": {"trainng": {}}, "random": {}}}, "arm 'scpo': unknown key 'trainng'"),
        ({"extra": 1}, "extra"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_experiment(written(tmp_path, **changes))


def test_a_short_run_is_one_whatever_becomes_of_it(tmp_path: Path) -> None:
    short = read_experiment(written(tmp_path), quick=True, seeds=[0, 1, 2, 3, 4, 5])
    assert short.model_copy(update={"base": {}}).is_quick
    assert not read_experiment(written(tmp_path), seeds=[0, 1]).is_quick


def test_quick_must_be_keys(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="quick is 3: a mapping of keys was expected"):
        read_experiment(written(tmp_path, quick=3), quick=True)


def test_quick_replaces_and_another_rule_brings_its_own_settings(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path), quick=True)
    assert experiment.recipe("scpo", 0).problems.n == 12
    recipe = experiment.recipe("random", 3)
    assert recipe.selection.settings == {}
    assert recipe.problems.seed == 3
    fixed = Experiment(**{**FILE, "same_problems": True}).recipe("random", 3)
    assert fixed.problems.seed == 0


def test_crossed_mean_is_the_textbooks_analysis_of_variance() -> None:
    """Against statsmodels' two-way table, and its estimates of the three components."""
    import pandas as pd
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    rng = np.random.default_rng(4)
    x = rng.normal(size=(4, 30)) + rng.normal(size=(4, 1)) + rng.normal(size=(1, 30))
    rows, columns = (place.ravel() for place in np.indices(x.shape))
    frame = pd.DataFrame({"x": x.ravel(), "r": rows, "c": columns})
    table = sm.stats.anova_lm(smf.ols("x ~ C(r) + C(c)", frame).fit())
    squares = table["mean_sq"]
    variance = (squares["C(r)"] + squares["C(c)"] - squares["Residual"]) / x.size
    found = crossed_mean(x)
    assert found.value == pytest.approx(x.mean())
    assert found.se**2 == pytest.approx(variance)
    df = variance**2 / ((squares / x.size) ** 2 / table["df"]).sum()
    assert found.df == pytest.approx(df)


@pytest.mark.parametrize("seed_sd", [0.0, 0.1, 0.5])
def test_crossed_intervals_cover(seed_sd: float) -> None:
    """Five seeds, 200 problems; 600 repetitions: within 3.3 standard errors of 95 %, or above."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(600):
        x = rng.normal(size=(5, 200)) + 0.5 * rng.normal(size=(1, 200))
        hits += 0.0 in crossed_mean(x + seed_sd * rng.normal(size=(5, 1))).interval()
    assert hits / 600 > 0.95 - 3.3 * (0.95 * 0.05 / 600) ** 0.5


def test_two_seeds_are_worth_a_degree_of_freedom_at_least() -> None:
    """Satterthwaite's formula gives .497 here, at which t has no finite p."""
    rng = np.random.default_rng(17)
    x = (rng.random((2, 12)) < 0.5).astype(float) - (rng.random((2, 12)) < 0.5)
    found = crossed_mean(x)
    assert found.df == 1
    assert np.isfinite(t_test(found).log_p_value)


@pytest.mark.parametrize("bad", [[[1.0, 2.0]], [1.0, 2.0], [[1.0, np.nan], [0.0, 1.0]], []])
def test_crossed_mean_refuses(bad: Any) -> None:
    with pytest.raises(ValueError):
        crossed_mean(bad)


def test_a_source_can_name_the_seed(tmp_path: Path) -> None:
    base = {**BASE, "problems": {"source": "made/{seed}/questions.parquet", "n": 24}}
    experiment = read_experiment(written(tmp_path, base=base))
    sources = [experiment.recipe("scpo", seed).problems.source for seed in (0, 1)]
    assert sources == ["made/0/questions.parquet", "made/1/questions.parquet"]
