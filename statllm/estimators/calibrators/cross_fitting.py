"""Calibrated probabilities for the data that the calibrator was fitted on, without cheating."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.calibration._outcomes import checked_weights
from statllm.estimators.calibrators._base import FloatArray, IntArray
from statllm.estimators.comparison import ratio_estimate
from statllm.results import Estimate

if TYPE_CHECKING:
    import pandas as pd


class ProbabilityModel(Protocol):
    """A calibrator, or any classifier with the interface of scikit-learn's."""

    def get_params(self, deep: bool = True) -> dict[str, Any]: ...
    def fit(self, score: Any, y: Any) -> Self: ...
    def predict_proba(self, score: Any) -> FloatArray: ...


@dataclass(frozen=True)
class CalibrationReport:
    """Proper scores of probabilities before and after calibration; lower is better.

    Attributes
    ----------
    log_loss_before, log_loss_after : Estimate
        Mean of -ln(probability of the true label), nats; infinite, without an error, where a
        true label had probability 0.
    log_loss_change : Estimate
        After minus before, its error from the pairs: negative when calibration helped.
    brier_before, brier_after, brier_change : Estimate
        The same for the squared error, (p - y)^2, or summed over classes if there are more
        than two.
    """

    log_loss_before: Estimate
    log_loss_after: Estimate
    log_loss_change: Estimate
    brier_before: Estimate
    brier_after: Estimate
    brier_change: Estimate

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return one row per figure."""
        import pandas as pd

        return pd.DataFrame([each.to_dict(level) for each in vars(self).values()])

    def summary(self, level: float = 0.95) -> str:
        """Return one line per figure."""
        return "\n".join(each.summary(level) for each in vars(self).values())


def calibration_report(
    before: ArrayLike,
    after: ArrayLike,
    y: ArrayLike,
    clusters: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> CalibrationReport:
    """Log loss and Brier score before and after calibration, and their paired differences.

    Both have to be probabilities for answers that the calibrator hasn't seen.

    Parameters
    ----------
    before, after : array_like of float, shape (n,) or (n, n_classes)
        P(right), or a probability for each class.
    y : array_like, shape (n,)
        Right or wrong (1 or 0), or the class's number.
    clusters : array_like, shape (n,), optional
        Rows that aren't independent, such as the answers to one prompt.
    weights : array_like of float, shape (n,), optional
        Sampling weights.

    Returns
    -------
    CalibrationReport

    Raises
    ------
    ValueError
        If shapes differ, a probability isn't in [0, 1], rows don't sum to 1, a label isn't one of
        the classes, or a weight is negative.

    Examples
    --------
    >>> report = calibration_report([0.9, 0.9, 0.9, 0.9], [0.6, 0.6, 0.6, 0.6], [1, 0, 1, 0])
    >>> round(report.brier_change.value, 3), round(report.log_loss_change.value, 3)
    (-0.15, -0.49)
    """
    first, second, labels = _table(before, "before"), _table(after, "after"), np.asarray(y)
    if first.shape != second.shape or labels.shape != (len(first),):
        raise ValueError(
            f"before, after and y must belong together, but have {len(first)}, {len(second)} and "
            f"{labels.size} rows of {first.shape[1]} and {second.shape[1]} classes"
        )
    if not np.isin(labels, np.arange(first.shape[1])).all():
        raise ValueError(f"y must hold classes from 0 to {first.shape[1] - 1}")
    labels = labels.astype(np.int64)
    logs = [_log_losses(table, labels) for table in (first, second)]
    squares = [_brier_scores(table, labels) for table in (first, second)]
    w = np.ones(len(labels)) if weights is None else checked_weights(weights, len(labels))

    def mean(losses: FloatArray, name: str, unit: str) -> Estimate:
        return _mean(losses, w, clusters, name, unit)

    def change(losses: list[FloatArray], name: str, unit: str) -> Estimate:
        return _change(losses, w, clusters, name, unit)

    return CalibrationReport(
        mean(logs[0], "log loss before", "nats"),
        mean(logs[1], "log loss after", "nats"),
        change(logs, "log loss, after - before", "nats"),
        mean(squares[0], "Brier score before", ""),
        mean(squares[1], "Brier score after", ""),
        change(squares, "Brier score, after - before", ""),
    )


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Out-of-fold probabilities.

    Attributes
    ----------
    probability : ndarray of float64, shape (n, n_classes)
        Of each row, from the model fitted without the row's fold.
    fold : ndarray of int64, shape (n,)
    models : tuple
        The fitted models, fold by fold.
    y : ndarray, shape (n,)
    clusters, weights : ndarray, shape (n,), or None
    """

    probability: FloatArray
    fold: IntArray
    models: tuple[ProbabilityModel, ...]
    y: IntArray
    clusters: NDArray[Any] | None
    weights: FloatArray | None = None

    def report(self, before: ArrayLike) -> CalibrationReport:
        """Compare with the probabilities `before` calibration; see `calibration_report`.

        The errors take the rows (or clusters) as independent, but folds share most of their
        fitting data, and no unbiased estimate of what that adds exists (Bengio and Grandvalet
        2004). With 200 rows, 95% intervals of the Brier score's change held the mean change of
        the five fitted models in 92% of simulations for `Platt` and 86% for `Isotonic`. Data that
        were kept apart from all fitting and go to `calibration_report` have no such flaw.
        """
        after = self.probability
        if np.ndim(before) == 1:
            after = after[:, 1]
        return calibration_report(before, after, self.y, self.clusters, self.weights)


