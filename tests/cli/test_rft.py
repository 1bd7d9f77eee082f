"""`statllm select rft` and `self-score`: files in, files out, the paper's filter between."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import CliRunner

from statllm.cli.app import app


def run(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["select", *arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return " ".join(found.output.split())


def test_examples_and_pairs(tmp_path: Path) -> None:
    source, out, ledger = (str(tmp_path / f"{name}.parquet") for name in ("in", "out", "ledger"))
    table = pa.table(
        {
            "prompt_id": ["a", "b", "c"],
            "prompt": ["A", "B", "C"],
            "response": [["good", "bad"], ["poor", "poorer"], ["one"]],
            "own": [[1.5, -2.0], [-0.5, -1.0], [0.0]],
        }
    )
    pq.write_table(table, source)
    filtered = ("--score", "own", "--min-chosen", "0", "-o", out, "--ledger", ledger)
    assert "2 examples" in run("rft", source, *filtered)
    assert pq.read_table(out)["response"].to_pylist() == ["good", "one"]
    assert pq.read_table(ledger)["reason"].to_pylist() == ["kept", "low_chosen", "kept"]
    assert "1 pairs" in run("self-score", source, *filtered)
    assert pq.read_table(out)["rejected"].to_pylist() == ["bad"]
    reasons = ["kept", "low_chosen", "too_few_responses"]
    assert pq.read_table(ledger)["reason"].to_pylist() == reasons
