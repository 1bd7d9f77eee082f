"""Settings of watermark detection."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DetectionSettings(BaseModel):
    """How documents are tested.

    Examples
    --------
    >>> DetectionSettings(test="optimal", delta=0.01).test
    'optimal'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    test: Literal["sum", "log", "optimal", "weighted", "trgof"] = Field(
        default="sum",
        description="sum: exact for every scheme. log, optimal, trgof: of pivots (Gumbel), the "
        "last for edited text. weighted: of SynthID's layers.",
    )
    delta: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="Of test optimal: the model's largest probability is at most 1 - delta.",
    )
    min_tokens: int = Field(
        default=1, ge=1, description="Documents with fewer distinct marks are not tested."
    )
