"""A tiny random model with a real tokenizer, and random pairs of token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

TEXT = [
    "Ann has 3 apples and buys 12 more. How many apples does she have?",
    "3 + 12 = 15. The answer is 15.",
    "Ben reads 7 pages a day for 4 days. How many pages does he read?",
    "7 * 4 = 28. The answer is 28.",
]


def write_model(folder: Path, seed: int = 0, **config: Any) -> Path:
    """Write a random Llama and a byte-level BPE tokenizer; logits are far from uniform."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", model_max_length=64
    )
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    settings = {
        "vocab_size": len(fast),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
        **config,
    }
    LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost a tiny model far more than they bring."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    return write_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "start")


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "other", seed=1)


@pytest.fixture(scope="session")
def random_rows() -> Callable[..., pa.Table]:
    """Make token-id rows as the trainers take them, of unequal lengths and weights."""

    def make(n: int, seed: int = 0) -> pa.Table:
        rng = np.random.default_rng(seed)

        def ids(low: int, high: int, end: list[int]) -> pa.Array:
            lists = [
                [*rng.integers(2, 250, rng.integers(low, high)).tolist(), *end] for _ in range(n)
            ]
            return pa.array(lists, pa.list_(pa.int32()))

        return pa.table(
            {
                "prompt_ids": ids(2, 8, []),
                "chosen_ids": ids(1, 16, [1]),
                "rejected_ids": ids(1, 16, [1]),
                "weight": rng.uniform(0.1, 1.0, n),
            }
        )

    return make


@pytest.fixture(scope="session")
def random_pairs(random_rows: Callable[..., pa.Table]) -> Callable[..., pa.Table]:
    """Make a preference table with token ids."""

    def make(n: int, seed: int = 0) -> pa.Table:
        rows = random_rows(n, seed)
        names = ("prompt", "chosen", "rejected")
        texts = {name: [f"{name} {i}" for i in range(n)] for name in names}
        columns = {name: rows[name] for name in rows.column_names}
        return pa.table({"prompt_id": [f"p{i}" for i in range(n)], **texts, **columns})

    return make
