"""Split conformal prediction: sets of answers that hold the right one with a stated probability.

Everything here rests on one assumption: calibration and test items are exchangeable. Calibrate on
prompts that were never used to choose the model, the prompt template or the score, one item per
prompt (or per cluster).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.conformal.law import CoverageLaw, check_alpha, conformal_quantile
from statllm.estimators.conformal.scores import UNDRAWN, SetMethod, checked_probs, set_scores
from statllm.results import Estimate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PredictionSets:
    """Sets of answers with guaranteed coverage.

    Attributes
    ----------
    sets : ndarray of bool, shape (n, K)
        Which answers are in. Randomised sets may be empty.
    thresholds : ndarray of float64, shape (n,), or (n, K) with `answer_groups`
        The largest score that is let in; infinite where there are too few calibration items.
    laws : tuple of CoverageLaw
        Law of the coverage, one per group, in the order of the sorted group labels (and within
        one, of the sorted answer groups). Empty for weighted sets, whose law isn't known.
    method : str
    p_values_of : callable
        Computes `p_values`.
    """

    sets: BoolArray
    thresholds: FloatArray
    laws: tuple[CoverageLaw, ...]
    method: str
    p_values_of: Callable[[], FloatArray] = field(repr=False)

    @property
    def sizes(self) -> IntArray:
        """Number of answers in each set."""
        sizes: IntArray = self.sets.sum(axis=1, dtype=np.int64)
        return sizes

    @cached_property
    def p_values(self) -> FloatArray:
        """Conformal p-value of every answer, shape (n, K): a set holds those with p > alpha."""
        return self.p_values_of()

    @property
    def uncalibrated(self) -> BoolArray:
        """Which sets hold an answer (without answer groups: every answer) for lack of data."""
        infinite = np.isinf(self.thresholds)
        return infinite if infinite.ndim == 1 else np.asarray(infinite.any(axis=1), dtype=bool)

    @property
    def law(self) -> CoverageLaw:
        """The law of the coverage where there is one group; the smallest group's otherwise.

        Raises
        ------
        ValueError
            If the sets are weighted.
        """
        if not self.laws:
            raise ValueError("the law of the coverage of weighted sets isn't known")
        return min(self.laws, key=lambda law: law.n)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which groups were too small, so that their sets hold every answer."""
        if self.laws:
            return tuple(law.note for law in self.laws if law.trivial)
        n = int(np.count_nonzero(self.uncalibrated))
        return (f"{n} items weigh too much against the calibration items",) if n else ()

    @property
    def mean_size(self) -> Estimate:
        """Mean number of answers in a set."""
        return replace(mean_estimate(self.sizes, None, "set size", "answers"), method=self.method)

    def take(self, rows: ArrayLike) -> PredictionSets:
        """Return the sets of some items, by place or mask; the laws stay those of all groups."""
        at = np.asarray(rows)
        return replace(
            self,
            sets=self.sets[at],
            thresholds=self.thresholds[at],
            p_values_of=lambda: self.p_values[at],
        )

    def coverage(self, labels: ArrayLike) -> Estimate:
        """Share of the sets that hold the right answer, with its Clopper-Pearson interval.

        The interval is about the coverage of these thresholds, given the calibration set;
        `law` says how far that may lie from 1 - alpha.

        Parameters
        ----------
        labels : array_like of int, shape (n,)
            Column of the right answer.

        Raises
        ------
        ValueError
            If there isn't one label in 0..K-1 per item.
        """
        from statllm.estimators.proportions import proportion

        right = _checked_labels(labels, self.sets.shape)
        hits = int(np.count_nonzero(self.sets[np.arange(len(right)), right]))
        return proportion(hits, len(right), "clopper-pearson", "coverage")


