"""Shares of prompts with intervals, and what the runs of an experiment left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from statllm.estimators.resampling import bootstrap_ratio
from statllm.experiment import Experiment
from statllm.experiment.run import open_run
from statllm.files import read_parquet


@dataclass(frozen=True)
class Share:
    """A ratio of sums, prompts resampled with all that they have under any seed."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def share(above: Any, below: Any, prompts: list[str]) -> Share:
    """Return sum(above) / sum(below); the same prompt under two seeds is one cluster."""
    above, below = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    if not below.any():
        return Share(float("nan"), float("nan"), float("nan"))
    found = bootstrap_ratio(above, below, prompts, resamples=1999, method="percentile")
    interval = found.interval(0.95)
    return Share(found.value, interval.low, interval.high)


def artefact(experiment: Experiment, folder: Path, arm: str, name: str) -> list[Any]:
    """Return a file of each seed's first iteration."""
    return [read_parquet(open_run(folder, arm, seed).path(1, name)) for seed in experiment.seeds]


def plain(value: Any) -> Any:
    """The same without the class of shares, for JSON."""
    if isinstance(value, Share):
        return [None if np.isnan(v) else v for v in vars(value).values()]
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return value
