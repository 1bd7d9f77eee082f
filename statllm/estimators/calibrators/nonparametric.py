"""Calibrators without a formula: isotonic regression and histogram binning.

Both can give a probability of exactly 0 or 1, whose log loss is infinite when it's wrong;
`VennAbers` can't.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.calibrators._base import Calibrator, check_probabilities

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Isotonic(Calibrator):
    """The rising map of least squared error (Zadrozny and Elkan 2002), by pooling violators.

    Equal scores are pooled first, so the order of the rows doesn't matter. Between the scores
    seen the map is linear, beyond them constant, as in scikit-learn's `IsotonicRegression`.

    Attributes
    ----------
    x_, y_ : ndarray of float64
        The distinct scores seen and their probabilities.

    Examples
    --------
    >>> model = Isotonic().fit([1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1])
    >>> model.predict_proba([0.0, 2.5, 3.5])[:, 1]
    array([0.  , 0.5 , 0.75])
    """

    x_: FloatArray
    y_: FloatArray

    def __init__(self) -> None:
        pass

    def _fit(self, scores: FloatArray, labels: IntArray) -> None:
        from scipy import optimize

        if not np.isfinite(scores).all():
            raise ValueError("scores must be finite, because the map is linear between them")
        self.x_, group = np.unique(scores, return_inverse=True)
        count = np.bincount(group).astype(np.float64)
        share = np.bincount(group, weights=labels) / count
        self.y_ = optimize.isotonic_regression(share, weights=count).x

    def _probability(self, scores: FloatArray) -> FloatArray:
        return np.interp(scores, self.x_, self.y_)


class Histogram(Calibrator):
    """Share of right answers in the bin that a score falls into (Zadrozny and Elkan 2001).

    Parameters
    ----------
    n_bins : int
    strategy : {"mass", "width"}
        ``"mass"``: bins of about equally many scores, for any real score; equal scores are never
        divided, so there may be fewer bins. ``"width"``: equal steps of [0, 1], for scores that
        are probabilities; a bin without scores gives its middle.

    Attributes
    ----------
    edges_ : ndarray of float64
        Between the bins; a bin includes its upper edge.
    share_ : ndarray of float64
        Probability in each bin, one more than edges.
    count_ : ndarray of int64
        Scores that each bin was learned from.

    Examples
    --------
    >>> model = Histogram(n_bins=2).fit([0.1, 0.2, 0.3, 0.7, 0.8, 0.9], [0, 0, 1, 1, 1, 0])
    >>> model.edges_, model.share_.round(3)
    (array([0.3]), array([0.333, 0.667]))
    """

    edges_: FloatArray
    share_: FloatArray
    count_: IntArray

    def __init__(self, n_bins: int = 15, strategy: Literal["mass", "width"] = "mass") -> None:
        self.n_bins = n_bins
        self.strategy = strategy

    def _fit(self, scores: FloatArray, labels: IntArray) -> None:
        if self.n_bins < 1:
            raise ValueError(f"n_bins must be at least 1, not {self.n_bins}")
        inner = np.arange(1, self.n_bins) / self.n_bins
        if self.strategy == "width":
            check_probabilities(scores)
            self.edges_ = inner
        elif self.strategy == "mass":
            cuts = np.unique(np.quantile(scores, inner, method="inverted_cdf"))
            self.edges_ = cuts[cuts < scores.max()]  # above the highest score is no bin
        else:
            raise ValueError(f"strategy must be mass or width, not {self.strategy!r}")
        place = np.searchsorted(self.edges_, scores)
        n_bins = len(self.edges_) + 1
        self.count_ = np.bincount(place, minlength=n_bins)
        total = np.bincount(place, weights=labels, minlength=n_bins)
        middle = (np.arange(n_bins) + 0.5) / n_bins
        self.share_ = np.where(self.count_ > 0, total / np.maximum(self.count_, 1), middle)

    def _probability(self, scores: FloatArray) -> FloatArray:
        if self.strategy == "width":
            check_probabilities(scores)
        return self.share_[np.searchsorted(self.edges_, scores)]
