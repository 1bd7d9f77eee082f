"""Differences between arms, with problems and training seeds as two crossed random samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.comparison import TEstimate
from statllm.experiment.run import open_run
from statllm.experiment.scores import Contrast, Level, Result, adjusted, contrast, level_of
from statllm.experiment.settings import MEASURES, START, Experiment
from statllm.files import read_parquet

Array = NDArray[np.float64]


def analyse(experiment: Experiment, folder: str | Path) -> Result:
    """Compare the arms of a finished experiment.

    y[s, i] is what a run with seed s scores on problem i. The difference of two arms is averaged
    over both; its error is that of a table of which rows and columns are random
    (`statllm.estimators.comparison.crossed_mean`). An interval from problems alone says how
    another sample of problems would come out for these very models, not for models trained again.

    Parameters
    ----------
    experiment : Experiment
    folder : str or Path
        Of `run_experiment`.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        If a run isn't finished, or two were evaluated on different problems.
    """
    scores = _Scores(experiment, Path(folder))
    levels = [
        Level(arm, iteration, measure, scores.level(arm, iteration, measure))
        for measure in experiment.measures
        for arm, iteration in scores.places()
    ]
    contrasts: list[Contrast] = []
    for measure in experiment.measures:
        contrasts += adjusted([scores.contrast(c, measure) for c in experiment.comparisons])
    return Result(
        experiment.name,
        experiment.seeds,
        experiment.level,
        tuple(levels),
        tuple(contrasts),
        scores.n_problems,
    )


class _Scores:
    """Scores of every run, problems in one order: (arm, iteration, measure) -> (seeds, items)."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment, self.folder = experiment, folder
        self._prompts: list[str] | None = None
        self._tables: dict[tuple[str, int], dict[str, Array]] = {}

    @property
    def n_problems(self) -> int:
        return len(self._prompts or ())

    def places(self) -> list[tuple[str, int]]:
        """The start once, then each arm's iterations."""
        seed = self.experiment.seeds[0]
        found = [(START, 0)]
        for arm in self.experiment.arms:
            last = len(self.experiment.recipe(arm, seed).iterations)
            found += [(arm, iteration) for iteration in range(1, last + 1)]
        return found

    def level(self, arm: str, iteration: int, measure: str) -> TEstimate:
        scores = self._scores(arm, iteration, measure)
        return level_of(scores, f"{measure} of {arm}, iteration {iteration}", MEASURES[measure])

    def contrast(self, comparison: Any, measure: str) -> Contrast:
        own = self._iteration(comparison.arm, comparison.iteration)
        a = self._scores(comparison.arm, own, measure)
        other = self._iteration(comparison.against, comparison.against_iteration)
        b = self._scores(comparison.against, other, measure, start_of=comparison.arm)
        unit = MEASURES[measure]
        return contrast(a, b, comparison.name, comparison.claim, measure, unit)

    def _iteration(self, arm: str, iteration: int | None) -> int:
        if arm == START:
            return 0
        recipe = self.experiment.recipe(arm, self.experiment.seeds[0])
        return len(recipe.iterations) if iteration is None else iteration

    def _scores(self, arm: str, iteration: int, measure: str, start_of: str | None = None) -> Array:
        place = arm, iteration
        if arm == START:
            place = start_of or next(iter(self.experiment.arms)), 0
        if place not in self._tables:
            self._tables[place] = self._read(*place)
        return self._tables[place][measure]

    def _read(self, arm: str, iteration: int) -> dict[str, Array]:
        rows: dict[str, list[Array]] = {measure: [] for measure in self.experiment.measures}
        for seed in self.experiment.seeds:
            path = open_run(self.folder, arm, seed).path(iteration, "evaluation.parquet")
            if not path.is_file():
                raise InputError(f"arm '{arm}', seed {seed} isn't finished: {path} is missing")
            table = read_parquet(path).sort_by("prompt_id")
            prompts = table["prompt_id"].to_pylist()
            if self._prompts is None:
                self._prompts = prompts
            if prompts != self._prompts:
                raise InputError(
                    f"arm '{arm}', seed {seed} was evaluated on other problems than the first run"
                )
            for measure, found in rows.items():
                found.append(table[measure].cast("float64").to_numpy())
        return {measure: np.stack(found) for measure, found in rows.items()}
