"""The shipped model: it loads offline, is honestly imperfect, and its prompts end on a token."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.lab import model_path, problems
from statllm.lab.world import MAX_VALUE

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def lab() -> tuple[Any, Any]:
    """Load model and tokenizer with every network connection refused."""

    def refuse(*_: object) -> None:
        raise OSError("the lab model must load without a network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        model = transformers.AutoModelForCausalLM.from_pretrained(model_path())
        tokenizer = transformers.AutoTokenizer.from_pretrained(model_path())
    return model.eval(), tokenizer


def test_folder_is_small_and_unpickled() -> None:
    files = {file.name: file.stat().st_size for file in model_path().iterdir()}
    assert sum(files.values()) <= 10_000_000
    assert set(files) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_weights_are_fp32(lab: tuple[Any, Any]) -> None:
    model, tokenizer = lab
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.eos_token_id != tokenizer.pad_token_id


def test_greedy_accuracy_is_honestly_imperfect(lab: tuple[Any, Any]) -> None:
    model, tokenizer = lab
    table = problems("test", 200)
    batch = tokenizer(table["prompt"].to_pylist(), return_tensors="pt", padding=True)
    with torch.inference_mode():
        tokens = model.generate(**batch, do_sample=False, max_new_tokens=64)
    new = tokens[:, batch["input_ids"].shape[1] :]
    responses = tokenizer.batch_decode(new, skip_special_tokens=True)
    finished = (new == tokenizer.eos_token_id).any(dim=1)
    assert finished.float().mean() >= 0.98
    found = [re.search(r"#### (\d+)$", response) for response in responses]
    right = [
        bool(match) and match.group(1) == reference
        for match, reference in zip(found, table["reference"].to_pylist(), strict=True)
    ]
    assert 0.35 <= sum(right) / len(right) <= 0.65


@settings(max_examples=200, deadline=None)
@given(response=st.text(max_size=40), row=st.integers(0, 19))
def test_prompt_tokens_are_a_prefix(lab: tuple[Any, Any], response: str, row: int) -> None:
    """Any response at all: the newline that ends a prompt is always a token of its own."""
    _, tokenizer = lab
    prompt = problems("test", 20)["prompt"][row].as_py()
    alone = tokenizer(prompt)["input_ids"]
    together = tokenizer(prompt + response)["input_ids"]
    assert together == alone + tokenizer(response)["input_ids"]
    assert tokenizer.decode(together) == prompt + response


def test_numbers_are_single_tokens(lab: tuple[Any, Any]) -> None:
    _, tokenizer = lab
    assert all(len(tokenizer(f" {n}")["input_ids"]) == 1 for n in range(MAX_VALUE + 1))
