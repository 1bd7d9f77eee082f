"""Settings of judging, and of what a judge learns from its own judgements."""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

JudgeKind = Literal["pairwise", "pointwise", "yes-no", "criteria", "layers"]

#: The template of each kind, unless one is named.
DEFAULT_TEMPLATES: dict[JudgeKind, str] = {
    "pairwise": "pairwise_quality",
    "pointwise": "pointwise_quality",
    "yes-no": "yes_no_valid",
    "criteria": "pointwise_criterion",
    "layers": "feedback_layer",
}


class JudgeSettings(BaseModel):
    """What a judge is asked about responses, and how its verdicts become rewards.

    Examples
    --------
    >>> JudgeSettings(kind="pointwise").template_name
    'pointwise_quality'
    >>> tpo = JudgeSettings(
    ...     template="pairwise_self_taught", ties="none", prior_ties=0.0,
    ...     response_part="Here is my response:",
    ... )
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: JudgeKind = Field(
        default="pairwise",
        description="Compare responses by two, grade each by itself, take the log-odds of yes "
        "against no as the model's next word, check each against a list of criteria, or assess "
        "feedback layer by layer: valid, specific, constructive, helpful (LLMCrit).",
    )
    template: str | None = Field(
        default=None,
        description="Name of a template that comes with statllm, or a YAML file. Default: "
        + ", ".join(f"{DEFAULT_TEMPLATES[kind]} ({kind})" for kind in get_args(JudgeKind))
        + ".",
    )
    votes: int = Field(
        default=1,
        ge=1,
        description="Verdicts per question; more than one needs a temperature above 0.",
    )
    opponents: int | None = Field(
        default=None,
        ge=2,
        description="Pairwise: how many other responses each one meets; default all. Every pair "
        "that meets is shown in both orders.",
    )
    ties: Literal["half", "none"] = Field(
        default="half",
        description="Pairwise: a tie is half a win for both, or nothing (TPO).",
    )
    prior_ties: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Pairwise: tied battles added per response, which keep ratings finite; 0 is "
        "plain maximum likelihood (TPO), infinite where a response wins or loses all it fights.",
    )
    response_part: str | None = Field(
        default=None,
        min_length=1,
        description="Judge only what follows the first occurrence of this text, such as "
        "'Here is my response:'; a response without it isn't judged, and counted.",
    )
    criteria: str | dict[str, str] | None = Field(
        default=None,
        description="criteria: a YAML file of names and texts, one criterion each.",
    )
    pass_rule: Literal["mean", "all"] = Field(
        default="mean",
        description="criteria: the reward is the share of the criteria that apply and are met, or "
        "1 where all of them are.",
    )
    fields: tuple[str, ...] = Field(
        default=(),
        description="NAME=TEXT for a further placeholder of the template, such as "
        "criterion='It names its sources.'",
    )
    plain: bool = Field(
        default=False,
        description="Send the template's messages as one text; for models without chat template.",
    )
    yes: tuple[str, ...] = Field(
        default=("yes", "Yes", "YES"),
        description="yes-no: spellings of the one word, each also with a space before it.",
    )
    no: tuple[str, ...] = Field(
        default=("no", "No", "NO"), description="yes-no: spellings of the other word."
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="Of who meets whom, and of the judge's samples."
    )

    @property
    def template_name(self) -> str:
        """The template that is used."""
        return self.template or DEFAULT_TEMPLATES[self.kind]

    @property
    def extra(self) -> dict[str, str]:
        """`fields` as a mapping."""
        pairs = (field.partition("=") for field in self.fields)
        return {name: text for name, _, text in pairs}

    @model_validator(mode="after")
    def _fields_are_pairs(self) -> Self:
        for field in self.fields:
            name, equals, _ = field.partition("=")
            if not equals or not name:
                raise ValueError(f"field {field!r} isn't NAME=TEXT")
        if not self.yes or not self.no:
            raise ValueError("yes and no need a spelling each")
        if (self.kind == "criteria") != (self.criteria is not None):
            raise ValueError("kind criteria needs criteria, and no other kind does")
        return self


class SelfTaughtSettings(BaseModel):
    """How lessons are made of a judge's judgements.

    Examples
    --------
    >>> SelfTaughtSettings().votes
    15
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str = Field(
        default="pairwise_self_taught",
        description="What the judge is asked: a pairwise template of statllm, or a YAML file.",
    )
    votes: int = Field(
        default=15, ge=1, description="Judgements sampled of each pair in each order (the paper's)."
    )
    min_right: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Least share of a question's judgements that must be right for it to be kept; "
        "one at least must be.",
    )
    pairs_per_question: int = Field(
        default=1, ge=0, description="Pairs of a right and another judgement, at most; 0 for none."
    )
    unread_rejected: bool = Field(
        default=True,
        description="Whether a judgement without a verdict, or with a tie, may be the rejected "
        "one; otherwise only those for the worse response.",
    )
    balance: bool = Field(
        default=True,
        description="Drop questions at random until the better response stands first as often as "
        "second, among the examples and among the pairs.",
    )
    fields: tuple[str, ...] = Field(
        default=(), description="NAME=TEXT for a further placeholder of the template."
    )
    plain: bool = Field(
        default=False,
        description="Send the template's messages as one text; for models without chat template.",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of what is drawn among equals.")

    @property
    def judging(self) -> JudgeSettings:
        """The same as settings of a judge."""
        return JudgeSettings(
            template=self.template, votes=self.votes, fields=self.fields, plain=self.plain
        )
