"""Settings of the selection rules: every choice that a paper leaves open has a name here."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from statllm.scoring.answers import AnswerRule


class RuleSettings(BaseModel):
    """What all rules have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(
        default=0, ge=0, description="Decides every random pick, together with the prompt_id."
    )
    truncated: Literal["exclude", "include"] = Field(
        default="exclude",
        description="Whether responses that ran into the length limit (finish_reason 'length') "
        "may be chosen or rejected. They vote either way. The papers don't say.",
    )


class AnswerRuleSettings(RuleSettings):
    """What rules that look at answers have in common."""

    answer_rule: AnswerRule = Field(
        default="auto",
        description="How answers are found where the table has responses but no answers.",
    )


class ScpoSettings(AnswerRuleSettings):
    """Self-consistency preference optimization (Prasad et al. 2024, arXiv 2411.04109)."""

    threshold: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Keep a prompt where the most frequent answer has at least this share of k.",
    )
    min_votes: int = Field(
        default=1, ge=1, description="And at least this many votes (ZebraLogic: 2 of 16)."
    )
    k: Literal["samples", "votes"] = Field(
        default="samples",
        description="What k counts, for threshold and weight: all sampled responses, as in the "
        "paper, or those with an answer.",
    )
    unparsed_rejected: bool = Field(
        default=False,
        description="Whether a response without an answer may be rejected (with 0 votes). It is "
        "never chosen. The paper doesn't say.",
    )
    extra: Literal["rejected", "vote", "ignore"] = Field(
        default="rejected",
        description="Samples whose pool is 'extra' (the paper draws 8 more at a higher "
        "temperature): they widen the rejected candidates, or vote as well, or don't count. In "
        "the first case an extra answer's votes are those that it has among the others.",
    )
    labels: Literal["ignore", "use"] = Field(
        default="ignore",
        description="'use': semi-supervised. Prompts with a known answer get a right chosen and "
        "a wrong rejected response with weight 1; the others are decided by votes.",
    )
    weight: Literal["margin", "constant"] = Field(
        default="margin",
        description="(votes of chosen - votes of rejected) / k, or 1 (an ablation of the paper). "
        "Pairs with equal votes are dropped in both cases.",
    )
    pairs_per_prompt: int = Field(
        default=1, ge=1, description="Pairs of a prompt; further ones take other responses."
    )


class ConformalSettings(ScpoSettings):
    """ScPO on prompts chosen by conformal selection (Jin and Candes 2023, arXiv 2210.01408).

    The other settings are those of ScPO; its threshold is 0, since `fdr` decides.
    """

    threshold: float = Field(
        default=0.0, ge=0, le=1, description="Least share of k, for all prompts alike."
    )
    fdr: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="At most this share of the kept prompts' chosen answers is wrong, in "
        "expectation.",
    )
    score: str = Field(
        default="vote_share",
        description="How sure the chosen answer is: vote_share, vote_margin, or a column with a "
        "number per prompt; '-vote_entropy' turns its sign.",
    )
    labels: Literal["ignore"] = Field(
        default="ignore", description="Known answers calibrate; their prompts make no pairs."
    )

    def scpo(self) -> ScpoSettings:
        """Return the part that is ScPO's."""
        return ScpoSettings(**self.model_dump(include=set(ScpoSettings.model_fields)))


class IrpoSettings(AnswerRuleSettings):
    """Iterative reasoning preference optimization (Pang et al. 2024, arXiv 2404.19733)."""

    pairs_per_prompt: int = Field(
        default=10,
        ge=1,
        description="K: pairs made by walking both lists in step, each wrapping around.",
    )
    order: Literal["generation", "shuffled"] = Field(
        default="generation",
        description="Order inside the lists of right and wrong responses. The paper doesn't say.",
    )
    repeats: bool = Field(
        default=True,
        description="Whether the walk goes on after it has come back to its first pair, as the "
        "paper's rule has it; otherwise a prompt may give fewer than K pairs.",
    )
    gold: Literal["ignore", "last", "first"] = Field(
        default="ignore",
        description="Put the column gold_response, a human solution, among the right responses: "
        "at the end, or at the front. The paper does so for GSM8K and doesn't say where.",
    )
    unparsed_rejected: bool = Field(
        default=True,
        description="Whether a response without an answer counts as wrong, as in the paper.",
    )
    max_pairs: int | None = Field(
        default=None,
        ge=1,
        description="A random subset of so many pairs, to keep iterations alike in size.",
    )


