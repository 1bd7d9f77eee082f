"""A tiny model that has learnt some answers by heart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest


def learn_by_heart(folder: Path, answers: Mapping[str, str]) -> Path:
    """Train a model until it answers each text with the given one; words part at spaces."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = sorted({word for pair in answers.items() for text in pair for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=128,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )
    pairs = [(tokenizer.encode(a), [*tokenizer.encode(b), 1]) for a, b in answers.items()]
    longest = max(len(a) + len(b) for a, b in pairs)
    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(pairs):
        ids[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(400):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if loss.item() < 0.005:
            break
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def by_heart(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Mapping[str, str]], Path]:
    """Return a model folder that answers as it was told."""
    return lambda answers: learn_by_heart(tmp_path_factory.mktemp("by_heart"), answers)
