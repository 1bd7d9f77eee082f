"""What preference training and SFT minimise, as the training loop asks for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from statllm.training.losses import (
    cdpo_loss,
    dpo_loss,
    hinge_loss,
    ipo_loss,
    margin,
    nll_loss,
    pm_loss,
    rdpo_loss,
    reward,
    robust_loss,
    simpo_loss,
)
from statllm.training.sequences import SequenceLogps, Sequences
from statllm.training.settings import PreferenceSettings, SFTSettings

# Nats per square root of a token by which a model may differ from itself when its rows are
# computed beside others; rounding errors of single tokens add up like that.
_NOISE = {"float32": 1e-4, "bfloat16": 5e-2}


class PairObjective:
    """A preference loss of pairs, against a reference.

    Parameters
    ----------
    sequences : Sequences
        Chosen and rejected.
    weight : array of float, shape (n,)
        Of all sequences.
    settings : PreferenceSettings
    n_rows : int, optional
        Rows that are trained on, the first ones; default: all.
    starts_at_reference : bool
        Whether model and reference are the same at step 0. The first batch then must have a loss
        of ln 2 and margins of 0: anything else means that policy and reference aren't computed
        alike (dropout, another precision, another reference than thought).

    Attributes
    ----------
    reference : array of float, shape (n, 2), Module or None
        Log-probabilities under the reference in nats, or what computes them; None for losses
        without a reference. To be set before the first step.
    """

    def __init__(
        self,
        sequences: Sequences,
        weight: NDArray[np.float64],
        settings: PreferenceSettings,
        *,
        n_rows: int | None = None,
        starts_at_reference: bool = True,
    ) -> None:
        self.sequences, self.settings = sequences, settings
        self.n_rows = len(sequences.rows) if n_rows is None else n_rows
        self.weight = torch.tensor(weight, dtype=torch.float32)
        if not settings.weighted:
            self.weight = torch.ones_like(self.weight)
        self.reference: NDArray[np.float32] | torch.nn.Module | None = None
        self._check_start = starts_at_reference and settings.needs_reference

    def module(self, model: Any) -> torch.nn.Module:
        """Return the log-probabilities of both responses."""
        return SequenceLogps(model, self.sequences)

    def bins(self, rows: Sequence[int]) -> list[list[int]]:
        """Divide rows by the token budget."""
        return self.sequences.bins(rows)

    def tokens(self, rows: Sequence[int]) -> int:
        """Return the positions that the model computes."""
        return self.sequences.tokens(rows)

    def losses(
        self, module: torch.nn.Module, rows: Sequence[int], batch: Sequence[int], step: int
    ) -> dict[str, Tensor]:
        """Return the losses of the pairs, and what the curve shows of them."""
        logps = module(rows)
        where = list(rows)
        tokens = self.sequences.response_tokens[where].to(logps.device)
        weight = self.weight[where].to(logps.device)
        reference = self._reference(where, logps)
        mean = float(self.sequences.response_tokens[list(batch), 0].double().mean())
        found = pair_figures(self.settings, logps, reference, tokens, weight, mean)
        if self._check_start and step == 0:
            assert_start(self.settings, found["margin"], tokens)
        return found

    def _reference(self, rows: list[int], logps: Tensor) -> Tensor:
        """The reference's log-probabilities, (n, 2); without a reference they are 0."""
        if self.reference is None:
            return torch.zeros_like(logps)
        if isinstance(self.reference, torch.nn.Module):
            with torch.no_grad():
                live: Tensor = self.reference(rows)
            return live
        return torch.from_numpy(self.reference[rows]).to(logps.device)


def pair_figures(
    settings: PreferenceSettings,
    logps: Tensor,
    reference: Tensor,
    tokens: Tensor,
    weight: Tensor,
    mean_tokens: float | None = None,
) -> dict[str, Tensor]:
    """Losses of pairs and what the curve shows of them, each of shape (n,).

    Parameters
    ----------
    settings : PreferenceSettings
    logps, reference : Tensor
        Log-probabilities of chosen and rejected, (n, 2), nats; under policy and reference.
    tokens : Tensor
        Of the responses, (n, 2).
    weight : Tensor
        Shape (n,).
    mean_tokens : float, optional
        Of a chosen response, over the whole optimizer batch; for the norm "token".
    """
    chosen, rejected = logps.unbind(1)
    ref_chosen, ref_rejected = reference.unbind(1)
    scale = settings.reward_scale
    delta = margin(chosen, rejected, ref_chosen, ref_rejected).detach()
    preference = preference_term(settings, logps, reference, tokens)
    nll = nll_loss(chosen, tokens[:, 0])
    pull = -chosen / mean_tokens if settings.nll_norm == "token" and mean_tokens else nll
    return {
        "loss": weight * (preference + settings.nll_coefficient * pull),
        "loss_dpo": preference,
        "loss_nll": nll,
        "logp_chosen": chosen,
        "logp_rejected": rejected,
        "reward_chosen": reward(chosen, ref_chosen, scale),
        "reward_rejected": reward(rejected, ref_rejected, scale),
        "margin": delta,
        "accuracy": torch.heaviside(delta, torch.full_like(delta, 0.5)),  # a tie is a half
        "weight": weight,
    }


