"""`statllm sample --stop`: what is printed, what is written, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from statllm.files import read_parquet
from statllm.generations import Generations

LAB = ("sample", "lab", "lab:test", "--limit", "12", "--max-new-tokens", "80")


def test_stopping_says_what_it_saved_and_guarantees(statllm, tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    options = ("--n", "16", "--stop", "anytime", "--alpha", "0.2", "--round", "2")
    code, said, _ = statllm(*LAB, *options, "-o", path)
    assert code == 0
    table = read_parquet(path)
    used = Generations(table).n_samples
    decided = sum(table["stop_decided"].to_pylist())
    assert 0 < decided < 12
    assert "12 prompts x up to 16 samples" in said
    saved = f"{1 - used.sum() / (12 * 16):.1%} saved"
    words = f"kt, alpha 0.2: {decided} of 12 prompts decided, {used.mean():.1f} of 16"
    assert words in said
    assert saved in said
    assert "isn't the model's most probable one is at most 0.2" in said
    assert "at most 2.4 in expectation" in said
    assert "biased" in said
    assert set(table["stop_error_bound"].to_pylist()) == {0.2}
    code, said, _ = statllm("score", path, "-o", tmp_path / "scores.parquet")
    assert code == 0
    assert read_parquet(tmp_path / "scores.parquet")["n_samples"].to_pylist() == used.tolist()


def test_heuristic_rules_say_that_they_guarantee_nothing(statllm, tmp_path: Path) -> None:
    for rule, setting in (("beta", "beta, alpha 0.05"), ("esc", "esc, window 5")):
        code, said, _ = statllm(*LAB, "--n", "10", "--stop", rule, "-o", tmp_path / "s.parquet")
        assert code == 0
        assert setting in said
        assert f"no guarantee: {rule}" in said
        assert "at most" not in said
    assert set(read_parquet(tmp_path / "s.parquet")["stop_error_bound"].to_pylist()) == {None}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--stop", "ppr-1v1"), "ppr-1v1 needs n_answers"),
        (("--stop", "sprt"), "--stop"),
        (("--stop", "anytime", "--alpha", "2"), "--alpha"),
        (("--rule", "number"), "--rule has no effect without --stop"),
        (("--stop", "beta", "--rule", "none"), "'none' finds none"),
    ],
)
def test_refusals(statllm, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    code, _, error = statllm(*LAB, *options, "-o", tmp_path / "s.parquet")
    assert code == 2
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
