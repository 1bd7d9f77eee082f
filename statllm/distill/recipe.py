"""The recipe of a distillation in two stages, as YAML."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from statllm.distill.chains import ChainSettings
from statllm.distill.filters import ProblemFilters
from statllm.distill.reformat import ReformatSettings
from statllm.launch import Launch
from statllm.recipe import Evaluation, Problems
from statllm.sampling.settings import SamplingSettings
from statllm.scoring.settings import ScoringSettings
from statllm.settings_file import read_settings
from statllm.training.settings import SFTSettings


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rewriting(_Part):
    """Who writes the short solutions of the first stage anew; see `statllm.distill.reformat`."""

    model: str = Field(description="A model folder, a hub name, or a server's name for it.")
    template: str = Field("reformat_solution", description="A template's name, or a YAML file.")
    chat: bool = Field(True, description="Send messages; false sends one text.")
    sampling: SamplingSettings = SamplingSettings(n=1, temperature=0.0, max_new_tokens=2048)


class Teacher(_Part):
    """Who writes the long chains of the second stage."""

    model: str = Field(description="A model folder, a hub name, a server's name for it, or lab.")
    sampling: SamplingSettings = SamplingSettings(n=4)


class StudentEvaluation(Evaluation):
    """Held-out problems, and how each of the student's models answers them."""

    sampling: SamplingSettings = Field(
        SamplingSettings(),
        description="Length, stop strings, number format, backend, seed; n and temperature are "
        "those of `k` and `temperature` here.",
    )


class DistillRecipe(_Part):
    """What decides a distillation."""

    name: str
    student: str = Field(description="A model folder, a hub name, or lab.")
    problems: Problems = Field(
        description="Of training: prompt_id, prompt, and reference or solution, which marks it; "
        "the first stage needs solutions."
    )
    filters: ProblemFilters = ProblemFilters()
    rewrite: Rewriting | None = Field(
        None, description="Without it, the first stage reads the solutions as they were given."
    )
    checks: ReformatSettings = Field(
        ReformatSettings(), description="What a solution of the first stage has to be."
    )
    teacher: Teacher
    scoring: ScoringSettings = ScoringSettings()
    chains: ChainSettings = ChainSettings()
    stage_1: SFTSettings | None = Field(
        SFTSettings(), description="Training on short solutions; null leaves the stage out."
    )
    stage_2: SFTSettings = Field(SFTSettings(), description="Training on the teacher's chains.")
    launch: Launch = None
    evaluation: StudentEvaluation | None = None


def read_distill_recipe(path: str | Path) -> DistillRecipe:
    """Read a recipe from YAML; paths in it are relative to where the command runs.

    Raises
    ------
    InputError
        If the file isn't YAML, or a key is unknown, missing or has a wrong value: it is named.
    """
    return read_settings(DistillRecipe, path)
