"""Settings of the trainers; importing them needs neither torch nor trl."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: How rows go through a model together.
Layout = Literal["shared", "packed", "padded"]

#: Losses of pairs, and of their chosen responses alone.
LossName = Literal[
    "dpo", "irpo", "scpo", "ipo", "hinge", "robust", "cdpo", "rdpo", "simpo", "pm", "sft"
]

#: What each named loss means: the coefficient of the NLL term, and whether weights count.
NAMED_LOSSES: dict[str, tuple[float, bool]] = {
    "dpo": (0.0, False),
    "irpo": (1.0, False),
    "scpo": (1.0, True),
    "ipo": (0.0, False),
    "hinge": (0.0, False),
    "robust": (0.0, False),
    "cdpo": (0.0, False),
    "rdpo": (0.0, False),
    "simpo": (0.0, False),
    "pm": (0.0, False),
    "sft": (1.0, False),
}


class TrainingSettings(BaseModel):
    """What all trainings have in common."""

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
    token_budget: int = Field(
        8192,
        ge=1,
        description="Tokens that go through the model together; bounds memory and doesn't change "
        "the result. A row that is longer goes alone.",
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
        description="Arithmetic of the forward pass. Weights and optimizer stay in float32 unless "
        "weight_dtype says otherwise.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, more time."
    )
    checkpoint_every: int | None = Field(
        100, ge=1, description="Steps between checkpoints to resume from. None: only at the end."
    )
    keep_every: int | Literal["epoch"] | None = Field(
        None,
        description="Steps between models that are kept, in <output>.steps, or each epoch's.",
    )
    seed: int = Field(0, ge=0, description="Decides the order of the data.")
    logging_steps: int = Field(
        10,
        ge=1,
        description="Steps between updates of the progress line; the curve has every step.",
    )
    report_to: tuple[str, ...] = Field(
        (),
        description="Loggers: tensorboard, wandb, trackio, or another that transformers knows. "
        "Files that they write lie in <output>.logs.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if isinstance(self.keep_every, int) and self.keep_every < 1:
            raise ValueError("keep_every must be at least 1, or 'epoch'")
        if self.warmup_steps and self.warmup_ratio:
            raise ValueError("warmup_steps and warmup_ratio exclude each other")
        return self


class LanguageModelSettings(TrainingSettings):
    """What preference training and SFT have in common."""

    layout: Literal["auto", "shared", "packed", "padded"] = Field(
        "auto",
        description="shared: a prompt is computed once for both responses; packed: no padding; "
        "padded: transformers' usual way. All give the same gradients. auto: shared, or padded for "
        "models whose attention can't be shared.",
    )
    weight_dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Of the weights in the model; the optimizer moves float32 copies of bfloat16 "
        "ones, since a step is smaller than their spacing. With an adapter, of all but its own.",
    )
    gradient_dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="In which gradients of bfloat16 weights add up over the parts of a batch; "
        "bfloat16 takes half the memory and loses small contributions.",
    )
    lora_rank: int | None = Field(
        None, ge=1, description="Train an adapter of this rank, and nothing else."
    )
    lora_alpha: float | None = Field(
        None, gt=0, description="Scale of the adapter times its rank; default: twice the rank."
    )
    lora_targets: tuple[str, ...] = Field(
        (), description="Names of the linear layers that get an adapter; default: all but the head."
    )

    @model_validator(mode="after")
    def _adapter_is_whole(self) -> Self:
        if self.lora_rank is None and (self.lora_alpha or self.lora_targets):
            raise ValueError("lora_alpha and lora_targets need lora_rank")
        return self

    @model_validator(mode="after")
    def _gradients_have_their_weights(self) -> Self:
        if self.gradient_dtype == "bfloat16" and not self.master_copies:
            raise ValueError("gradient_dtype bfloat16 is for weights in bfloat16 that are trained")
        return self

    @property
    def master_copies(self) -> bool:
        """Whether weights in bfloat16 are trained, of which the optimizer moves float32 copies."""
        return self.weight_dtype == "bfloat16" and self.lora_rank is None


class PreferenceSettings(LanguageModelSettings):
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

    loss: LossName = Field(
        "dpo",
        description="dpo: sigmoid; irpo: dpo with alpha 1; scpo: with weights, too; ipo, hinge "
        "(SLiC), robust and cdpo (with label_noise); rdpo (length_penalty); simpo (per token, "
        "gamma, no reference); pm: preference matching (entropy, no reference, no beta); sft: the "
        "chosen responses' NLL alone, which says what the rejected ones are worth.",
    )
    beta: float = Field(
        0.1,
        gt=0,
        description="Pull towards the reference: larger stays closer. IRPO uses .1, ScPO .5; IPO's "
        "is its tau; SimPO has no reference and uses 2.",
    )
    alpha: float | None = Field(
        None,
        ge=0,
        description="Coefficient of the chosen response's NLL. None: as the loss has it.",
    )
    nll_norm: Literal["sequence", "token"] = Field(
        "sequence",
        description="sequence: each response's NLL per token of its own, as IRPO and ScPO; token: "
        "per token of the whole optimizer batch, where a long response weighs more.",
    )
    label_noise: float = Field(
        0.1, ge=0, lt=0.5, description="Share of swapped labels, for robust and cdpo."
    )
    length_penalty: float = Field(
        0.01,
        ge=0,
        description="Nats per token that the chosen response is longer, for rdpo; 0 is dpo. The "
        "paper's alpha.",
    )
    gamma: float = Field(0.5, ge=0, description="Target margin, for simpo.")
    entropy: float = Field(
        1.0,
        gt=0,
        description="Coefficient of -log pi, for pm. At 1 the policy's odds between responses are "
        "the raters'; below it exaggerates the majority.",
    )
    ipo_norm: Literal["sum", "token"] = Field(
        "sum",
        description="ipo: log-probabilities summed over a response, as the paper has it, or per "
        "token, as trl does (its beta then is another).",
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

    eval_every: int | None = Field(
        None, ge=1, description="Steps between evaluations on held-out pairs. None: at the end."
    )
    keep_best: Literal["loss", "margin", "accuracy"] | None = Field(
        None,
        description="Take the weights of the evaluation with the best such figure instead of the "
        "last ones; the first of several. It has then been chosen, and is optimistic.",
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

    @property
    def needs_reference(self) -> bool:
        """Whether the loss compares with a reference."""
        return self.loss not in ("simpo", "pm", "sft")

    @property
    def reward_scale(self) -> float:
        """What the log-ratios are multiplied with to give the curve's rewards."""
        return self.entropy if self.loss == "pm" else self.beta


class SFTSettings(LanguageModelSettings):
    """Settings of supervised fine-tuning."""

    use_weights: bool = Field(
        True, description="Multiply each example's loss by its weight column, where there is one."
    )
