"""What a stage is, and what several of them have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statllm.sampling.settings import CALL_SETTINGS
from statllm.stages.run_folder import Run

#: Of `sampling`: what an evaluation has settings of its own for, and how a server is called.
OF_EVALUATION = {"n", "temperature", "top_p", "seed", "stop", *CALL_SETTINGS}

#: What a stage reads: a name for each file, folder or model.
Inputs = dict[str, str | Path]


@dataclass(frozen=True)
class Stage:
    """What a stage reads, what decides its outcome, what it writes, and how."""

    inputs: Callable[[Run, int], Inputs]
    settings: Callable[[Run, int], Any]
    outputs: Callable[[Run, int], tuple[str, ...]]
    execute: Callable[[Run, int], dict[str, int]]


def thoughts_of(run: Run) -> dict[str, Any]:
    """Return what thought prompts decide; nothing where there are none."""
    return {} if run.recipe.thoughts is None else {"thoughts": run.recipe.thoughts.decides()}


def always(*names: str) -> Callable[[Run, int], tuple[str, ...]]:
    """Return the outputs of a stage that has the same ones in every run."""
    return lambda run, iteration: names
