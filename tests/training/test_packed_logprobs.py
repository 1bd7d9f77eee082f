"""Packed log-probabilities and their gradients against plain forwards, model by model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from statllm.errors import InputError
from statllm.training import groups, packed_logprobs
from statllm.training.attention import can_share, use_packed_attention
from statllm.training.packed_logprobs import sequence_logps, token_logps
from statllm.training.packing import Row, pack

SMALL = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "Llama": {"tie_word_embeddings": True, "num_key_value_heads": 4},
    "Mistral": {"sliding_window": None},
    "Qwen2": {"tie_word_embeddings": True},
    "Qwen3": {"head_dim": 16},
    "Phi3": {},
    "Olmo": {},
    "Olmo2": {},
    "Granite": {
        "embedding_multiplier": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.5,
        "logits_scaling": 4.0,
    },
}  # fmt: skip


def make(name: str, **config: Any) -> Any:
    torch.manual_seed(0)
    kind = getattr(transformers, f"{name}Config")(**{**SMALL, **MODELS.get(name, {}), **config})
    model = getattr(transformers, f"{name}ForCausalLM")(kind)
    return model.train()


def rows(n: int = 7, seed: int = 0) -> list[Row]:
    rng = np.random.default_rng(seed)

    def ids(low: int, high: int) -> Any:
        return rng.integers(3, 97, rng.integers(low, high)).astype(np.int32)

    return [Row(ids(1, 20), (ids(1, 24), ids(1, 24))) for _ in range(n)]


def plain(model: Any, of: Sequence[Row]) -> torch.Tensor:
    """One text at a time, as transformers computes it."""
    found = []
    for row in of:
        for response in row.responses:
            text = torch.tensor(np.concatenate([row.prompt, response])[None].astype(np.int64))
            logits = model(input_ids=text).logits[0, len(row.prompt) - 1 : -1].float()
            each = -functional.cross_entropy(logits, text[0, len(row.prompt) :], reduction="none")
            found.append(each.sum())
    return torch.stack(found)


def dpo(logps: torch.Tensor) -> torch.Tensor:
    chosen, rejected = logps.view(-1, 2).unbind(1)
    return -functional.logsigmoid(0.3 * (chosen - rejected)).sum()


def gradient(loss: torch.Tensor, model: Any) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_models(name: str, share: bool) -> None:
    model = make(name)
    packed_model = copy.deepcopy(model)
    use_packed_attention(packed_model)
    of = rows()
    expected = plain(model, of)
    found = sequence_logps(packed_model, pack(of, share))
    assert torch.allclose(found, expected, atol=1e-4, rtol=1e-6)
    one, two = gradient(dpo(expected), model), gradient(dpo(found), packed_model)
    assert (one - two).norm() <= 1e-5 * one.norm()


@pytest.mark.parametrize("waste", [0, 1 << 30])
def test_however_segments_are_grouped(waste: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_WASTE", waste)
    model = make("Llama")
    of = rows()
    expected = plain(model, of)
    use_packed_attention(model)
    packed = pack(of)
    made = groups.padded_groups(packed.layout).groups
    assert len(made) == 1 if waste else len(made) > 10
    assert torch.allclose(sequence_logps(model, packed), expected, atol=1e-4, rtol=1e-6)


def test_checkpointing_changes_nothing() -> None:
    model = make("Qwen3")
    use_packed_attention(model)
    packed = pack(rows())
    one = gradient(dpo(sequence_logps(model, packed)), model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert torch.equal(one, gradient(dpo(sequence_logps(model, packed)), model))


def test_bfloat16_is_no_worse_than_padded() -> None:
    model = make("Llama")
    of = rows(40)
    with torch.no_grad():
        exact = plain(model, of)
        with torch.autocast("cpu", torch.bfloat16):
            padded = plain(model, of)
        use_packed_attention(model)
        with torch.autocast("cpu", torch.bfloat16):
            packed = sequence_logps(model, pack(of))
    errors = [(each - exact).pow(2).mean().sqrt() for each in (padded, packed)]
    assert 0 < errors[1] <= 1.25 * errors[0]


# ---- leaks --------------------------------------------------------------------------------------


def leaks(model: Any, share: bool = True) -> bool:
    """Whether other rows, or the other branch, change a log-probability."""
    of = rows()
    changed = list(of)
    other = rows(seed=5)[2]
    prompt = of[2].prompt
    # other tokens everywhere in row 2 but in its first response, whose prompt stays
    changed[2] = Row(
        prompt, (of[2].responses[0], other.responses[1][:1].repeat(len(of[2].responses[1])))
    )
    gone = list(of)
    gone[4] = Row(of[4].prompt[::-1].copy(), tuple(r[::-1].copy() for r in of[4].responses))
    with torch.no_grad():
        before = sequence_logps(model, pack(of, share))
        branch = sequence_logps(model, pack(changed, share))
        row = sequence_logps(model, pack(gone, share))
    same_branch = torch.cat([before[:5], before[6:]]), torch.cat([branch[:5], branch[6:]])
    same_row = torch.cat([before[:8], before[10:]]), torch.cat([row[:8], row[10:]])
    assert not torch.allclose(before[5], branch[5], atol=1e-3)
    assert not torch.allclose(before[8:10], row[8:10], atol=1e-3)
    return any(not torch.allclose(a, b, atol=1e-5) for a, b in (same_branch, same_row))


@pytest.mark.parametrize("share", [True, False])
def test_nothing_leaks(share: bool) -> None:
    model = make("Llama")
    use_packed_attention(model)
    assert not leaks(model, share)


@pytest.mark.parametrize("broken", ["no-mask", "one-segment", "sees-branch"])
def test_a_broken_mask_is_caught(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative controls: the check above must fail where attention is wrong."""
    model = make("Llama")
    use_packed_attention(model)
    made = groups._made

    def wrong(layout: Any) -> Any:
        if broken == "one-segment":  # all rows as one text
            n = np.array([int(layout.q_lengths.sum())])
            return made(type(layout)(n, n, None))
        if broken == "sees-branch":  # keys of the second branch are those of the first
            keys = layout.keys.clone()
            keys[keys > 0] -= 1
            return made(type(layout)(layout.q_lengths, layout.k_lengths, keys))
        found = made(layout)
        for group in found.groups:
            if group.mask is not None:
                group.mask.zero_()
        return found

    monkeypatch.setattr(groups, "_made", wrong)
    if broken == "no-mask":  # then every token of the own branch sees the later ones
        of = rows()
        plain_model = make("Llama")
        found = sequence_logps(model, pack(of))
        assert not torch.allclose(found, plain(plain_model, of), atol=1e-2)
    else:
        assert leaks(model)


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "config", "reason"),
    [
        ("Mistral", {"sliding_window": 8}, "sliding window of 8 tokens"),
        ("Qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "win"),
        ("Gemma", {}, "wasn't compared with that of 'gemma'"),
        ("Gemma2", {}, "'gemma2'"),
        ("GPT2", {}, "'gpt2'"),
    ],
)
def test_models_that_are_refused(name: str, config: dict[str, Any], reason: str) -> None:
    kind = getattr(transformers, f"{name}Config")(**config)
    found = can_share(kind)
    assert found is not None
    assert reason in found


