"""`statllm judge-limits`: from prompts to limits, answers, verdicts and win rates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from statllm.files import read_parquet

#: The lab's model goes on with a sum, which is no verdict.
TEMPLATE = """name: short
version: 1
mode: pairwise
grammar: brackets
user: "{prompt} 1: {response_a} 2: {response_b} better: "
"""


@pytest.fixture
def limited(statllm, tmp_path: Path) -> Path:
    rows = [
        {
            "prompt_id": "a",
            "prompt": "3 + 4?",
            "answers": [["It is 7.", "7"], ["So 7.", "It is 7."]],
        },
        {"prompt_id": "b", "prompt": "9 - 2?", "answers": [["7"], ["That makes 7."]]},
    ]
    source, out = tmp_path / "prompts.jsonl", tmp_path / "limited.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, said, error = statllm("prompts", "length", source, "--shortest-of", "answers", "-o", out)
    assert (code, error) == (0, "")
    assert "4 prompts" in said
    (tmp_path / "pair.yaml").write_text(TEMPLATE)
    return out


def test_the_whole_way(statllm, limited: Path, tmp_path: Path) -> None:
    """Of six answers three are over their limit, one is null, and no verdict can be read."""
    asked = [json.loads(line) for line in limited.read_text().splitlines()]
    assert [row["max_words"] for row in asked] == [1, 2, 1, 3]
    responses = [["7", "It is 7"], ["So it is 7"], ["7", None], ["That makes 7, no doubt"]]
    samples, out = tmp_path / "samples.jsonl", tmp_path / "judged.parquet"
    samples.write_text(
        "".join(
            json.dumps({**row, "response": texts}) + "\n"
            for row, texts in zip(asked, responses, strict=True)
        )
    )
    code, said, error = statllm(
        "judge-limits", "lab", samples, "-o", out, "--template", tmp_path / "pair.yaml", "--plain",
        "--max-new-tokens", "8", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert (code, error) == (0, "")
    table = read_parquet(out).to_pylist()
    assert [row["violated"] for row in table] == [False, True, True, False, True]
    assert [row["outcome"] for row in table] == [None] * 5
    assert "2 answers within their limit have no readable verdict" in said
    assert "1 answers are null" in said

    report = tmp_path / "rates.json"
    code, said, error = statllm(
        "winrate", out, "--limit", "max_words", "--words", "n_words", "--cluster", "question_id",
        "-o", report,
    )  # fmt: skip
    assert (code, error) == (0, "")
    (model,) = json.loads(report.read_text())["models"]
    found = {figure["name"]: figure["value"] for figure in model["figures"]}
    assert found["violation rate"] == pytest.approx(3 / 5)
    assert found["length-instructed win rate"] == 0
    assert found["mean words"] == pytest.approx((1 + 3 + 4 + 1 + 5) / 5)
    assert "2 answers within their limit have no outcome" in said


def test_what_is_refused(statllm, limited: Path, tmp_path: Path) -> None:
    out = tmp_path / "judged.parquet"
    for options, message in (
        (("-o", tmp_path / "judged.txt"), "judged.txt"),
        (("-o", out, "--ties", "none"), "ties must be half"),
        (("-o", out, "--plain", "--baseline", "theirs"), "theirs"),
    ):
        samples = tmp_path / "samples.jsonl"
        rows = [json.loads(line) | {"response": ["7"]} for line in limited.read_text().splitlines()]
        samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
        code, _, error = statllm("judge-limits", "lab", samples, *options)
        assert code == 2
        assert message in error
