"""Watermarks written by transformers' generate, and found again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessorList,
    SynthIDTextWatermarkLogitsProcessor,
    WatermarkLogitsProcessor,
)

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.schemes import make_scheme
from statllm.ragged import Ragged
from statllm.sampling.watermark import WatermarkProcessor

VOCABULARY = 300
SCHEMES: dict[str, dict[str, Any]] = {
    "kgw": {"vocabulary": VOCABULARY},
    "unigram": {"vocabulary": VOCABULARY, "key": 4},
    "vllm-gumbel": {"key": 42},
    "vllm-dual-gumbel": {"key": 42},
    "sglang-gumbel": {"key": 42},
    "synthid": {"key": tuple(range(1, 31))},
}


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    """Random weights: nearly every token is possible."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=None,
        pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def generated(model: LlamaForCausalLM, processor: Any, rows: int = 3, n: int = 150) -> np.ndarray:
    prompt = torch.randint(3, VOCABULARY, (rows, 6), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    out = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=True, max_new_tokens=n, top_k=0,
        logits_processor=LogitsProcessorList([processor]),
    )  # fmt: skip
    return np.asarray(out[:, 6:])


def found(scheme: Any, texts: np.ndarray) -> np.ndarray:
    return detect(
        scheme.marks(Ragged.from_lengths(texts.ravel(), [texts.shape[1]] * len(texts)))
    ).log_p


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_what_generate_writes_is_found(name: str, model: LlamaForCausalLM) -> None:
    scheme = make_scheme(name, **SCHEMES[name])
    texts = generated(model, WatermarkProcessor(scheme, prompt_length=6))
    assert (found(scheme, texts) < math.log(1e-6)).all()
    key = tuple(range(60, 90)) if name == "synthid" else 77
    other = make_scheme(name, **{**SCHEMES[name], "key": key})
    assert (found(other, texts) > math.log(1e-4)).all()


def test_the_watermark_of_transformers_itself_is_found(model: LlamaForCausalLM) -> None:
    # it tries 40 candidates, a seventh of the mass here: the bias makes up for it
    theirs = WatermarkLogitsProcessor(
        VOCABULARY, "cpu", bias=6.0, seeding_scheme="selfhash", context_width=4
    )
    scheme = make_scheme("kgw", vocabulary=VOCABULARY, seeding="selfhash", context_width=4)
    assert (found(scheme, generated(model, theirs)) < math.log(1e-6)).all()
    keys = list(range(1, 31))
    tournament = SynthIDTextWatermarkLogitsProcessor(
        5, keys, 2**16, 0, 1024, torch.device("cpu"), skip_first_ngram_calls=True
    )
    texts = generated(model, tournament)
    assert (found(make_scheme("synthid", key=tuple(keys)), texts) < math.log(1e-6)).all()


@pytest.mark.parametrize("leaves", [2, 3])
def test_tournaments_are_those_of_the_formula(leaves: int) -> None:
    """Two leaves: transformers' own update. Three: every tournament counted out."""
    keys = [3, 17]
    scheme = make_scheme("synthid", key=tuple(keys), leaves=leaves)
    rng = np.random.default_rng(0)
    law = rng.dirichlet(np.ones(6))
    prefix = np.array([4, 8, 15, 16])
    marks = scheme.marks(Ragged.from_lists([[*prefix, token] for token in range(6)], np.int64))
    bits = marks.values
    if leaves == 2:
        theirs = SynthIDTextWatermarkLogitsProcessor(5, keys, 2**16, 0, 9, torch.device("cpu"))
        scores = torch.log(torch.from_numpy(law))[None]
        expected = theirs.update_scores(scores, torch.from_numpy(bits.astype(np.int64))[None])
        np.testing.assert_allclose(
            scheme.reweighted(law, prefix), torch.softmax(expected[0], 0), rtol=1e-9
        )
    else:
        current = law
        for layer in range(2):  # the winner of three draws: any of those with the largest bit
            new = np.zeros(6)
            for a in range(6):
                for b in range(6):
                    for c in range(6):
                        drawn = np.array([a, b, c])
                        best = drawn[bits[drawn, layer] == bits[drawn, layer].max()]
                        for winner in best:
                            new[winner] += current[a] * current[b] * current[c] / len(best)
            current = new
        np.testing.assert_allclose(scheme.reweighted(law, prefix), current, rtol=1e-9)


def test_gumbel_leaves_the_law_as_it_is() -> None:
    """Over keys the token has the model's law: chi-squared over 4,000 of them."""
    from scipy import stats

    law = np.array([0.4, 0.3, 0.2, 0.1])
    for name in ("vllm-gumbel", "sglang-gumbel"):
        counts = np.zeros(4)
        for key in range(4000):
            counts += make_scheme(name, key=key).reweighted(law, np.array([5, 6, 7, 8]))
        assert stats.chisquare(counts, 4000 * law).pvalue > 1e-3


def test_repeated_contexts_are_left_alone() -> None:
    scheme = make_scheme("vllm-gumbel", key=1, context_width=1)
    processor = WatermarkProcessor(scheme, prompt_length=1)
    logits = torch.zeros(1, 5)
    assert torch.isinf(processor(torch.tensor([[3]]), logits)).sum() == 4
    assert torch.isinf(processor(torch.tensor([[3, 2]]), logits)).sum() == 4
    assert torch.equal(processor(torch.tensor([[3, 2, 4, 2]]), logits), logits)


@pytest.mark.parametrize("name", ["vllm-red-green", "dipmark"])
def test_some_green_lists_count_once_too(name: str) -> None:
    options = {"vocabulary": 5} if name == "dipmark" else {}
    scheme = make_scheme(name, key=5, context_width=1, share=0.4, **options)
    processor = WatermarkProcessor(scheme, prompt_length=1, prompt_is_context=True)
    logits = torch.zeros(1, 5)
    first = processor(torch.tensor([[3]]), logits)
    assert not torch.equal(first, first.mean().expand_as(first))
    assert torch.equal(processor(torch.tensor([[3, 2, 3]]), logits), logits)


def test_green_lists_hold_in_repeated_contexts() -> None:
    """As transformers' own processor has it: no context is left out."""
    scheme = make_scheme("kgw", vocabulary=5, context_width=1, share=0.4)
    processor = WatermarkProcessor(scheme, prompt_length=1)
    logits = torch.zeros(1, 5)
    first = processor(torch.tensor([[3]]), logits)
    assert not torch.equal(first, first.mean().expand_as(first))
    assert torch.equal(processor(torch.tensor([[3, 2, 3]]), logits), first)


@pytest.mark.parametrize("name", ["vllm-gumbel", "synthid", "vllm-red-green", "sbw"])
def test_the_prompt_is_no_context_of_some(name: str) -> None:
    scheme = make_scheme(name, key=(5, 6, 7) if name == "synthid" else 5)
    logits = torch.linspace(0, 1, 9)[None]
    marked = [
        WatermarkProcessor(scheme, prompt_length=4)(torch.tensor([prompt]), logits)
        for prompt in ([1, 2, 3, 4], [8, 7, 6, 5])
    ]
    assert torch.equal(*marked)
