"""Attention of packed rows: segments of queries, each with its own and its prefix's keys."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from statllm.errors import InputError
from statllm.training.groups import Groups, padded_groups
from statllm.training.packing import Layout

#: Its name among transformers' attention functions.
NAME = "statllm_packed"

#: Architectures whose attention is a causal softmax over all that came before, and whose
#: positions are given; others are refused until they were compared with their padded results.
SHAREABLE = ("granite", "llama", "mistral", "olmo", "olmo2", "phi3", "qwen2", "qwen3")

#: Rotary positions that are a function of the position; those of other kinds change with the
#: longest row of a call, so that a row would depend on what it goes through the model with.
ROTARY = ("default", "linear", "llama3", "yarn")


def can_share(config: Any) -> str | None:
    """Return why a model's rows can't share a prompt, or be packed; None where they can.

    Parameters
    ----------
    config : PretrainedConfig

    Examples
    --------
    >>> from transformers import GemmaConfig, LlamaConfig, MistralConfig
    >>> can_share(LlamaConfig()), can_share(MistralConfig(sliding_window=4096))
    (None, 'its attention has a sliding window of 4096 tokens')
    >>> can_share(GemmaConfig())
    "packed attention wasn't compared with that of 'gemma' models"
    """
    text = config.get_text_config()
    kind = getattr(config, "model_type", None)  # a model of images isn't its part of text
    if kind not in SHAREABLE:
        return f"packed attention wasn't compared with that of '{kind}' models"
    window = getattr(text, "sliding_window", None)
    if window is not None and getattr(text, "use_sliding_window", True):
        return f"its attention has a sliding window of {window} tokens"
    other = {kind for kind in getattr(text, "layer_types", None) or () if kind != "full_attention"}
    if other:
        return f"it has layers of {min(other).replace('_', ' ')}"
    for name in ("attn_logit_softcapping", "attention_logit_cap"):
        if getattr(text, name, None) is not None:
            return "it caps the logits of its attention"
    if not getattr(text, "is_causal", True):
        return "its attention isn't causal"
    rotary = (getattr(text, "rope_parameters", None) or {}).get("rope_type", "default")
    if rotary not in ROTARY:
        return f"its rotary positions ({rotary}) change with the longest row of a call"
    return None


def use_packed_attention(model: Any) -> None:
    """Let a model attend as the ``layout`` says that it is called with.

    Raises
    ------
    InputError
        If the model isn't one that can.
    """
    reason = can_share(model.config)
    if reason is not None:
        raise InputError(f"{type(model).__name__} can't be packed: {reason}")
    _register()
    model.set_attn_implementation(NAME)


@lru_cache(maxsize=1)
def _register() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: Layout | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within segments, as one of transformers' attention functions.

    Parameters
    ----------
    module : Module
    query, key, value : Tensor
        Shape (1, heads, length, width); keys and values may have fewer heads.
    attention_mask : None
    scaling : float, optional
        Of the logits; left out, ``1 / sqrt(width)``.
    layout : Layout
    dropout : float
        Must be 0.

    Returns
    -------
    tuple
        Of shape (1, length, heads, width), and None.
    """
    if layout is None or attention_mask is not None or query.shape[0] != 1:
        raise ValueError("this model's attention was made for packed rows: it needs a layout")
    if dropout:
        raise ValueError("packed attention has no dropout: set the model's attention_dropout to 0")
    # Rotary embedding leaves queries and keys in float32 where the weights are; the kernel takes
    # 16 bits alone, and elsewhere autocast would come to the same after the copies below.
    kind = query.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype
    q, k, v = (
        states[0].transpose(0, 1).to(dtype) for states in (query, key, value)
    )  # (length, heads, width)
    if q.is_cuda and dtype in (torch.float16, torch.bfloat16) and _kernel_takes(q.shape[2]):
        out = _varlen(q, k, v, layout, scaling)
    else:
        out = _grouped(q, k, v, layout, scaling)
    return out[None], None


def _kernel_takes(width: int) -> bool:
    return width % 8 == 0 and width <= 256


_known: WeakKeyDictionary[Layout, tuple[Tensor, Tensor]] = WeakKeyDictionary()


def _bounds(layout: Layout, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where segments start and end, made once for all layers: each copy waits for the device."""
    found = _known.get(layout)
    if found is None:
        made = [
            torch.from_numpy(np.concatenate([[0], np.cumsum(n)])).to(device, torch.int32)
            for n in (layout.q_lengths, layout.k_lengths)
        ]
        found = _known[layout] = (made[0], made[1])
    return found


def _varlen(q: Tensor, k: Tensor, v: Tensor, layout: Layout, scaling: float | None) -> Tensor:
    """torch's own kernel for segments of any length, whose causal mask is aligned at the end."""
    if layout.keys is not None:
        k, v = k.index_select(0, layout.keys), v.index_select(0, layout.keys)
    if k.shape[1] != q.shape[1]:
        k, v = (states.repeat_interleave(q.shape[1] // k.shape[1], 1) for states in (k, v))
    out: Tensor = torch.ops.aten._flash_attention_forward(
        q.contiguous(), k.contiguous(), v.contiguous(), *_bounds(layout, q.device),
        int(layout.q_lengths.max()), int(layout.k_lengths.max()),
        0.0, True, False, scale=scaling,
    )[0]  # fmt: skip
    return out


# ---- anywhere -----------------------------------------------------------------------------------


def _grouped(q: Tensor, k: Tensor, v: Tensor, layout: Layout, scaling: float | None) -> Tensor:
    """Padded attention of segments of similar lengths, group by group."""
    padded = padded_groups(layout)
    sizes = [[n * n_q for n, n_q, _ in _shapes(padded)], [n * n_k for n, _, n_k in _shapes(padded)]]
    queries, keys = padded.queries.to(q.device), padded.keys.to(q.device)
    # taken for all groups at once: one by one, each would add zeros for the rest of the line to
    # the gradient
    parts = zip(
        padded.groups,
        q.index_select(0, queries).split(sizes[0]),
        k.index_select(0, keys).split(sizes[1]),
        v.index_select(0, keys).split(sizes[1]),
        strict=True,
    )
    out = []
    for group, own_q, own_k, own_v in parts:
        n = group.shape[0]
        found = functional.scaled_dot_product_attention(
            _heads_first(own_q, n, q.shape[1]),
            _heads_first(own_k, n, q.shape[1]),
            _heads_first(own_v, n, q.shape[1]),
            attn_mask=None if group.mask is None else group.mask.to(q.device, q.dtype),
            is_causal=group.mask is None,
            scale=scaling,
        )
        out.append(found.transpose(1, 2).reshape(len(own_q), *q.shape[1:]))
    return torch.cat(out).index_select(0, padded.back.to(q.device))


def _shapes(padded: Groups) -> list[tuple[int, int, int]]:
    return [group.shape for group in padded.groups]


def _heads_first(states: Tensor, n: int, heads: int) -> Tensor:
    """States of n segments, (n, heads, length, width), each head as often as queries use it."""
    states = states.view(n, -1, *states.shape[1:])
    if states.shape[2] != heads:
        states = states.repeat_interleave(heads // states.shape[2], 2)
    return states.transpose(1, 2)