class RandomSettings(AnswerRuleSettings):
    """Random pairs, a control."""

    differ: Literal["text", "answer"] = Field(
        default="text", description="In what the two responses of a pair differ."
    )
    pairs_per_prompt: int = Field(default=1, ge=1, description="Each is drawn anew.")


#: Of RIP: metric in the ledger, its bound as a number, and as a quantile of the unfiltered pool.
RIP_BOUNDS = (
    ("rejected_reward", "min_rejected_reward", "rejected_reward_quantile"),
    ("rejected_length", "min_rejected_length", "rejected_length_quantile"),
    ("gap", "max_gap", "gap_quantile"),
    ("rejected_reward", "max_rejected_reward", "max_rejected_reward_quantile"),
    ("rejected_length", "max_rejected_length", "max_rejected_length_quantile"),
    ("gap", "min_gap", "min_gap_quantile"),
)


class RipSettings(RuleSettings):
    """Rejecting instruction preferences (Yu et al. 2025, arXiv 2501.18578).

    Each bound is a number, or a quantile of the unfiltered pool; None leaves it out. The bounds in
    the other direction are there to test the paper's: a rule that only looks right because it
    leaves few prompts looks as right turned round.
    """

    min_rejected_reward: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="Keep prompts whose lowest-reward response has at least this reward.",
    )
    min_rejected_length: float | None = Field(
        default=None, ge=0, description="And at least this length."
    )
    max_gap: float | None = Field(
        default=None,
        ge=0,
        description="And at most this gap between the best and the worst reward.",
    )
    rejected_reward_quantile: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="min_rejected_reward as a quantile of the unfiltered pool.",
    )
    rejected_length_quantile: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="min_rejected_length as a quantile of the unfiltered pool.",
    )
    gap_quantile: float | None = Field(
        default=None, ge=0, le=1, description="max_gap as a quantile of the unfiltered pool."
    )
    max_rejected_reward: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="The other direction: at most this reward.",
    )
    max_rejected_length: float | None = Field(
        default=None, ge=0, description="The other direction: at most this length."
    )
    min_gap: float | None = Field(
        default=None, ge=0, description="The other direction: at least this gap."
    )
    max_rejected_reward_quantile: float | None = Field(
        default=None, ge=0, le=1, description="max_rejected_reward as a quantile of the pool."
    )
    max_rejected_length_quantile: float | None = Field(
        default=None, ge=0, le=1, description="max_rejected_length as a quantile of the pool."
    )
    min_gap_quantile: float | None = Field(
        default=None, ge=0, le=1, description="min_gap as a quantile of the pool."
    )
    reward_sd: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Standard deviation of the error of one response's reward, for instance from "
        "repeated ratings (`estimators.raters.rater_noise`): keep prompts only where the best "
        "response is surely better than the worst.",
    )
    sure_level: float = Field(
        default=0.95,
        gt=0,
        lt=1,
        description="With reward_sd: level of the gap's lower bound, which has to exceed 0. The "
        "bound holds for all pairs of a prompt's responses at once (Tukey's), since the best and "
        "the worst of many are picked by their errors, too.",
    )
    gap_inclusive: bool = Field(
        default=True,
        description="Whether a gap equal to its bound passes; the judge's run has 'gap < 1'.",
    )
    length: Literal["characters", "words", "tokens"] = Field(
        default="characters",
        description="Unit of length. The paper doesn't say; its bounds fit characters only.",
    )
    ties: Literal["random", "first"] = Field(
        default="random", description="Which of several best (or worst) responses is taken."
    )
    drop_ties: bool = Field(
        default=True,
        description="Drop prompts whose responses all have one reward: nothing to prefer.",
    )
    missing: Literal["error", "drop"] = Field(
        default="error",
        description="A null or NaN reward: refuse the table, or leave the response out.",
    )

    @model_validator(mode="after")
    def _one_bound_each(self) -> Self:
        for _, bound, quantile in RIP_BOUNDS:
            if getattr(self, bound) is not None and getattr(self, quantile) is not None:
                raise ValueError(f"{bound} and {quantile} exclude each other")
        return self