def test_negative_control_a_window_would_be_lost() -> None:
    """Without the refusal, a model with a window would be computed as one without."""
    model = make("Mistral", sliding_window=4, attn_implementation="eager")
    of = rows()
    expected = plain(model, of)
    with pytest.raises(InputError, match="MistralForCausalLM can't be packed: .*window of 4"):
        use_packed_attention(model)
    model.config.sliding_window = None
    use_packed_attention(model)
    assert (sequence_logps(model, pack(of)) - expected).abs().max() > 0.1


def test_unpacked_use_is_refused() -> None:
    model = make("Llama")
    use_packed_attention(model)
    with pytest.raises(ValueError, match="needs a layout"):
        model(input_ids=torch.tensor([[3, 4]]))


# ---- the head -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", [1, 97 * 3, 1 << 22])
def test_chunks_change_nothing(bias: bool, chunk: int) -> None:
    rng = torch.Generator().manual_seed(0)

    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64).float().requires_grad_()

    hidden, weight = leaf(11, 8), leaf(97, 8)
    offset = leaf(97) if bias else None
    labels = torch.randint(0, 97, (11,), generator=rng)
    slope = torch.randn(11, generator=rng)
    leaves = [each for each in (hidden, weight, offset) if each is not None]
    found = token_logps(hidden, weight, offset, labels, 0.25, chunk)
    logits = 0.25 * functional.linear(hidden, weight, offset)
    expected = logits.log_softmax(-1)[range(11), labels]
    assert torch.allclose(found, expected, atol=1e-5)
    one = torch.autograd.grad((found * slope).sum(), leaves)
    two = torch.autograd.grad((expected * slope).sum(), leaves)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("positions", "width"), [(40, 16), (200, 16), (101, 512)])
def test_memory_of_the_head_is_what_torch_allocates(
    positions: int, width: int, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few logits that are kept, of chunks, and of chunks beside a wide head's gradient."""
    if half and width == 512 and not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("this CPU multiplies bfloat16 into float32 copies, which are PyTorch's own")
    monkeypatch.setattr(packed_logprobs, "_LOGITS", 1)
    monkeypatch.setattr(packed_logprobs, "_POSITIONS", 50)
    dtype = torch.bfloat16 if half else torch.float32
    hidden = torch.randn(positions, width, dtype=dtype, requires_grad=True)
    weight = torch.randn(4000, width, dtype=dtype, requires_grad=True)
    labels = torch.randint(0, 4000, (positions,))

    def step() -> None:
        torch.autograd.grad(token_logps(hidden, weight, None, labels).sum(), (hidden, weight))

    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    taken = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    expected = packed_logprobs.head_memory(positions, 4000, width, half, True)
    assert np.cumsum(taken).max() == pytest.approx(expected, rel=0.12)


def test_nothing_of_vocabulary_size_is_kept() -> None:
    hidden, weight = torch.randn(500, 16), torch.randn(1000, 16)
    sizes: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    for each in (hidden, weight):
        each.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        token_logps(hidden, weight, None, torch.zeros(500, dtype=torch.long), chunk=50_000)
    assert max(sizes) == weight.numel()
