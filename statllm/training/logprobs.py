"""Log-probability of responses under a model, and the batches that it is computed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from statllm.training.packing import Row

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


def padded_logps(model: Any, rows: Sequence[Row], device: torch.device) -> Tensor:
    """Log-probabilities of all responses of some rows, padded on the right; nats, float32.

    Returns
    -------
    Tensor
        Shape ``(n_rows, n_responses)``.
    """
    texts = [(row.prompt, ids) for row in rows for ids in row.responses]
    longest = max(len(prompt) + len(ids) for prompt, ids in texts)
    ids = torch.zeros((len(texts), longest), dtype=torch.int64)
    starts = torch.tensor([[len(prompt)] for prompt, _ in texts])
    lengths = torch.tensor([[len(prompt) + len(response)] for prompt, response in texts])
    for text, (prompt, response) in zip(ids, texts, strict=True):
        text[: len(prompt) + len(response)] = torch.as_tensor(
            np.concatenate([prompt, response]), dtype=torch.int64
        )
    places = torch.arange(longest)
    ids, attended = ids.to(device), (places < lengths).to(device)
    scored = ((places >= starts) & (places < lengths))[:, 1:].to(device)
    output = model(input_ids=ids, attention_mask=attended.long(), use_cache=False)
    logits = output.logits[:, :-1][scored].float()
    each = -functional.cross_entropy(logits, ids[:, 1:][scored], reduction="none")
    per_text = each.new_zeros(scored.shape).masked_scatter(scored, each).sum(1)
    return per_text.view(len(rows), -1)


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
