"""`statllm journey`: from problems to trees, examples and pairs."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from statllm.files import read_parquet, write_parquet
from statllm.journey import check_journey, read_trees, right_leaves

SEARCH = (
    "journey", "search", "lab", "lab:train", "--limit", "12", "--reward", "lab", "--step-end", ".",
    "--max-step-tokens", "24", "--max-new-tokens", "80", "--depth", "4", "--keep", "2",
)  # fmt: skip


def test_from_problems_to_examples(statllm, tmp_path: Path) -> None:
    trees = tmp_path / "t.jsonl"
    code, said, error = statllm(*SEARCH, "-o", trees)
    assert (code, error) == (0, "")
    found = read_trees(trees)
    assert len(found) == 12
    assert "12 trees" in said
    assert f"a right end in {sum(bool(right_leaves(tree)) for tree in found)} trees" in said
    (tmp_path / "words.yaml").write_text(
        "reflect: ['Wait, {rationale}']\nreflect_bare: ['Wait.']\nback: ['Back.']\n"
    )
    options = ("--require-trial", "--phrases", tmp_path / "words.yaml", "--separator", " ")
    code, said, error = statllm(
        "journey", "extract", trees, "-o", tmp_path / "j.parquet", "--ledger",
        tmp_path / "l.parquet", *options,
    )  # fmt: skip
    assert (code, error) == (0, "")
    code, _, _ = statllm(
        "journey", "extract", trees, "-o", tmp_path / "s.jsonl", "--kind", "shortcut", *options
    )
    assert code == 0
    ledger = read_parquet(tmp_path / "l.parquet")
    examples = read_parquet(tmp_path / "j.parquet")
    assert ledger["prompt_id"].to_pylist() == [tree.prompt_id for tree in found]
    assert sum(ledger["n_examples"].to_pylist()) == examples.num_rows > 0
    assert all("Wait, " in text and "Back." in text for text in examples["response"].to_pylist())
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == examples.num_rows
    assert check_journey(found[0], [])


def test_pairs_of_samples(statllm, tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt_id": ["a", "b"], "prompt": ["A", "B"], "reference": ["1", "2"],
            "response": [["#### 1"] * 6 + ["#### 3"] * 6, ["#### 2"] * 12],
        }
    )  # fmt: skip
    write_parquet(table, tmp_path / "s.parquet")
    code, said, error = statllm(
        "journey", "pairs", tmp_path / "s.parquet", "-o", tmp_path / "p.parquet", "--ledger",
        tmp_path / "l.parquet",
    )  # fmt: skip
    assert (code, error) == (0, "")
    assert "1 of 2 prompts kept, 5 pairs; dropped: too_few_wrong 1" in said
    assert read_parquet(tmp_path / "l.parquet")["n_right"].to_pylist() == [6, 12]


def test_what_is_refused(statllm, tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    for arguments, complaint in (
        (("--reward", "judge"), "reward judge needs a judge"),
        (("--reward", "lab", "--width", "0"), "--width"),
        (("--reward", "lab", "--judge", "lab"), "a judge has no effect with reward lab"),
        (("--reward", "lab", "--step-end", ""), "step_end is empty"),
    ):
        code, _, error = statllm(
            "journey", "search", "lab", "lab:train", "--limit", "2", "--max-new-tokens", "80",
            "-o", out, *arguments,
        )  # fmt: skip
        assert code == 2
        assert complaint in error
    code, _, error = statllm("journey", "extract", tmp_path / "none.jsonl", "-o", out)
    assert code == 2
    assert "does not exist" in error
    bad = tmp_path / "words.yaml"
    bad.write_text("reflekt: [x]\n")
    out.write_text("")
    code, _, error = statllm("journey", "extract", out, "-o", out, "--phrases", bad)
    assert code == 2
    assert "reflekt" in error
    code, _, error = statllm("journey", "run", bad, "-o", tmp_path / "run")
    assert code == 2
    assert "key 'reflekt'" in error
