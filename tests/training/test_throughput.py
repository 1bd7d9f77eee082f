"""Throughput: the count of FLOPs against torch's own, and what isn't known isn't said."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from statllm.training.lora import adapted
from statllm.training.settings import LanguageModelSettings
from statllm.training.throughput import Throughput, device_peak, flops_per_token


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rank", [None, 4])
def test_flops_are_those_that_torch_counts(tied: bool, rank: int | None) -> None:
    """Attention is small here. An adapter's first layer needs no gradient of what goes in."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=2000, num_attention_heads=4, tie_word_embeddings=tied, **sizes)
    model: Any = LlamaForCausalLM(config)
    if rank is not None:
        pytest.importorskip("peft")
        model = adapted(model, LanguageModelSettings(lora_rank=rank))
    ids = torch.randint(0, 2000, (1, 32))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids).logits.sum().backward()
    ours = 32 * flops_per_token(model)
    assert ours / counter.get_total_flops() == pytest.approx(1.0, abs=0.05)
    if rank is None and not tied:  # a classifier's head is no larger than its number of classes
        classifier = LlamaForSequenceClassification(config)
        heads = 6 * 128 * (2000 - classifier.score.weight.shape[0])
        assert flops_per_token(classifier) == flops_per_token(model) - heads


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", 835e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA GeForce RTX 3090", None),
    ],
)
def test_peaks_are_those_of_the_devices_as_they_name_themselves(
    name: str, peak: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert device_peak(torch.device("cuda")) == peak


def test_the_line_that_is_printed() -> None:
    assert Throughput(1000, 2.0, None, 2**30).summary() == (
        "500 tokens/s, MFU unknown (no peak is known of this device), 1.00 GiB at most"
    )
    with_peak = Throughput(1000, 2.0, 0.5, 2**30).summary()
    assert with_peak == "500 tokens/s, MFU 50.0%, 1.00 GiB at most"
    assert Throughput(0, 0.0, None, 0).tokens_per_second == 0
    assert device_peak(torch.device("cpu")) is None
