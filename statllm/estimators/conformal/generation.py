"""Conformal language modelling: sample until the set holds an acceptable answer, with a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.conformal.law import check_alpha
from statllm.estimators.selective.risk_bounds import risk_p_value
from statllm.estimators.selective.risk_control import reject_familywise
from statllm.ragged import Ragged
from statllm.results import Estimate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
SetScore = Literal["count", "max", "sum"]
Objective = Literal["samples", "size", "last"]


@dataclass(frozen=True, eq=False)
class GenerationRule:
    """When to keep a sample and when to stop.

    A sample is kept if its quality is at least `min_quality` and its similarity to every sample
    kept before is at most `max_similarity`. Sampling stops once the score of the kept set is at
    least `stop_score`, or with the samples there are.

    Attributes
    ----------
    max_similarity, min_quality, stop_score : float
        λ1, λ2, λ3. Infinite values switch a part off.
    set_score : str
    certified : bool
        Whether the loss is at most `limit` with confidence 1 - delta. If not, nothing could be
        certified and the rule is the safest one: keep everything, never stop early.
    limit, delta : float
    calibration_loss : float
        Share of the calibration prompts whose set holds no acceptable sample.
    n_calibration : int
    n_tested, n_passed : int
        Configurations on the frontier, and those that passed the test.
    """

    max_similarity: float
    min_quality: float
    stop_score: float
    set_score: SetScore
    certified: bool
    limit: float
    delta: float
    calibration_loss: float
    n_calibration: int
    n_tested: int
    n_passed: int

    def apply(self, quality: Any, similarity: Any = None) -> tuple[Ragged, IntArray]:
        """Run the rule on stored samples.

        Returns
        -------
        kept : Ragged of bool
            Which samples are in the set; False beyond the stop.
        n_sampled : ndarray of int64, shape (n_prompts,)
        """
        batch = _Batch.read(quality, None, similarity)
        kept = batch.kept(self.max_similarity, self.min_quality)
        stops = batch.stops(kept, np.array([self.stop_score]), self.set_score)[:, 0]
        kept &= np.arange(kept.shape[1]) < stops[:, None]
        return Ragged.from_lengths(kept[batch.present], batch.n_samples), stops

    def loss(self, quality: Any, admissible: Any, similarity: Any = None) -> Estimate:
        """Share of new prompts whose set holds no acceptable sample, Clopper-Pearson."""
        from statllm.estimators.proportions import proportion

        kept, _ = self.apply(quality, similarity)
        good = _matching(admissible, kept, "admissible").astype(bool)
        found = kept.with_values(kept.values & good).sum() > 0
        return proportion(int(np.sum(~found)), len(found), "clopper-pearson", "set loss")


def conformal_generation(
    quality: Any,
    admissible: Any,
    similarity: Any = None,
    limit: float = 0.2,
    delta: float = 0.05,
    set_score: SetScore = "max",
    objective: Objective = "samples",
    n_grid: int = 10,
    rng: np.random.Generator | int = 0,
) -> GenerationRule:
    """Calibrate when to stop sampling (Quach et al. 2024, Conformal Language Modeling).

    P(loss of the rule <= `limit`) >= 1 - `delta`, the loss being the probability that no sample
    of the set is acceptable. A grid of configurations (λ1, λ2, λ3) is scored on a random half of
    the prompts; those that no other beats in loss, set size and number of samples at once are
    tested on the other half, safest first, until the first fails at level `delta` (Pareto testing:
    Laufer-Goldshtein et al. 2023; binomial p-values). Of those that passed, the one with the
    least `objective` on the first half is returned; ``"last"``, the riskiest that passed, is what
    the published code takes.

    Prompts without any acceptable sample are lost whatever the rule: where their share is near
    `limit` nothing can be certified.

    Parameters
    ----------
    quality : Ragged or list of lists of float
        Quality of each sample of each prompt, in the order sampled.
    admissible : Ragged or list of lists of bool
        Whether the sample is acceptable.
    similarity : Ragged or list of lists of float, optional
        Row i holds the k_i x k_i similarities of prompt i's samples, row after row; only those of
        a sample to earlier ones are read. Default: no rejection of near-duplicates.
    limit, delta : float
    set_score : {"count", "max", "sum"}
        Score of a set: how many samples, their best quality, or the sum of their qualities.
    objective : {"samples", "size", "last"}
        What is to be small: samples drawn, or samples kept.
    n_grid : int
        Quantiles tried per λ, besides "off".
    rng : Generator or int
        Draws the halves.

    Returns
    -------
    GenerationRule

    Raises
    ------
    ValueError
        If rows differ in length, a number is NaN, or an option is unknown.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> good = rng.random((400, 10)) < 0.4
    >>> quality = good + rng.normal(size=(400, 10))
    >>> rule = conformal_generation(quality.tolist(), good.tolist(), limit=0.2)
    >>> kept, n = rule.apply(quality.tolist())
    >>> rule.certified, float(n.mean()) < 10
    (True, True)
    """
    check_alpha(limit, "limit")
    check_alpha(delta, "delta")
    if set_score not in get_args(SetScore):
        raise ValueError(f"set_score must be count, max or sum, not {set_score!r}")
    if objective not in get_args(Objective):
        raise ValueError(f"objective must be samples, size or last, not {objective!r}")
    if n_grid < 1:
        raise ValueError(f"n_grid must be at least 1, not {n_grid}")
    batch = _Batch.read(quality, admissible, similarity)
    order = np.random.default_rng(rng).permutation(len(batch.quality))
    first, second = batch.take(order[: len(order) // 2]), batch.take(order[len(order) // 2 :])
    safest = (np.inf, -np.inf, np.inf)
    if not len(first.quality):
        n = len(second.quality)
        return GenerationRule(*safest, set_score, False, limit, delta, float("nan"), n, 0, 0)
    grid = _grid(first, set_score, n_grid)
    loss, size, samples = (part.ravel() for part in _evaluate(first, grid, set_score))
    frontier = _frontier(np.column_stack([loss, samples, size]))
    ranked = frontier[np.lexsort((size[frontier], samples[frontier], loss[frontier]))]
    calibration_loss = _evaluate(second, grid, set_score)[0].ravel()
    p_values = risk_p_value(calibration_loss, len(second.quality), limit, "binomial")
    passed = ranked[reject_familywise(p_values[ranked], delta, "fixed-sequence")]
    configurations = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 3)
    if len(passed):
        cost = {"samples": samples, "size": size, "last": -loss}[objective]
        chosen = int(passed[np.argmin(cost[passed])])
    else:
        chosen = int(np.flatnonzero((configurations == safest).all(axis=1))[0])
    max_similarity, min_quality, stop_score = (float(part) for part in configurations[chosen])
    return GenerationRule(
        max_similarity,
        min_quality,
        stop_score,
        set_score,
        bool(len(passed)),
        limit,
        delta,
        float(calibration_loss[chosen]),
        len(second.quality),
        len(ranked),
        len(passed),
    )


@dataclass(frozen=True, eq=False)
class _Batch:
    """Samples of many prompts as matrices, short rows padded."""

    quality: FloatArray  # (n, k), minus infinity where there's no sample
    admissible: BoolArray  # (n, k)
    similarity: FloatArray | None  # (n, k, k)
    n_samples: IntArray

    @classmethod
    def read(cls, quality: Any, admissible: Any, similarity: Any) -> _Batch:
        rows = quality if isinstance(quality, Ragged) else Ragged.from_lists(quality, np.float64)
        values = rows.values.astype(np.float64)
        if np.isnan(values).any():
            raise ValueError(f"{np.isnan(values).sum()} of {len(values)} quality values are NaN")
        n, k = rows.n_rows, int(rows.lengths.max(initial=0))
        dense = np.full((n, k), -np.inf)
        dense[rows.rows, rows.positions] = values
        good = np.zeros((n, k), dtype=bool)
        if admissible is not None:
            labels = _matching(admissible, rows, "admissible")
            if not np.isin(labels, [0, 1]).all():
                raise ValueError("admissible must be true or false (1 or 0)")
            good[rows.rows, rows.positions] = labels.astype(bool)
        near = None if similarity is None else _dense_pairs(similarity, rows.lengths, k)
        return cls(dense, good, near, rows.lengths)

    @property
    def present(self) -> BoolArray:
        """Which entries are samples."""
        return np.arange(self.quality.shape[1]) < self.n_samples[:, None]

    def take(self, rows: IntArray) -> _Batch:
        near = None if self.similarity is None else self.similarity[rows]
        return _Batch(self.quality[rows], self.admissible[rows], near, self.n_samples[rows])

    def kept(self, max_similarity: float, min_quality: float) -> BoolArray:
        """Which samples enter the set, if sampling never stops."""
        kept = (self.quality >= min_quality) & self.present
        if self.similarity is not None and max_similarity < np.inf:
            too_near = self.similarity > max_similarity
            for t in range(1, kept.shape[1]):
                kept[:, t] &= ~np.any(too_near[:, t, :t] & kept[:, :t], axis=1)
        return kept

    def set_scores(self, kept: BoolArray, set_score: SetScore) -> FloatArray:
        """Best score that the set has reached after each sample."""
        if set_score == "count":
            return np.cumsum(kept, axis=1).astype(np.float64)
        if set_score == "max":
            return np.maximum.accumulate(np.where(kept, self.quality, -np.inf), axis=1)
        sums = np.cumsum(np.where(kept, self.quality, 0.0), axis=1)
        return np.maximum.accumulate(sums, axis=1)

    def stops(self, kept: BoolArray, stop_scores: FloatArray, set_score: SetScore) -> IntArray:
        """Samples drawn under each stop score, shape (n, len(stop_scores))."""
        reached = self.set_scores(kept, set_score)
        before = (reached[:, :, None] < stop_scores).sum(axis=1, dtype=np.int64)
        drawn: IntArray = np.minimum(before + 1, self.n_samples[:, None])
        return drawn


def _evaluate(
    batch: _Batch, grid: tuple[FloatArray, FloatArray, FloatArray], set_score: SetScore
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean loss, set size and number of samples of every configuration."""
    shape = tuple(len(axis) for axis in grid)
    loss, size, samples = np.empty(shape), np.empty(shape), np.empty(shape)
    for i, max_similarity in enumerate(grid[0]):
        for j, min_quality in enumerate(grid[1]):
            kept = batch.kept(float(max_similarity), float(min_quality))
            stops = batch.stops(kept, grid[2], set_score)
            n_good = _before(kept & batch.admissible, stops)
            loss[i, j] = np.mean(n_good == 0, axis=0)
            size[i, j] = np.mean(_before(kept, stops), axis=0)
            samples[i, j] = stops.mean(axis=0)
    return loss, size, samples


