"""Rewards on an engine: every worker loads the reward model once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from statllm.engines.models import FineSource, ModelEngineSettings, ModelWork
from statllm.engines.run import OnPart, run
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.generations import Generations
from statllm.models import model_digest
from statllm.scoring.reward_models import RewardModel, add_rewards
from statllm.scoring.reward_models.table import GapVariance


@dataclass(frozen=True)
class RewardWork(ModelWork["list[RewardModel]"]):
    """`statllm.scoring.reward_models.add_rewards` of a batch."""

    models: tuple[RewardModel, ...]
    content: tuple[str, ...]
    column: str
    gap_variance: GapVariance
    objectives: bool
    outputs: tuple[str, ...] = ("rewards",)

    def decides(self) -> Mapping[str, Any]:
        """Return the models' content and how they are used."""
        used = [
            [content, model.device, model.dtype, model.token_budget, model.chat, model.too_long]
            for content, model in zip(self.content, self.models, strict=True)
        ]
        return {
            "models": used,
            "column": self.column,
            "gap_variance": self.gap_variance,
            "objectives": self.objectives,
        }

    def open(self, closing: ExitStack) -> list[RewardModel]:
        """Return the models, which load themselves when a reward isn't known."""
        for model in self.models:
            closing.callback(model.release)
        return list(self.models)

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Add the rewards of a batch; counts are responses without one."""
        rewarded = add_rewards(
            Generations(table),
            self.model,
            column=self.column,
            gap_variance=self.gap_variance,
            objectives=self.objectives,
        )
        unknown = sum(chunk.flatten().null_count for chunk in rewarded.column(self.column).chunks)
        return {"rewards": rewarded.table}, {"unknown": int(unknown)}


@dataclass(frozen=True)
class FileRewards:
    """What `reward_file` has written.

    Attributes
    ----------
    n_prompts : int
    n_unknown : int
        Responses without a reward: too long for the model, and that was allowed.
    """

    n_prompts: int
    n_unknown: int


def reward_file(
    models: RewardModel | tuple[RewardModel, ...],
    source: Source,
    output: Path,
    *,
    column: str = "reward",
    gap_variance: GapVariance = "none",
    objectives: bool = False,
    settings: EngineSettings | None = None,
    on_part: OnPart = lambda done, of: None,
) -> FileRewards:
    """Add what a reward model says about every response of a table larger than memory.

    The columns are those of `statllm.scoring.reward_models.add_rewards`; the numbers too, but for
    rounding, which goes with the batch. As long as no text stands in two parts and none is known
    from before, bytes depend neither on the engine nor on the number of workers; where one is, its
    first number is kept in the models' cache, which all workers share.

    Parameters
    ----------
    models : RewardModel or tuple of RewardModel
        Not loaded yet. The models of an ensemble are loaded in turn for every batch: give it
        large batches (`settings.batch_rows`).
    source : Source
        One row per prompt, with ``prompt`` and ``response``.
    output : Path
        A ``.parquet`` file, or a folder of such files (a name without suffix).
    column, gap_variance, objectives
        As for `add_rewards`.
    settings : EngineSettings, optional
        Defaults are those of `statllm.engines.models.ModelEngineSettings`.
    on_part : callable
        Told how many parts are done, of how many.

    Raises
    ------
    InputError
        As `statllm.engines.run` and `add_rewards`.

    Examples
    --------
    >>> model = RewardModel("models/skywork-reward")  # doctest: +SKIP
    >>> reward_file(model, Source(Path("samples.parquet")), Path("rewarded"),
    ...             settings=EngineSettings(engine="ray", gpus=1))  # doctest: +SKIP
    """
    listed = (models,) if isinstance(models, RewardModel) else models
    content = tuple(model_digest(model.path) for model in listed)
    work = RewardWork(listed, content, column, gap_variance, objectives)
    chosen = ModelEngineSettings.of(settings)
    counts = run(FineSource.of(source), work, {"rewards": output}, chosen, on_part=on_part)
    return FileRewards(counts["rows"], counts["unknown"])
