"""No digit of a table and no name of an option is lost at 80 columns, nor in a pipe."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import typer

from statllm.cli.app import app
from statllm.cli.common import console, table_of
from statllm.files import write_parquet, write_text

Run = Callable[..., tuple[int, str, str]]
LOGS = Path(__file__).parents[1] / "references" / "logs"
EVALS = [LOGS / "inspect_first.eval", LOGS / "inspect_second.eval"]
TASKS = 40
LONG = "meta-llama/Meta-Llama-3.1-405B-Instruct"


def numbers(text: str) -> Counter[str]:
    return Counter(re.findall(r"[-+]?\d[\d.,e+-]*", text))


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text("".join(json.dumps(row) + "\n" for row in rows), path)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small tables of every kind that the commands below read."""
    folder, rng = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
    answers = rng.integers(0, 3, (TASKS, 6))
    samples = [
        {
            "prompt_id": f"q{i}",
            "prompt": f"What is {i} + {i}, and why is it so?",
            "reference": "0",
            "response": [f"since it is so, #### {a}" for a in row],
            "reward": rng.normal(size=6).tolist(),
            "uncertainty_of_the_responses": rng.random(),
        }
        for i, row in enumerate(answers)
    ]
    jsonl(folder / "samples.jsonl", samples)
    jsonl(folder / "other.jsonl", [{**row, "prompt": row["prompt"] * 2} for row in samples])
    scores = {"prompt_id": [f"q{i}" for i in range(TASKS)], "reference": ["0"] * TASKS}
    for name, wrong, more in (
        ("neutral", 2, {}),
        ("probed", 30, {"suggested": ["1"] * TASKS, "probe": ["misled"] * TASKS}),
    ):
        said = ["1" if i < wrong else "0" for i in range(TASKS)]
        right = [[answer == "0"] for answer in said]
        columns = {"answer": [[answer] for answer in said], "correct": right}
        write_parquet(pa.table({**scores, **columns, **more}), folder / f"{name}.parquet")
    flat = pd.DataFrame(
        {
            "task_id": np.repeat(np.arange(TASKS), 6),
            "answer": answers.ravel(),
            "correct": answers.ravel() == 0,
            "reward": rng.normal(size=6 * TASKS),
            "n_tokens": rng.integers(900, 1_500_000, 6 * TASKS),
        }
    )
    flat.to_csv(folder / "runs.csv", index=False)
    p = rng.uniform(size=(300, 3)) + 0.1
    p /= p.sum(1, keepdims=True)
    right = [rng.choice(3, p=row) for row in p]
    table = pd.DataFrame(p, columns=["p_A", "p_B", "p_C"])
    table["label"] = ["ABC"[y] if i < 200 else None for i, y in enumerate(right)]
    table["correct"] = [int(y == 0) if i < 200 else None for i, y in enumerate(right)]
    table["group"] = np.where(rng.random(300) < 0.5, "questions about history", "other questions")
    table.to_parquet(folder / "probs.parquet")
    names = np.array([LONG, "mistralai/Mixtral-8x22B-Instruct-v0.1", "gpt-4o"])
    first = rng.integers(0, 3, 300)
    winner = np.where(rng.random(300) < 0.6, "model_a", np.where(first == 1, "tie", "model_b"))
    second = (first + rng.integers(1, 3, 300)) % 3
    battles = {"model_a": names[first], "model_b": names[second], "winner": winner}
    pd.DataFrame(battles).to_csv(folder / "votes.csv", index=False)
    words = rng.integers(5, 200, (90, 2)).tolist()
    annotations = [
        {
            "instruction": f"q{i}", "generator_1": "base", "generator_2": LONG, "max_words": 100,
            "output_1": "w " * a, "output_2": "w " * b, "preference": 1.0 + (a < b + 30),
        }
        for i, (a, b) in enumerate(words)
    ]  # fmt: skip
    write_text(json.dumps(annotations), folder / "annotations.json")
    verdicts = [
        {"id": f"q{i}", "order": order, "winner": rng.choice(["a", order[0]]), "human": "a"}
        for i in range(60)
        for order in ("ab", "ba")
    ]
    pd.DataFrame(verdicts).to_csv(folder / "verdicts.csv", index=False)
    log_p = np.log(rng.uniform(size=2000))
    write_parquet(pa.table({"log_p": log_p}), folder / "found.parquet")
    _criteria(folder)
    return folder


def _criteria(folder: Path) -> None:
    """Findings of a model that takes every criterion for met, and the truth."""
    rng = random.Random(0)
    names = ["Code style/Descriptive names of variables", "Code style/Docstrings", "Tests/Coverage"]
    found, truth = [], []
    for i in range(30):
        for name in names:
            key = {"text_id": f"t{i}", "text_place": 0, "criterion": name}
            found.append(
                {
                    **key,
                    "vote": 0,
                    "met": True,
                    "fix": None,
                    "reason": "kept",
                    "in_text": [],
                    "in_example_only": [],
                }
            )
            truth.append({**key, "met": rng.random() < 0.6, "fix": None})
    jsonl(folder / "findings.jsonl", found)
    jsonl(folder / "truth.jsonl", truth)


