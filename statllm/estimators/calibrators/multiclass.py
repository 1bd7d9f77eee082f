"""Calibrators of several classes with a parameter for each of them, or for each pair."""

from __future__ import annotations

import numpy as np

from statllm.estimators.calibrators._base import FloatArray, IntArray, Scale, smoothed_targets
from statllm.estimators.calibrators._classes import ClassCalibrator, highest_zero


class _Affine(ClassCalibrator):
    """softmax(W z + b), fitted by the mean log loss and a penalty from W = 1, b = 0."""

    weight_: FloatArray
    bias_: FloatArray
    separated_: bool

    def _mapped(self, logits: FloatArray) -> FloatArray:
        return logits @ self.weight_.T + self.bias_

    def _fit_affine(
        self,
        scores: FloatArray,
        labels: IntArray,
        weights: FloatArray,
        full: bool,
        penalty: float = 0.0,
    ) -> None:
        from scipy import optimize, special

        if not 0 <= penalty < np.inf:
            raise ValueError(f"penalty must be finite and not negative, not {penalty}")
        z, w = self._logits(scores), weights / weights.sum()
        k = z.shape[1]
        target = np.zeros_like(z)
        target[np.arange(len(z)), labels] = 1.0
        self.separated_ = bool((highest_zero(z)[np.arange(len(z)), labels] >= 0).all())
        if self.separated_:
            target = smoothed_targets(labels, k, weights)
            target /= target.sum(axis=1, keepdims=True)
        free = np.ones((k, k), dtype=bool) if full else np.eye(k, dtype=bool)
        off = ~np.eye(k, dtype=bool)

        def unpacked(x: FloatArray) -> tuple[FloatArray, FloatArray]:
            matrix = np.zeros((k, k))
            matrix[free] = x[:-k]
            return matrix, x[-k:]

        def loss(x: FloatArray) -> tuple[float, FloatArray]:
            matrix, bias = unpacked(x)
            log_p = special.log_softmax(z @ matrix.T + bias, axis=1)
            error = w[:, None] * (np.exp(log_p) - target)
            slope = error.T @ z
            slope[off] += 2 * penalty / (k * (k - 1)) * matrix[off]
            value = -float(w @ (target * log_p).sum(axis=1))
            value += penalty * float((matrix[off] ** 2).mean() + (bias**2).mean())
            return value, np.append(slope[free], error.sum(axis=0) + 2 * penalty / k * bias)

        start = np.append(np.eye(k)[free], np.zeros(k))
        best = optimize.minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 5000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 30},
        )
        self.weight_, self.bias_ = unpacked(best.x)


class VectorScaling(_Affine):
    """A slope and an intercept for each class: softmax(w z + b) (Guo et al. 2017).

    Parameters
    ----------
    scale, clip
        As in `Temperature`; probabilities enter by their logarithm.

    Attributes
    ----------
    weight_ : ndarray of float64, shape (n_classes, n_classes)
        Diagonal; the slopes.
    bias_ : ndarray of float64, shape (n_classes,)
    separated_ : bool
        As in `Temperature`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(30000, 3))
    >>> y = (z + [0, 0, 1] + rng.gumbel(size=z.shape)).argmax(axis=1)
    >>> model = VectorScaling(scale="logit").fit(z, y)  # the third comes more often than claimed
    >>> round(float(model.bias_[2] - model.bias_[0]), 1)
    1.0
    """

    def __init__(self, scale: Scale = "probability", clip: float = 1e-12) -> None:
        self.scale = scale
        self.clip = clip

    def _fit(self, scores: FloatArray, labels: IntArray, weights: FloatArray) -> None:
        self._fit_affine(scores, labels, weights, full=False)


class MatrixScaling(_Affine):
    """Multinomial logistic regression on the logits: softmax(W z + b) (Guo et al. 2017).

    n_classes^2 parameters: with many classes, or few rows, it needs a penalty (chosen by
    `cross_fit`), and where some W separates the classes, it has no finite fit without one.

    Parameters
    ----------
    scale, clip
        As in `Temperature`; probabilities enter by their logarithm.
    penalty : float
        Of the mean squares of the entries of W off the diagonal and of b, added to the mean log
        loss: ODIR of Kull et al. (2019), with one factor for both.

    Attributes
    ----------
    weight_ : ndarray of float64, shape (n_classes, n_classes)
    bias_ : ndarray of float64, shape (n_classes,)
        Adding one row to all rows of W, or a number to b, changes no probability; these are the
        ones nearest to the start, W = 1 and b = 0.
    separated_ : bool
        As in `Temperature`.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(500, 3))
    >>> MatrixScaling(scale="logit").fit(z, z.argmax(axis=1)).separated_
    True
    """

    def __init__(
        self, scale: Scale = "probability", clip: float = 1e-12, penalty: float = 0.0
    ) -> None:
        self.scale = scale
        self.clip = clip
        self.penalty = penalty

    def _fit(self, scores: FloatArray, labels: IntArray, weights: FloatArray) -> None:
        self._fit_affine(scores, labels, weights, full=True, penalty=self.penalty)


class Dirichlet(_Affine):
    """Dirichlet calibration: softmax(W ln p + b) (Kull et al. 2019).

    The map that calibrates probabilities that are Dirichlet in each class; beta calibration for
    several classes, without its bounds. `MatrixScaling` on log-probabilities.

    Parameters
    ----------
    clip, penalty
        As in `MatrixScaling`.

    Attributes
    ----------
    weight_, bias_, separated_
        As in `MatrixScaling`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 3, 20000)
    >>> p = rng.dirichlet([1, 1, 1], 20000)  # ignorant of the class
    >>> Dirichlet().fit(p, y).predict_proba([[0.8, 0.1, 0.1]]).round(1)
    array([[0.3, 0.3, 0.3]])
    """

    def __init__(self, clip: float = 1e-12, penalty: float = 0.0) -> None:
        self.clip = clip
        self.penalty = penalty

    @property
    def scale(self) -> Scale:  # type: ignore[override]
        """Dirichlet calibration is of probabilities."""
        return "probability"

    def _fit(self, scores: FloatArray, labels: IntArray, weights: FloatArray) -> None:
        self._fit_affine(scores, labels, weights, full=True, penalty=self.penalty)