def prediction_sets(
    calibration_probs: ArrayLike,
    calibration_labels: ArrayLike,
    probs: ArrayLike,
    alpha: float = 0.1,
    method: SetMethod = "lac",
    randomised: bool = True,
    groups: tuple[ArrayLike, ArrayLike] | None = None,
    rng: np.random.Generator | int = 0,
    penalty: float | None = None,
    free_rank: int = 1,
    answer_groups: ArrayLike | None = None,
    weights: tuple[ArrayLike, ArrayLike] | None = None,
) -> PredictionSets:
    """Split conformal sets of answers: P(right answer in the set) >= 1 - alpha.

    The guarantee is marginal: on average over calibration sets and items. With `groups` it also
    holds within each group of items, with `answer_groups` given that the right answer is of a
    group, with both in each combination (Mondrian; Vovk 2012). `PredictionSets.law` says what
    it's worth for one calibration set.

    Parameters
    ----------
    calibration_probs : array_like, shape (n_calibration, K)
    calibration_labels : array_like of int, shape (n_calibration,)
        Column of the right answer.
    probs : array_like, shape (n, K)
    alpha : float
    method : {"lac", "margin", "aps", "raps", "saps", "top_k"}
        See `set_scores`. LAC sets are the smallest on average; the others adapt to the item,
        but for top_k.
    randomised : bool
        Draw u per item, which makes the coverage exact; False sets u = 1 and gives larger sets
        that never depend on a draw. LAC and margin have no draw.
    groups : pair of array_like, optional
        Group of each calibration item and of each item: every group gets its own threshold.
        An item of a group without calibration items gets the whole set.
    rng : Generator or int
    penalty : float, optional
        For RAPS and SAPS.
    free_rank : int
        For RAPS.
    answer_groups : array_like, shape (K,), optional
        Group of each answer, each with its own threshold: ``range(K)`` is class-conditional; fewer
        groups, found on other data, are clustered (Ding et al. 2023).
    weights : pair of array_like, shapes (n_calibration,) and (n,), optional
        Likelihood ratios test / calibration of the items' covariates, up to one common factor: for
        items from another population than the calibration items (Tibshirani et al. 2019). The
        guarantee is as good as the ratios.

    Returns
    -------
    PredictionSets

    Raises
    ------
    ValueError
        If shapes differ, a probability is NaN or outside [0, 1], a label isn't a column, or a
        weight is negative or infinite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> probs = rng.dirichlet([1, 1, 1, 1], size=2000)
    >>> labels = (rng.random((2000, 1)) > probs.cumsum(1)[:, :-1]).sum(1)
    >>> sets = prediction_sets(probs[:1000], labels[:1000], probs[1000:], alpha=0.1)
    >>> cover = sets.coverage(labels[1000:])
    >>> f"{cover.value:.3f} {cover.interval():.3f} size {sets.mean_size.value:.2f}"
    '0.887 [0.866, 0.906] size 2.54'
    """
    fit, test = checked_probs(calibration_probs, "calibration_probs"), checked_probs(probs)
    if fit.shape[1] != test.shape[1]:
        raise ValueError(f"calibration has {fit.shape[1]} answers per item, probs {test.shape[1]}")
    labels = _checked_labels(calibration_labels, fit.shape)
    check_alpha(alpha)
    u_fit, u_test = np.ones(len(fit)), np.ones(len(test))
    drawn = randomised and method not in UNDRAWN
    if drawn:
        generator = np.random.default_rng(rng)
        u_fit, u_test = generator.random(len(fit)), generator.random(len(test))
    fit_scores = set_scores(fit, method, u_fit, penalty, free_rank)
    scores = set_scores(test, method, u_test, penalty, free_rank)
    own = fit_scores[np.arange(len(fit)), labels]
    codes, test_codes, n_groups = _taxonomy(groups, answer_groups, labels, test.shape)
    pair = None if weights is None else checked_weights(weights, len(fit), len(test))
    members = [np.flatnonzero(codes == g) for g in range(n_groups)]
    laws: tuple[CoverageLaw, ...] = ()
    if pair is None:
        cuts = np.array([conformal_quantile(own[rows], alpha) for rows in members])
        thresholds = cuts[test_codes]
        laws = tuple(CoverageLaw(len(rows), alpha) for rows in members)
    else:
        thresholds = np.empty(test_codes.shape)
        new = np.broadcast_to(pair[1][:, None], test_codes.shape)
        for g, rows in enumerate(members):
            at = test_codes == g
            thresholds[at] = _weighted_quantile(own[rows], pair[0][rows], new[at], alpha)

    def p_values() -> FloatArray:
        from statllm.estimators.conformal.p_values import conformal_p_values

        spread = np.broadcast_to(test_codes, scores.shape).ravel()
        both = None if pair is None else (pair[0], np.repeat(pair[1], scores.shape[1]))
        p = conformal_p_values(own, scores.ravel(), False, (codes, spread), both)
        return p.reshape(scores.shape)

    name = method if drawn or method in UNDRAWN else f"{method}, deterministic"
    flat = thresholds[:, 0] if answer_groups is None else thresholds
    return PredictionSets(scores <= thresholds, flat, laws, name, p_values)


