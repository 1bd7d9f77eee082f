"""What every calibrator shares: checks, and the protocol of scikit-learn without scikit-learn."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.calibration._outcomes import checked_weights

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Scale = Literal["probability", "logit"]


class NotFittedError(ValueError, AttributeError):
    """A calibrator was asked for probabilities before it was fitted."""


class Calibrator(ABC):
    """Base of the calibrators: fit a map from scores to probabilities on labelled scores.

    It behaves as a scikit-learn classifier of one feature does: parameters are the constructor's
    arguments, what was learned ends in an underscore, and ``sklearn.base.clone``,
    ``cross_val_predict`` and their like work on it.

    Attributes
    ----------
    classes_ : ndarray of int64
        The labels that the columns of `predict_proba` belong to.
    """

    classes_: IntArray

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments by name; the calibrator has to be fitted again.

        Raises
        ------
        ValueError
            If there is no such argument.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}; it has {sorted(known)}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({arguments})"

    def fit(self, score: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the map.

        Parameters
        ----------
        score : array_like of float, shape (n,) or (n, 1)
        y : array_like of bool, shape (n,)
            Whether the answer is right: true or false, 1 or 0.
        sample_weight : array_like of float, shape (n,), optional
            A weight of two counts as two rows, of zero as none.

        Raises
        ------
        ValueError
            If lengths differ, nothing is given, a score or label is NaN or out of range, a weight
            is negative, all are zero, or a parameter of the constructor is wrong.
        """
        scores = self._scores(score)
        labels = self._labels(y, scores)
        weights = np.ones(len(labels))
        if sample_weight is not None:
            weights = checked_weights(sample_weight, len(labels), "sample_weight")
            if not weights.all():
                used = weights > 0
                scores, labels, weights = scores[used], labels[used], weights[used]
        self._fit(scores, labels, weights)
        self.classes_ = np.arange(scores.shape[1] if scores.ndim == 2 else 2)
        return self

    def predict_proba(self, score: ArrayLike) -> FloatArray:
        """Return the probabilities of the classes, shape (n, n_classes).

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If a score is NaN or out of range.
        """
        self._require_fitted()
        right = self._probability(self._scores(score))
        return np.column_stack([1 - right, right])

    def predict(self, score: ArrayLike) -> IntArray:
        """Return the most probable class of each score, the smaller one of equals."""
        place: IntArray = self.predict_proba(score).argmax(axis=1)
        return self.classes_[place]

    @abstractmethod
    def _fit(self, scores: FloatArray, labels: IntArray, weights: FloatArray) -> None:
        """Learn from checked input, of positive weight."""

    @abstractmethod
    def _probability(self, scores: FloatArray) -> FloatArray:
        """P(right) of checked scores."""

    def _scores(self, score: ArrayLike) -> FloatArray:
        """Scores as one column of numbers."""
        scores = np.asarray(score, dtype=np.float64)
        if scores.ndim == 2 and scores.shape[1] == 1:
            scores = scores[:, 0]
        if scores.ndim != 1:
            raise ValueError(f"score must have shape (n,) or (n, 1), not {scores.shape}")
        if np.isnan(scores).any():
            raise ValueError(f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN")
        return scores

    def _labels(self, y: ArrayLike, scores: FloatArray) -> IntArray:
        """Labels as numbers 0, 1, ... below the number of classes."""
        labels, n_classes = np.asarray(y), scores.shape[1] if scores.ndim == 2 else 2
        if labels.ndim != 1 or len(labels) != len(scores):
            raise ValueError(f"y must have one label for each of {len(scores)} scores")
        if not len(labels):
            raise ValueError("y is empty; a calibrator needs labelled scores")
        if not np.isin(labels, np.arange(n_classes)).all():
            known = "true or false (1 or 0)" if n_classes == 2 else f"whole, 0 to {n_classes - 1}"
            raise ValueError(f"labels must be {known}")
        return labels.astype(np.int64)

    def _require_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"this {type(self).__name__} isn't fitted; call fit first")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")

    def __sklearn_tags__(self) -> Any:
        """Describe the calibrator to scikit-learn, which alone calls this."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            transformer_tags=None,
            regressor_tags=None,
            classifier_tags=ClassifierTags(multi_class=False),
            input_tags=InputTags(one_d_array=True),
        )


def logit_scores(scores: FloatArray, scale: str, clip: float) -> FloatArray:
    """Scores on the real line, as log-odds; a column for each class if there are several."""
    if scale == "logit":
        if not np.isfinite(scores).all():
            raise ValueError("scores on the logit scale must be finite")
        return scores
    if scale != "probability":
        raise ValueError(f"scale must be probability or logit, not {scale!r}")
    inside = clipped(scores, clip)
    return np.log(inside) if scores.ndim == 2 else np.log(inside) - np.log1p(-inside)


def clipped(scores: FloatArray, clip: float) -> FloatArray:
    """Probabilities moved away from 0 and 1 by `clip`."""
    if not 0 < clip < 0.5:
        raise ValueError(f"clip must lie between 0 and 1/2, not {clip}")
    check_probabilities(scores)
    return scores.clip(clip, 1 - clip)


def check_probabilities(scores: FloatArray) -> None:
    """Raise where a score isn't a probability."""
    wrong = (scores < 0) | (scores > 1)
    if wrong.any():
        raise ValueError(f"scores must be probabilities in [0, 1], but one is {scores[wrong][0]}")


def smoothed_targets(
    labels: IntArray, n_classes: int, weights: FloatArray | None = None
) -> FloatArray:
    """Platt's targets (N_y + 1) / (N_y + C) for the class seen, 1 / (N_y + C) for the others."""
    count = np.bincount(labels, weights, n_classes)[labels]
    targets = np.repeat(1 / (count + n_classes), n_classes).reshape(-1, n_classes)
    targets[np.arange(len(labels)), labels] *= count + 1
    return targets
