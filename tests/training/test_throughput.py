"""Throughput: the count of FLOPs against torch's own, and what isn't known isn't said."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from statllm.training.throughput import Throughput, device_peak, flops_per_token


def test_six_flops_a_parameter_and_token() -> None:
    """torch counts the same products, and those of attention besides."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=256, num_attention_heads=4, **sizes))
    ids = torch.randint(0, 256, (1, 32))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids).logits.sum().backward()
    ours = flops_per_token(model) * 32
    assert 0.9 < ours / counter.get_total_flops() < 1.01


def test_embeddings_count_where_they_are_the_head() -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 4096, "hidden_size": 32, "intermediate_size": 64}
    for tied in (True, False):
        config = LlamaConfig(
            num_hidden_layers=1, num_attention_heads=2, tie_word_embeddings=tied, **sizes
        )
        model = LlamaForCausalLM(config)
        with FlopCounterMode(display=False) as counter:
            model(input_ids=torch.zeros((1, 8), dtype=torch.long)).logits.sum().backward()
        assert 0.97 < flops_per_token(model) * 8 / counter.get_total_flops() < 1.01
    classifier = LlamaForSequenceClassification(
        LlamaConfig(num_hidden_layers=1, num_attention_heads=2, **sizes)
    )
    assert flops_per_token(classifier) < flops_per_token(model) / 2


def test_the_line_that_is_printed() -> None:
    assert Throughput(1000, 2.0, None, 2**30).summary() == "500 tokens/s, 1.00 GiB at most"
    with_peak = Throughput(1000, 2.0, 0.5, 2**30).summary()
    assert with_peak == "500 tokens/s, 50.0% of the device's peak, 1.00 GiB at most"
    assert Throughput(0, 0.0, None, 0).tokens_per_second == 0
    assert device_peak(torch.device("cpu")) is None
