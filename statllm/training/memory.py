"""How much memory a training will need, before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from statllm.errors import InputError
from statllm.training.packed_logprobs import CHUNK
from statllm.training.settings import LanguageModelSettings

_BYTES = {"float32": 4, "bfloat16": 2}
_GIB = 2**30


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a training needs on its device, by what they are for.

    Attributes
    ----------
    weights, gradients, optimizer, reference, activations, logits : int
        `reference` is a second model, where it lives beside the first; `activations` are those of
        the tokens that go through the model together.
    """

    weights: int
    gradients: int
    optimizer: int
    reference: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return (
            self.weights
            + self.gradients
            + self.optimizer
            + self.reference
            + self.activations
            + self.logits
        )


def estimate_memory(
    model: Any, settings: LanguageModelSettings, tokens: int, *, live_reference: bool = False
) -> MemoryEstimate:
    """Estimate what a training needs.

    Weights, gradients and Adam's two moments are counted exactly. Activations are those that a
    decoder layer with a gated MLP keeps for its backward pass, per token: with width h, queries
    of width a, keys and values of width c, and an MLP of width m, ``9 h + 2 a + 2 c + 4 m``
    numbers (what its products and norms multiply); with checkpointing h per layer, and one layer
    in full. Attention's own matrices aren't kept. Fragmentation, and what the device's libraries
    take, come on top: on a CPU, with 63 million parameters, .7 to .8 GB in three settings that
    needed between 2.2 and 4.5.

    Parameters
    ----------
    model : PreTrainedModel
        May be on torch's meta device.
    settings : LanguageModelSettings
    tokens : int
        That go through the model together: the budget, or the longest row where that is longer.
    live_reference : bool
        Whether a second model computes the reference.
    """
    config = model.config.get_text_config()
    n = sum(part.numel() for part in model.parameters())
    trained = n if settings.lora_rank is None else _adapter_size(model, settings)
    weight = _BYTES[settings.weight_dtype]
    heads = config.num_attention_heads
    each = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv = (getattr(config, "num_key_value_heads", None) or heads) * each
    layer = 9 * config.hidden_size + 2 * heads * each + 2 * kv + 4 * config.intermediate_size
    layers = config.num_hidden_layers
    kept = (
        layers * config.hidden_size + layer if settings.gradient_checkpointing else layers * layer
    )
    alone = settings.lora_rank is None
    logits = min(CHUNK, tokens * config.vocab_size)
    return MemoryEstimate(
        weights=n * weight + (0 if alone else 4 * trained),
        gradients=trained * weight,
        optimizer=trained * (8 + (4 if weight < 4 else 0)),
        reference=n * weight if live_reference and alone else 0,
        activations=tokens * kept * _BYTES[settings.dtype],
        logits=3 * 4 * logits,
    )


def _adapter_size(model: Any, settings: LanguageModelSettings) -> int:
    """Parameters of an adapter: its rank times the inputs and outputs of each layer it is on."""
    head = model.get_output_embeddings()
    rank = settings.lora_rank or 0
    return sum(
        rank * (module.in_features + module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module is not head
        and (not settings.lora_targets or name.split(".")[-1] in settings.lora_targets)
    )


def check_training(
    folder: Path,
    settings: LanguageModelSettings,
    rows: Sequence[int],
    *,
    live_reference: bool = False,
) -> MemoryEstimate:
    """Refuse a training that this machine's memory doesn't hold, before a model is loaded.

    Parameters
    ----------
    folder : Path
        Of the model.
    settings : LanguageModelSettings
    rows : sequence of int
        Positions of each row.
    live_reference : bool

    Raises
    ------
    InputError
        As `check_memory`.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    longest = max(rows)
    batch = sum(sorted(rows)[-settings.batch_size :])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return check_memory(
        model,
        settings,
        max(longest, min(settings.token_budget, batch)),
        available_memory(device),
        live_reference=live_reference,
        longest=longest,
    )


def check_memory(
    model: Any,
    settings: LanguageModelSettings,
    tokens: int,
    available: int,
    *,
    live_reference: bool = False,
    longest: int = 1,
) -> MemoryEstimate:
    """Refuse a training that needs more than there is, with what would make it fit.

    Parameters
    ----------
    model, settings, tokens, live_reference
        As in `estimate_memory`.
    available : int
        Bytes.
    longest : int
        Tokens of the longest row, below which no budget helps.

    Raises
    ------
    InputError
        Says what is needed, and what each of the remedies that help would need.
    """
    found = estimate_memory(model, settings, tokens, live_reference=live_reference)
    if found.total <= available:
        return found
    tries = []
    for text, changes, live, size in _remedies(settings, tokens, live_reference, longest):
        changed = settings.model_copy(update=changes)
        total = estimate_memory(model, changed, size, live_reference=live).total
        if total < found.total:
            tries.append(f"{text} ({total / _GIB:.1f} GiB)")
    raise InputError(
        f"the training needs about {found.total / _GIB:.1f} GiB of {available / _GIB:.1f}: "
        f"{found.weights / _GIB:.1f} weights, {found.gradients / _GIB:.1f} gradients, "
        f"{found.optimizer / _GIB:.1f} optimizer, {found.reference / _GIB:.1f} reference, "
        f"{(found.activations + found.logits) / _GIB:.1f} activations; try "
        f"{', '.join(tries) or 'a smaller model'}"
    )


def _remedies(
    settings: LanguageModelSettings, tokens: int, live: bool, longest: int
) -> Iterator[tuple[str, dict[str, Any], bool, int]]:
    """What one could change, the cheapest first."""
    if live:
        yield "precompute_reference", {}, False, tokens
    smaller = max(longest, tokens // 4)
    if smaller < tokens:
        yield f"token_budget {smaller}", {}, live, smaller
    if not settings.gradient_checkpointing:
        yield "gradient_checkpointing", {"gradient_checkpointing": True}, live, tokens
    if settings.weight_dtype == "float32" and settings.lora_rank is None:
        half = {"weight_dtype": "bfloat16", "dtype": "bfloat16"}
        yield "weight_dtype bfloat16 with dtype bfloat16", half, live, tokens
    if settings.lora_rank is None:
        yield "lora_rank 16", {"lora_rank": 16, "weight_dtype": "float32"}, False, tokens


def available_memory(device: torch.device) -> int:
    """Bytes that a training may use: free on a GPU; available on a CPU, within its cgroup."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found = int(line.split()[1]) * 1024
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            used = int((group / "memory.current").read_text())
            found = min(found, int(limit) - used)
    except OSError:
        pass  # another system, or no cgroup
    return found
