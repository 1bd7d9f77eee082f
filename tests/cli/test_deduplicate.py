"""`statllm select near-duplicates` and `decontaminate`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from statllm.files import read_parquet, write_parquet

Run = Callable[..., tuple[int, str, str]]

PROMPTS = [
    "How many apples does Ann have?",
    "What is the capital of France?",
    None,
    "how many apples does Ann have now",
    "How many apples does Ann have",
]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.parquet"
    ids = [f"p{i}" for i in range(len(PROMPTS))]
    table = {"prompt_id": ids, "prompt": PROMPTS, "good": [1.0, 2, 3, 5, 4]}
    write_parquet(pa.table(table), path)
    return path


def test_near_duplicates_and_their_ledger(statllm: Run, prompts: Path, tmp_path: Path) -> None:
    out, ledger = tmp_path / "kept.jsonl", tmp_path / "ledger.parquet"
    arguments = ("select", "near-duplicates", prompts, "-o", out, "--ledger", ledger)
    code, said, _ = statllm(*arguments, "--column", "prompt", "--threshold", ".55")
    assert code == 0
    assert "2 of 5 texts kept, 2 near-duplicates" in said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["prompt_id"] for row in rows] == ["p0", "p1"]
    assert rows[0] == {"prompt_id": "p0", "prompt": PROMPTS[0], "good": 1.0}
    lines = read_parquet(ledger).to_pylist()
    assert [line["reason"] for line in lines] == [
        "kept",
        "kept",
        "empty",
        "near_duplicate",
        "near_duplicate",
    ]
    assert [line["kept"] for line in lines] == [True, True, False, False, False]
    assert [line["duplicate_of"] for line in lines] == [None, None, None, 0, 0]
    assert [line["duplicate_of_prompt_id"] for line in lines] == [None, None, None, "p0", "p0"]
    assert [line["jaccard"] for line in lines] == [None, None, None, pytest.approx(5 / 6), 1.0]


def test_the_row_with_the_best_score_is_kept(statllm: Run, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept.parquet"
    arguments = ("select", "near-duplicates", prompts, "-o", out)
    assert statllm(*arguments, "--score", "good")[0] == 0
    assert read_parquet(out)["prompt_id"].to_pylist() == ["p1", "p3"]
    assert statllm(*arguments, "--preset", "gopher")[0] == 0  # short texts are one shingle each
    assert read_parquet(out)["prompt_id"].to_pylist() == ["p0", "p1", "p3"]
    code, said, _ = statllm(*arguments, "--preset", "fineweb", "--shingle", "1")
    assert code == 0
    assert "Jaccard >= 0.75 of 1-word shingles" in said
    assert "missed with probability 0.23" in said
    said = statllm(*arguments, "--preset", "fineweb", "--threshold", ".7")[1]
    assert "missed with probability 0.23" not in said


def test_near_duplicates_refuses(statllm: Run, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    for arguments, message in (
        (("--column", "question"), "no column 'question'"),
        (("--column", "good"), "column 'good' must be text, not double"),
        (("--preset", "x"), "no preset 'x'; there are natural-reasoning"),
        (("--threshold", "2"), "threshold must lie"),
        (("--score", "prompt"), "must hold one number per row"),
    ):
        code, _, said = statllm("select", "near-duplicates", prompts, "-o", out, *arguments)
        assert code == 2
        assert message in said
    long = tmp_path / "long.parquet"
    write_parquet(pa.table({"prompt_id": ["a", "a"], "prompt": ["?", "?"]}), long)
    code, _, said = statllm("select", "near-duplicates", long, "-o", out)
    assert code == 2
    assert "prompt_id 'a' has several rows" in said
    assert not out.exists()


def test_decontaminate(statllm: Run, tmp_path: Path) -> None:
    reference = " ".join(f"word{i}" for i in range(20))
    leak, clean = (" ".join(reference.split()[3 : 3 + n]) for n in (13, 12))
    source, out, ledger = (tmp_path / name for name in ("in.csv", "out.csv", "ledger.csv"))
    source.write_text(f"prompt\n{leak} and more\n{clean} and more\n")
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    first.write_text('{"question": "Nothing of it?"}\n')
    second.write_text('{"question": null}\n' + json.dumps({"question": reference.upper()}) + "\n")
    arguments = ("select", "decontaminate", source, "-o", out, "--ledger", ledger)
    against = ("--against", first, "--against", second, "--against-column", "question")
    code, said, _ = statllm(*arguments, *against, "--n", 13)
    assert code == 0
    assert "1 of 2 texts share 13 words in a row with one of 3 references" in said
    assert "2 references have fewer than 13 words" in said
    assert out.read_text().splitlines() == ['"prompt"', f'"{clean} and more"']
    lines = list(csv.DictReader(ledger.open()))
    assert [line["reason"] for line in lines] == ["leak", "kept"]
    assert lines[0]["reference_file"] == str(second)
    assert lines[0]["reference_row"] == "1"
    assert lines[0]["ngram"] == leak
    assert lines[1]["ngram"] == lines[1]["reference_row"] == ""
    assert statllm(*arguments, *against, "--n", 12)[0] == 0
    assert [line["reason"] for line in csv.DictReader(ledger.open())] == ["leak", "leak"]
    code, _, said = statllm(*arguments, "--against", first)
    assert code == 2
    assert "no column 'prompt'" in said