def preference_term(
    settings: PreferenceSettings, logps: Tensor, reference: Tensor, tokens: Tensor
) -> Tensor:
    """Return the loss that the settings name, without weight and NLL, (n,)."""
    policy, ref = logps.unbind(1), reference.unbind(1)
    four = policy[0], policy[1], ref[0], ref[1]
    beta, noise = settings.beta, settings.label_noise
    match settings.loss:
        case "ipo":
            if settings.ipo_norm == "token":
                sizes = tokens.unbind(1)
                four = (
                    policy[0] / sizes[0],
                    policy[1] / sizes[1],
                    ref[0] / sizes[0],
                    ref[1] / sizes[1],
                )
            return ipo_loss(*four, beta)
        case "hinge":
            return hinge_loss(*four, beta)
        case "robust":
            return robust_loss(*four, beta, noise)
        case "cdpo":
            return cdpo_loss(*four, beta, noise)
        case "simpo":
            return simpo_loss(*four[:2], tokens[:, 0], tokens[:, 1], beta, settings.gamma)
        case "rdpo":
            sizes = tokens.unbind(1)
            return rdpo_loss(*four, sizes[0], sizes[1], beta, settings.length_penalty)
        case "pm":
            return pm_loss(*four[:2], settings.entropy)
        case "sft":
            return torch.zeros_like(four[0])
        case _:
            return dpo_loss(*four, beta)


def assert_start(settings: PreferenceSettings, delta: Tensor, tokens: Tensor) -> None:
    """End the run if the policy isn't its own reference.

    Raises
    ------
    RuntimeError
        If a margin differs from 0 by more than rounding explains.
    """
    noise = _NOISE[settings.dtype] * tokens.sum(1).sqrt()
    worst = (delta.abs() / noise).argmax()
    if not delta[worst].abs() <= noise[worst]:
        loss = functional.softplus(-settings.beta * delta).mean()
        raise RuntimeError(
            f"at step 0 the DPO loss is {loss:.6f} instead of ln 2 = {math.log(2):.6f}, and a "
            f"margin is {delta[worst]:.6f} nats instead of 0 (rounding explains "
            f"{noise[worst]:.6f}): the reference isn't the model that the run starts from"
        )


class ResponseObjective:
    """Weighted NLL per token of each response, ``w NLL / |y|``.

    trl's SFTTrainer takes the mean over the tokens of the batch, where a long response weighs
    more; a mean per sequence is the NLL term of IRPO and ScPO.

    Parameters
    ----------
    sequences : Sequences
        With one response each.
    weight : array of float, shape (n_rows,)
    settings : SFTSettings
    """

    def __init__(
        self, sequences: Sequences, weight: NDArray[np.float64], settings: SFTSettings
    ) -> None:
        self.sequences, self.n_rows = sequences, len(sequences.rows)
        self.weight = torch.tensor(weight, dtype=torch.float32)
        if not settings.use_weights:
            self.weight = torch.ones_like(self.weight)

    def module(self, model: Any) -> torch.nn.Module:
        """Return the log-probabilities of the responses."""
        return SequenceLogps(model, self.sequences)

    def bins(self, rows: Sequence[int]) -> list[list[int]]:
        """Divide rows by the token budget."""
        return self.sequences.bins(rows)

    def tokens(self, rows: Sequence[int]) -> int:
        """Return the positions that the model computes."""
        return self.sequences.tokens(rows)

    def losses(
        self, module: torch.nn.Module, rows: Sequence[int], batch: Sequence[int], step: int
    ) -> dict[str, Tensor]:
        """Return the losses of the examples, and what the curve shows of them."""
        logps, where = module(rows)[:, 0], list(rows)
        nll = nll_loss(logps, self.sequences.response_tokens[where, 0].to(logps.device))
        weight = self.weight[where].to(logps.device)
        return {"loss": weight * nll, "loss_nll": nll, "logp": logps, "weight": weight}
