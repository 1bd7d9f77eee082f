"""The Bradley-Terry loss of pairs of texts, as the training loop asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional

from statllm.errors import InputError
from statllm.models import loading
from statllm.scoring.reward_models.decoder import last_places
from statllm.scoring.reward_models.loading import padded, quiet
from statllm.training.logprobs import disable_dropout
from statllm.training.sequences import padded_bins


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Negative log-likelihood of each preference, ``−log σ(r_chosen − r_rejected)``, nats.

    Examples
    --------
    >>> bradley_terry_loss(torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0]))
    tensor([0.1269, 0.6931])
    """
    return -functional.logsigmoid(chosen - rejected)


def load_classifier(folder: Path, seed: int = 0) -> Any:
    """Load a decoder with one output, in float32.

    Parameters
    ----------
    folder : Path
        Of a reward model, or of a language model, whose output layer is left out.
    seed : int
        Of the output's weights where the folder has none: normal with variance 1 / width.

    Raises
    ------
    InputError
        If it's another kind of model, or its reward comes from another kind of head.
    """
    with loading(str(folder)), quiet():
        from transformers import AutoModelForSequenceClassification

        model: Any
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            num_labels=1,
            output_loading_info=True,
        )
    head = getattr(model, "score", None)
    if not isinstance(head, torch.nn.Linear):
        raise InputError(f"model {folder} isn't a decoder, which a reward model is trained from")
    lost = [key for key in sorted(info["unexpected_keys"]) if not key.startswith("lm_head.")]
    if lost:
        raise InputError(f"model {folder} can't be trained: its weights '{lost[0]}' have no place")
    missing = set(info["missing_keys"])
    lacking = sorted(missing - {"score.weight", "score.bias"})
    if lacking:
        raise InputError(f"model {folder} isn't complete: its weights lack {lacking[0]}")
    if missing:
        noise = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            head.weight.copy_(noise / head.weight.shape[1] ** 0.5)
            if head.bias is not None:
                head.bias.zero_()
    return model


class RewardObjective:
    """Mean Bradley-Terry loss of pairs of texts.

    Parameters
    ----------
    rows : pa.Table
        ``chosen_ids`` and ``rejected_ids``: prompt and response together.
    token_budget : int
        Positions, padding included, that go through the model together.
    """

    def __init__(self, rows: pa.Table, token_budget: int) -> None:
        columns = [rows[name].to_pylist() for name in ("chosen_ids", "rejected_ids")]
        self.texts = list(zip(*columns, strict=True))
        self.n_rows, self.budget = rows.num_rows, token_budget

    def module(self, model: Any) -> torch.nn.Module:
        """Return the rewards of both texts."""
        return _Rewards(model, self.texts)

    def bins(self, rows: Sequence[int]) -> list[list[int]]:
        """Divide rows by the token budget, those of similar length together."""
        return padded_bins(rows, [2 * max(map(len, self.texts[row])) for row in rows], self.budget)

    def tokens(self, rows: Sequence[int]) -> int:
        """Return the tokens of both texts."""
        return sum(len(ids) for row in rows for ids in self.texts[row])

    def losses(
        self, module: torch.nn.Module, rows: Sequence[int], batch: Sequence[int], step: int
    ) -> dict[str, Tensor]:
        """Return the losses of the pairs, and what the curve shows of them."""
        chosen, rejected = module(rows).unbind(1)
        margin = (chosen - rejected).detach()
        return {
            "loss": bradley_terry_loss(chosen, rejected),
            "reward_chosen": chosen,
            "reward_rejected": rejected,
            "margin": margin,
            "accuracy": torch.heaviside(margin, torch.full_like(margin, 0.5)),  # a tie is a half
        }


class _Rewards(torch.nn.Module):
    """Rewards of both texts of some rows, (n_rows, 2)."""

    def __init__(self, model: Any, texts: Sequence[tuple[list[int], list[int]]]) -> None:
        super().__init__()
        self.model, self.texts = model, texts
        disable_dropout(model)

    def forward(self, rows: Sequence[int]) -> Tensor:
        model = self.model
        ids, mask = padded([ids for row in rows for ids in self.texts[row]])
        ids, mask = ids.to(model.device), mask.to(model.device)
        hidden = model.base_model(
            input_ids=ids, attention_mask=mask, use_cache=False
        ).last_hidden_state
        places = last_places(ids, mask, model.config.get_text_config().pad_token_id)
        last = hidden[torch.arange(len(ids), device=ids.device), places].float()
        rewards: Tensor = model.score(last)[:, 0].float()
        return rewards.view(len(rows), 2)
