"""What packed attention is called with: its kernel's contract, number formats, and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from statllm.errors import InputError
from statllm.training import attention
from statllm.training.attention import can_share, packed_attention, use_packed_attention
from statllm.training.packed_logprobs import sequence_logps
from statllm.training.packing import Packed, Row, assign, pack, packed_length

SMALL = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
KINDS = ("Granite", "Llama", "Mistral", "Olmo", "Olmo2", "Phi3", "Qwen2", "Qwen3")


def make(name: str, **config: Any) -> Any:
    torch.manual_seed(0)
    window = {"sliding_window": None} if name == "Mistral" else {}
    kind = getattr(transformers, f"{name}Config")(**{**SMALL, **window, **config})
    return getattr(transformers, f"{name}ForCausalLM")(kind)


def rows(n: int = 6, seed: int = 0) -> list[Row]:
    rng = np.random.default_rng(seed)

    def ids(low: int, high: int) -> Any:
        return rng.integers(3, 61, rng.integers(low, high)).astype(np.int32)

    return [Row(ids(1, 12), (ids(1, 14), ids(1, 14))) for _ in range(n)]


def gradient(model: Any) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


# ---- the kernel for GPUs ------------------------------------------------------------------------


def plain_varlen(
    q: Tensor, k: Tensor, v: Tensor, ends: tuple[Tensor, Tensor], scale: float | None,
    slope: Tensor | None = None,
) -> list[Tensor]:  # fmt: skip
    """What the kernel is documented to compute: causal, the last query at the last key.

    With a slope, the gradients of queries, keys and values.
    """
    found: list[list[Tensor]] = []
    scale = q.shape[2] ** -0.5 if scale is None else scale
    q_ends, k_ends = (end.tolist() for end in ends)
    for i in range(len(q_ends) - 1):
        mine, seen = slice(*q_ends[i : i + 2]), slice(*k_ends[i : i + 2])
        a, b, c = (x.transpose(0, 1) for x in (q[mine], k[seen], v[seen]))
        n_q, n_k = a.shape[1], b.shape[1]
        hidden = torch.ones(n_q, n_k, dtype=torch.bool).triu(n_k - n_q + 1)
        p = ((a @ b.mT) * scale).masked_fill(hidden, -torch.inf).softmax(-1)
        if slope is None:
            results = [p @ c]
        else:
            up = slope[mine].transpose(0, 1)
            down = up @ c.mT
            down = p * (down - (down * p).sum(-1, keepdim=True)) * scale
            results = [down @ b, down.mT @ a, p.mT @ up]
        found.append([x.transpose(0, 1) for x in results])
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


@pytest.fixture
def kernel_on_cpu() -> Iterator[list[tuple[Any, ...]]]:
    """Give torch's varlen kernel, which exists for GPUs alone, a plain one for the CPU.

    It takes what the kernel takes, and refuses what the kernel refuses; torch's own derivative
    connects the two directions. Its calls are noted.
    """
    calls: list[tuple[Any, ...]] = []

    def forward(
        q: Tensor, k: Tensor, v: Tensor, q_ends: Tensor, k_ends: Tensor, max_q: int, max_k: int,
        dropout: float, causal: bool, debug: bool, *, scale: float | None = None, **_: Any,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        assert q_ends.dtype == k_ends.dtype == torch.int32
        assert all(x.is_contiguous() for x in (q, k, v))
        assert q.dtype == k.dtype == v.dtype
        assert q.shape[1] == k.shape[1] == v.shape[1]
        assert (max_q, max_k) == (int(q_ends.diff().max()), int(k_ends.diff().max()))
        assert (int(q_ends[-1]), int(k_ends[-1])) == (len(q), len(k))
        assert (causal, dropout, debug) == (True, 0.0, False)
        calls.append((q_ends, k_ends))
        (out,) = plain_varlen(q, k, v, (q_ends, k_ends), scale)
        return out, q.new_empty(0), q.new_empty(0), q.new_empty(0), q.new_empty(0)

    def backward(
        slope: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
        q_ends: Tensor, k_ends: Tensor, *rest: Any, scale: float | None = None, **_: Any,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        return tuple(plain_varlen(q, k, v, (q_ends, k_ends), scale, slope))

    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    library.impl("_flash_attention_forward", forward, "CPU")
    library.impl("_flash_attention_backward", backward, "CPU")
    yield calls
    library._destroy()


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_kernel_and_groups_agree(
    heads: tuple[int, int], share: bool, scaling: float | None, kernel_on_cpu: list[Any]
) -> None:
    packed = pack(rows(), share)
    torch.manual_seed(0)
    length = packed.input_ids.shape[1]
    states = [
        torch.randn(length, n, 8, dtype=torch.float64, requires_grad=True)
        for n in (heads[0], heads[1], heads[1])
    ]
    slope = torch.randn(length, heads[0], 8, dtype=torch.float64)
    results = []
    for way in (attention._varlen, attention._grouped):
        out = way(*states, packed.layout, scaling)
        results.append([out, *torch.autograd.grad(out, states, slope)])
    assert len(kernel_on_cpu) == 1
    for one, two in zip(*results, strict=True):
        assert torch.allclose(one, two, atol=1e-10)


def test_kernel_of_torch_takes_these_shapes() -> None:
    """torch's own shape functions, forward and backward, on 16-bit states without memory."""
    packed = pack(rows())
    layout = packed.to("meta").layout
    length = packed.input_ids.shape[1]
    states = [
        torch.empty(length, n, 64, dtype=torch.bfloat16, device="meta", requires_grad=True)
        for n in (4, 2, 2)
    ]
    out = attention._varlen(*states, layout, None)
    assert (out.shape, out.dtype) == (states[0].shape, torch.bfloat16)
    found = torch.autograd.grad(out.sum(), states)
    assert [x.shape for x in found] == [x.shape for x in states]


