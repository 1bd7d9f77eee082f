"""Differences between arms, with problems and training seeds as two crossed random samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.comparison import TEstimate, crossed_mean, t_test, two_way_mean
from statllm.estimators.multiplicity import holm
from statllm.estimators.power import minimum_detectable_effect
from statllm.experiment.run import open_run
from statllm.experiment.settings import MEASURES, START, Experiment
from statllm.files import read_parquet
from statllm.results import TestResult

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """One arm's mean at one iteration."""

    arm: str
    iteration: int
    measure: str
    estimate: TEstimate


@dataclass(frozen=True)
class Contrast:
    """One comparison on one measure.

    Attributes
    ----------
    name, claim, measure : str
    estimate : TEstimate
        Mean difference over problems and seeds; its error counts both.
    test : TestResult
        That it is 0.
    log_p_holm : float
        Adjusted over the comparisons of the same measure (Holm).
    seed_sd : float
        Standard deviation over seeds of the mean difference over problems, in which the noise of
        a finite number of problems is included only as far as seeds don't share it.
    mde : float
        The true difference that this experiment would find 4 times in 5 at the 5 % level.
    per_seed : tuple of float
        Mean difference of each seed.
    """

    name: str
    claim: str
    measure: str
    estimate: TEstimate
    test: TestResult
    log_p_holm: float
    seed_sd: float
    mde: float
    per_seed: tuple[float, ...]


@dataclass(frozen=True)
class Result:
    """All levels and contrasts of an experiment."""

    experiment: Experiment
    levels: tuple[Level, ...]
    contrasts: tuple[Contrast, ...]
    n_problems: int

    def to_rows(self) -> list[dict[str, Any]]:
        """Return every figure as a row: kind, name, measure, value, interval, p."""
        level = self.experiment.level
        rows: list[dict[str, Any]] = []
        for found in self.levels:
            rows.append(
                {
                    "kind": "level",
                    "name": found.arm,
                    "iteration": found.iteration,
                    "measure": found.measure,
                    **_numbers(found.estimate, level),
                }
            )
        for contrast in self.contrasts:
            rows.append(
                {
                    "kind": "difference",
                    "name": contrast.name,
                    "claim": contrast.claim,
                    "measure": contrast.measure,
                    **_numbers(contrast.estimate, level),
                    "log_p_value": contrast.test.log_p_value,
                    "log_p_holm": contrast.log_p_holm,
                    "seed_sd": contrast.seed_sd,
                    "mde": contrast.mde,
                    "per_seed": list(contrast.per_seed),
                }
            )
        return rows


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
        found = [scores.contrast(comparison, measure) for comparison in experiment.comparisons]
        adjusted = holm([contrast.test.log_p_value for contrast in found])
        contrasts += [
            Contrast(**{**vars(contrast), "log_p_holm": float(log_p)})
            for contrast, log_p in zip(found, adjusted, strict=True)
        ]
    return Result(experiment, tuple(levels), tuple(contrasts), scores.n_problems)


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
        return _crossed(scores, f"{measure} of {arm}, iteration {iteration}", MEASURES[measure])

    def contrast(self, comparison: Any, measure: str) -> Contrast:
        own = self._iteration(comparison.arm, comparison.iteration)
        a = self._scores(comparison.arm, own, measure)
        other = self._iteration(comparison.against, comparison.against_iteration)
        b = self._scores(comparison.against, other, measure, start_of=comparison.arm)
        difference = a - b
        estimate = _crossed(difference, comparison.name, MEASURES[measure])
        per_seed = np.nanmean(difference, axis=1)
        return Contrast(
            comparison.name,
            comparison.claim,
            measure,
            estimate,
            t_test(estimate),
            math.nan,
            float(per_seed.std(ddof=1)),
            _detectable(estimate),
            tuple(per_seed.tolist()),
        )

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


def _crossed(scores: Array, name: str, unit: str) -> TEstimate:
    """Mean of (seeds, items); a problem without a score under some seed is left out there."""
    known = np.isfinite(scores)
    if known.all():
        return crossed_mean(scores, name, unit)
    seeds, items = np.indices(scores.shape)
    return two_way_mean(scores[known], items[known], seeds[known], name=name, unit=unit)


def _detectable(estimate: TEstimate) -> float:
    """NaN where there is no error."""
    return minimum_detectable_effect(estimate.se, estimate.df + 1) if estimate.se > 0 else math.nan


def _numbers(estimate: TEstimate, level: float) -> dict[str, Any]:
    interval = estimate.interval(level)
    return {
        "value": estimate.value,
        "se": estimate.se,
        "df": estimate.df,
        "low": interval.low,
        "high": interval.high,
        "level": level,
        "unit": estimate.unit,
    }
