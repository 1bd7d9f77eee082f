"""All phases by one recipe: what is done stays, what changed is made again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from statllm.files import read_parquet
from statllm.journey.recipe import read_journey_recipe
from statllm.journey.run import journey_plan, run_journey
from statllm.phases import Plan

STUDY = Path(__file__).parents[2] / "studies" / "journey"

RECIPE = """
name: small
model: lab
format: {data: "lab:train", n: 20, training: {learning_rate: 3.0e-4, max_steps: 3}}
problems: {source: "lab:train", n: 16, seed: 5}
policy: {step_end: ".", max_step_tokens: 16, sampling: {max_new_tokens: 60}}
search: {width: 3, keep: 2, depth: 4}
reward: {reward: lab}
extract: {phrases: {separator: " "}}
training: {learning_rate: 1.0e-4, max_steps: 2}
pairs:
  problems: {source: "lab:train", n: 12, seed: 9}
  sampling: {n: 8, max_new_tokens: 60}
  settings: {fewer: use}
  training: {loss: dpo, max_steps: 2}
evaluation: {problems: {source: "lab:test", n: 8}, k: 2}
"""


@pytest.mark.slow
def test_a_recipe_from_the_lab_to_dpo(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    said: list[str] = []
    out = tmp_path / "run"
    model = run_journey(read_journey_recipe(path), out, said.append)
    assert (model / "model.safetensors").is_file()
    stages = ["format", "evaluate-format", "search", "extract", "sft", "evaluate-sft", "sample",
              "pairs", "dpo", "evaluate-dpo"]  # fmt: skip
    assert [line.split(":")[0] for line in said] == stages
    assert read_parquet(out / "ledger.parquet").num_rows == 16
    assert read_parquet(out / "pairs-ledger.parquet").num_rows == 12
    again: list[str] = []
    run_journey(read_journey_recipe(path), out, again.append)
    assert again == [f"{stage}: done before" for stage in stages]
    # Another DPO leaves everything before it alone.
    path.write_text(RECIPE.replace("loss: dpo, max_steps: 2", "loss: dpo, max_steps: 1"))
    changed: list[str] = []
    run_journey(read_journey_recipe(path), out, changed.append)
    assert next(line for line in changed if "done before" not in line).startswith("dpo: ")
    assert sum("done before" in line for line in changed) == 8


def test_what_a_phase_reads_decides_whether_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files under an old name that hold something new make their phases run again."""
    read: dict[str, list[str]] = {}

    def note(self: Plan, name: str, inputs: Sequence[str | Path], *rest: object) -> None:
        read[name] = [str(one) for one in inputs]

    monkeypatch.setattr(Plan, "run", note)
    journey_plan(read_journey_recipe(STUDY / "recipe.yaml"))
    judge = "Qwen/Qwen2.5-72B-Instruct"
    assert read == {
        "format": ["deepseek-ai/deepseek-math-7b-base", "prm800k_solutions.parquet"],
        "evaluate-format": ["format", "math500.parquet"],
        "search": ["format", "math_train.parquet", judge],
        "extract": ["trees.jsonl", judge],
        "sft": ["format", "examples.parquet"],
        "evaluate-sft": ["sft", "math500.parquet"],
        "sample": ["sft", "math_train.parquet"],
        "pairs": ["samples.parquet"],
        "dpo": ["sft", "pairs.parquet"],
        "evaluate-dpo": ["dpo", "math500.parquet"],
    }


def test_recipes_are_read() -> None:
    paper = read_journey_recipe(STUDY / "recipe.yaml")
    assert (paper.search.width, paper.search.keep, paper.search.depth) == (3, 3, 10)
    assert paper.search.prune == "verdicts"
    assert paper.training.epochs == 3
    assert paper.pairs is not None
    assert (paper.pairs.sampling.n, paper.pairs.sampling.temperature) == (20, 0.7)
    assert paper.pairs.sampling.top_p == 0.95
    rule = paper.pairs.settings
    assert (rule.positives, rule.negatives, rule.pairs_per_prompt) == (5, 5, 5)
    lab = read_journey_recipe(STUDY / "lab.yaml")
    assert lab.reward.reward == "lab"
