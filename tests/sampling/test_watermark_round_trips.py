"""Every scheme written by the built-in model, and found again: under its own key, no other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, LogitsProcessorList

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf.key_sequence import KeySequence
from statllm.estimators.watermark.schemes import SCHEMES, make_scheme
from statllm.lab import model_path, problems
from statllm.models import encode_prompt, load_model, load_tokenizer
from statllm.ragged import Ragged
from statllm.sampling.watermark import WatermarkProcessor

V = "vocabulary"  # of the model, filled in below
LM = {"flavour": "lm-watermarking", "context_width": 3}
BITS, OTHER_BITS = tuple(range(1, 31)), tuple(range(101, 131))
KGW_KEY = 15485863

#: Scheme, options with the key, options of another key.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "kgw-lefthash": ("kgw", {"key": KGW_KEY, V: 0}, {"key": 77}),
    "kgw-selfhash": ("kgw", {"key": KGW_KEY, V: 0, "seeding": "selfhash", "context_width": 4,
                             "bias": 4.0}, {"key": 77}),
    **{
        f"kgw-{seeding}": ("kgw", {"key": KGW_KEY, V: 0, "seeding": seeding, **LM}, {"key": 77})
        for seeding in ("additive", "minhash", "skipgram")
    },
    "unigram": ("unigram", {"key": 4, V: 0}, {"key": 77}),
    "sbw-selfhash": ("sbw", {"key": 42}, {"key": 77}),
    "sbw-lefthash": ("sbw", {"key": 42, "seeding": "lefthash", "context_width": 1}, {"key": 77}),
    "vllm-red-green": ("vllm-red-green", {"key": 42}, {"key": 77}),
    "dipmark": ("dipmark", {"key": 1 << 900, V: 0, "context_width": 2}, {"key": 77}),
    "gamma-reweight": ("dipmark", {"key": 5, V: 0, "alpha": 0.5}, {"key": 77}),
    "vllm-gumbel": ("vllm-gumbel", {"key": 42}, {"key": 77}),
    "vllm-dual-gumbel": ("vllm-dual-gumbel", {"key": 42}, {"key": 77}),
    "sglang-gumbel": ("sglang-gumbel", {"key": 42}, {"key": 77}),
    "sglang-gumbel-two": ("sglang-gumbel", {"key": 42, "key_b": 43}, {"key": 77, "key_b": 78}),
    "synthid-transformers": ("synthid", {"key": BITS}, {"key": OTHER_BITS}),
    "synthid-deepmind": ("synthid", {"key": BITS, "flavour": "deepmind"}, {"key": OTHER_BITS}),
    "synthid-three-leaves": ("synthid", {"key": BITS, "leaves": 3}, {"key": OTHER_BITS}),
    "three-bricks-gumbel": ("three-bricks-gumbel", {"start": 9, V: 0, "ngram": 2}, {"start": 77}),
    "three-bricks-payload": ("three-bricks-gumbel",
                             {"start": 9, V: 0, "ngram": 2, "payload": 17}, {"payload": 18}),
    "permute-flip": ("permute-flip", {"start": 9, V: 0, "ngram": 2}, {"start": 77}),
    "textseal-gumbel": ("textseal-gumbel", {"key": 42, "ngram": 2}, {"key": 77}),
    "textseal-gumbel-two": ("textseal-gumbel", {"key": 42, "key_b": 43, "ngram": 2},
                            {"key": 77, "key_b": 78}),
    "inverse-transform": ("inverse-transform", {"key": 42, V: 0}, {"key": 77}),
    "inverse-transform-additive": ("inverse-transform",
                                   {"key": 42, V: 0, "seeding": "additive"}, {"key": 77}),
}  # fmt: skip

TOKENS, TEMPERATURE = 140, 2.5


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(model_path(), device="cpu")


@pytest.fixture(scope="module")
def prompt() -> torch.Tensor:
    """Three problems, cut to one length."""
    tokenizer = load_tokenizer(model_path())
    texts = problems("test", 3, 0)["prompt"].to_pylist()
    encoded = [encode_prompt(tokenizer, text) for text in texts]
    return torch.tensor([ids[-min(map(len, encoded)) :] for ids in encoded])


def written(model: Any, prompt: torch.Tensor, scheme: Any) -> np.ndarray:
    """Responses at a high temperature, which no end of text stops."""
    torch.manual_seed(3)
    processor = WatermarkProcessor(scheme, prompt.shape[1], temperature=TEMPERATURE)
    settings = GenerationConfig(
        do_sample=True, top_k=0, min_new_tokens=TOKENS, max_new_tokens=TOKENS, pad_token_id=0
    )
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        generation_config=settings,
        logits_processor=LogitsProcessorList([processor]),
    )
    return np.asarray(out[:, prompt.shape[1] :])


def log_p(scheme: Any, texts: np.ndarray) -> np.ndarray:
    tokens = Ragged.from_lengths(texts.ravel().astype(np.int64), [texts.shape[1]] * len(texts))
    return detect(scheme.marks(tokens)).log_p


def test_no_scheme_is_left_out() -> None:
    assert {name for name, _, _ in CASES.values()} == set(SCHEMES)


@pytest.mark.parametrize("case", CASES)
def test_own_key_finds_it_and_another_does_not(case: str, model: Any, prompt: torch.Tensor) -> None:
    name, options, other = CASES[case]
    options = {k: model.config.vocab_size if k == V else value for k, value in options.items()}
    scheme = make_scheme(name, **options)
    texts = written(model, prompt, scheme)
    assert texts.shape == (3, TOKENS)
    # every text, and most of them clearly: DiPmark moves little of the law, and of a skip-gram
    # context, which repeats with its token, a text of 140 tokens has few
    own = log_p(scheme, texts)
    assert own.max() < math.log(1e-3)
    assert np.median(own) < math.log(1e-6)
    assert (log_p(make_scheme(name, **options | other), texts) > math.log(1e-3)).all()


@pytest.mark.parametrize("kind", ["exponential", "transform"])
def test_a_key_sequence_is_found_by_alignment(kind: Any, model: Any, prompt: torch.Tensor) -> None:
    """Element 11 + t chooses token t of the model's own law; one token of the text is lost."""
    size = model.config.vocab_size
    watermark = KeySequence(vocabulary=size, key=42, length=60, kind=kind)
    ids = prompt[:1]
    for t in range(40):
        with torch.no_grad():
            logits = model(ids).logits[0, -1].double() / TEMPERATURE
        law = watermark.reweighted(torch.softmax(logits, -1).numpy(), 11 + t)
        ids = torch.cat([ids, torch.tensor([[int(law.argmax())]])], dim=1)
    text = ids[0, prompt.shape[1] :].tolist()
    del text[20]
    p = watermark.test(text, runs=199, rng=0).p_value
    assert p == pytest.approx(1 / 200)
    other = KeySequence(vocabulary=size, key=43, length=60, kind=kind)
    assert other.test(text, runs=199, rng=0).p_value > 0.01
