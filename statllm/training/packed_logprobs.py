"""Log-probabilities of the responses of packed rows; no tensor of vocabulary size is kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from statllm.errors import InputError
from statllm.training.packing import Packed

# Each chunk reads the head's weights and adds to their gradient: of few positions at a time, that
# costs more than their products. On a CPU, 256 of them are the fastest for vocabularies of 32,000
# (131: .05 slower) and of 150,000 (128: a tenth slower, 27: half as slow again).
_LOGITS, _POSITIONS = 1 << 22, 256

# What models do to logits after the output layer, in their configurations' words.
_DIVISOR, _FACTOR = "logits_scaling", "logit_scale"
_OTHERS = ("final_logit_softcapping", "output_multiplier", "lm_head_multiplier")


def chunk_logits(vocabulary: int) -> int:
    """Return how many logits are held at a time: 4 million, and those of 256 positions at least.

    Their gradients are computed anew in the backward pass; fewer than these in all are kept.

    Examples
    --------
    >>> chunk_logits(512) // 512, chunk_logits(150_000) // 150_000
    (8192, 256)
    """
    return max(_LOGITS, _POSITIONS * vocabulary)


def sequence_logps(model: Any, packed: Packed, chunk: int | None = None) -> Tensor:
    """Log-probability of each response, summed over its tokens, in nats.

    The weight of the head is read here, not in a call of the head: where weights are divided
    over processes, this must run inside of a call of the module that is divided, and the head
    be a part of that module itself, not a unit of its own (`trainer.Objective.module`).

    Parameters
    ----------
    model : PreTrainedModel
        After `statllm.training.attention.use_packed_attention`.
    packed : Packed
        On the model's device.
    chunk : int, optional
        Logits that are held at a time; default `chunk_logits`.

    Returns
    -------
    Tensor
        Shape (n_sequences,), float32.
    """
    hidden = model.base_model(
        input_ids=packed.input_ids,
        position_ids=packed.position_ids,
        layout=packed.layout,
        use_cache=False,
    ).last_hidden_state[0]
    head = model.get_output_embeddings()
    scored = hidden.index_select(0, packed.scored)
    each = token_logps(scored, head.weight, head.bias, packed.labels, logit_factor(model), chunk)
    return each.new_zeros(packed.n_sequences).index_add(0, packed.sequence, each)


def logit_factor(model: Any) -> float:
    """Return what the output layer's product is multiplied by.

    Raises
    ------
    InputError
        If the model does something else to it, or its head isn't a plain linear layer.
    """
    config = model.config.get_text_config()
    for name in _OTHERS:
        if getattr(config, name, None) not in (None, 1.0):
            raise InputError(f"{type(model).__name__} can't be packed: its {name} isn't supported")
    if type(model.get_output_embeddings()) is not torch.nn.Linear:
        raise InputError(f"{type(model).__name__} can't be packed: its head isn't a linear layer")
    divisor = getattr(config, _DIVISOR, None) or 1.0
    return float(getattr(config, _FACTOR, None) or 1.0) / float(divisor)


def token_logps(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    factor: float = 1.0,
    chunk: int | None = None,
) -> Tensor:
    """Log-probability of each label, ``log softmax(factor (W h + b))[label]``, float32.

    Parameters
    ----------
    hidden : Tensor
        Shape (n, width).
    weight : Tensor
        Shape (vocabulary, width).
    bias : Tensor or None
        Shape (vocabulary,).
    labels : Tensor
        Shape (n,).
    factor : float
    chunk : int, optional
        Logits that are held at a time; default `chunk_logits`. Where all are more, they are
        computed once more in the backward pass.

    Examples
    --------
    >>> hidden, weight = torch.zeros(2, 3), torch.ones(4, 3)
    >>> token_logps(hidden, weight, None, torch.tensor([0, 1])).exp()
    tensor([0.2500, 0.2500])
    """
    if torch.is_autocast_enabled(hidden.device.type):
        kind = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(kind), weight.to(kind)
        bias = None if bias is None else bias.to(kind)
    n = max((chunk or chunk_logits(len(weight))) // len(weight), 1)
    if len(hidden) <= n:
        with torch.autocast(hidden.device.type, enabled=False):
            logits = _logits(hidden, weight, bias, factor)
        return -functional.cross_entropy(logits, labels, reduction="none")
    chunked: Any = _ChunkedLogps
    found: Tensor = chunked.apply(hidden, weight, bias, labels, factor, n)
    return found


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, factor: float) -> Tensor:
    return functional.linear(hidden, weight, bias).float().mul_(factor)


def head_memory(positions: int, vocabulary: int, width: int, half: bool, trained: bool) -> int:
    """Bytes that `token_logps` and its backward pass take at most, for logits and their gradients.

    Few enough logits are kept, with their log-probabilities and gradients, 12 bytes each. Of
    chunks there are the logits and their exponentials, 8 bytes; or, with the head's gradient as it
    is added up in float32, the logits' gradients: 4 bytes, and in 16 bits 2 more of each.

    Parameters
    ----------
    positions : int
        Whose tokens are predicted.
    vocabulary, width : int
        Of the head's weight.
    half : bool
        Whether products are in 16 bits.
    trained : bool
        Whether the head is.
    """
    chunk = chunk_logits(vocabulary)
    if positions * vocabulary <= chunk:
        return 12 * positions * vocabulary
    each = 6 if half else 4
    return max(8 * chunk, each * (chunk + vocabulary * width * trained))


def _add_product(sums: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a product to float32 sums."""
    if left.dtype == sums.dtype:
        sums.addmm_(left, right)
        return
    product = left @ right
    for some, more in zip(sums.split(1024), product.split(1024), strict=True):
        some += more  # in pieces, since a CPU copies what it adds to another format


class _ChunkedLogps(torch.autograd.Function):
    """`token_logps`, n positions at a time, in both directions."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        factor: float,
        n: int,
    ) -> Tensor:
        parts, totals = [], []
        with torch.autocast(hidden.device.type, enabled=False):
            for states, wanted in zip(hidden.split(n), labels.split(n), strict=True):
                logits = _logits(states, weight, bias, factor)
                total = logits.logsumexp(1)
                parts.append(logits.gather(1, wanted[:, None])[:, 0] - total)
                totals.append(total)
                del logits  # before the next are made
        ctx.save_for_backward(hidden, weight, bias, labels, torch.cat(totals))
        ctx.factor, ctx.n = factor, n
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, labels, totals = ctx.saved_tensors
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # sums over all chunks: in half precision they would lose what each adds
        of_weight = (
            torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        )
        of_bias = None
        if bias is not None and ctx.needs_input_grad[2]:
            of_bias = torch.zeros_like(bias, dtype=torch.float32)
        for start in range(0, len(hidden), ctx.n):
            part = slice(start, start + ctx.n)
            states = hidden[part]
            # p(token), and from it the gradient of log p(label) w.r.t. the output layer's product
            slope = _logits(states, weight, bias, ctx.factor)
            slope.sub_(totals[part, None]).exp_().neg_()
            slope[torch.arange(len(states), device=slope.device), labels[part]] += 1
            slope.mul_(gradients[0][part, None] * ctx.factor)
            if of_bias is not None:
                of_bias += slope.sum(0)
            slope = slope.to(weight.dtype)
            if of_hidden is not None:
                of_hidden[part] = slope @ weight
            if of_weight is not None:
                _add_product(of_weight, slope.T, states)
            del slope
        return (
            of_hidden,
            None if of_weight is None else of_weight.to(weight.dtype),
            None if of_bias is None else of_bias.to(weight.dtype),
            None,
            None,
            None,
        )
