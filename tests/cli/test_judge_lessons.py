"""`statllm judge-lessons`: from known pairs to what a judge is trained on."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from statllm.files import read_parquet, write_parquet

#: The lab's model writes "... = 7" after such a prompt; what stands there is read as a verdict.
TEMPLATE = """name: short
version: 1
mode: pairwise
grammar: brackets
user: "1: {response_a} 2: {response_b} better: "
"""


@pytest.fixture
def known(tmp_path: Path) -> Path:
    table = pa.table(
        {
            "prompt_id": ["a", "b"],
            "prompt": ["3 + 4?", "9 - 2?"],
            "chosen": ["3 + 4 = 7", "7"],
            "rejected": ["3 + 4 = 8", "7"],
        }
    )
    write_parquet(table, tmp_path / "known.parquet")
    (tmp_path / "pair.yaml").write_text(TEMPLATE)
    return tmp_path / "known.parquet"


def test_every_question_is_accounted_for(statllm, known: Path, tmp_path: Path) -> None:
    """The lab's model says nothing that is a verdict: no example, and the ledger says why."""
    files = {name: tmp_path / f"{name}.parquet" for name in ("examples", "pairs", "ledger")}
    command = (
        "judge-lessons", "lab", known, "-o", files["examples"], "--pairs", files["pairs"],
        "--ledger", files["ledger"], "--template", tmp_path / "pair.yaml", "--plain",
        "--votes", "3", "--max-new-tokens", "8", "--cache", tmp_path / "cache",
    )  # fmt: skip
    code, said, error = statllm(*command)
    assert (code, error) == (0, "")
    ledger = read_parquet(files["ledger"]).to_pylist()
    assert [row["example"] for row in ledger] == ["no_right"] * 2 + ["identical"] * 2
    assert [row["n_judgements"] for row in ledger] == [3, 3, 0, 0]
    assert read_parquet(files["examples"]).num_rows == 0
    assert read_parquet(files["pairs"]).num_rows == 0
    assert "no_right" in said
    assert "4 questions, 0 of 6 judgements right" in " ".join(said.split())


def test_what_is_refused(statllm, known: Path, tmp_path: Path) -> None:
    out = tmp_path / "examples.parquet"
    code, _, error = statllm("judge-lessons", "lab", known, "-o", out, "--votes", "1")
    assert code == 2
    assert "--plain" in error
    code, _, error = statllm("judge-lessons", "lab", known, "-o", tmp_path / "examples.txt")
    assert code == 2
    assert ".txt" in error
    code, _, error = statllm("judge-lessons", "lab", known, "-o", out, "--votes", "0")
    assert code == 2
    assert "--votes" in error
    assert not out.exists()
