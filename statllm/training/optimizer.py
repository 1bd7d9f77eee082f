"""AdamW on float32 weights, or on float32 copies of bfloat16 ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from statllm.errors import InputError
from statllm.training.settings import LanguageModelSettings, TrainingSettings


def make_optimizer(module: torch.nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return AdamW over the parameters that are trained; norms and biases don't decay.

    Weights in half precision get float32 copies, which the optimizer moves: at usual learning
    rates a step is smaller than the spacing of bfloat16 numbers, and would be lost.

    Raises
    ------
    InputError
        If their gradients are to add up in float32, and torch can't.
    """
    trained = [part for part in module.parameters() if part.requires_grad]
    if isinstance(settings, LanguageModelSettings) and settings.gradient_dtype == "float32":
        _add_up_in_float32(part for part in trained if part.dtype != torch.float32)
    groups = [
        {
            "params": [part for part in trained if part.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {"params": [part for part in trained if part.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = AdamW if all(part.dtype == torch.float32 for part in trained) else MasterAdamW
    return kind(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
    )


def _add_up_in_float32(parts: Iterable[Any]) -> None:
    """A sum in bfloat16 stands still as soon as it is 256 times what is added to it."""
    for part in parts:
        if not hasattr(part, "grad_dtype"):
            raise InputError("gradient_dtype float32 needs torch 2.10, or take bfloat16")
        part.grad_dtype = torch.float32


class AdamW(torch.optim.AdamW):
    """torch's, in its fused form."""

    def __init__(self, groups: Any, **options: Any) -> None:
        super().__init__(groups, fused=True, **options)


class MasterAdamW(torch.optim.Optimizer):
    """AdamW on float32 copies of the parameters, to which these are rounded after each step.

    The state holds the copies, so that a resumed training goes on from what was rounded.

    Parameters
    ----------
    groups : list of dict
        As torch's optimizers take them.
    options
        Of AdamW.
    """

    def __init__(self, groups: Any, **options: Any) -> None:
        super().__init__(groups, options)
        self.copies: list[list[Tensor]] = [
            [part.detach().float().clone().requires_grad_() for part in group["params"]]
            for group in self.param_groups
        ]
        self._inner = AdamW(
            [
                {**{k: v for k, v in group.items() if k != "params"}, "params": copies}
                for group, copies in zip(self.param_groups, self.copies, strict=True)
            ],
            **options,
        )

    @property
    def float32_gradients(self) -> bool:
        """Whether gradients of the parameters themselves are in float32."""
        parts = [part for group in self.param_groups for part in group["params"]]
        return any(getattr(part, "grad_dtype", None) == torch.float32 for part in parts)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move the copies by the parameters' gradients, which it uses up, and round them."""
        for group, inner, copies in zip(
            self.param_groups, self._inner.param_groups, self.copies, strict=True
        ):
            inner["lr"] = group["lr"]
            for part, copy in zip(group["params"], copies, strict=True):
                copy.grad = None if part.grad is None else part.grad.float()
                part.grad = None  # so that only one of the two takes memory
        self._inner.step()
        self._inner.zero_grad()
        for group, copies in zip(self.param_groups, self.copies, strict=True):
            for part, copy in zip(group["params"], copies, strict=True):
                part.copy_(copy)

    def state_dict(self) -> dict[str, Any]:
        """Return AdamW's state and the copies."""
        return {"adamw": self._inner.state_dict(), "copies": self.copies}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` has given."""
        self._inner.load_state_dict(state_dict["adamw"])
        for mine, theirs in zip(self.copies, state_dict["copies"], strict=True):
            for copy, value in zip(mine, theirs, strict=True):
                copy.copy_(value)
