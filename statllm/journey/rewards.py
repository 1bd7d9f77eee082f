"""A process reward by its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from statllm.errors import InputError
from statllm.journey.process_reward import (
    Candidate,
    JudgeReward,
    NoisyReward,
    ProcessReward,
    RolloutReward,
)
from statllm.sampling.settings import SamplingSettings

if TYPE_CHECKING:
    from statllm.journey.policy import StepPolicy
    from statllm.sampling.judge_model import BackendJudge


class RewardSettings(BaseModel):
    """Who rates steps.

    Examples
    --------
    >>> RewardSettings(reward="rollouts", completions=16).threshold
    0.5
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reward: Literal["lab", "judge", "rollouts"] = Field(
        "judge",
        description="judge: a language model is asked about each step; rollouts: the share of the "
        "policy's completions that reach the reference (Math-Shepherd); lab: the exact verifier of "
        "the built-in problems.",
    )
    judge: str | None = Field(
        None, description="Of reward judge: a model folder, a hub or server name, or lab."
    )
    judge_server: str | None = Field(
        None, description="Address of the judge's server; by default it runs in this process."
    )
    votes: int = Field(1, ge=1, description="Of reward judge: samples per step; several need T.")
    judge_temperature: float = Field(0.0, ge=0, description="Of the judge; 0 is greedy.")
    judge_tokens: int = Field(512, ge=1, description="Longest text of the judge, in tokens.")
    completions: int = Field(8, ge=1, description="Of reward rollouts: completions per step.")
    threshold: float = Field(
        0.5, gt=0, le=1, description="Of reward rollouts: the least share that makes a step right."
    )
    flip: float = Field(
        0.0, ge=0, le=1, description="Share of verdicts that are turned around, for studies."
    )
    flip_seed: int = Field(0, ge=0, description="Decides which.")

    @model_validator(mode="after")
    def _judge_is_named(self) -> Self:
        if self.reward == "judge" and self.judge is None:
            raise ValueError("reward judge needs a judge: a model folder or name")
        if self.reward != "judge" and self.judge is not None:
            raise ValueError(f"a judge has no effect with reward {self.reward}")
        return self


def open_reward(
    settings: RewardSettings, policy: StepPolicy, cache: str | Path | None = None
) -> ProcessReward:
    """Open the process reward of the settings.

    Parameters
    ----------
    settings : RewardSettings
    policy : StepPolicy
        Completes steps, for rollouts.
    cache : path, optional
        Folder of what judges have said.

    Raises
    ------
    InputError
        If the judge can't be loaded.

    Examples
    --------
    >>> from statllm.journey.policy import open_policy
    >>> from statllm.lab import model_path
    >>> from statllm.sampling import SamplingSettings
    >>> policy = open_policy(model_path(), SamplingSettings(max_new_tokens=80), ".", 24)
    >>> open_reward(RewardSettings(reward="lab"), policy).identity
    'lab-steps-1'
    """
    found: ProcessReward
    if settings.reward == "lab":
        from statllm.lab.steps import LabStepVerifier

        found = LabStepVerifier()
    elif settings.reward == "rollouts":
        found = RolloutReward(policy, settings.completions, settings.threshold)
    else:
        found = JudgeReward(_judge(settings), settings.votes, cache)
    if settings.flip:
        complain: Callable[[Candidate], str] | None = None
        if settings.reward == "lab":
            from statllm.lab.steps import complaint_about

            complain = complaint_about
        found = NoisyReward(found, settings.flip, settings.flip_seed, complain)
    return found


def _judge(settings: RewardSettings) -> BackendJudge:
    from statllm.sampling.judge_model import open_judge

    if settings.judge is None:
        raise InputError("reward judge needs a judge: a model folder or name")
    name: str | Path = settings.judge
    if name == "lab":
        from statllm.lab import model_path

        name = model_path()
    sampling = SamplingSettings(
        temperature=settings.judge_temperature,
        max_new_tokens=settings.judge_tokens,
        backend="openai" if settings.judge_server else "transformers",
        server=settings.judge_server,
    )
    return open_judge(name, sampling)
