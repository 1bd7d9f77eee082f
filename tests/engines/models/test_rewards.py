"""Reward models on engines: the rewards are those from memory, whatever the pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from statllm.engines import EngineSettings, Source
from statllm.engines.rewards import reward_file
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.lab import model_path
from statllm.scoring.reward_models import RewardModel, add_rewards

pytestmark = pytest.mark.usefixtures("one_ray")
Pieces = Callable[..., EngineSettings]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def reward_models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two sequence classifiers with random weights, as Skywork's are saved."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(model_path())
    folders = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp("models") / f"skywork-{seed}"
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=24, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=64, initializer_range=0.3,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, num_labels=1,
        )  # fmt: skip
        LlamaForSequenceClassification(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folders.append(folder)
    return folders


@pytest.mark.parametrize("variance", ["none", "ensemble"])
def test_rewards_are_those_of_the_table_in_memory(
    tmp_path: Path,
    reward_models: list[Path],
    engine: str,
    variance: Any,
    pieces: Pieces,
    same_but_for_rounding: Any,
    answers: pa.Table,
) -> None:
    if engine == "ray" and variance == "ensemble":
        pytest.skip("one kind is enough for Ray, whose actors take seconds to start")
    folders = reward_models if variance == "ensemble" else reward_models[:1]
    pq.write_table(answers, tmp_path / "in.parquet")

    def models(cache: str) -> tuple[RewardModel, ...]:
        return tuple(RewardModel(each, device="cpu", cache=tmp_path / cache) for each in folders)

    expected = add_rewards(Generations(answers), models("memory"), gap_variance=variance).table
    found = reward_file(
        models("engine"), Source(tmp_path / "in.parquet"), tmp_path / "r.parquet",
        gap_variance=variance, settings=pieces(engine),
    )  # fmt: skip
    rounded = {"reward", "reward_sd", "reward_gap_var"}
    same_but_for_rounding(pq.read_table(tmp_path / "r.parquet"), expected, rounded)
    assert (found.n_prompts, found.n_unknown) == (30, 0)


@pytest.mark.slow
def test_rewards_have_the_same_bytes_from_any_engine(
    tmp_path: Path, reward_models: list[Path], pieces: Pieces, answers: pa.Table
) -> None:
    pytest.importorskip("ray")
    pq.write_table(answers, tmp_path / "in.parquet")
    found = set()
    for name, settings in (
        ("a", pieces("local")),
        ("b", pieces("local", workers=2)),
        ("c", pieces("ray")),
    ):
        model = RewardModel(reward_models[0], device="cpu", cache=tmp_path / name)
        out = tmp_path / f"{name}.parquet"
        reward_file(model, Source(tmp_path / "in.parquet"), out, settings=settings)
        found.add(digest(out))
    assert len(found) == 1


def test_texts_that_are_too_long_are_counted_and_nulls_are_named(
    tmp_path: Path, reward_models: list[Path], pieces: Pieces
) -> None:
    rows = [["1"], ["2 " * 200, "3"], ["4 " * 200]]
    table = pa.table({"prompt_id": list("abc"), "prompt": ["x"] * 3, "response": rows})
    pq.write_table(table, tmp_path / "in.parquet")
    source, out = Source(tmp_path / "in.parquet"), tmp_path / "r.parquet"
    model = RewardModel(reward_models[0], device="cpu", cache=tmp_path, too_long="null")
    found = reward_file(model, source, out, settings=pieces("local", part_rows=1))
    assert found.n_unknown == 2
    known = [[r is not None for r in row] for row in pq.read_table(out)["reward"].to_pylist()]
    assert known == [[True], [False, True], [False]]
    pq.write_table(
        table.set_column(2, "response", pa.array([["1"], ["2"], [None]], pa.list_(pa.string()))),
        tmp_path / "in.parquet",
    )
    with pytest.raises(InputError, match=r"in rows 2 to 3: .*null in row 0 \(prompt_id 'c'\)"):
        reward_file(model, source, out, settings=pieces("local", part_rows=2))
