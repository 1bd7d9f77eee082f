"""`statllm prompts`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from statllm.files import read_parquet

Run = Callable[..., tuple[int, str, str]]

PROMPTS = [
    {"prompt_id": "a", "prompt": "Why is the sky blue?", "answers": ["It is.", "Light scatters."]},
    {"prompt_id": "b", "prompt": "Name a river.", "answers": ["The Rhine, for example.", "Po."]},
]

LAB = """
name: lab_problem
version: 1
task: few_shot
source: the lab model's own format
examples: 1
example: "{example}\\n"
delimiters:
  end: "\\nA:"
user: "{examples}Q:"
"""


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    return path


def test_thoughts_and_back(statllm: Run, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "asked.jsonl"
    code, said, _ = statllm("prompts", "thoughts", prompts, "--template", "tpo_specific", "-o", out)
    assert (code, said) == (0, f"{out}: 2 prompts, template tpo_specific@1\n")
    asked = rows(out)
    assert [row["original_prompt"] for row in asked] == [row["prompt"] for row in PROMPTS]
    assert all(row["prompt"].endswith(row["original_prompt"]) for row in asked)

    samples, cut = tmp_path / "samples.jsonl", tmp_path / "cut.parquet"
    texts = [["Draft. <R> Scattering.", "Scattering."], ["<R> Po.", "<R>"]]
    with samples.open("w") as handle:
        for row, responses in zip(asked, texts, strict=True):
            handle.write(json.dumps({**row, "response": responses}) + "\n")
    code, said, _ = statllm("prompts", "split", samples, "-o", cut)
    assert code == 0
    assert "2 prompts; samples: 2 split, 1 empty_response, 1 no_marker" in said
    table = read_parquet(cut)
    assert table["final_response"].to_pylist() == [["Scattering.", None], ["Po.", None]]
    assert table["response"].to_pylist() == texts

    samples.write_text(samples.read_text().replace("tpo_specific@1", "tpo_specific@9"))
    code, _, error = statllm("prompts", "split", samples, "-o", cut)
    assert code != 0
    assert "was made with tpo_specific@9, which is tpo_specific@1 now" in error


def test_length(statllm: Run, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "limited.jsonl"
    command = ("prompts", "length", prompts, "-o", out)
    assert statllm(*command, "--shortest-of", "answers")[0] == 0
    assert [row["max_words"] for row in rows(out)] == [2, 1]
    assert rows(out)[0]["prompt"].startswith("Answer the following instruction using 2 words")
    assert statllm(*command, "--words", 50, "--all-scales")[0] == 0
    assert [row["max_words"] for row in rows(out)][::2] == [50, 45, 40, 35, 30, 25, 20, 15, 10, 5]
    assert statllm(*command, "--words", 50, "--scale", ".9", "--scale", ".5")[0] == 0
    assert [row["prompt_id"] for row in rows(out)] == ["a@0.9", "b@0.9", "a@0.5", "b@0.5"]
    for options, message in (
        ((), "give one of --words"),
        (("--words", 5, "--shortest-of", "answers"), "give one of --words"),
        (("--words", 5, "--all-scales", "--scale", 1), "not both"),
        (("--words-column", "limit"), "no column 'limit'"),
        (("--words-column", "prompt"), "row 0: the limit is 'Why is"),
        (("--words", 10**20), "row 0: the limit is 1000"),
        (("--shortest-of", "prompt_id", "--scale", 1e300), "a limit times the scale 1e+300"),
        (("--words", 5, "--template", "tpo_generic"), "is for thoughts; for length: lift_words"),
    ):
        code, _, error = statllm(*command, *options)
        assert code != 0
        assert message in error


def test_templates(statllm: Run) -> None:
    code, said, _ = statllm("prompts", "templates")
    assert code == 0
    assert "tpo_generic@1 (thoughts)" in said
    assert "arXiv 2406.17744" in said


def test_back_translate(statllm: Run, tmp_path: Path) -> None:
    """The lab model writes no questions; the ledger says so for each text."""
    documents, out, ledger = (tmp_path / f"{name}.jsonl" for name in ("texts", "out", "ledger"))
    documents.write_text('{"prompt_id": 1, "text": "Ann has 3 apples."}\n')
    command = ("prompts", "back-translate", "lab", documents, "-o", out, "--column", "text")
    options = ("--no-chat", "--template", "back_translation_marked", "--max-new-tokens", 6)
    code, said, _ = statllm(
        *command, *options, "--rubric", "none", "--n", 2, "--ledger", ledger, "--device", "cpu"
    )
    assert code == 0
    assert "1 documents, 2 rows, 0 questions kept; dropped: question_no_marker 2" in said
    assert [row["question_id"] for row in rows(ledger)] == ["1/0", "1/1"]
    code, _, error = statllm(*command, "--rubric", "none", "--min-total", 9)
    assert code != 0
    assert "--min-total has no effect" in error


@pytest.fixture
def generate(tmp_path: Path) -> Callable[[Path], tuple[object, ...]]:
    template = tmp_path / "lab.yaml"
    template.write_text(LAB)

    def command(out: Path) -> tuple[object, ...]:
        return (
            "prompts", "generate", "lab", "lab:train", "--limit", 20, "--count", 8, "--n", 2,
            "--no-chat", "--template", template, "--max-new-tokens", 16, "--shard-size", 1,
            "--device", "cpu", "-o", out, "--ledger", out.with_suffix(".ledger.jsonl"),
        )  # fmt: skip

    return command


def test_generate_and_its_ledger(
    statllm: Run, generate: Callable[[Path], tuple[object, ...]], tmp_path: Path
) -> None:
    out = tmp_path / "new.jsonl"
    code, said, _ = statllm(*generate(out))
    assert code == 0
    ledger = rows(tmp_path / "new.ledger.jsonl")
    kept = [row for row in ledger if row["kept"]]
    assert f"{out}: 16 generations, {len(ledger)} rows, {len(kept)} kept" in said
    assert {(row["prompt_id"], row["sample"]) for row in ledger} == {
        (f"new-{i}", k) for i in range(8) for k in range(2)
    }
    assert [row["prompt"] for row in rows(out)] == [row["question"] for row in kept]
    generations = tmp_path / "new.generations.parquet"
    made = generations.stat().st_ino

    # other filters, the same generations
    code, said, _ = statllm(*generate(out), "--rouge-l", ".3", "--ban", "more", "--min-words", 3)
    assert code == 0
    assert generations.stat().st_ino == made
    strict = rows(tmp_path / "new.ledger.jsonl")
    assert len(strict) == len(ledger)
    assert sum(row["kept"] for row in strict) < len(kept)
    assert all(row["rouge_l"] < 0.3 for row in strict if row["kept"])

    # what was kept, as a file to differ from
    again = tmp_path / "again.jsonl"
    generations.rename(tmp_path / "again.generations.parquet")
    (tmp_path / "new.generations.parquet.json").rename(tmp_path / "again.generations.parquet.json")
    kept_before = tmp_path / "before.jsonl"
    kept_before.write_bytes(out.read_bytes())
    code, _, _ = statllm(*generate(again), "--rouge-l", 1, "--against", kept_before)
    assert code == 0
    told = {row["question_id"]: row for row in rows(tmp_path / "again.ledger.jsonl")}
    for row in rows(kept_before):
        assert told[row["prompt_id"]]["kept"] is False
        assert told[row["prompt_id"]]["reason"] == "duplicate"


def test_wrong_options(
    statllm: Run, generate: Callable[[Path], tuple[object, ...]], tmp_path: Path
) -> None:
    out = tmp_path / "new.jsonl"
    for options, message in (
        (("--variant", "rip"), "--variant must be one of self-rip"),
        (("--filters", "rip"), "--filters must be one of self-instruct"),
        (("--examples", 21), "21 examples were asked for, there are 20 seeds"),
        (("--rouge-l", 2), "rouge_l must be above 0"),
        (("--ban-pattern", "("), "can't be read"),
        (("--temperature", -1), "--temperature"),
    ):
        code, _, error = statllm(*generate(out), *options)
        assert code != 0
        assert message in error
    assert not out.exists()


@pytest.mark.slow
def test_a_killed_run_goes_on(
    statllm: Run, generate: Callable[[Path], tuple[object, ...]], tmp_path: Path
) -> None:
    killed, whole = tmp_path / "killed.jsonl", tmp_path / "whole.jsonl"
    process = subprocess.Popen([sys.executable, "-m", "statllm", *map(str, generate(killed))])
    shards = tmp_path / "killed.generations.parquet.shards"
    first = shards / "shard-00000.parquet"
    while not first.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not killed.exists()
    assert shards.exists()
    n_done = len(list(shards.glob("shard-*.parquet")))
    assert 0 < n_done < 8
    assert statllm(*generate(killed))[0] == 0
    assert statllm(*generate(whole))[0] == 0
    for suffix in (".jsonl", ".ledger.jsonl", ".generations.parquet"):
        assert killed.with_suffix(suffix).read_bytes() == whole.with_suffix(suffix).read_bytes()


def test_solutions(statllm: Run, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "asked.jsonl"
    code, said, _ = statllm("prompts", "solutions", prompts, "-o", out)
    assert (code, said) == (0, f"{out}: 2 prompts, template scpo_zebra@1\n")
    assert [row["prompt"].rsplit("\n\n", 1)[1] for row in rows(out)] == [
        row["prompt"] for row in PROMPTS
    ]


def test_contrast(statllm: Run, tmp_path: Path) -> None:
    """The lab model writes no marker; every prompt and text is accounted for."""
    samples, form = tmp_path / "samples.jsonl", tmp_path / "form.yaml"
    samples.write_text(
        json.dumps({"prompt_id": "a", "prompt": "1 + 1 =", "response": ["2"]}) + "\n"
        + json.dumps({"prompt_id": "b", "prompt": "1 + 2 =", "response": [" "]}) + "\n"
    )  # fmt: skip
    form.write_text(
        "name: own\nversion: 1\ntask: contrast\nsource: none\n"
        'delimiters: {request: "<q>", response: "<r>"}\nuser: "{prompt} {response}"\n'
    )
    out, ledger = tmp_path / "pairs.jsonl", tmp_path / "ledger.jsonl"
    code, said, _ = statllm(
        "prompts", "contrast", "lab", samples, "-o", out, "--template", form, "--ledger", ledger,
        "--n", 2, "--max-new-tokens", 4, "--no-chat",
    )  # fmt: skip
    assert code == 0
    assert "2 prompts, 3 rows, 0 pairs" in said
    assert [(row["prompt_id"], row["kept"]) for row in rows(ledger)] == [
        ("a", False),
        ("a", False),
        ("b", False),
    ]
    assert rows(ledger)[2]["reason"] == "no_response"
    assert rows(out) == []
    assert (tmp_path / "pairs.generations.parquet").is_file()
