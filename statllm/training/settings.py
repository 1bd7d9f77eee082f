"""Settings of the trainers; importing them needs neither torch nor trl."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: What each named loss means: the coefficient of the NLL term, and whether weights count.
NAMED_LOSSES: dict[str, tuple[float, bool]] = {
    "dpo": (0.0, False),
    "irpo": (1.0, False),
    "scpo": (1.0, True),
}


class TrainingSettings(BaseModel):
    """What preference training and SFT have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(1e-6, gt=0, description="Peak learning rate of AdamW.")
    lr_scheduler: Literal["constant", "linear", "cosine"] = Field(
        "linear",
        description="Course of the learning rate after warm-up; linear and cosine end at 0.",
    )
    warmup_steps: int = Field(0, ge=0, description="Optimizer steps of linear warm-up.")
    warmup_ratio: float = Field(
        0.0, ge=0, lt=1, description="Warm-up as a share of all steps; excludes warmup_steps."
    )
    weight_decay: float = Field(0.0, ge=0, description="Decoupled decay; norms and biases exempt.")
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    adam_epsilon: float = Field(1e-8, gt=0)
    max_grad_norm: float = Field(
        1.0, ge=0, description="Gradients are clipped to this norm; 0 switches clipping off."
    )
    epochs: int = Field(1, ge=1, description="Passes over the data.")
    max_steps: int | None = Field(
        None, ge=1, description="Optimizer steps; where given, it replaces epochs."
    )
    batch_size: int = Field(16, ge=1, description="Pairs (or examples) per optimizer step.")
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="Pairs per forward pass, a divisor of batch_size; bounds memory and doesn't "
        "change the result. None: the whole batch.",
    )
    max_length: int | None = Field(
        None,
        ge=2,
        description="Longest prompt + response in tokens; longer rows are dropped and counted, "
        "never cut. None: the model's own limit.",
    )
    require_eos: bool = Field(
        True,
        description="Drop (and count) rows with a response that doesn't end by itself; training "
        "on them teaches the model never to stop.",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Arithmetic of the forward pass. Weights and optimizer stay in float32: at "
        "usual learning rates a bfloat16 weight is too coarse to move.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, more time."
    )
    checkpoint_every: int | None = Field(
        100, ge=1, description="Steps between checkpoints to resume from. None: only at the end."
    )
    seed: int = Field(0, ge=0, description="Decides the order of the data.")
    logging_steps: int = Field(
        10,
        ge=1,
        description="Steps between updates of the progress line; the curve has every step.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.warmup_steps and self.warmup_ratio:
            raise ValueError("warmup_steps and warmup_ratio exclude each other")
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size {self.micro_batch_size} must divide batch_size {self.batch_size}"
            )
        return self


class PreferenceSettings(TrainingSettings):
    """Settings of preference training.

    Examples
    --------
    The loss decides `alpha` and `use_weights` unless they are given.

    >>> settings = PreferenceSettings(loss="scpo", beta=0.5)
    >>> settings.nll_coefficient, settings.weighted
    (1.0, True)
    >>> PreferenceSettings(loss="scpo", use_weights=False).weighted
    False
    """

    loss: Literal["dpo", "irpo", "scpo"] = Field(
        "dpo",
        description="dpo: alpha 0, no weights; irpo: alpha 1, no weights; scpo: alpha 1, weights.",
    )
    beta: float = Field(
        0.1,
        gt=0,
        description="Pull towards the reference: larger stays closer. IRPO uses .1, ScPO .5.",
    )
    alpha: float | None = Field(
        None,
        ge=0,
        description="Coefficient of the chosen response's NLL per token. None: as the loss has it.",
    )
    use_weights: bool | None = Field(
        None,
        description="Multiply each pair's whole loss by its weight. None: as the loss has it.",
    )
    precompute_reference: bool = Field(
        True,
        description="Compute the reference's log-probabilities once instead of at every step; "
        "they are the same, and the reference leaves the memory.",
    )
    keep_truncated_rejected: bool = Field(
        False,
        description="Keep pairs whose rejected response ran into the length limit, although "
        "require_eos holds for the chosen one.",
    )

    # Not filled in at validation: an override of `loss` alone must still change both.
    @property
    def nll_coefficient(self) -> float:
        """`alpha`, or the named loss's."""
        return NAMED_LOSSES[self.loss][0] if self.alpha is None else self.alpha

    @property
    def weighted(self) -> bool:
        """`use_weights`, or the named loss's."""
        return NAMED_LOSSES[self.loss][1] if self.use_weights is None else self.use_weights


class SFTSettings(TrainingSettings):
    """Settings of supervised fine-tuning."""

    use_weights: bool = Field(
        True, description="Multiply each example's loss by its weight column, where there is one."
    )
