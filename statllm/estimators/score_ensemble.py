"""Several scores in one: weights fitted on known answers, and judged on others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.calibrators._base import NotFittedError, smoothed_targets
from statllm.estimators.calibrators._logistic import fit_logistic
from statllm.estimators.calibrators.cross_fitting import cross_fit
from statllm.estimators.selective.auroc import auroc, auroc_difference
from statllm.results import Estimate

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Weights = Literal["convex", "logistic"]


class ScoreEnsemble:
    """P(right) from a weighted sum of scores: a logistic regression on standardised scores.

    Parameters
    ----------
    weights : {"convex", "logistic"}
        ``"convex"`` (the default): weights not below 0, so that more confidence by any score is
        more confidence; scaled to sum to 1 they make the ensemble a weighted mean. Give scores
        of which larger means more confident. ``"logistic"``: any sign.

    Attributes
    ----------
    coef_ : ndarray of float64, shape (n_scores,)
        On scores in units of their standard deviation.
    weights_ : ndarray of float64, shape (n_scores,)
        The same over the sum of their absolute values.
    intercept_ : float

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=500)
    >>> right = truth + rng.normal(size=500) > 0
    >>> scores = np.column_stack([truth, rng.normal(size=500)])
    >>> ScoreEnsemble().fit(scores, right).weights_.round(2)
    array([1., 0.])
    """

    def __init__(self, weights: Weights = "convex") -> None:
        self.weights = weights

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"weights": self.weights}

    def fit(self, score: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit on scores (n, n_scores) and answers that are right (1) or wrong (0).

        Labels are smoothed as Platt (1999) does, so that separated classes have finite weights.
        """
        if self.weights not in ("convex", "logistic"):
            raise ValueError(f"weights must be convex or logistic, not {self.weights!r}")
        table, labels = _scores(score), np.asarray(y)
        if labels.shape != (len(table),) or not np.isin(labels, [0, 1]).all():
            raise ValueError(f"y must hold right or wrong (1 or 0) for each of {len(table)} rows")
        right = labels.astype(np.int64)
        if len(np.unique(right)) < 2:
            raise ValueError("y must hold right and wrong answers")
        size = np.ones(len(table)) if sample_weight is None else np.asarray(sample_weight)
        if size.shape != (len(table),) or not (np.isfinite(size) & (size > 0)).all():
            raise ValueError("sample_weight must hold a positive number for each row")
        self.centre_ = np.average(table, axis=0, weights=size)
        spread = np.sqrt(np.average((table - self.centre_) ** 2, axis=0, weights=size))
        self.scale_ = np.where(spread > 0, spread, 1.0)
        features = np.column_stack([(table - self.centre_) / self.scale_, np.ones(len(table))])
        lower = np.full(features.shape[1], -np.inf)
        if self.weights == "convex":
            lower[:-1] = 0.0
        target = smoothed_targets(right, 2, size)[:, 1]
        found = fit_logistic(features, target, size, lower)
        self.coef_, self.intercept_ = found[:-1], float(found[-1])
        total = np.abs(self.coef_).sum()
        self.weights_ = self.coef_ / total if total > 0 else np.full(len(self.coef_), np.nan)
        self.classes_ = np.arange(2)
        return self

    def decision_function(self, score: ArrayLike) -> FloatArray:
        """Return the log-odds of being right, shape (n,)."""
        if not hasattr(self, "coef_"):
            raise NotFittedError("ScoreEnsemble isn't fitted yet; call fit first")
        table = _scores(score)
        if table.shape[1] != len(self.coef_):
            raise ValueError(f"score must have {len(self.coef_)} columns, not {table.shape[1]}")
        out: FloatArray = (table - self.centre_) / self.scale_ @ self.coef_ + self.intercept_
        return out

    def predict_proba(self, score: ArrayLike) -> FloatArray:
        """Return P(wrong) and P(right), shape (n, 2)."""
        from scipy import special

        right = special.expit(self.decision_function(score))
        return np.column_stack([1 - right, right])


@dataclass(frozen=True, eq=False)
class TunedEnsemble:
    """An ensemble of scores, and what it's worth on answers that it wasn't tuned on.

    Attributes
    ----------
    model : ScoreEnsemble
        Fitted on all answers: the one to use.
    probability : ndarray of float64, shape (n,)
        P(right) of each answer by the model fitted without its fold.
    fold : ndarray of int64, shape (n,)
    auroc : Estimate
        Of the ensemble, out of sample.
    best_single : Estimate
        Of the single score that was best on the other folds.
    gain : Estimate
        auroc - best_single, on the same answers.
    chosen : ndarray of int64, shape (n_folds,)
        The single score chosen for each fold.
    names : tuple of str
    """

    model: ScoreEnsemble
    probability: FloatArray
    fold: IntArray
    auroc: Estimate
    best_single: Estimate
    gain: Estimate
    chosen: IntArray
    names: tuple[str, ...]

    def weights(self) -> pd.DataFrame:
        """Return the weight of each score, in units of its standard deviation."""
        import pandas as pd

        return pd.DataFrame({"score": self.names, "weight": self.model.weights_})

    def summary(self, level: float = 0.95) -> str:
        """Return one line per figure."""
        return "\n".join(e.summary(level) for e in (self.auroc, self.best_single, self.gain))


