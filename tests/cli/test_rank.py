"""`statllm rank`: battles in, a table, JSON and a figure out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner, Result

from statllm.cli.rank import rank
from statllm.errors import InputError
from statllm.estimators.ranking import battles, bradley_terry, style_differences


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(rank)
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "300"})


def votes(n: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = np.array(["ant", "bee", "cat", "dog"])
    a = rng.integers(0, 4, n)
    b = (a + rng.integers(1, 4, n)) % 4
    strength = np.array([0.8, 0.3, -0.2, -0.9])
    u = rng.random(n)
    won = 1 / (1 + np.exp(strength[b] - strength[a]))
    winner = np.where(u < 0.8 * won, "model_a", np.where(u < 0.8, "model_b", "tie"))
    return pd.DataFrame(
        {
            "model_a": names[a],
            "model_b": names[b],
            "winner": winner,
            "prompt": rng.integers(0, 30, n),
            "len_a": rng.integers(10, 900, n),
            "len_b": rng.integers(10, 900, n),
        }
    )


def write(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=True)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_json_has_the_fit(tmp_path: Path, suffix: str) -> None:
    table = votes()
    source, out = write(table, tmp_path / f"votes{suffix}"), tmp_path / "out.json"
    options = ("--cluster", "prompt", "--ties", "davidson", "--style", "len_a,len_b", "-o", out)
    result = run(source, *options)
    assert result.exit_code == 0, result.output
    outcome = table["winner"].map({"model_a": 1.0, "model_b": 0.0, "tie": 0.5})
    wanted = bradley_terry(
        battles(
            table["model_a"].to_numpy(str),
            table["model_b"].to_numpy(str),
            outcome,
            clusters=table["prompt"],
            style=style_differences(table["len_a"], table["len_b"]),
        ),
        ties="davidson",
    )
    found = json.loads(out.read_text())
    rows = {row["model"]: row for row in found["models"]}
    low, high = wanted.interval()
    for place, name in enumerate(wanted.models):
        assert rows[name]["rating"] == pytest.approx(wanted.rating[place])
        assert rows[name]["low"] == pytest.approx(low[place])
        assert rows[name]["high"] == pytest.approx(high[place])
        assert rows[name]["rank_low"] <= rows[name]["rank"] <= rows[name]["rank_high"]
    assert [row["model"] for row in found["models"]] == ["ant", "bee", "cat", "dog"]
    assert [each["name"] for each in found["coefficients"]] == ["len_a against len_b", "log nu"]
    assert found["degrees_of_freedom"] == 29
    assert len(found["differences"]) == 6
    assert "400 battles" in result.output


def test_winners_in_all_their_forms(tmp_path: Path) -> None:
    table = votes()
    forms: dict[str, Any] = {
        "words": {"model_a": "left", "model_b": "right", "tie": "Tie (bothbad)"},
        "numbers": {"model_a": 1, "model_b": 0, "tie": 0.5},
        "letters": {"model_a": "A", "model_b": "B", "tie": "tie"},
    }
    outputs = set()
    for name, mapping in forms.items():
        changed = table.assign(winner=table["winner"].map(mapping))
        result = run(write(changed, tmp_path / f"{name}.csv"))
        assert result.exit_code == 0, result.output
        outputs.add(result.output)
    own = table["winner"].mask(table["winner"] == "model_a", table["model_a"])
    own = own.mask(own == "model_b", table["model_b"])
    outputs.add(run(write(table.assign(winner=own), tmp_path / "own.csv")).output)
    assert len(outputs) == 1


def test_bootstrap_and_figure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    source, out = write(votes(), tmp_path / "votes.csv"), tmp_path / "out.json"
    for suffix, head in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        figure = tmp_path / f"figure{suffix}"
        result = run(source, "--bootstrap", 100, "--cluster", "prompt", "-o", out,
                     "--figure", figure)  # fmt: skip
        assert result.exit_code == 0, result.output
        assert figure.read_bytes().startswith(head)
    assert json.loads(out.read_text())["bootstrap"] == 100


def test_separation_is_said(tmp_path: Path) -> None:
    table = votes().query("model_a != 'ant' and model_b != 'ant'")
    extra = pd.DataFrame({"model_a": ["ant"], "model_b": ["bee"], "winner": ["ant"]})
    source = write(pd.concat([table, extra]), tmp_path / "votes.csv")
    out = tmp_path / "out.json"
    result = run(source, "-o", out)
    assert result.exit_code == 0
    assert "a prior makes them finite" in result.output
    found = json.loads(out.read_text())
    assert found["models"][0]["rating"] is None
    assert found["separated"] is True
    assert run(source, "--prior", "jeffreys").output.count("ant") >= 1
    refused = run(source, "--bootstrap", 10)
    assert isinstance(refused.exception, InputError)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"winner": "nobody"}, (), r"column 'winner' is 'nobody' in row 3"),
        ({"model_b": None}, (), r"column 'model_b' is null in row 3"),
        ({"prompt": None}, ("--cluster", "prompt"), r"column 'prompt' is null in row 3"),
        ({"len_a": -5}, ("--style", "len_a,len_b"), r"'len_a' \(a\).*not negative \(row 3\)"),
        ({}, ("--style", "len_a"), "COLUMN_A,COLUMN_B"),
        ({}, ("--a", "x"), "no column 'x'"),
        ({}, ("--level", "1"), "--level"),
        ({}, ("-o", "out.csv"), "out.csv"),
        ({}, ("--figure", "out.jpg"), "out.jpg"),
        ({}, ("--errors", "jackknife"), "one way of clustering"),
        ({}, ("--cluster", "prompt", "--cluster", "len_a", "--cluster", "len_b"), "one or two"),
    ],
)
def test_wrong_input_is_named(
    tmp_path: Path, change: dict[str, Any], options: tuple[str, ...], message: str
) -> None:
    table = votes(20).astype(object)
    for name, value in change.items():
        table.loc[3, name] = value
    result = run(write(table, tmp_path / "votes.jsonl"), *options)
    assert isinstance(result.exception, InputError)
    assert re.search(message, str(result.exception)), str(result.exception)


def test_a_model_against_itself(tmp_path: Path) -> None:
    table = votes(20)
    table.loc[3, "model_b"] = table.loc[3, "model_a"]
    result = run(write(table, tmp_path / "votes.csv"))
    assert "fights itself (row 3)" in str(result.exception)
