"""Settings of the lab's rewards."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LabRewards(BaseModel):
    """A rater of the built-in world whose truth and error are known.

    Examples
    --------
    >>> LabRewards(noise=0.5).right
    1.0
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    right: float = Field(1.0, description="Reward of a right answer; a wrong one has 0.")
    careful: float = Field(
        0.5, description="Added in full where every statement of the solution is there and true."
    )
    per_word: float = Field(
        0.0, description="Added for every word: a rater who likes long responses."
    )
    noise: float = Field(0.0, ge=0, description="Standard deviation of the rater's error (normal).")
    seed: int = Field(0, ge=0, description="Of the error; a run derives it from its own.")
