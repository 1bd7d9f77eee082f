"""How much memory a training will need, before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from statllm.errors import InputError
from statllm.training.packed_logprobs import head_memory
from statllm.training.sequences import choose_layout
from statllm.training.settings import LanguageModelSettings

_BYTES = {"float32": 4, "bfloat16": 2}
_GIB = 2**30
# Folder, limit and use, in versions 2 and 1.
_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a training needs on its device, by what they are for.

    Attributes
    ----------
    weights, gradients, optimizer, reference, activations, logits, step : int
        `weights` are with the bfloat16 copies that autocast makes of float32 ones; `reference` is
        a second model, where it lives beside the first; `activations` are those of the tokens
        that go through the model together; `step` is what the optimizer takes for a while, when
        the activations are gone.
    """

    weights: int
    gradients: int
    optimizer: int
    reference: int
    activations: int
    logits: int
    step: int

    @property
    def passing(self) -> int:
        """What isn't kept from step to step, at its largest."""
        return max(self.activations + self.logits, self.step)

    @property
    def total(self) -> int:
        """All that is there at the same time."""
        return self.weights + self.gradients + self.optimizer + self.reference + self.passing


def estimate_memory(
    model: Any, settings: LanguageModelSettings, tokens: int, *, live_reference: bool = False
) -> MemoryEstimate:
    """Estimate what a training needs.

    Weights, gradients and Adam's two moments are counted exactly. Activations are those that a
    decoder layer with a gated MLP keeps for its backward pass, per token: with width h, queries
    of width a, keys and values of width c, and an MLP of width m (of all experts that a token
    sees), ``9 h + 2 a + 2 c + 4 m`` numbers (what its products and norms multiply). bfloat16
    arithmetic on float32 weights leaves the norms in float32 and copies their results for each
    product, 8 h bytes more. With checkpointing h numbers per layer, and one layer in full.
    Attention's own matrices aren't kept. This is within an eighth of what torch keeps of a Llama;
    of other transformers it gives the order of magnitude, and state-space layers may keep several
    times as much. Fragmentation, and what the device's libraries take, come on top (on a CPU, .1
    GB where freed memory goes back to the system at once).

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
    n = sum(part.numel() for part in model.parameters())
    alone = settings.lora_rank is None
    trained = n if alone else _adapter_size(model, settings)
    weight = _BYTES[settings.weight_dtype]
    half = settings.master_copies
    gradient = _BYTES[settings.gradient_dtype]
    autocast = settings.dtype == "bfloat16" and weight == 4
    # a copy lives as long as the gradient needs it, and that of a trained weight until the loss
    copies = 2 * n if autocast and (alone or not settings.gradient_checkpointing) else 0
    vocabulary, width = model.get_output_embeddings().weight.shape
    if choose_layout(settings.layout, model.config) == "padded":  # of all positions at once
        logits = 12 * tokens * vocabulary
    else:
        logits = head_memory(tokens, vocabulary, width, autocast or weight == 2, alone)
    return MemoryEstimate(
        weights=n * weight + copies + (0 if alone else 4 * trained),
        gradients=trained * gradient,
        optimizer=trained * (12 if half else 8),
        reference=n * weight if live_reference and alone else 0,
        activations=tokens * _kept(model, settings, autocast),
        logits=logits,
        # gradients in float32, each in place of one in bfloat16
        step=trained * 2 if gradient == 2 else 0,
    )


def _kept(model: Any, settings: LanguageModelSettings, autocast: bool) -> int:
    """Bytes of a token's activations that wait for the backward pass."""
    config = model.config.get_text_config()
    width: int = config.hidden_size
    heads = getattr(config, "num_attention_heads", None) or 1
    each = getattr(config, "head_dim", None) or width // heads
    kv = (getattr(config, "num_key_value_heads", None) or heads) * each
    # a name that a configuration lacks: the usual four widths
    names = ("moe_intermediate_size", "intermediate_size", "ffn_dim", "n_inner")
    mlp = next((size for name in names if (size := getattr(config, name, None))), 4 * width)
    mlp *= getattr(config, "num_experts_per_tok", None) or 1
    number = min(_BYTES[settings.dtype], _BYTES[settings.weight_dtype])
    layer: int = number * (9 * width + 2 * heads * each + 2 * kv + 4 * mlp) + 8 * width * autocast
    layers: int = config.num_hidden_layers
    if settings.gradient_checkpointing:  # what goes from layer to layer is in the weights' format
        return layers * width * _BYTES[settings.weight_dtype] + layer
    return layers * layer


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
        f"{found.passing / _GIB:.1f} activations; try "
        f"{', '.join(tries) or 'a smaller model'}, or FSDP on several GPUs (a recipe's `launch`)"
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
    half = {"weight_dtype": "bfloat16", "dtype": "bfloat16"}
    if settings.weight_dtype == "float32":
        yield "weight_dtype bfloat16 with dtype bfloat16", half, live, tokens
    if settings.master_copies and settings.gradient_dtype == "float32":
        yield "gradient_dtype bfloat16", {"gradient_dtype": "bfloat16"}, live, tokens
    if settings.lora_rank is None:
        adapter = {"lora_rank": 16, "gradient_dtype": "float32"}
        yield "lora_rank 16", adapter, False, tokens
        yield (
            "lora_rank 16 with weight_dtype and dtype bfloat16",
            {**adapter, **half},
            False,
            tokens,
        )


def available_memory(device: torch.device) -> int:
    """Bytes that a training may use: free on a GPU; available on a CPU, within its cgroup."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found = int(line.split()[1]) * 1024
    except OSError:
        pass  # another system
    return min([found, *(left for left in map(_left, _CGROUPS) if left is not None)])


def _left(group: tuple[Path, str, str]) -> int | None:
    """Bytes that a cgroup has left; what it holds of files makes way. None without a limit."""
    folder, limit, used = group
    try:
        most = (folder / limit).read_text().strip()
        if most == "max":
            return None
        lines = (folder / "memory.stat").read_text().splitlines()
        of = {name: int(value) for name, value in (line.split() for line in lines)}
        # version 1 counts those of groups inside of it apart
        files = sum(of.get(f"total_{name}", of[name]) for name in ("inactive_file", "active_file"))
        return int(most) - int((folder / used).read_text()) + files
    except OSError:
        return None