def group_codes(
    calibration: ArrayLike, test: ArrayLike, n_calibration: int, n_test: int
) -> tuple[IntArray, IntArray, int]:
    """Integer codes of the groups of both parts, and the number of groups."""
    a, b = np.asarray(calibration), np.asarray(test)
    if a.shape != (n_calibration,) or b.shape != (n_test,):
        raise ValueError(
            f"groups must be {n_calibration} and {n_test} labels, not {a.shape}, {b.shape}"
        )
    names, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    return codes[:n_calibration], codes[n_calibration:], len(names)


def checked_weights(
    weights: tuple[ArrayLike, ArrayLike], n: int, m: int
) -> tuple[FloatArray, FloatArray]:
    """Weights of both parts as floats."""
    w, own = (np.asarray(part, dtype=np.float64) for part in weights)
    if w.shape != (n,) or own.shape != (m,):
        raise ValueError(f"weights must be {n} and {m} numbers, not {w.shape}, {own.shape}")
    if not (np.all((w >= 0) & np.isfinite(w)) and np.all((own >= 0) & np.isfinite(own))):
        raise ValueError("weights must be finite and not negative")
    return w, own


def _weighted_quantile(
    scores: FloatArray, weights: FloatArray, own: FloatArray, alpha: float
) -> FloatArray:
    """Threshold of each new item, whose own weight lies at infinity (Tibshirani et al. 2019)."""
    order = np.argsort(scores, kind="stable")
    running = np.cumsum(weights[order])
    mass = own + (running[-1] if len(running) else 0.0)
    # A sum that meets its limit exactly must not miss it by a rounding error.
    at = np.searchsorted(running, (1 - alpha) * mass * (1 - 1e-12))
    padded = np.append(scores[order], np.inf)
    return np.where(mass > 0, padded[at], np.inf)


def _taxonomy(
    groups: tuple[ArrayLike, ArrayLike] | None,
    answer_groups: ArrayLike | None,
    labels: IntArray,
    shape: tuple[int, ...],
) -> tuple[IntArray, IntArray, int]:
    """Group of each calibration item and of each new item's answers, shape (n, 1) or (n, K)."""
    n, k = shape
    codes, test_codes, n_groups = np.zeros(len(labels), np.int64), np.zeros(n, np.int64), 1
    if groups is not None:
        codes, test_codes, n_groups = group_codes(*groups, len(labels), n)
    if answer_groups is None:
        return codes, test_codes[:, None], n_groups
    given = np.asarray(answer_groups)
    if given.shape != (k,):
        raise ValueError(f"answer_groups must be {k} labels, not of shape {given.shape}")
    names, of_answer = np.unique(given, return_inverse=True)
    width = len(names)
    return (
        codes * width + of_answer[labels],
        test_codes[:, None] * width + of_answer,
        (n_groups * width),
    )


def _checked_labels(labels: ArrayLike, shape: tuple[int, ...]) -> IntArray:
    """Column numbers of the right answers."""
    right = np.asarray(labels)
    if right.shape != (shape[0],):
        raise ValueError(f"labels must be {shape[0]} column numbers, not of shape {right.shape}")
    if len(right) and (right.dtype.kind not in "iu" or right.min() < 0 or right.max() >= shape[1]):
        raise ValueError(f"labels must be whole numbers from 0 to {shape[1] - 1}")
    return right.astype(np.int64)
