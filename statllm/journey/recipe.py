"""The recipe of a run of journey learning, as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from statllm.files import existing_file
from statllm.journey.extract import ExtractSettings
from statllm.journey.pairs import JourneyPairsSettings
from statllm.journey.rewards import RewardSettings
from statllm.journey.search import SearchSettings
from statllm.launch import Launch
from statllm.recipe import Evaluation, Problems
from statllm.sampling.settings import SamplingSettings
from statllm.scoring.settings import ScoringSettings
from statllm.settings_file import read_settings
from statllm.training.settings import PreferenceSettings, SFTSettings

if TYPE_CHECKING:
    import pyarrow as pa


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Format(_Part):
    """Phase 1: the policy learns to write one step at a time."""

    data: str = Field(
        description="A file of prompts with step-wise responses; or 'lab:train' for gold solutions "
        "of the built-in problems."
    )
    n: int | None = Field(None, ge=1, description="With lab: how many.")
    seed: int = Field(1, ge=0, description="With lab: which.")
    training: SFTSettings = SFTSettings()


class Policy(_Part):
    """How the policy writes steps."""

    step_end: str = Field("\n", min_length=1, description="Text that ends a step.")
    max_step_tokens: int = Field(128, ge=1)
    sampling: SamplingSettings = SamplingSettings()


class PairsPhase(_Part):
    """Phase 3: DPO on pairs of the trained model's own responses."""

    problems: Problems
    sampling: SamplingSettings = SamplingSettings(n=20, temperature=0.7, top_p=0.95)
    settings: JourneyPairsSettings = JourneyPairsSettings()
    training: PreferenceSettings = PreferenceSettings(loss="dpo")


class JourneyRecipe(_Part):
    """What decides a run; `rewrite` names a model that puts drafts into better words."""

    name: str
    model: str = Field(description="A model folder, a hub name, or lab.")
    format: Format | None = None
    problems: Problems
    policy: Policy = Policy()
    search: SearchSettings = SearchSettings()
    reward: RewardSettings
    extract: ExtractSettings = ExtractSettings()
    rewrite: str | None = None
    rewriting: SamplingSettings = SamplingSettings(temperature=0.0, max_new_tokens=4096)
    training: SFTSettings = SFTSettings(epochs=3)
    pairs: PairsPhase | None = None
    launch: Launch = None
    scoring: ScoringSettings = ScoringSettings()
    evaluation: Evaluation | None = None


def read_journey_recipe(path: str | Path) -> JourneyRecipe:
    """Read a recipe from YAML.

    Raises
    ------
    InputError
        If the file isn't YAML, or a key is unknown, missing or has a wrong value: it is named.
    """
    return read_settings(JourneyRecipe, path)


def format_examples(phase: Format) -> pa.Table | Path:
    """Return the examples of phase 1: a file, or gold solutions of the built-in problems."""
    import pyarrow as pa

    if not phase.data.startswith("lab:"):
        return existing_file(phase.data)
    from itertools import islice

    from statllm.lab import careful_solution, generate

    split: Any = phase.data.removeprefix("lab:")
    drawn = list(islice(generate(split, phase.seed), phase.n or 300))
    return pa.table(
        {
            "prompt_id": [one.problem_id for one in drawn],
            "prompt": [one.prompt for one in drawn],
            "response": [careful_solution(one) for one in drawn],
        }
    )
