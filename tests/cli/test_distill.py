"""`statllm distill` and `statllm probe`, and the way from problems to a student."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.files import read_parquet
from statllm.generations import Generations
from statllm.lab import careful_solution, generate

Run = Callable[..., tuple[int, str, str]]


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def test_filter(statllm: Run, tmp_path: Path) -> None:
    source = jsonl(
        tmp_path / "math.jsonl",
        [
            {"id": 1, "problem": "What is 3 + 4?", "solution": "Add. \\boxed{7}"},
            {"id": 2, "problem": "求证:7是奇数。", "solution": "证毕"},
            {"id": 3, "problem": "In the figure, find x.", "solution": "\\boxed{2}"},
            {"id": 4, "problem": "Solve.", "solution": "\\boxed{x > 2}"},
        ],
    )
    out, ledger = tmp_path / "kept.parquet", tmp_path / "ledger.csv"
    code, said, _ = statllm(
        "distill", "filter", source, "-o", out, "--ledger", ledger, "--prompt-id", "id",
        "--prompt", "problem",
    )  # fmt: skip
    assert code == 0
    assert read_parquet(out)["prompt_id"].to_pylist() == ["1"]
    assert [line.split(",")[2].strip('"') for line in ledger.read_text("utf-8").splitlines()] == [
        "reason", "kept", "proof", "image", "not_numerical",
    ]  # fmt: skip
    assert "all problems" in said
    code, _, error = statllm("distill", "filter", source, "-o", out, "--prompt-id", "nothing")
    assert code == 2
    assert "nothing" in error
    code, _, error = statllm("distill", "filter", source, "-o", out, "--prompt-id", "id",
                             "--prompt", "problem", "--answers", "most")  # fmt: skip
    assert code == 2
    assert "--answers" in error
    for files in (("-o", source), ("-o", out, "--ledger", out)):
        code, _, error = statllm("distill", "filter", source, *files, "--prompt-id", "id")
        assert code == 2
        assert "is read" in error or "both the output and the ledger" in error
    assert len(source.read_text("utf-8").splitlines()) == 4


def test_from_problems_to_a_student_that_is_probed(statllm: Run, tmp_path: Path) -> None:
    """filter, sample, score, chains, train (sft), probe: every command as the study names it."""
    problems = list(islice(generate("train", 9), 16))
    source = jsonl(
        tmp_path / "problems.jsonl",
        [
            {"prompt_id": p.problem_id, "prompt": p.prompt, "solution": careful_solution(p),
             "reference": str(p.answer)}
            for p in problems
        ],
    )  # fmt: skip
    kept, samples, scores = (tmp_path / f"{n}.parquet" for n in ("kept", "samples", "scores"))
    chains, ledger, model = tmp_path / "c.parquet", tmp_path / "l.jsonl", tmp_path / "student"
    assert statllm("distill", "filter", source, "-o", kept)[0] == 0
    assert read_parquet(kept).num_rows == 16
    for arguments in (
        ("sample", "lab", kept, "--n", 4, "--max-new-tokens", 40, "-o", samples),
        ("score", samples, "-o", scores),
        ("distill", "chains", scores, "-o", chains, "--ledger", ledger, "--per-prompt", 2),
    ):
        assert statllm(*arguments)[0] == 0
    scored = Generations.read(scores)
    right = [sum(map(bool, row)) for row in scored.column("correct").to_pylist()]
    examples = read_parquet(chains)
    assert 0 < examples.num_rows <= sum(min(2, n) for n in right)
    assert len(ledger.read_text().splitlines()) == 64
    recipe = tmp_path / "stage.yaml"
    recipe.write_text(
        f"kind: sft\nmodel: lab\ndata: {chains}\noutput: {model}\ntraining: {{max_steps: 2}}\n"
    )
    assert statllm("train", recipe)[0] == 0
    assert (model / "config.json").is_file()

    report, picture = tmp_path / "probes.json", tmp_path / "probes.png"
    code, said, _ = statllm(
        "probe", "run", model, "lab:test", "--limit", 12, "--before", "\\nA:",
        "--max-new-tokens", 40, "-o", report, "--figure", picture,
    )  # fmt: skip
    assert code == 0
    assert "misled" in said
    assert picture.stat().st_size > 0
    found = json.loads(report.read_text())["probes"]
    assert [probe["kind"] for probe in found] == ["misled", "irrelevant"]
    for probe in found:
        assert probe["n_items"] == 12
        for outcome, name in (("right", "right"), ("suggested", "the suggested answer")):
            test = probe[outcome]["test"]["log_p_value"]
            assert test <= probe["log_p_holm"][name] <= 1e-12
            flips = probe[outcome]["n_gained"] - probe[outcome]["n_lost"]
            assert probe[outcome]["difference"]["value"] == pytest.approx(flips / 12)


def test_probes_in_three_commands(statllm: Run, tmp_path: Path) -> None:
    plain, asked = tmp_path / "plain.jsonl", tmp_path / "asked.jsonl"
    rows = [
        {"prompt_id": "a", "prompt": "2 + 2?", "reference": "4"},
        {"prompt_id": "b", "prompt": "3 + 3?", "reference": "6"},
    ]
    jsonl(plain, rows)
    code, said, _ = statllm("probe", "prompts", plain, "-o", asked, "--kind", "hinted")
    assert (code, said) == (0, f"{asked}: 2 prompts, probe hinted\n")
    made = [json.loads(line) for line in asked.read_text().splitlines()]
    assert [row["suggested"] for row in made] == ["4", "6"]
    assert made[0]["prompt"] == "2 + 2?\nI think the answer is 4, but I'm really not sure."

    neutral, misled = tmp_path / "neutral.jsonl", tmp_path / "misled.jsonl"
    jsonl(neutral, [{"prompt_id": i, "answer": ["4"], "correct": [True]} for i in "abcdef"])
    jsonl(
        misled,
        [{"prompt_id": i, "answer": ["5"], "correct": [False], "suggested": "5", "probe": "misled"}
         for i in "abcdef"],
    )  # fmt: skip
    out = tmp_path / "report.json"
    code, said, _ = statllm("probe", "compare", neutral, misled, "-o", out)
    assert code == 0
    assert "6/0" in said
    narrow = CliRunner().invoke(
        app, ["probe", "compare", str(neutral), str(misled)], env={"COLUMNS": "80"}
    )
    assert narrow.output.count(" = 0.0313") == 2  # 2 / 2**6, and no digit is cut off
    assert "[-1.0000, -1.0000]" in narrow.output
    found = json.loads(out.read_text())["probes"][0]
    assert found["right"]["test"]["p_value"] == pytest.approx(2 / 2**6)
    assert found["suggested"]["n_gained"] == 6
    code, _, error = statllm("probe", "compare", neutral, misled, "-o", neutral)
    assert code == 2
    assert "another file" in error or ".json" in error
    code, _, error = statllm("probe", "prompts", plain, "-o", asked, "--before", "A:")
    assert code == 2
    assert "doesn't hold 'A:'" in error
    assert statllm("probe", "prompts", plain, "-o", asked, "--kind", "rude")[0] == 2
