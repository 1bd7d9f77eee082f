"""`--engine` of sample, reward and judge: the same words and rows as without."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.lab import model_path, problems

ENGINE = ["--engine", "local", "--part-rows", "5", "--batch-rows", "5"]
PAIR = """name: short
version: 1
mode: pairwise
grammar: brackets
user: "1: {response_a} 2: {response_b} better: "
"""
YES_NO = """name: valid
version: 1
mode: yes-no
grammar: next_token
user: "{response} Right? "
"""


def said(*arguments: object) -> str:
    """What the command line says."""
    result = CliRunner(env={"COLUMNS": "300"}).invoke(app, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "samples.parquet"
    table = problems("test", 12, 0)
    responses = [[f"#### {i}", f"Easy. #### {i + 1}", "#### 7"][: 1 + i % 3] for i in range(12)]
    pq.write_table(
        table.append_column("response", pa.array(responses, pa.list_(pa.string()))), path
    )
    return path


@pytest.mark.parametrize("options", [[], ["--stop", "anytime", "--alpha", "0.3", "--round", "2"]])
def test_sample(tmp_path: Path, options: list[str]) -> None:
    command = ["sample", "lab", "lab:test", "--limit", 12, "--n", 4, "--max-new-tokens", 80]
    command += [*options, "--shard-size", 5, "-o"]
    memory = said(*command, tmp_path / "memory.parquet")
    command = [each for each in command if each not in ("--shard-size", 5)]
    engine = said(*command, tmp_path / "engine.parquet", *ENGINE)
    assert engine.replace("engine", "memory") == memory
    columns = ["prompt_id", "response", "token_ids", "finish_reason", "model"]
    tables = [pq.read_table(tmp_path / f"{name}.parquet") for name in ("memory", "engine")]
    assert tables[0].schema.equals(tables[1].schema)
    assert tables[0].select(columns).equals(tables[1].select(columns))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine.parquet", "memory.parquet"]


def test_sample_a_file_in_another_ones_words(tmp_path: Path) -> None:
    table = problems("test", 12, 0).append_column("task", pa.array(["a", "b"] * 6))
    path = tmp_path / "theirs.parquet"
    pq.write_table(table.rename_columns({"prompt_id": "qid"}), path)
    command = ["sample", model_path(), path, "--prompt-id", "qid", "--where", "task=b", "--n", 2]
    command += ["--max-new-tokens", 80, "-o"]
    said(*command, tmp_path / "memory.parquet")
    said(*command, tmp_path / "engine", *ENGINE)
    found = Generations.read(tmp_path / "engine").table
    expected = pq.read_table(tmp_path / "memory.parquet")
    assert found["prompt_id"].to_pylist() == table["prompt_id"].to_pylist()[1::2]
    assert found["response"].equals(expected["response"])


def test_judge(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "pair.yaml").write_text(PAIR)
    (tmp_path / "yes_no.yaml").write_text(YES_NO)
    for kind, template, options in (
        ("pairwise", "pair.yaml", ["--plain", "--max-new-tokens", 8]),
        ("yes-no", "yes_no.yaml", ["--plain", "--yes", "#", "--no", "E"]),
    ):
        command = ["judge", "lab", samples, "--kind", kind, "--template", tmp_path / template]
        command += [*options, "--cache", tmp_path / "cache", "-o"]
        memory = said(*command, tmp_path / "memory.parquet")
        engine = said(*command, tmp_path / "engine.parquet", *ENGINE)
        assert engine.replace("engine", "memory") == memory
        assert "judge_n_left_out" in pq.read_schema(tmp_path / "engine.parquet").names
        tables = [pq.read_table(tmp_path / f"{name}.parquet") for name in ("memory", "engine")]
        assert tables[0].equals(tables[1])  # the second one's numbers are the first one's, kept


def test_reward(samples: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(model_path())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=256, num_labels=1,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "rm")
    tokenizer.save_pretrained(tmp_path / "rm")
    command = ["reward", tmp_path / "rm", samples, "--device", "cpu", "--cache", tmp_path / "c"]
    memory = said(*command, "-o", tmp_path / "memory.parquet")
    engine = said(*command, "-o", tmp_path / "engine.parquet", *ENGINE)
    assert engine.replace("engine", "memory") == memory
    tables = [pq.read_table(tmp_path / f"{name}.parquet") for name in ("memory", "engine")]
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", 2], "--workers has no effect without --engine"),
        ([*ENGINE, "--gpus", 1], "--gpus has no effect without --engine ray"),
        ([*ENGINE, "--shard-size", 9], "--shard-size has no effect with --engine"),
        (
            [*ENGINE, "--backend", "openai", "--server", "http://127.0.0.1:1/v1"],
            "backend openai isn't for an engine",
        ),
        (["--vllm", "seed=1"], "engine arguments are vLLM's"),
    ],
)
def test_what_makes_no_sense_is_refused(
    samples: Path, tmp_path: Path, options: list[object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        said("sample", "lab", "lab:test", "--limit", 3, "-o", tmp_path / "s.parquet", *options)
    assert not (tmp_path / "s.parquet").exists()
    if "--shard-size" not in options and "--vllm" not in options:
        with pytest.raises(InputError, match=message):
            said("judge", "lab", samples, "-o", tmp_path / "j.parquet", *options)


def test_other_files_than_parquet_are_not_for_engines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt_id": "a", "prompt": "1 + 1?"}\n')
    with pytest.raises(InputError, match="is not .parquet, which alone is read in parts"):
        said("sample", "lab", path, "-o", tmp_path / "s.parquet", *ENGINE)