def tune_ensemble(
    scores: ArrayLike,
    correct: ArrayLike,
    clusters: ArrayLike | None = None,
    weights: Weights = "convex",
    names: tuple[str, ...] | None = None,
    n_folds: int = 5,
    rng: np.random.Generator | int = 0,
) -> TunedEnsemble:
    """Fit the weights of several scores, and estimate out of sample what they are worth.

    Each fold is scored by weights from the others, and within each fold the `auroc` is taken;
    the figure is their mean, weighted by the pairs of a right and a wrong answer in the fold.
    (Pooling the folds would compare scores of different models.) uqlm tunes weights for the
    AUROC of the very answers that it reports; here that of single scores is out of sample too,
    the best one being chosen on the other folds.

    Parameters
    ----------
    scores : array_like of float, shape (n, n_scores)
        Larger means more confident, for convex weights.
    correct : array_like of bool, shape (n,)
    clusters : array_like, shape (n,), optional
        The prompt of each answer, say; a cluster stays in one fold.
    weights : {"convex", "logistic"}
        As for `ScoreEnsemble`.
    names : tuple of str, optional
    n_folds : int
    rng : numpy.random.Generator or int
        Deals the clusters out to the folds.

    Returns
    -------
    TunedEnsemble
        The errors take answers as independent between clusters and the weights as given: they
        are for these weights, not for weights tuned on another data set.

    Raises
    ------
    ValueError
        If shapes differ, a score is NaN, or a fold lacks right or wrong answers.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=600)
    >>> right = truth + rng.normal(size=600) > 0
    >>> scores = np.column_stack([truth + rng.normal(size=600) for _ in range(3)])
    >>> tuned = tune_ensemble(scores, right)
    >>> print(tuned.gain.summary())
    AUROC gain = 0.0601 (se 0.015, 95% normal [0.03053, 0.08966], n = 600)
    """
    table, right = _scores(scores), np.asarray(correct)
    k = table.shape[1]
    labels = tuple(f"score {i}" for i in range(k)) if names is None else tuple(names)
    if len(labels) != k:
        raise ValueError(f"{len(labels)} names for {k} scores")
    model = ScoreEnsemble(weights).fit(table, right)  # checks the labels
    right = right.astype(bool)
    fitted = cross_fit(
        ScoreEnsemble(weights), table, right.astype(np.int64), clusters, n_folds, rng
    )
    groups = None if clusters is None else np.asarray(clusters)
    own, single, gains, pairs, chosen = [], [], [], [], []
    for fold, fold_model in enumerate(fitted.models):
        here = fitted.fold == fold
        if len(np.unique(right[here])) < 2:
            raise ValueError(f"fold {fold} lacks right or wrong answers; use fewer folds")
        others = [auroc(table[~here, j], right[~here]).value for j in range(k)]
        chosen.append(int(np.argmax(others)))
        part = None if groups is None else groups[here]
        assert isinstance(fold_model, ScoreEnsemble)
        score = fold_model.decision_function(table[here])
        best = table[here, chosen[-1]]
        own.append(auroc(score, right[here], clusters=part))
        single.append(auroc(best, right[here], clusters=part))
        gains.append(auroc_difference(best, score, right[here], clusters=part))
        pairs.append(float(right[here].sum() * (~right[here]).sum()))
    share = np.array(pairs) / sum(pairs)
    return TunedEnsemble(
        model,
        fitted.probability[:, 1],
        fitted.fold,
        _pooled(own, share, "AUROC of the ensemble"),
        _pooled(single, share, "AUROC of the best single score"),
        _pooled(gains, share, "AUROC gain"),
        np.array(chosen),
        labels,
    )


def _pooled(parts: list[Estimate], share: FloatArray, name: str) -> Estimate:
    """Weighted mean of the folds' figures, whose answers are independent."""
    value = float(share @ [each.value for each in parts])
    se = math.sqrt(float(share**2 @ [each.se**2 for each in parts]))
    return Estimate(value, se, sum(e.n for e in parts), f"mean of {len(parts)} folds, DeLong", name)


def _scores(score: ArrayLike) -> FloatArray:
    """A column for each score."""
    table = np.asarray(score, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"scores must have shape (n, n_scores), not {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("scores must be finite numbers, without NaN")
    return table
