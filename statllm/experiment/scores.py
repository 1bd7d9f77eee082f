"""Means and differences of arms from scores of (seeds, problems), both of them random samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.errors import InputError
from statllm.estimators.comparison import TEstimate, crossed_mean, t_test, two_way_mean
from statllm.estimators.multiplicity import holm
from statllm.estimators.power import minimum_detectable_effect
from statllm.results import TestResult

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """One arm's mean; at one iteration, where there are iterations."""

    arm: str
    iteration: int | None
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
    """All levels and contrasts of an experiment.

    Attributes
    ----------
    name : str
    seeds : tuple of int
        Of training.
    level : float
        Of the intervals.
    levels, contrasts : tuple
    n_problems : int
        Held-out ones.
    """

    name: str
    seeds: tuple[int, ...]
    level: float
    levels: tuple[Level, ...]
    contrasts: tuple[Contrast, ...]
    n_problems: int

    @property
    def measures(self) -> tuple[str, ...]:
        """What was measured; the first one decides."""
        return tuple(dict.fromkeys(found.measure for found in self.levels))

    def to_rows(self) -> list[dict[str, Any]]:
        """Return every figure as a row: kind, name, measure, value, interval, p."""
        rows: list[dict[str, Any]] = []
        for found in self.levels:
            rows.append(
                {
                    "kind": "level",
                    "name": found.arm,
                    "iteration": found.iteration,
                    "measure": found.measure,
                    **_numbers(found.estimate, self.level),
                }
            )
        for contrast in self.contrasts:
            rows.append(
                {
                    "kind": "difference",
                    "name": contrast.name,
                    "claim": contrast.claim,
                    "measure": contrast.measure,
                    **_numbers(contrast.estimate, self.level),
                    "log_p_value": contrast.test.log_p_value,
                    "log_p_holm": contrast.log_p_holm,
                    "seed_sd": contrast.seed_sd,
                    "mde": contrast.mde,
                    "per_seed": list(contrast.per_seed),
                }
            )
        return rows


def compare_scores(
    scores: Mapping[str, Mapping[str, ArrayLike]],
    comparisons: Sequence[tuple[str, str]],
    units: Mapping[str, str],
    *,
    name: str = "",
    seeds: Sequence[int] | None = None,
    level: float = 0.95,
) -> Result:
    """Compare arms on measures of one's own, as `statllm experiment` does on its own ones.

    The error of a mean and of a difference counts seeds and problems as random
    (`statllm.estimators.comparison.crossed_mean`); p is adjusted over the comparisons of a measure.

    Parameters
    ----------
    scores : mapping of mapping of array_like
        Measure, then arm: shape (n_seeds, n_problems), rows and columns in the same order for all
        arms. A shape of (1, n_problems) is one model for all seeds, such as the start. NaN: no
        score.
    comparisons : sequence of (arm, against)
    units : mapping
        Of each measure. An arm's mean in a "share of ..." has an interval within 0 and 1.
    name : str
    seeds : sequence of int, optional
        0, 1, ... when left out.
    level : float

    Returns
    -------
    Result

    Raises
    ------
    InputError
        Names the arm that is missing, or whose scores have another shape.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> tried = {"direct": rng.random((5, 40)) < 0.5, "thought": rng.random((5, 40)) < 0.8}
    >>> found = compare_scores({"right": tried}, [("thought", "direct")], {"right": "share"})
    >>> found.contrasts[0].name, round(found.contrasts[0].estimate.value, 2)
    ('thought - direct', 0.34)
    """
    levels: list[Level] = []
    contrasts: list[Contrast] = []
    shape: tuple[int, int] | None = None
    for measure, arms in scores.items():
        if measure not in units:
            raise InputError(f"measure '{measure}' has no unit")
        if not arms:
            raise InputError(f"there are no scores of {measure}")
        arrays = {arm: np.asarray(values, dtype=np.float64) for arm, values in arms.items()}
        for arm, values in arrays.items():
            if values.ndim != 2:
                raise InputError(
                    f"{measure} of '{arm}' has shape {values.shape}, not (seeds, problems)"
                )
        rows, columns = max(len(v) for v in arrays.values()), next(iter(arrays.values())).shape[1]
        shape = shape or (rows, columns)
        if shape[0] < 2:
            raise InputError(f"{measure}: at least two seeds are needed, or there is no error")
        for arm, values in arrays.items():
            if values.shape not in (shape, (1, shape[1])):
                raise InputError(f"{measure} of '{arm}' has shape {values.shape}, not {shape}")
            arrays[arm] = np.broadcast_to(values, shape)
        levels += [
            Level(arm, None, measure, level_of(values, f"{measure} of {arm}", units[measure]))
            for arm, values in arrays.items()
        ]
        missing = [arm for both in comparisons for arm in both if arm not in arrays]
        if missing:
            raise InputError(f"arm '{missing[0]}' has no scores of {measure}")
        contrasts += adjusted(
            [
                contrast(arrays[a], arrays[b], f"{a} - {b}", "", measure, units[measure])
                for a, b in comparisons
            ]
        )
    if shape is None:
        raise InputError("there are no scores")
    seeds = tuple(range(shape[0])) if seeds is None else tuple(seeds)
    return Result(name, seeds, level, tuple(levels), tuple(contrasts), shape[1])


def contrast(a: Array, b: Array, name: str, claim: str, measure: str, unit: str) -> Contrast:
    """Compare two arms of (seeds, problems); p isn't adjusted yet."""
    difference = a - b
    estimate = crossed(difference, name, unit)
    per_seed = np.nanmean(difference, axis=1)
    seed_sd = float(per_seed.std(ddof=1))
    return Contrast(
        name, claim, measure, estimate, t_test(estimate), math.nan, seed_sd,
        _detectable(estimate), tuple(per_seed.tolist()),
    )  # fmt: skip


def adjusted(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Holm's adjustment over all of them."""
    if not contrasts:
        return []
    log_ps = holm([found.test.log_p_value for found in contrasts])
    return [
        Contrast(**{**vars(found), "log_p_holm": float(log_p)})
        for found, log_p in zip(contrasts, log_ps, strict=True)
    ]


def level_of(scores: Array, name: str, unit: str) -> TEstimate:
    """Mean of (seeds, items); that of a "share of ..." has an interval within 0 and 1."""
    mean = crossed(scores, name, unit)
    inside = np.nanmin(scores) >= 0 and np.nanmax(scores) <= 1  # unlike differences of shares
    return mean.as_share(scores.shape[1]) if unit.startswith("share") and inside else mean


def crossed(scores: Array, name: str, unit: str) -> TEstimate:
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
