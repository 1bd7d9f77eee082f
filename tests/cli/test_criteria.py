"""`statllm criteria` from a guideline to the evaluation, with the lab's model in between."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.errors import InputError
from statllm.files import read_parquet, write_parquet
from statllm.lab.code_style import BY_NAME, house, true_findings
from statllm.scoring.criteria import format_findings, read_guideline, write_guideline


def run(*arguments: Any) -> str:
    result = CliRunner().invoke(app, ["criteria", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def world(tmp_path: Path) -> dict[str, Any]:
    """A house's guideline, samples to two prompts, and the truth about them."""
    rng = random.Random(4)
    one = house(rng)
    write_guideline(one.guideline, tmp_path / "guide.jsonl")
    texts = [[one.text(rng, n) for n in (0, 2)], [one.text(rng, n) for n in (1, 0)]]
    table = pa.table({"prompt_id": ["p", "q"], "prompt": ["P", "Q"], "response": texts})
    write_parquet(table, tmp_path / "samples.parquet")
    rows = []
    for name, row in zip(("p", "q"), texts, strict=True):
        for place, text in enumerate(row):
            for found in true_findings(text, list(one.remedies), one.remedies):
                key = f"{BY_NAME[found.criterion].aspect}/{found.criterion}"
                rows.append(
                    {"text_id": name, "text_place": place, "criterion": key, "met": found.met,
                     "fix": found.fix}
                )  # fmt: skip
    (tmp_path / "truth.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"house": one, "folder": tmp_path, "texts": texts}


def answer(asked: Path, one: Any, said: Path) -> None:
    """What a perfect reviewer writes."""
    table = read_parquet(asked)
    responses = []
    for text, keys in zip(table["text"].to_pylist(), table["asked"].to_pylist(), strict=True):
        ids = [BY_NAME[key.split("/")[1]].criterion_id for key in keys]
        responses.append([format_findings(true_findings(text, ids, one.remedies))])
    write_parquet(table.append_column("response", pa.array(responses)), said)


@pytest.mark.parametrize("strategy", ["base", "crit", "icl", "cricl"])
def test_a_perfect_reviewer_passes_all(
    world: dict[str, Any], strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, one = world["folder"], world["house"]
    printed = run(
        "prompts", folder / "guide.jsonl", "-o", folder / "ask.parquet",
        "--texts", folder / "samples.parquet", "--strategy", strategy, "--granularity", "aspect",
    )  # fmt: skip
    assert "8 prompts for feedback" in " ".join(printed.split())
    answer(folder / "ask.parquet", one, folder / "said.parquet")
    run(
        "read", folder / "said.parquet", folder / "guide.jsonl", "-o", folder / "found.parquet",
        "--ledger", folder / "ledger.jsonl", "--texts", folder / "samples.parquet",
        "--rewards", folder / "rewards.parquet", "--rule", "min",
    )  # fmt: skip
    reward = read_parquet(folder / "rewards.parquet")["reward"].to_pylist()
    assert [row[i] for row, i in zip(reward, (1, 0), strict=True)] == [0, 0]  # the spoilt ones
    assert reward[0][0] in (1, None)  # null where no criterion applies
    run("evaluate", folder / "found.parquet", folder / "truth.jsonl", "-o", folder / "e.json")
    figures = json.loads((folder / "e.json").read_text())
    assert figures["right verdicts"]["value"] == 1
    assert figures["all layers"] == {**figures["all layers"], "value": 1, "n": 3}
    assert figures["criteria"]["all"]["recall"]["n"] == 3
    monkeypatch.setenv("COLUMNS", "80")
    printed = run("evaluate", folder / "found.parquet", folder / "truth.jsonl")
    for name in one.guideline.keys:
        assert printed.count(name) == 2  # no table loses a column, or a digit
    assert "[0.4385, 1.0000]    3   share" in printed
    chosen = CliRunner().invoke(
        app,
        ["select", "rip", str(folder / "rewards.parquet"), "-o", str(folder / "pairs.parquet"),
         "--missing", "drop"],
    )  # fmt: skip
    assert chosen.exit_code == 0, chosen.output


@pytest.mark.slow
def test_answers_of_a_model_that_knows_nothing_are_counted(world: dict[str, Any]) -> None:
    """The lab's model has learnt sums; what it says is no feedback, and nothing breaks."""
    folder = world["folder"]
    run(
        "prompts", folder / "guide.jsonl", "-o", folder / "ask.jsonl", "--wording", "completion",
        "--texts", folder / "samples.parquet", "--granularity", "criterion",
    )  # fmt: skip
    done = CliRunner().invoke(
        app,
        ["sample", "lab", str(folder / "ask.jsonl"), "-o", str(folder / "said.parquet"), "--n", "1",
         "--temperature", "0", "--max-new-tokens", "8"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    printed = run(
        "read", folder / "said.parquet", folder / "guide.jsonl", "-o", folder / "found.jsonl",
        "--ledger", folder / "ledger.parquet",
    )  # fmt: skip
    assert "missing" in printed
    ledger = read_parquet(folder / "ledger.parquet")
    assert ledger["kept"].to_pylist() == [False] * 16
    assert set(ledger["reason"].to_pylist()) == {"nothing_read"}
    with pytest.raises(InputError, match="belong together"):
        run("read", folder / "said.parquet", folder / "guide.jsonl", "-o", folder / "f.jsonl",
            "--rewards", folder / "r.parquet")  # fmt: skip


def test_criteria_from_a_guideline(tmp_path: Path) -> None:
    (tmp_path / "guide.jsonl").write_text('{"aspect_id": 7, "aspect_guideline": "Write well."}\n')
    run("prompts", tmp_path / "guide.jsonl", "-o", tmp_path / "ask.parquet")
    table = read_parquet(tmp_path / "ask.parquet")
    said = pa.array([["Yes:\n1. **Well**: it is well written.\n2. **well**: once more."]])
    write_parquet(table.append_column("response", said), tmp_path / "said.parquet")
    printed = run(
        "read", tmp_path / "said.parquet", tmp_path / "guide.jsonl", "-o", tmp_path / "c.jsonl",
        "--ledger", tmp_path / "l.csv",
    )  # fmt: skip
    assert "same_name" in printed
    assert read_guideline(tmp_path / "c.jsonl").keys == ("7/Well",)
    assert "same_name" in (tmp_path / "l.csv").read_text()


def test_wrong_input_is_named(world: dict[str, Any]) -> None:
    folder = world["folder"]
    with pytest.raises(InputError, match="column 'task' is missing"):
        run("read", folder / "samples.parquet", folder / "guide.jsonl", "-o", folder / "f.jsonl")
    with pytest.raises(InputError, match="there is no column .response2."):
        run("prompts", folder / "guide.jsonl", "-o", folder / "a.jsonl",
            "--texts", folder / "samples.parquet", "--text", "response2")  # fmt: skip
    with pytest.raises(InputError, match="samples.parquet is read"):
        run("prompts", folder / "guide.jsonl", "-o", folder / "samples.parquet",
            "--texts", folder / "samples.parquet")  # fmt: skip
