"""Tiny language models with random weights, as model folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

WORDS = [f"w{i}" for i in range(90)]

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def write_tokenizer(folder: Path) -> None:
    """Words apart by spaces: w0 … w89, four special tokens and two roles."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>", "<unk>", "<user>", "<assistant>"]
    vocabulary = {word: i for i, word in enumerate(special + WORDS)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)


def write_model(folder: Path, kind: str, **config: Any) -> Path:
    """A causal model of one architecture; wide weights make its distributions uneven."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    shared = {
        "vocab_size": 96, "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 1,
        "initializer_range": 0.25, "tie_word_embeddings": False,
    }  # fmt: skip
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**shared, **config}))
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


LLAMA: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with grouped-query attention."""
    return write_model(tmp_path_factory.mktemp("models") / "llama", "llama", **LLAMA)


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learned absolute positions."""
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    return write_model(folder, "gpt2", n_embd=32, n_layer=2, n_head=4, n_positions=64)


@pytest.fixture(scope="session")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sliding window shorter than the sequences."""
    folder = tmp_path_factory.mktemp("models") / "mistral"
    return write_model(folder, "mistral", **LLAMA, sliding_window=6)


@pytest.fixture(scope="session")
def prompts() -> pa.Table:
    """Seven prompts of 1 to 9 tokens."""
    texts = [" ".join(WORDS[(7 * i + j) % 90] for j in range(1 + (5 * i) % 9)) for i in range(7)]
    return pa.table(
        {
            "prompt_id": [f"p{i}" for i in range(7)],
            "prompt": texts,
            "reference": [str(i) for i in range(7)],
        }
    )


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The models are too small for more, and the bytes of a resumed run are compared."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