def _before(marked: BoolArray, stops: IntArray) -> IntArray:
    """How many of the marked samples come before each stop."""
    running = np.concatenate(
        [np.zeros((len(marked), 1), np.int64), np.cumsum(marked, axis=1)], axis=1
    )
    counts: IntArray = np.take_along_axis(running, stops, axis=1)
    return counts


def _grid(
    batch: _Batch, set_score: SetScore, n_grid: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Quantiles of what is seen, and the value that switches each part off."""
    levels = (np.arange(n_grid) + 0.5) / n_grid
    present = batch.present
    qualities = np.quantile(batch.quality[present], levels) if present.any() else np.empty(0)
    similarities = np.empty(0)
    if batch.similarity is not None:
        earlier = np.tril(np.ones((present.shape[1],) * 2, dtype=bool), -1)
        seen = batch.similarity[present[:, :, None] & present[:, None, :] & earlier]
        similarities = np.quantile(seen, levels) if len(seen) else similarities
    reached = batch.set_scores(present, set_score)[present]
    reached = reached[np.isfinite(reached)]
    scores = np.quantile(reached, levels) if len(reached) else np.empty(0)
    return (
        np.unique(np.append(similarities, np.inf)),
        np.unique(np.append(qualities, -np.inf)),
        np.unique(np.append(scores, np.inf)),
    )


def _frontier(costs: FloatArray) -> IntArray:
    """Places of the rows that no other row beats in every column; equal rows are kept once."""
    rows, first = np.unique(costs, axis=0, return_index=True)
    undominated = [
        not np.any(np.all(rows <= row, axis=1) & np.any(rows < row, axis=1)) for row in rows
    ]
    places: IntArray = first[np.array(undominated)]
    return places


def _dense_pairs(similarity: Any, lengths: IntArray, k: int) -> FloatArray:
    """Similarities as (n, k, k), minus infinity where there's no pair."""
    if isinstance(similarity, Ragged):
        rows = similarity
    else:
        rows = Ragged.from_lists([np.ravel(row).tolist() for row in similarity], np.float64)
    if not np.array_equal(rows.lengths, lengths**2):
        raise ValueError("similarity must have k x k values for a prompt with k samples")
    values = rows.values.astype(np.float64)
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} of {len(values)} similarities are NaN")
    dense = np.full((len(lengths), k, k), -np.inf)
    width = np.maximum(lengths, 1)[rows.rows]
    dense[rows.rows, rows.positions // width, rows.positions % width] = values
    return dense


def _matching(labels: Any, rows: Ragged, name: str) -> NDArray[Any]:
    """Flat labels of rows as long as those given."""
    ragged = labels if isinstance(labels, Ragged) else Ragged.from_lists(labels, np.float64)
    if not np.array_equal(ragged.offsets, rows.offsets):
        raise ValueError(
            f"{name} must have one value per sample, in rows as long as those of quality"
        )
    return ragged.values
