"""`statllm passk` and `statllm power` on logs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from statllm.estimators.passk import best_at_k, majority_at_k
from statllm.estimators.power import mcnemar_sample_size
from statllm.ragged import Ragged

LOGS = Path(__file__).parents[1] / "references" / "logs"


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for task in range(30):
        for _ in range(6):
            answer = str(rng.integers(0, 3))
            rows.append((task, answer, answer == "0", rng.normal() + (answer == "0")))
    table = pd.DataFrame(rows, columns=["task_id", "answer", "correct", "reward"])
    table.to_csv(tmp_path / "runs.csv", index=False)
    return tmp_path / "runs.csv"


def test_passk_writes_what_the_estimators_say(statllm, samples: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "k.json", tmp_path / "k.svg"
    arguments = ("--k", 1, "--k", 3, "--answer", "answer", "--reward", "reward")
    code, said, _ = statllm(
        "passk", samples, *arguments, "--column", "correct", "-o", out, "--figure", picture
    )
    assert code == 0
    assert "maj@3" in said
    table = pd.read_csv(samples, dtype={"answer": str})
    groups = [group for _, group in table.groupby("task_id")]
    answers = Ragged.from_lists([g["answer"].tolist() for g in groups], object)
    correct = Ragged.from_lists([g["correct"].astype(float).tolist() for g in groups])
    reward = Ragged.from_lists([g["reward"].tolist() for g in groups])
    curves = json.loads(out.read_text())["curves"]
    assert curves["maj@k"][1]["value"] == pytest.approx(majority_at_k(answers, correct, 3).mean())
    assert curves["best@k"][1]["value"] == pytest.approx(best_at_k(reward, correct, 3).mean())
    assert curves["pass@k"][0]["value"] == pytest.approx(table["correct"].mean())
    assert picture.read_bytes().startswith(b"<?xml")


def test_passk_of_scored_samples_takes_the_samples_verdicts(statllm, tmp_path: Path) -> None:
    """What `statllm score` writes has one verdict of the majority, too."""
    rows = [
        {"prompt_id": "a", "answer": ["1", "1", "2"], "correct": [True, True, False],
         "majority_answer_correct": True},
        {"prompt_id": "b", "answer": ["1", "2", "2"], "correct": [True, False, False],
         "majority_answer_correct": False},
    ]  # fmt: skip
    path, out = tmp_path / "scores.jsonl", tmp_path / "k.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, error = statllm("passk", path, "--k", 1, "--k", 3, "--answer", "answer", "-o", out)
    assert code == 0, error
    curves = json.loads(out.read_text())["curves"]
    assert [point["value"] for point in curves["pass@k"]] == pytest.approx([0.5, 1.0])
    assert [point["value"] for point in curves["maj@k"]] == pytest.approx([0.5, 0.5])


def test_passk_says_who_is_left_out(statllm, tmp_path: Path) -> None:
    rows = [{"id": i, "score": [1, 0] if i else [1]} for i in range(5)]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, said, _ = statllm("passk", path)
    assert code == 0
    assert "1 tasks have fewer than 2 samples" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--column", "reward"], "reward of task '0' is -0.1"),
        (["--column", "correct", "--answer", "words"], "no column 'words'"),
        (["--column", "correct", "--k", "9"], "0 of 30 tasks are complete"),
        (["--column", "correct", "--level", "2"], "--level must lie between"),
        (["--column", "correct", "-o", "k.txt"], "k.txt"),
    ],
)
def test_passk_names_what_is_wrong(statllm, samples: Path, arguments: list[str], said: str) -> None:
    code, _, error = statllm("passk", samples, *arguments)
    assert code != 0
    assert said in error


def test_power_from_a_pilot(statllm, tmp_path: Path) -> None:
    a, b = LOGS / "lab__small", LOGS / "lab__better"
    out, picture = tmp_path / "p.json", tmp_path / "p.png"
    code, said, _ = statllm("power", a, b, "--effect", ".1", "-o", out, "--figure", picture)
    assert code == 0
    report = json.loads(out.read_text())
    apart = report["pilot"]["disagreement"]
    n = mcnemar_sample_size((apart + 0.1) / 2, (apart - 0.1) / 2)
    assert report["plan"] == [{"effect": 0.1, "units": n, "test": "McNemar, exact"}]
    assert f"{n:,}" in said
    assert picture.stat().st_size > 1000


def test_power_spends_a_budget(statllm) -> None:
    logs = (LOGS / "inspect_first.eval", LOGS / "inspect_second.eval")
    code, said, _ = statllm("power", *logs, "--budget", 400, "--item-cost", 3)
    assert code == 0
    assert "80 prompts, 2 each" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give two logs of a pilot"),
        (["--sd", "0"], "--sd must be positive"),
        (["--sd", "1", "--disagreement", ".2"], "give two logs of a pilot"),
        (["--disagreement", "1.5"], "--disagreement must be"),
        (["--sd", "1", "--effect", "0"], "--effect must not be 0"),
        (["--sd", "1", "--budget", "10"], "--budget needs a pilot"),
        ([LOGS / "lab__small", LOGS / "lab__small"], "don't differ on any prompt"),
        ([LOGS / "lab__small"], "give two logs"),
    ],
)
def test_power_names_what_is_wrong(statllm, arguments: list[object], said: str) -> None:
    code, _, error = statllm("power", *arguments)
    assert code != 0
    assert said in " ".join(error.split())


def test_passk_of_some_rows(statllm, samples: Path, tmp_path: Path) -> None:
    table = pd.read_csv(samples, dtype={"answer": str})
    both = pd.concat([table.assign(model="m"), table.assign(model="n", correct=False)])
    # A gap makes the tasks' column one of floats.
    both["task_id"] = both["task_id"].astype(float)
    path, out = tmp_path / "both.parquet", tmp_path / "k.json"
    both.to_parquet(path)
    arguments = ("--column", "correct", "--answer", "answer", "--k", 1, "--where", "model=m")
    code, _, _ = statllm("passk", path, *arguments, "-o", out)
    assert code == 0
    curves = json.loads(out.read_text())["curves"]
    assert curves["maj@k"][0]["value"] == pytest.approx(table["correct"].mean())


def test_passk_says_what_a_curve_lacks(statllm, samples: Path, tmp_path: Path) -> None:
    table = pd.read_csv(samples)
    table.loc[table["task_id"] == 3, "reward"] = np.nan
    table.to_csv(tmp_path / "gap.csv", index=False)
    arguments = ("--column", "correct", "--reward", "reward", "-o", tmp_path / "k.json")
    _, said, _ = statllm("passk", tmp_path / "gap.csv", *arguments)
    assert "best@k: 1 more tasks lack a reward" in said
    left = json.loads((tmp_path / "k.json").read_text())["tasks_left_out"]
    assert left == {"pass@k": 0, "pass^k": 0, "best@k": 1}


def test_passk_of_the_harness_says_that_a_verdict_is_one(statllm) -> None:
    log = LOGS / "lab__small"
    code, said, _ = statllm("passk", log, "--filter", "flexible-extract")
    assert code == 0
    assert "pass@1" in said
    assert "also there" not in said
    _, said, _ = statllm("passk", log)
    assert "also there: flexible-extract (--filter)" in " ".join(said.split())


def test_no_spread_is_not_certainty(statllm, tmp_path: Path) -> None:
    pd.DataFrame({"id": range(5), "score": 1}).to_csv(tmp_path / "in.csv", index=False)
    _, said, _ = statllm("passk", tmp_path / "in.csv")
    assert "the interval has no width" in said


def test_power_picks_rows_as_compare_does(statllm, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    score = rng.normal(size=(40, 2))
    rows = [
        {
            "key": f"é{i}",
            "model": m,
            "kind": k,
            "source": i // 4,
            "points": score[i, j] + (k == "x"),
        }
        for i in range(40)
        for j, m in enumerate(("base", "new"))
        for k in "xy"
    ]
    path, out = tmp_path / "all.csv", tmp_path / "p.json"
    pd.DataFrame(rows).to_csv(path, index=False)
    options = ("--column", "points", "--item", "key", "--where", "kind=y")
    sides = ("--where-a", "model=base", "--where-b", "model=new")
    code, _, error = statllm("power", path, path, *options, *sides, "-o", out)
    assert code == 0, error
    pilot = json.loads(out.read_text())["pilot"]
    difference = score[:, 1] - score[:, 0]
    assert pilot["sd_per_unit"] == pytest.approx(difference.std(ddof=1))
    code, _, _ = statllm("compare", path, path, *options, *sides, "-o", tmp_path / "c.json")
    assert code == 0
    compared = json.loads((tmp_path / "c.json").read_text())
    assert compared["minimum_detectable_effect"] == pilot["minimum_detectable_effect"]
    code, _, error = statllm("power", path, path, *options)
    assert code == 2
    assert "--where model=" in " ".join(error.split())
    clusters = ("--cluster", "source", "-o", out)
    assert statllm("power", path, path, *options, *sides, *clusters)[0] == 0
    assert json.loads(out.read_text())["pilot"]["independent_units"] == 10


def test_passk_against_tokens(statllm, samples: Path, tmp_path: Path) -> None:
    """Costs and budgets by pandas; the figure's axis is tokens."""
    table = pd.read_csv(samples, dtype={"answer": str})
    table["n_tokens"] = np.random.default_rng(3).integers(1, 900, len(table))
    path, out, picture = tmp_path / "t.csv", tmp_path / "k.json", tmp_path / "k.svg"
    table.to_csv(path, index=False)
    arguments = ("--column", "correct", "--answer", "answer", "--tokens", "n_tokens")
    budgets = ("--budget", 100, "--budget", 500)
    code, said, error = statllm(
        "passk", path, *arguments, *budgets, "--k", 1, "--k", 4, "-o", out, "--figure", picture
    )
    assert code == 0, error
    report = json.loads(out.read_text())
    mean = table.groupby("task_id")["n_tokens"].mean()
    assert [each["value"] for each in report["tokens_of_k"]] == pytest.approx(
        [mean.mean(), 4 * mean.mean()]
    )
    assert report["tokens_of_k"][0]["se"] == pytest.approx(mean.sem())
    for point, budget in zip(
        report["curves"]["accuracy within the budget"], (100, 500), strict=True
    ):
        right = table["correct"] & (table["n_tokens"] <= budget)
        assert point["x"] == budget
        assert point["value"] == pytest.approx(right.groupby(table["task_id"]).mean().mean())
    assert "tokens a task" in said
    assert "tokens a task" in picture.read_text()
    assert statllm("passk", path, *arguments, "-o", out)[0] == 0
    powers = [x["x"] for x in json.loads(out.read_text())["curves"]["accuracy within the budget"]]
    shortest, longest = table["n_tokens"].min(), table["n_tokens"].max()
    assert powers == [*(2**i for i in range(20) if shortest <= 2**i < longest), longest]
    table.loc[7, "n_tokens"] = np.nan
    table.to_csv(path, index=False)
    code, _, error = statllm("passk", path, *arguments)
    assert code == 2
    assert "'n_tokens' of a sample of task '1' is nan" in error
    code, _, error = statllm("passk", path, "--column", "correct", "--budget", 5)
    assert code == 2
    assert "--budget needs" in error