def test_bounds_are_made_once_for_all_layers(kernel_on_cpu: list[tuple[Any, ...]]) -> None:
    packed = pack(rows())
    states = [torch.randn(packed.input_ids.shape[1], 2, 8) for _ in range(3)]
    for _ in range(2):
        attention._varlen(*states, packed.layout, None)
    assert all(a is b for a, b in zip(*kernel_on_cpu, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_the_kernel_sees_16_bits_under_autocast(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotary embedding makes float32 of queries and keys; the kernel would never be used."""
    seen: set[torch.dtype] = set()
    grouped = attention._grouped

    def note(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> Tensor:
        seen.update(x.dtype for x in (q, k, v))
        return grouped(q, k, v, *rest)

    monkeypatch.setattr(attention, "_grouped", note)
    model = make(name)
    use_packed_attention(model)
    with torch.autocast("cpu", torch.bfloat16):
        sequence_logps(model, pack(rows()))
    assert seen == {torch.bfloat16}


def test_bfloat16_gradients_are_no_worse_than_padded() -> None:
    of = rows(30)
    model = make("Qwen3")
    errors: list[Tensor] = []
    exact = None
    for dtype, layout in ((None, "plain"), ("bf16", "plain"), ("bf16", "packed")):
        if layout == "packed":
            use_packed_attention(model)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
            found = sequence_logps(model, pack(of)) if layout == "packed" else plain(model, of)
        model.zero_grad()
        (-torch.nn.functional.logsigmoid(0.3 * (found[::2] - found[1::2]))).sum().backward()
        if exact is None:
            exact = gradient(model)
        else:
            errors.append((gradient(model) - exact).norm())
    assert 0 < errors[1] <= 1.1 * errors[0]


def plain(model: Any, of: list[Row]) -> Tensor:
    found = []
    for row in of:
        for response in row.responses:
            text = torch.tensor(np.concatenate([row.prompt, response])[None].astype(np.int64))
            logits = model(input_ids=text).logits[0, len(row.prompt) - 1 : -1].float()
            wanted = text[0, len(row.prompt) :, None]
            found.append(logits.log_softmax(-1).gather(1, wanted).sum())
    return torch.stack(found)


# ---- whatever goes through together -------------------------------------------------------------


@pytest.mark.parametrize("share", [True, False])
def test_budget_and_order_change_nothing(share: bool) -> None:
    of = rows(10)
    model = make("Llama")
    expected = plain(model, of)
    (expected[::2] - expected[1::2]).square().sum().backward()
    exact = gradient(model)
    use_packed_attention(model)
    sizes = [packed_length(len(r.prompt), [len(x) for x in r.responses], share) for r in of]
    for budget in (1, 40, 90, 10_000):
        order = np.random.default_rng(budget).permutation(10).tolist()
        model.zero_grad()
        for part in assign([sizes[i] for i in order], budget):
            members = [order[place] for place in part]
            logps = sequence_logps(model, pack([of[i] for i in members], share))
            wanted = torch.stack([expected[2 * i : 2 * i + 2] for i in members]).flatten()
            assert torch.allclose(logps, wanted, atol=3e-5)
            (logps[::2] - logps[1::2]).square().sum().backward()
        assert (gradient(model) - exact).norm() <= 1e-5 * exact.norm()


def test_other_rows_move_no_bit() -> None:
    model = make("Qwen3")
    use_packed_attention(model)
    of = rows()
    other = list(of)
    other[3] = Row((of[3].prompt + 1) % 61, tuple((ids + 1) % 61 for ids in of[3].responses))
    with torch.no_grad():
        before, after = (sequence_logps(model, pack(each)) for each in (of, other))
    moved = (before != after).view(-1, 2)
    assert moved.any(1).tolist() == [False, False, False, True, False, False]


def test_adapters() -> None:
    """LoRA's gradients are those of plain forwards; one on the head is refused."""
    peft = pytest.importorskip("peft")
    of = rows()
    adapted = peft.get_peft_model(
        make("Llama"), peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    trained = [p for p in adapted.parameters() if p.requires_grad]
    torch.manual_seed(1)
    for part in trained:  # B starts at zero, and with it A's gradient
        torch.nn.init.normal_(part, std=0.2)
    model = adapted.get_base_model()
    one = torch.autograd.grad(plain(model, of).square().sum(), trained)
    use_packed_attention(model)
    two = torch.autograd.grad(sequence_logps(model, pack(of)).square().sum(), trained)
    for a, b in zip(one, two, strict=True):
        assert (a - b).norm() <= 1e-5 * a.norm()
    on_head = peft.LoraConfig(r=4, target_modules=["lm_head"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(make("Llama"), on_head).get_base_model()
    use_packed_attention(model)
    with pytest.raises(InputError, match="its head isn't a linear layer"):
        sequence_logps(model, pack(of))


# ---- refusals -----------------------------------------------------------------------------------

DYNAMIC = {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}, "max_position_embeddings": 8}
LONG = {
    "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4},
    "original_max_position_embeddings": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "config"), [("Llama", DYNAMIC), ("Phi3", LONG)], ids=["dynamic", "longrope"]
)
def test_positions_that_depend_on_other_rows_are_refused(
    name: str, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(name, **config)
    with pytest.raises(InputError, match="change with the longest row"):
        use_packed_attention(model)
    # negative control: unrefused, a short row's log-probabilities move beside a long row
    monkeypatch.setattr(attention, "ROTARY", ("dynamic", "longrope"))
    use_packed_attention(model)
    ids = np.arange(3, 23, dtype=np.int32)
    short, long = Row(ids[:3], (ids[:2], ids[2:4])), Row(ids, (ids, ids))
    with torch.no_grad():
        alone, beside = (sequence_logps(model, pack(each)) for each in ([short], [short, long]))
    assert (beside[:2] - alone).abs().max() > 0.01


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 4.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ],
    ids=lambda scaling: scaling["rope_type"],
)  # fmt: skip
def test_positions_that_are_scaled_alike_for_all_rows(scaling: dict[str, Any]) -> None:
    model = make("Llama", rope_scaling=scaling)
    of = rows()
    expected = plain(model, of)
    use_packed_attention(model)
    assert torch.allclose(sequence_logps(model, pack(of)), expected, atol=3e-5)


def test_models_of_images_are_refused() -> None:
    config = transformers.LlavaConfig(text_config=transformers.LlamaConfig(**SMALL))
    assert can_share(config) == "packed attention wasn't compared with that of 'llava' models"


def test_attention_to_both_sides_is_refused() -> None:
    config = transformers.LlamaConfig(**SMALL)
    config.is_causal = False
    assert can_share(config) == "its attention isn't causal"


def test_dropout_is_refused() -> None:
    model = make("Llama", attention_dropout=0.5).train()
    use_packed_attention(model)
    with pytest.raises(ValueError, match="attention_dropout"):
        sequence_logps(model, pack(rows()))
    sequence_logps(model.eval(), pack(rows()))


def test_several_lines_are_refused() -> None:
    packed: Packed = pack(rows())
    states = torch.zeros(2, 1, packed.input_ids.shape[1], 8)
    with pytest.raises(ValueError, match="needs a layout"):
        packed_attention(torch.nn.Module(), states, states, states, None, layout=packed.layout)
