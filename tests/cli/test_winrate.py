"""`statllm winrate` on annotations and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from statllm.estimators.winrate import Answers, alpaca_eval_win_rate, instruction_difficulty


def entries(model: str = "tuned", n: int = 300, seed: int = 0, longer: float = 1.4) -> Any:
    """A judge that likes long answers, and a model that writes them."""
    rng = np.random.default_rng(seed)
    mine = rng.gamma(4, 20 * longer, n).astype(int) + 1
    other = np.random.default_rng(99).gamma(4, 20, n).astype(int) + 1
    gap = mine - other
    p = 1 / (1 + np.exp(0.3 - 1.2 * np.tanh(gap / gap.std(ddof=1))))
    preference = 1 + (rng.random(n) < p)
    return [
        {
            "instruction": f"q{i} é",
            "generator_1": "base",
            "generator_2": model,
            "output_1": "w " * other[i],
            "output_2": "w " * mine[i],
            "preference": float(preference[i]),
            "dataset": f"d{i // 3}",
            "max_words": 100,
        }
        for i in range(n)
    ]


def write(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows), "utf-8")
    return path


def figures(report: Any, model: int = 0) -> dict[str, Any]:
    return {each["name"]: each for each in report["models"][model]["figures"]}


def test_annotations_against_statsmodels(statllm, tmp_path: Path) -> None:
    rows = entries()
    path, out, picture = write(tmp_path / "é.json", rows), tmp_path / "w.json", tmp_path / "w.svg"
    code, said, error = statllm("winrate", path, "--limit", "max_words", "-o", out,
                                "--figure", picture)  # fmt: skip
    assert code == 0, error
    found = figures(json.loads(out.read_text()))
    wins = np.array([row["preference"] - 1 for row in rows])
    assert found["win rate"]["value"] == pytest.approx(wins.mean())
    assert found["win rate"]["se"] == pytest.approx(stats.sem(wins))
    mine, other = (np.array([len(row[k]) for row in rows]) for k in ("output_2", "output_1"))
    lead = np.tanh((mine - other) / np.std(mine - other, ddof=1))
    fit = sm.Logit(wins, np.column_stack([np.ones(300), lead])).fit(disp=0)
    at = 1 / (1 + np.exp(-fit.params[0]))
    assert found["length-controlled win rate"]["value"] == pytest.approx(at, abs=1e-6)
    delta = at * (1 - at) * np.sqrt(fit.cov_params()[0, 0])
    assert found["length-controlled win rate"]["se"] == pytest.approx(delta, rel=0.1)
    theirs = alpaca_eval_win_rate(
        Answers(range(300), wins, mine, other), dict.fromkeys(range(300), 0.0)
    )
    assert found["the same by AlpacaEval's GLM"]["value"] == pytest.approx(theirs.win_rate.value)
    over = mine / 2 > 100
    assert found["violation rate"]["value"] == pytest.approx(over.mean())
    instructed = np.where(over, 0, np.where(other / 2 > 100, 1, wins)).mean()
    assert found["length-instructed win rate"]["value"] == pytest.approx(instructed)
    assert "its interval is too narrow" in said
    assert picture.read_bytes().startswith(b"<?xml")


def test_difficulty_is_the_other_models(statllm, tmp_path: Path) -> None:
    every = {name: entries(name, seed=place) for place, name in enumerate(("a", "b", "c"))}
    paths = [write(tmp_path / f"{name}.json", rows[:: -1 if name == "b" else 1])
             for name, rows in every.items()]  # fmt: skip
    out = tmp_path / "w.json"
    code, _, error = statllm("winrate", *paths, "--difficulty", "others", "-o", out)
    assert code == 0, error
    answers = {
        name: Answers(
            [row["instruction"] for row in rows], [row["preference"] - 1 for row in rows],
            [len(row["output_2"]) for row in rows], [len(row["output_1"]) for row in rows],
        )
        for name, rows in every.items()
    }  # fmt: skip
    hard = instruction_difficulty([answers["b"], answers["c"]])
    expected = alpaca_eval_win_rate(answers["a"], hard).win_rate.value
    found = figures(json.loads(out.read_text()))
    assert found["the same by AlpacaEval's GLM"]["value"] == pytest.approx(expected, abs=1e-6)
    wins = np.asarray(answers["a"].outcome)
    columns = np.column_stack([np.ones(300), [hard[k] for k in answers["a"].ids],
                               answers["a"].lead()])  # fmt: skip
    fit = sm.Logit(wins, columns).fit(disp=0)
    rate = (1 / (1 + np.exp(-columns[:, :2] @ fit.params[:2]))).mean()
    assert found["length-controlled win rate"]["value"] == pytest.approx(rate, abs=1e-6)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_tables_of_several_models(statllm, tmp_path: Path, suffix: str) -> None:
    rows = [
        {"id": row["instruction"], "model": name, "n": len(row["output_2"]),
         "other": len(row["output_1"]), "win": ["loss", "win"][int(row["preference"]) - 1]}
        for place, name in enumerate(("x", "y"))
        for row in entries(name, 120, place)
    ]  # fmt: skip
    rows[5]["win"] = None
    path, out = tmp_path / f"in.{suffix}", tmp_path / "w.json"
    frame = pd.DataFrame(rows)
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    lengths = ("--length", "n", "--baseline-length", "other")
    code, said, error = statllm("winrate", path, *lengths, "-o", out)
    assert code == 0, error
    report = json.loads(out.read_text())
    assert [each["model"] for each in report["models"]] == ["x", "y"]
    assert figures(report)["win rate"]["n"] == 119
    assert figures(report, 1)["win rate"]["value"] == pytest.approx(
        np.mean([row["win"] == "win" for row in rows[120:]])
    )
    assert "x: 1 of 120 answers have no outcome" in said
    code, _, _ = statllm("winrate", path, "--where", "model=y", "-o", out)
    assert code == 0
    report = json.loads(out.read_text())
    assert [each["model"] for each in report["models"]] == ["y"]
    assert report["models"][0]["notes"] == ["no lengths, so no win rate at equal length"]


def test_clusters_and_repeats_widen_the_interval(statllm, tmp_path: Path) -> None:
    rows = entries(n=60)
    one, out = write(tmp_path / "a.json", rows), tmp_path / "w.json"
    assert statllm("winrate", one, "-o", out)[0] == 0
    alone = figures(json.loads(out.read_text()))
    assert statllm("winrate", write(tmp_path / "b.json", rows * 4), "-o", out)[0] == 0
    repeated = figures(json.loads(out.read_text()))
    for name in ("win rate", "length-controlled win rate"):
        assert repeated[name]["n"] == 60
        assert repeated[name]["se"] == pytest.approx(alone[name]["se"], rel=0.02)
    assert statllm("winrate", one, "--cluster", "dataset", "-o", out)[0] == 0
    assert figures(json.loads(out.read_text()))["length-controlled win rate"]["n"] == 20


def test_a_model_that_always_wins_has_a_raw_rate_alone(statllm, tmp_path: Path) -> None:
    rows = [row | {"preference": 2} for row in entries(n=30)]
    code, said, _ = statllm("winrate", write(tmp_path / "a.json", rows))
    assert code == 0
    assert "no win rate at equal length" in said


def test_words_are_those_of_the_benchmark(statllm, tmp_path: Path) -> None:
    """AlpacaEval-LI counts "don't" as two words; white space would find none over the limit."""
    rows = [row | {"output_2": "I don't", "max_words": 2} for row in entries(n=30)]
    path, out = write(tmp_path / "a.json", rows), tmp_path / "w.json"
    assert statllm("winrate", path, "--limit", "max_words", "-o", out)[0] == 0
    found = figures(json.loads(out.read_text()))
    assert found["violation rate"]["value"] == 1
    assert found["mean words"]["value"] == 3


def test_violators_need_no_outcome(statllm, tmp_path: Path) -> None:
    path, out = tmp_path / "in.csv", tmp_path / "w.json"
    path.write_text("id,win,words,most\n1,,9,5\n2,,8,5\n")
    code, _, error = statllm("winrate", path, "--limit", "most", "--words", "words", "-o", out)
    assert (code, error) == (0, "")
    found = figures(json.loads(out.read_text()))
    assert {name: figure["value"] for name, figure in found.items()} == {
        "violation rate": 1, "length-instructed win rate": 0, "mean words": 8.5
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        ({"preference": 3}, [], "entry 2: 'preference' is 3, outside 1 to 2"),
        ({"preference": None, "output_1": None}, ["--cluster", "kind"], "entry 0 has no 'kind'"),
        ({}, ["--limit", "most"], "entry 0 has no 'most'"),
        ({}, ["--where", "a=b"], "--where has no effect"),
        ({}, ["--difficulty", "others"], "needs two models"),
        ({}, ["--length", "n"], "belong together"),
        ({}, ["--level", "95"], "--level must lie between"),
        ({}, ["-o", "w.txt"], "'.txt' is not written"),
        ({"max_words": "many"}, ["--limit", "max_words"], "'max_words' is 'many' in row 2"),
        ({"max_words": -1}, ["--limit", "max_words"], "limits must not be negative or NaN (row 2)"),
    ],
)
def test_what_is_wrong_is_named(
    statllm, tmp_path: Path, change: dict[str, Any], arguments: list[str], said: str
) -> None:
    rows = entries(n=20)
    rows[2] |= change
    code, _, error = statllm("winrate", write(tmp_path / "a.json", rows), *arguments)
    assert code == 2
    assert said in " ".join(error.split())


def test_wrong_tables_are_named(statllm, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    for text, arguments, said in (
        ("id,win\n1,maybe\n", (), "an outcome is 'maybe' in row 0"),
        ("id,win\n1,1.5\n", (), "an outcome is '1.5' in row 0"),
        ("id,won\n1,1\n", (), "has none of the columns outcome, win"),
        ("key,win\n1,1\n", (), "has none of the columns prompt_id"),
        ("id,win\n1,1\n", ("--outcome", "x"), "no column 'x'"),
        ("id,win\n1,1\n", ("--limit", "win"), "--limit needs the words"),
        ("id,win\n1,\n", (), "no answer of 'in' has an outcome"),
        ("id,win\n", (), "has no rows"),
        ("", (), "is empty"),
    ):
        path.write_text(text)
        code, _, error = statllm("winrate", path, *arguments)
        assert code == 2
        assert said in " ".join(error.split()), (said, error)
    code, _, error = statllm(
        "winrate", *[write(tmp_path / f"{n}.json", entries(n=9)) for n in "ab"]
    )
    assert "model 'tuned' is given twice" in error
