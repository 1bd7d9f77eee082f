"""From samples to pairs by instruction-following difficulty, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.files import read_parquet, write_parquet
from statllm.generations import Generations
from statllm.lab import problems
from statllm.lab.reward_settings import LabRewards
from statllm.lab.rewards import lab_rewards
from statllm.sampling import SamplingSettings, sample
from statllm.scoring import score


def said(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result.output


def test_samples_become_pairs_by_their_difficulty(tmp_path: Path) -> None:
    from statllm.lab import model_path

    settings = SamplingSettings(n=4, max_new_tokens=40)
    drawn = sample(model_path(), problems("train", 8), settings, progress=False)
    rated = lab_rewards(score(Generations(drawn)), LabRewards(noise=0.1))
    samples = tmp_path / "samples.parquet"
    write_parquet(rated.table.select([*drawn.column_names, "reward"]), samples)
    scores, pairs = tmp_path / "scores.parquet", tmp_path / "pairs.parquet"
    said("score", str(samples), "-o", str(scores), "--alone", "lab")
    table = read_parquet(scores)
    # a model that knows the prompt finds its own samples easier
    sums = {name: sum(map(sum, table[name].to_pylist())) for name in ("logprob", "logprob_alone")}
    assert sums["logprob_alone"] < sums["logprob"] < 0
    said(
        "select", "band", str(scores), "-o", str(pairs),
        "--quality", "ifd", "--ledger", str(tmp_path / "ledger.parquet"),
    )  # fmt: skip
    ledger = read_parquet(tmp_path / "ledger.parquet")
    known = {
        row["prompt_id"]: [a / b for a, b in zip(row["logprob"], row["logprob_alone"], strict=True)]
        for row in table.to_pylist()
    }
    for pair in read_parquet(pairs).to_pylist():
        row = next(r for r in ledger.to_pylist() if r["prompt_id"] == pair["prompt_id"])
        assert row["quality"] == pytest.approx(known[pair["prompt_id"]][pair["chosen_index"]])


def test_alone_and_engines_exclude_each_other(tmp_path: Path) -> None:
    write_parquet(problems("train", 2), tmp_path / "p.parquet")
    words = ["score", str(tmp_path / "p.parquet"), "-o", str(tmp_path / "s"), "--alone", "lab"]
    result = CliRunner().invoke(app, [*words, "--engine", "local"])
    assert result.exit_code != 0
    assert "--alone and --engine exclude each other" in str(result.exception or result.output)
