"""`statllm train`: options, presets and recipes give the settings that they name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
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
    assert "tokens/s, MFU unknown" in " ".join(one.output.split())
    written = recipe(
        tmp_path / "r.yaml", model="lab", data=str(pairs), output=str(tmp_path / "b"),
        preset="irpo-gsm8k", training={"batch_size": 8, "max_steps": 5},
    )  # fmt: skip
    two = run("train", written, "--max-steps", 2)
    assert two.exit_code == 0, two.output
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_held_out_pairs(pairs: Path, tmp_path: Path) -> None:
    """From the command line and a recipe: the same weights as without, and the best are kept."""
    options = ("--batch-size", 8, "--max-steps", 3, "--learning-rate", 1e-3)
    plain = run("train", "lab", pairs, "-o", tmp_path / "a", *options)
    assert plain.exit_code == 0, plain.output
    held_out = run("train", "lab", pairs, "-o", tmp_path / "b", *options, "--eval", pairs)
    said = " ".join(held_out.output.split())
    assert "16 of 16 held-out prompts are trained on, too" in said
    assert "weights of step 3; 16 held-out pairs: loss 0." in said
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    written = recipe(
        tmp_path / "r.yaml", model="lab", data=str(pairs), output=str(tmp_path / "c"),
        eval=str(pairs), curve=str(tmp_path / "curve.parquet"),
        training={"batch_size": 8, "max_steps": 3, "learning_rate": 0.1, "eval_every": 1,
                  "keep_best": "loss"},
    )  # fmt: skip
    best = run("train", written)
    assert best.exit_code == 0, best.output
    losses = pq.read_table(tmp_path / "curve.parquet")["eval_loss"].to_numpy()
    assert f"weights of step {losses.argmin() + 1};" in " ".join(best.output.split())


def test_what_does_not_fit_is_refused_with_what_would(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statllm.training.memory.available_memory", lambda device: 1 << 20)
    found = run("train", "lab", pairs, "-o", tmp_path / "a")
    assert isinstance(found.exception, InputError)
    assert "the training needs about" in str(found.exception)
    assert "gradient_checkpointing (" in str(found.exception)
    assert not (tmp_path / "a").exists()


LIMITED = """
import resource, sys
from statllm.cli import main
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
main()
"""


@pytest.mark.slow
def test_a_full_disk_is_said_and_the_run_goes_on(pairs: Path, tmp_path: Path) -> None:
    """Files end at a limit, as on a disk that is full; then there is room again."""
    import resource

    def start(limit: int, name: str = "a") -> tuple[int, str]:
        # a process of its own: a fork would have torch's locks and none of its threads
        command = [
            sys.executable, "-c", LIMITED, limit, "train", "lab", pairs, "-o", tmp_path / name,
            "--max-steps", 3, "--batch-size", 8, "--checkpoint-every", 1,
        ]  # fmt: skip
        ended = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        return ended.returncode, ended.stderr

    for limit in (100_000, 3_000_000):  # the weights have 2.3 MB, the optimizer's state twice that
        code, said = start(limit)
        assert code == 1, said
        assert "statllm: a checkpoint can't be written: " in said
        assert not (tmp_path / "a").exists()
    for name in ("a", "b"):
        code, said = start(resource.RLIM_INFINITY, name)
        assert code == 0, said
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_weights_that_are_all_zero_are_refused(pairs: Path, tmp_path: Path) -> None:
    table = pq.read_table(pairs)
    write_parquet(table.set_column(4, "weight", pa.array([0.0] * 16)), pairs)
    found = run("train", "lab", pairs, "-o", tmp_path / "a", "--loss", "scpo")
    assert "every weight is 0" in str(found.exception)
    assert run("train", "lab", pairs, "-o", tmp_path / "a", "--max-steps", 1).exit_code == 0


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
        (
            {"model": "lab", "data": "p", "output": "o", "modle": 1},
            r"modle: .* did you mean model\?",
        ),
        (
            {"model": "lab", "data": "p", "output": "o", "training": {"betta": 1}},
            r"training.betta: there is no such key; did you mean beta\?",
        ),
        (
            {"model": "lab", "data": "p", "output": "o", "preset": "scpo-gsm9k"},
            "preset 'scpo-gsm9k' is unknown",
        ),
        (
            {"model": "lab", "data": "p", "output": "o", "kind": "sft", "preset": "scpo-gsm8k"},
            "preset is of preference training, not of sft",
        ),
        (
            {"model": "lab", "data": "p", "output": "o", "kind": "sft", "eval": "e"},
            "eval is of preference training, not of sft",
        ),
        ({"model": "lab", "data": "p", "output": "o", "training": {"zzzz": 1}}, "no such key$"),
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
