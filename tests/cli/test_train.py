"""`statllm train`: options, presets and recipes give the settings that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.errors import InputError
from statllm.files import read_json, sha256, write_parquet
from statllm.training_recipe import preset_settings, read_training_recipe


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.parquet"
    rows = [(a, b) for a in range(1, 5) for b in range(1, 5)]
    write_parquet(
        pa.table(
            {
                "prompt_id": [f"{a},{b}" for a, b in rows],
                "prompt": [f"{a} + {b} =" for a, b in rows],
                "chosen": [f" {a + b}" for a, b in rows],
                "rejected": [f" {a + b + 1}" for a, b in rows],
                "weight": [1.0] * 16,
            }
        ),
        path,
    )
    return path


def recipe(path: Path, **content: Any) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_recipe_is_the_command_line(pairs: Path, tmp_path: Path) -> None:
    one = run("train", "lab", pairs, "-o", tmp_path / "a", "--preset", "irpo-gsm8k",
              "--batch-size", 8, "--max-steps", 2)  # fmt: skip
    assert one.exit_code == 0, one.output
    assert "16 pairs, 2 steps" in " ".join(one.output.split())
    assert "tokens/s" in one.output
    written = recipe(
        tmp_path / "r.yaml", model="lab", data=str(pairs), output=str(tmp_path / "b"),
        preset="irpo-gsm8k", training={"batch_size": 8, "max_steps": 5},
    )  # fmt: skip
    two = run("train", written, "--max-steps", 2)
    assert two.exit_code == 0, two.output
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_sft_and_an_adapter(pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    examples = tmp_path / "examples.jsonl"
    examples.write_text('{"prompt": "1 + 1 =", "response": " 2"}\n' * 4)
    written = recipe(
        tmp_path / "r.yaml", kind="sft", model="lab", data=str(examples),
        output=str(tmp_path / "sft"), training={"max_steps": 1, "lora_rank": 2},
    )  # fmt: skip
    found = run("train", written)
    assert found.exit_code == 0, found.output
    assert read_json(tmp_path / "sft" / "adapter" / "adapter_config.json")["r"] == 2


def test_presets_are_the_papers() -> None:
    scpo = preset_settings("scpo-gsm8k", 2)
    assert (scpo["loss"], scpo["beta"], scpo["learning_rate"]) == ("scpo", 0.5, 5e-6)
    assert (scpo["batch_size"], scpo["epochs"]) == (16, 10)
    assert preset_settings("irpo-gsm8k")["max_steps"] == 5000
    assert preset_settings("rip-wildchat-70b")["batch_size"] == 256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": "lab", "data": "p.parquet"}, "output: Field required"),
        ({"model": "lab", "data": "p", "output": "o", "modle": 1}, "modle: Extra inputs"),
        (
            {"model": "lab", "data": "p", "output": "o", "training": {"betta": 1}},
            "training.betta: Extra inputs",
        ),
        (
            {"model": "lab", "data": "p", "output": "o", "preset": "scpo-gsm9k"},
            "preset 'scpo-gsm9k' is unknown",
        ),
        (
            {"model": "lab", "data": "p", "output": "o", "kind": "sft", "preset": "scpo-gsm8k"},
            "of preference training, not of sft",
        ),
        ({"model": "lab", "data": "p", "output": "o", "training": [1]}, "a mapping of settings"),
    ],
)
def test_wrong_recipes(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = recipe(tmp_path / "r.yaml", **content)
    with pytest.raises(InputError, match=message) as caught:
        read_training_recipe(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lab"], "PAIRS is missing"),
        (["lab", "pairs.parquet"], "--output is missing"),
        (["r.yaml", "-o", "x"], "--output stands in the recipe r.yaml"),
        (["missing.yaml"], "missing.yaml"),
    ],
)
def test_wrong_commands(arguments: list[str], message: str, tmp_path: Path) -> None:
    found = run("train", *arguments)
    assert found.exit_code != 0
    assert message in str(found.exception or "") + found.output
