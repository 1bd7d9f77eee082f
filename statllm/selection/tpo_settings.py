"""Settings of TPO: every choice that the paper leaves open has a name here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from statllm.selection.settings import RuleSettings


class TpoSettings(RuleSettings):
    """Thought preference optimization (Wu et al. 2024, arXiv 2410.10630)."""

    rho: float | Literal["auto"] = Field(
        default="auto",
        description="Price of length in the score N(reward) - rho N(length), each standardised "
        "within the prompt; 0 is no length control. 'auto': the smallest of the grid with which "
        "the chosen responses are on average not longer than the rejected ones, as the paper "
        "tunes it.",
    )
    max_rho: float = Field(
        default=0.5,
        gt=0,
        allow_inf_nan=False,
        description="End of the grid of 'auto', which starts at 0 (the paper's range), and what "
        "is taken where none of it is enough.",
    )
    rho_step: float = Field(
        default=0.01, gt=0, allow_inf_nan=False, description="Step of that grid."
    )
    length: Literal["characters", "words"] = Field(
        default="characters",
        description="Unit of the length of a response part. The paper doesn't say.",
    )
    response_part: str | None = Field(
        default=None,
        min_length=1,
        description="The response is what follows the first occurrence of this text, such as "
        "'Here is my response:'. Default: the column final_response where there is one, else the "
        "whole text.",
    )
    unparsed: Literal["rejected", "dropped"] = Field(
        default="rejected",
        description="A text that can't be cut into thought and response: rejected in its prompt's "
        "pair, as in the paper, or in no pair.",
    )
    max_failure_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="At most this share of the pairs rejects such a text; the prompts are drawn, "
        "and the others get their lowest score instead. The paper reports a share of 'typically "
        "no more than 10 %'; whether it was enforced is not known.",
    )
    ties: Literal["random", "first"] = Field(
        default="random", description="Which of several best (or worst) responses is taken."
    )
    drop_ties: bool = Field(
        default=True,
        description="Drop prompts whose responses all have one score: nothing to prefer.",
    )
    missing: Literal["error", "drop"] = Field(
        default="error",
        description="A reward that is null, NaN or infinite: refuse the table, or leave the "
        "response out. Texts that can't be cut need none.",
    )

    @property
    def compares_prompts(self) -> bool:
        """Whether a prompt's pair hangs on other prompts."""
        capped = self.unparsed == "rejected" and self.max_failure_share < 1
        return self.rho == "auto" or capped

    @field_validator("rho")
    @classmethod
    def _rho_is_a_price(cls, rho: float | str) -> float | str:
        if not isinstance(rho, str) and not 0 <= rho < float("inf"):
            raise ValueError("rho must be 'auto', 0 or above")
        return rho
