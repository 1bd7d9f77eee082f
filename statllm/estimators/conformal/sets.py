"""Split conformal prediction: sets of answers that hold the right one with a stated probability.

Everything here rests on one assumption: calibration and test items are exchangeable. Calibrate on
prompts that were never used to choose the model, the prompt template or the score, one item per
prompt (or per cluster).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.conformal.scores import SetMethod, checked_probs, set_scores
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class CoverageLaw:
    """How the coverage of a split conformal set varies with the calibration set.

    Given the calibration set, the coverage of continuous scores has a Beta(n + 1 - l, l)
    distribution, l = floor((n + 1) alpha) (Vovk 2012); with tied scores it's at least as large.
    With l = 0 the set is everything and coverage is 1.

    Attributes
    ----------
    n : int
        Calibration items.
    alpha : float
        Nominal miscoverage.

    Examples
    --------
    >>> law = CoverageLaw(100, 0.1)
    >>> round(law.mean, 4), f"{law.interval(0.9):.4f}", law.trivial
    (0.901, '[0.8482, 0.9447]', False)
    >>> CoverageLaw(8, 0.1).trivial
    True
    """

    n: int
    alpha: float

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.n < 0:
            raise ValueError(f"n must not be negative, it is {self.n}")

    @property
    def n_above(self) -> int:
        """l = floor((n + 1) alpha): how many of n + 1 items may lie outside."""
        return int(np.floor((self.n + 1) * self.alpha + 1e-9))  # 100 * 0.29 is 28.999...

    @property
    def rank(self) -> int:
        """ceil((n + 1)(1 - alpha)): place of the threshold among the sorted scores."""
        return self.n + 1 - self.n_above

    @property
    def trivial(self) -> bool:
        """Whether n is too small, n + 1 < 1 / alpha, for any set but the whole one."""
        return self.n_above == 0

    @property
    def mean(self) -> float:
        """Coverage on average over calibration sets, between 1 - alpha and 1 - alpha + 1/(n+1)."""
        return self.rank / (self.n + 1)

    def interval(self, level: float = 0.9) -> Interval:
        """Return the central interval that holds the coverage of `level` of calibration sets.

        Raises
        ------
        ValueError
            If `level` is not in (0, 1).
        """
        from scipy import special

        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {level}")
        if self.trivial:
            return Interval(1.0, 1.0, level, "whole set")
        tail = (1 - level) / 2
        low, high = special.betaincinv(self.rank, self.n_above, [tail, 1 - tail])
        return Interval(float(low), float(high), level, f"Beta({self.rank}, {self.n_above})")

    @property
    def note(self) -> str:
        """What to tell the reader when the set is trivial; empty otherwise."""
        if not self.trivial:
            return ""
        return (
            f"{self.n} calibration items are too few for alpha = {self.alpha:g}: at least "
            f"{int(np.ceil(1 / self.alpha - 1e-9)) - 1} are needed, so nothing is left out"
        )


def conformal_quantile(scores: ArrayLike, alpha: float) -> float:
    """Return the split conformal threshold: the ceil((n + 1)(1 - alpha))-th smallest score.

    Parameters
    ----------
    scores : array_like of float, shape (n,)
        Nonconformity of the right answers; larger is stranger. Infinite values are allowed.
    alpha : float
        Miscoverage, in (0, 1).

    Returns
    -------
    float
        Infinity when n + 1 < 1 / alpha, never an error.

    Raises
    ------
    ValueError
        If a score is NaN or `alpha` not in (0, 1).

    Examples
    --------
    >>> conformal_quantile([0.3, 0.1, 0.2, 0.4], 0.25), conformal_quantile([0.3, 0.1], 0.1)
    (0.4, inf)
    """
    values = checked_scores(scores, "scores")
    law = CoverageLaw(len(values), alpha)
    if law.trivial:
        return float("inf")
    return float(np.partition(values, law.rank - 1)[law.rank - 1])


@dataclass(frozen=True, eq=False)
class PredictionSets:
    """Sets of answers with guaranteed coverage.

    Attributes
    ----------
    sets : ndarray of bool, shape (n, K)
        Which answers are in. Randomised sets may be empty.
    thresholds : ndarray of float64, shape (n,)
        The largest score that is let in, per item (one number without `groups`).
    laws : tuple of CoverageLaw
        Law of the coverage, one per group, in the order of the sorted group labels.
    method : str
    """

    sets: BoolArray
    thresholds: FloatArray
    laws: tuple[CoverageLaw, ...]
    method: str

    @property
    def sizes(self) -> IntArray:
        """Number of answers in each set."""
        sizes: IntArray = self.sets.sum(axis=1, dtype=np.int64)
        return sizes

    @property
    def law(self) -> CoverageLaw:
        """The law of the coverage where there is one group; the smallest group's otherwise."""
        return min(self.laws, key=lambda law: law.n)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which groups were too small, so that their sets hold every answer."""
        return tuple(law.note for law in self.laws if law.trivial)

    @property
    def mean_size(self) -> Estimate:
        """Mean number of answers in a set."""
        n = len(self.sizes)
        value = float(self.sizes.mean()) if n else float("nan")
        se = float(self.sizes.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
        return Estimate(value, se, n, self.method, "set size", "answers")

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
    penalty: float = 0.01,
    free_rank: int = 1,
) -> PredictionSets:
    """Split conformal sets of answers: P(right answer in the set) >= 1 - alpha.

    The guarantee is marginal: on average over calibration sets and items, and with `groups` also
    within each group (Mondrian; Vovk 2012). `PredictionSets.law` says what it's worth for one
    calibration set.

    Parameters
    ----------
    calibration_probs : array_like, shape (n_calibration, K)
    calibration_labels : array_like of int, shape (n_calibration,)
        Column of the right answer.
    probs : array_like, shape (n, K)
    alpha : float
    method : {"lac", "aps", "raps"}
        See `set_scores`. LAC sets are the smallest on average; APS and RAPS adapt to the item.
    randomised : bool
        For APS and RAPS: draw u per item, which makes the coverage exact; False sets u = 1
        and gives larger sets that never depend on a draw. LAC has no draw.
    groups : pair of array_like, optional
        Group of each calibration item and of each item: every group gets its own threshold.
        An item of a group without calibration items gets the whole set.
    rng : Generator or int
    penalty, free_rank : float, int
        For RAPS.

    Returns
    -------
    PredictionSets

    Raises
    ------
    ValueError
        If shapes differ, a probability is NaN or outside [0, 1], or a label isn't a column.

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
    if randomised and method != "lac":
        generator = np.random.default_rng(rng)
        u_fit, u_test = generator.random(len(fit)), generator.random(len(test))
    fit_scores = set_scores(fit, method, u_fit, penalty, free_rank)
    scores = set_scores(test, method, u_test, penalty, free_rank)
    own = fit_scores[np.arange(len(fit)), labels]
    if groups is None:
        codes, test_codes, n_groups = np.zeros(len(fit), int), np.zeros(len(test), int), 1
    else:
        codes, test_codes, n_groups = group_codes(*groups, len(fit), len(test))
    per_group = [own[codes == g] for g in range(n_groups)]
    cuts = np.array([conformal_quantile(values, alpha) for values in per_group])
    thresholds = cuts[test_codes]
    sets = scores <= thresholds[:, None]
    laws = tuple(CoverageLaw(len(values), alpha) for values in per_group)
    name = method if method == "lac" or randomised else f"{method}, deterministic"
    return PredictionSets(sets, thresholds, laws, name)


def check_alpha(alpha: float, name: str = "alpha") -> None:
    """Raise ValueError unless 0 < alpha < 1."""
    if not 0 < alpha < 1:
        raise ValueError(f"{name} must lie between 0 and 1, not {alpha}")


def checked_scores(scores: ArrayLike, name: str) -> FloatArray:
    """Return a flat array of floats without NaN."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, not of shape {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} of {len(values)} {name} are NaN")
    return values


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


def _checked_labels(labels: ArrayLike, shape: tuple[int, ...]) -> IntArray:
    """Column numbers of the right answers."""
    right = np.asarray(labels)
    if right.shape != (shape[0],):
        raise ValueError(f"labels must be {shape[0]} column numbers, not of shape {right.shape}")
    if len(right) and (right.dtype.kind not in "iu" or right.min() < 0 or right.max() >= shape[1]):
        raise ValueError(f"labels must be whole numbers from 0 to {shape[1] - 1}")
    return right.astype(np.int64)