def cross_fit(
    calibrator: ProbabilityModel,
    score: ArrayLike,
    y: ArrayLike,
    clusters: ArrayLike | None = None,
    n_folds: int = 5,
    rng: np.random.Generator | int = 0,
    weights: ArrayLike | None = None,
) -> CrossFit:
    """Fit on all folds but one, predict that one, fold after fold.

    Parameters
    ----------
    calibrator : Temperature, Platt, Beta, Isotonic, Histogram, VennAbers, or the like
        It isn't changed; each fold fits a new one with its parameters.
    score : array_like of float, shape (n,) or (n, n_columns)
    y : array_like, shape (n,)
    clusters : array_like, shape (n,), optional
        Rows of one cluster stay in one fold. Default: every row is its own cluster.
    n_folds : int
        Clusters are shuffled and dealt out to the folds in turn.
    rng : numpy.random.Generator or int
        Shuffles the clusters.
    weights : array_like of float, shape (n,), optional
        Sampling weights, for fitting (`sample_weight`) and for the report.

    Returns
    -------
    CrossFit

    Raises
    ------
    ValueError
        If lengths differ, or there are fewer clusters than folds, or fewer than two folds.

    Examples
    --------
    >>> from statllm.estimators.calibrators.parametric import Platt
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.uniform(size=2000)
    >>> y = rng.uniform(size=2000) < truth
    >>> timid = truth**0.4 / (truth**0.4 + (1 - truth) ** 0.4)  # log-odds shrunk
    >>> print(cross_fit(Platt(), timid, y).report(timid).log_loss_change.summary())
    log loss, after - before = -0.05752 nats (se 0.0065, 95% t(1999) [-0.07029, -0.04475], n = 2000)
    """
    scores, labels = np.asarray(score), np.asarray(y)
    n = len(labels)
    if labels.ndim != 1 or scores.ndim not in (1, 2) or len(scores) != n:
        raise ValueError(f"score and y must have one length, not {scores.shape}, {labels.shape}")
    groups = None if clusters is None else np.asarray(clusters)
    if groups is not None and groups.shape != (n,):
        raise ValueError(f"{groups.size} cluster labels for {n} rows")
    w = None if weights is None else checked_weights(weights, n)
    fold = _folds(np.arange(n) if groups is None else groups, n_folds, rng)
    models, parts = [], []
    for k in range(n_folds):
        model = type(calibrator)(**calibrator.get_params(deep=False))
        others = fold != k
        fit: Any = model.fit  # takes weights, or says that it doesn't
        options = {} if w is None else {"sample_weight": w[others]}
        models.append(fit(scores[others], labels[others], **options))
        parts.append(model.predict_proba(scores[fold == k]))
    probability = np.empty((n, parts[0].shape[1]))
    for k, part in enumerate(parts):
        probability[fold == k] = part
    return CrossFit(probability, fold, tuple(models), labels.astype(np.int64), groups, w)


def _folds(clusters: NDArray[Any], n_folds: int, rng: np.random.Generator | int) -> IntArray:
    """Fold of each row; clusters are shuffled and dealt out."""
    distinct, number = np.unique(clusters, return_inverse=True)
    if not 2 <= n_folds <= len(distinct):
        raise ValueError(
            f"n_folds must lie between 2 and the {len(distinct)} clusters, not be {n_folds}"
        )
    order = np.random.default_rng(rng).permutation(len(distinct))
    fold: IntArray = (order % n_folds)[number]
    return fold


def _table(probability: ArrayLike, what: str) -> FloatArray:
    """One column for each class."""
    table = np.asarray(probability, dtype=np.float64)
    if table.ndim == 1:
        table = np.column_stack([1 - table, table])
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"{what} must have shape (n,) or (n, n_classes), not {table.shape}")
    if not np.all((table >= 0) & (table <= 1)):
        raise ValueError(f"{what} must hold probabilities in [0, 1], without NaN")
    if np.any(np.abs(table.sum(axis=1) - 1) > 1e-3):
        raise ValueError(f"rows of {what} must sum to 1")
    return table


def _log_losses(table: FloatArray, labels: IntArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        losses: FloatArray = -np.log(table[np.arange(len(labels)), labels])
    return losses


def _brier_scores(table: FloatArray, labels: IntArray) -> FloatArray:
    """Squared errors; of P(right) alone if there are two classes, whose errors are the same."""
    if table.shape[1] == 2:
        return (table[:, 1] - labels) ** 2
    errors = table.copy()
    errors[np.arange(len(labels)), labels] -= 1
    out: FloatArray = (errors**2).sum(axis=1)
    return out


def _mean(
    losses: FloatArray, w: FloatArray, clusters: ArrayLike | None, name: str, unit: str
) -> Estimate:
    if np.isinf(losses[w > 0]).any():
        return _infinite(float("inf"), losses, clusters, name, unit)
    losses = np.where(w > 0, losses, 0.0)
    return ratio_estimate(w * losses, w, name, unit, clusters, method="mean")


def _change(
    losses: list[FloatArray], w: FloatArray, clusters: ArrayLike | None, name: str, unit: str
) -> Estimate:
    before, after = (bool(np.isinf(each[w > 0]).any()) for each in losses)
    if before or after:
        value = float("nan") if before and after else float("inf") if after else -float("inf")
        return _infinite(value, losses[1], clusters, name, unit)
    change = np.where(w > 0, losses[1], 0.0) - np.where(w > 0, losses[0], 0.0)
    return ratio_estimate(w * change, w, name, unit, clusters, "mean of paired differences")


def _infinite(
    value: float, losses: FloatArray, clusters: ArrayLike | None, name: str, unit: str
) -> Estimate:
    """An estimate that a true label of probability 0 has made infinite."""
    n = len(losses) if clusters is None else len(np.unique(np.asarray(clusters)))
    return Estimate(value, float("nan"), n, "a true label had probability 0", name, unit)
