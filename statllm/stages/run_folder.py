"""A run's folder: where every artefact of every iteration lies, and what is to be done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from statllm.errors import InputError
from statllm.recipe import Iteration, Recipe, read_recipe
from statllm.stages.problems import resolve_model

#: In their order; "write", "reward" and "choose" only where the recipe asks for them.
STAGES = ("write", "sample", "score", "reward", "select", "choose", "train", "evaluate")


@dataclass(frozen=True)
class Run:
    """A run folder and its recipe; knows where every artefact lies."""

    folder: Path
    recipe: Recipe

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open an existing run folder.

        Raises
        ------
        InputError
            If it holds no run.yaml.
        """
        folder = Path(folder)
        if not (folder / "run.yaml").is_file():
            raise InputError(f"{folder} is not a run folder: run.yaml is missing")
        return cls(folder, read_recipe(folder / "run.yaml"))

    @property
    def n_iterations(self) -> int:
        """Number of iterations after the starting model."""
        return len(self.recipe.iterations)

    def path(self, iteration: int, name: str) -> Path:
        """Return the path of an artefact of an iteration."""
        return self.folder / f"iteration_{iteration}" / name

    def model(self, iteration: int) -> str:
        """Return the model after `iteration` iterations; 0 is the one that the run starts from."""
        if iteration == 0:
            return resolve_model(self.recipe.model)
        return str(self.path(iteration, "model"))

    def record(self, iteration: int, stage: str) -> Path:
        """Return the path of the file that says that a stage is complete."""
        return self.path(iteration, f"{stage}.json")

    def plan(self) -> list[tuple[int, str]]:
        """Return the stages in order: the starting model is evaluated first."""
        later = [(k, stage) for k in range(1, self.n_iterations + 1) for stage in self.stages_of(k)]
        return [(0, "evaluate"), *later]

    def stages_of(self, iteration: int) -> list[str]:
        """Return the stages of a training iteration, in order."""
        settings = self.recipe.iteration(iteration)
        asked = {
            "write": settings.new_problems is not None,
            "reward": settings.rewards is not None,
            "choose": settings.choice is not None,
        }
        return [stage for stage in STAGES if asked.get(stage, True)]

    def settings(self, iteration: int) -> Iteration:
        """Return the settings of an iteration."""
        return self.recipe.iteration(iteration)

    def scores(self, iteration: int) -> Path:
        """Return the path of what the selection reads."""
        rewarded = self.settings(iteration).rewards is not None
        return self.path(iteration, "rewards.parquet" if rewarded else "scores.parquet")
