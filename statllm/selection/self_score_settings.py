"""Settings of what takes responses by a score: pairs (self_score) and examples (rft)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from statllm.selection.settings import RuleSettings


class SelfScoreSettings(RuleSettings):
    """Best against worst by a score (Yuan et al. 2025, arXiv 2502.13124).

    The paper's self-score is log p(yes) - log p(no) to "is this response valid?", which
    `statllm judge --kind yes-no` computes; a reward model's score goes the same way.
    """

    score: str = Field(default="reward", description="Column of the scores, a list per prompt.")
    min_chosen: float | None = Field(
        default=None,
        description="Drop a prompt whose best response scores below this. The paper's filter of "
        "self-scores is 0: yes is likelier than no.",
    )
    filter_score: str | None = Field(
        default=None, description="Column that min_chosen looks at; default: that of the scores."
    )
    ties: Literal["random", "first"] = Field(
        default="random", description="Which of several best (or worst) responses is taken."
    )
    missing: Literal["error", "drop"] = Field(
        default="error",
        description="A null or NaN score: refuse the table, or leave the response out.",
    )
