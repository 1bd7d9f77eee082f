"""Tiny reward models with random weights: one per kind of head, all with one tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The layout of Llama 3's conversations.
TEMPLATE = (
    "{% for m in messages %}{% if loop.first %}<|begin_of_text|>{% endif %}"
    "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
SPECIAL = [
    "<pad>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<cls>",
]
WIDTH = 24


def write_tokenizer(folder: Path, **settings: Any) -> Any:
    """Byte-level BPE with Llama 3's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["What is 3 + 4? It is 7."], trainer)
    given = {
        "pad_token": "<pad>",
        "eos_token": "<|end_of_text|>",
        "cls_token": "<cls>",
        "model_max_length": 512,
        "chat_template": TEMPLATE,
        **settings,
    }
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **given)
    fast.save_pretrained(folder)
    return fast


def config(**settings: Any) -> Any:
    """A small Llama."""
    from transformers import LlamaConfig

    given = {
        "vocab_size": 300,
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "eos_token_id": 2,
        "bos_token_id": 1,
        "num_labels": 1,
    }
    return LlamaConfig(**{**given, **settings})


def write_classifier(folder: Path, seed: int = 0, **settings: Any) -> Path:
    """A sequence classifier as transformers saves it, such as Skywork's."""
    import torch
    from transformers import LlamaForSequenceClassification

    write_tokenizer(folder)
    torch.manual_seed(seed)
    LlamaForSequenceClassification(config(**settings)).save_pretrained(folder)
    return folder


def write_with_head(folder: Path, head: dict[str, Any], architecture: str, **settings: Any) -> Path:
    """A Llama with the weights of a head beside its own, and a repository's code in its config."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaModel

    write_tokenizer(folder)
    torch.manual_seed(1)
    model = LlamaModel(config())
    model.save_pretrained(folder)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    save_file({**weights, **head}, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "config.json"
    about = json.loads(path.read_text())
    code = {"AutoModelForSequenceClassification": f"modeling_custom.{architecture}"}
    about |= {"architectures": [architecture], "auto_map": code, **settings}
    path.write_text(json.dumps(about))
    (folder / "modeling_custom.py").write_text("raise RuntimeError('foreign code was run')\n")
    return folder


def gated_weights(n: int = 19, hidden: int = 16) -> dict[str, Any]:
    """The weights of ArmoRM's head, by its names."""
    import torch

    draw = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> Any:
        return torch.randn(*shape, generator=draw)

    head = {
        "regression_layer.weight": normal(n, WIDTH),
        "reward_transform_matrix": torch.eye(n) - 0.1 * normal(n, n).abs(),
        "gating.logit_scale": torch.tensor([0.7]),
    }
    widths = [WIDTH, hidden, hidden, hidden, n]
    for i in range(4):
        head[f"gating.layers.{i}.weight"] = normal(widths[i + 1], widths[i])
        head[f"gating.layers.{i}.bias"] = normal(widths[i + 1])
    return head


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost a tiny model far more than they bring."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("models") / "skywork")


@pytest.fixture(scope="session")
def other_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("models") / "other", seed=5)


@pytest.fixture(scope="session")
def athene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    weight = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(3))
    folder = tmp_path_factory.mktemp("models") / "athene"
    return write_with_head(folder, {"v_head.weight": weight}, "AtheneForSequenceClassification")


@pytest.fixture(scope="session")
def armorm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_with_head(
        tmp_path_factory.mktemp("models") / "armorm",
        gated_weights(),
        "LlamaForRewardModelWithGating",
        gating_temperature=5,
        num_objectives=19,
    )