P = ["--probs", "p_A,p_B,p_C", "-o", "o.parquet"]
JUDGE = ["--pair", "id", "--order", "order", "--verdict", "winner", "--human", "human"]
COMMANDS = [
    ["score", "samples.jsonl", "-o", "o.parquet"],
    ["compare", LOGS / "lab__small", LOGS / "lab__better", "--margin", ".05"],
    ["compare", *EVALS, "--cluster", "source"],
    ["power", LOGS / "lab__small", LOGS / "lab__better", "--effect", ".1", "--effect", ".01"],
    ["power", *EVALS, "--budget", "400", "--item-cost", "3"],
    ["passk", "runs.csv", "--column", "correct", "--reward", "reward", "--answer", "answer"],
    ["passk", "runs.csv", "--column", "correct", "--tokens", "n_tokens"],
    ["rank", "votes.csv"],
    ["rank", "votes.csv", "--ties", "davidson", "--bootstrap", "50"],
    ["winrate", "annotations.json", "--limit", "max_words"],
    ["audit-judge", "verdicts.csv", *JUDGE],
    ["questions", "samples.jsonl", "other.jsonl"],
    ["calibrate", "probs.parquet", "--confidence", "p_A", "-o", "o.parquet"],
    ["conformal", "sets", "probs.parquet", *P, "--groups", "group"],
    ["conformal", "answers", "probs.parquet", "--confidence", "p_A", "-o", "o.parquet"],
    ["probe", "compare", "neutral.parquet", "probed.parquet"],
    ["criteria", "evaluate", "findings.jsonl", "truth.jsonl"],
    ["select", "rip", "samples.jsonl", "-o", "o.parquet"],
    ["select", "tpo", "samples.jsonl", "-o", "o.parquet"],
    ["select", "random", "samples.jsonl", "-o", "o.parquet"],
    ["select", "near-duplicates", "samples.jsonl", "--column", "prompt", "-o", "o.parquet"],
    ["watermark", "certify", "found.parquet"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(map(str, c[:2])))
def test_no_digit_is_lost(
    statllm: Run, inputs: Path, command: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    code, wide, error = statllm(*command)
    assert code == 0, error
    code, narrow, _ = statllm(*command, columns=80)
    assert code == 0
    assert "…" not in narrow
    assert numbers(wide) <= numbers(narrow)


def test_a_pipe_has_no_edge(statllm: Run, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(inputs)
    code, said, _ = statllm("rank", "votes.csv", columns=None)
    assert code == 0
    assert LONG in said


@pytest.mark.parametrize("columns", [1, 20, 60, 80, 100, 130, 400])
def test_cells_are_whole_and_fit_if_they_can(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    names = ("model", "value", "95 % interval", "p (Holm)", "code", "unit")
    rows = [
        (LONG, "0.1234", "0.1234 [0.1034, 0.1678]", "< 1e-300", ":100:", "share of prompts"),
        ("b[/x]", "12,345.6789", "-", "= 0.25", "漢字漢字", "nats"),
    ]
    console().print(table_of("a[b] \ud800", names, rows, wrap=("model", "unit")))
    said = capsys.readouterr().out
    for row in rows:
        for cell in row[1:5]:
            assert cell in said
    for word in (*names[3].split(), "share", "of", "prompts", "b[/x]", "a[b]", "\\ud800"):
        assert word in said
    first = "".join(line[1:45].split("  ")[0].strip() for line in said.splitlines()[4:])
    assert LONG in first  # folded, but all there
    longest = max(len(line.rstrip()) for line in said.splitlines())
    assert longest <= max(columns, 100)


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from verbs(each, (*path, name))


def test_help_has_the_names_of_all_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the first sentence of each verb."""
    monkeypatch.setenv("COLUMNS", "80")
    statllm = typer.main.get_command(app)
    found = list(verbs(statllm))
    assert len(found) > 60
    for path, command in found:
        statllm([*path, "--help"], prog_name="statllm", standalone_mode=False)
        said = capsys.readouterr().out
        tokens = set(re.findall(r"(?<![\w-])--?\w[\w-]*", said))
        for option in command.params:
            if option.param_type_name == "option":
                assert {*option.opts, *option.secondary_opts} <= tokens, path
        assert not re.search(r"--[\w-]+-\n", said), path  # an example's option, broken
        assert max(map(len, said.splitlines())) <= 80
        for name, verb in getattr(command, "commands", {}).items():
            assert re.search(rf"(?m)^\W*{name} ", said)
            assert "".join(verb.help.split("\n\n")[0].split()) in "".join(said.split())
