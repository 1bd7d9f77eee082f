"""Log-probability of responses under a model, and the batches that it is computed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

#: Configuration entries that change the logits after the output embedding.
_LOGIT_TRANSFORMS = (
    "final_logit_softcapping",
    "logit_scale",
    "output_multiplier",
    "lm_head_multiplier",
    "logits_scaling",
)


def response_logps(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Log-probability of each row's response, summed over its tokens, in nats.

    Parameters
    ----------
    model : PreTrainedModel
        Patched by trl's ``add_fused_lm_head``.
    batch : mapping of Tensor
        ``input_ids``, ``attention_mask`` and ``completion_mask`` (1 on the tokens of the
        response), each of shape ``(n, length)`` and padded on the right.

    Returns
    -------
    Tensor
        Shape ``(n,)``, float32.
    """
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    mask = batch["completion_mask"].bool()
    if batch["input_ids"].device.type == "cpu" and plain_head(model.config):
        # trl's chunked head projects the prompt and the padding too on a CPU, and once more in
        # the backward pass; small models spend a third of a step on that.
        hidden = model.base_model(**inputs, use_cache=False).last_hidden_state[:, :-1]
        scored = mask[:, 1:]
        logits = model.get_output_embeddings()(hidden[scored]).float()
        logps = -functional.cross_entropy(
            logits, batch["input_ids"][:, 1:][scored], reduction="none"
        )
        return logps.new_zeros(scored.shape).masked_scatter(scored, logps).sum(1)
    labels = batch["input_ids"].masked_fill(~mask, -100)
    output = model(**inputs, use_cache=False, labels=labels, fused_lm_head=True)
    total: Tensor = output.log_probs.sum(1)
    return total


def plain_head(config: Any) -> bool:
    """Whether the logits are the output embedding's product and nothing else."""
    config = config.get_text_config()
    return all(getattr(config, name, None) in (None, 1.0) for name in _LOGIT_TRANSFORMS)


def disable_dropout(model: torch.nn.Module) -> None:
    """Switch off all dropout: a policy with it isn't its own reference at step 0.

    trl zeroes the dropout layers, but attention dropout is a number on the attention module.
    """
    module: Any
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
