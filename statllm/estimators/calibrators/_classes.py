"""What calibrators of several classes share."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibrators._base import Calibrator, FloatArray, Scale, logit_scores


class ClassCalibrator(Calibrator):
    """A map from the logits of all classes to new ones.

    Scores are a matrix with a column for each class, or a vector for P(right) and its opposite.
    """

    scale: Scale
    clip: float

    def predict_proba(self, score: ArrayLike) -> FloatArray:
        """Return the probabilities of the classes, shape (n, n_classes).

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If a score is NaN or out of range, or the number of classes isn't that of `fit`.
        """
        from scipy import special

        self._require_fitted()
        logits = self._logits(self._scores(score))
        if logits.shape[1] != len(self.classes_):
            raise ValueError(f"score has {logits.shape[1]} classes, not {len(self.classes_)}")
        out: FloatArray = special.softmax(self._mapped(logits), axis=1)
        return out

    @abstractmethod
    def _mapped(self, logits: FloatArray) -> FloatArray:
        """Logits after calibration."""

    def _probability(self, scores: FloatArray) -> FloatArray:
        right: FloatArray = self.predict_proba(scores)[:, 1]
        return right

    def _scores(self, score: ArrayLike) -> FloatArray:
        scores = np.asarray(score, dtype=np.float64)
        if scores.ndim != 2 or scores.shape[1] == 1:
            return super()._scores(scores)
        if np.isnan(scores).any():
            raise ValueError(f"{np.isnan(scores).any(axis=1).sum()} rows of score have a NaN")
        if self.scale == "probability" and np.any(np.abs(scores.sum(axis=1) - 1) > 1e-3):
            raise ValueError("rows of probabilities must sum to 1; scale='logit' takes logits")
        return scores

    def _logits(self, scores: FloatArray) -> FloatArray:
        """One column for each class: logits as they are, or log-probabilities."""
        if scores.ndim == 1 and self.scale == "probability":
            scores = np.column_stack([1 - scores, scores])
        logits = logit_scores(scores, self.scale, self.clip)
        return logits if logits.ndim == 2 else np.column_stack([np.zeros(len(logits)), logits])


def highest_zero(logits: FloatArray) -> FloatArray:
    """Logits less the highest of their row, which changes no probability."""
    highest: FloatArray = logits.max(axis=1, keepdims=True)
    return logits - highest
