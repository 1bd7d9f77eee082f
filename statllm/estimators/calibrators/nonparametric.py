"""Calibrators without a formula: isotonic regression, and binning of one kind or of many.

The first two can give a probability of exactly 0 or 1, whose log loss is infinite when it's wrong;
`BayesianBinning` and `VennAbers` can't.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from statllm.estimators.calibrators._base import (
    Calibrator,
    FloatArray,
    IntArray,
    check_probabilities,
)


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

    def _fit(self, scores: FloatArray, labels: IntArray, weights: FloatArray) -> None:
        from scipy import optimize

        if not np.isfinite(scores).all():
            raise ValueError("scores must be finite, because the map is linear between them")
        self.x_, group = np.unique(scores, return_inverse=True)
        mass = np.bincount(group, weights)
        share = np.bincount(group, weights * labels) / mass
        self.y_ = np.clip(optimize.isotonic_regression(share, weights=mass).x, 0, 1)

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

    def _fit(self, scores: FloatArray, labels: IntArray, weights: FloatArray) -> None:
        if self.n_bins < 1:
            raise ValueError(f"n_bins must be at least 1, not {self.n_bins}")
        inner = np.arange(1, self.n_bins) / self.n_bins
        if self.strategy == "width":
            check_probabilities(scores)
            self.edges_ = inner
        elif self.strategy == "mass":
            self.edges_ = _quantiles(scores, weights, inner)
        else:
            raise ValueError(f"strategy must be mass or width, not {self.strategy!r}")
        place = np.searchsorted(self.edges_, scores)
        n_bins = len(self.edges_) + 1
        self.count_ = np.bincount(place, minlength=n_bins)
        mass = np.bincount(place, weights, n_bins)
        self.share_ = (np.arange(n_bins) + 0.5) / n_bins
        np.divide(np.bincount(place, weights * labels, n_bins), mass, self.share_, where=mass > 0)

    def _probability(self, scores: FloatArray) -> FloatArray:
        if self.strategy == "width":
            check_probabilities(scores)
        return self.share_[np.searchsorted(self.edges_, scores)]


class BayesianBinning(Calibrator):
    """Average over histograms of many sizes, by their posterior (BBQ; Naeini et al. 2015).

    Histograms of B bins of equal mass, n^(1/3) / 10 <= B <= min(n / 5, 10 n^(1/3)), are equally
    probable beforehand. In a bin with the middle m the probability has a Beta prior of size
    N' / B = 2 / B about m, so that with N rows, R of them right, a histogram's likelihood is the
    product over its bins of G(2 / B) / G(N + 2 / B) G(R + a) / G(a) G(N - R + b) / G(b), where
    a = 2 m / B, b = 2 (1 - m) / B and G is the gamma function, and its probability in the bin
    (R + a) / (N + 2 / B).

    Scores must be probabilities. Equal scores are never divided, and a histogram that ties have
    made equal to one with fewer bins doesn't count again.

    Attributes
    ----------
    edges_ : ndarray of float64
        Of all histograms together; a bin includes its upper edge.
    share_ : ndarray of float64
        Averaged probability between them, one more than edges.
    n_bins_, posterior_ : ndarray
        Bins of each histogram, and its probability.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> score = rng.random(2000)
    >>> model = BayesianBinning().fit(score, rng.random(2000) < score**2)
    >>> int(model.n_bins_[model.posterior_.argmax()])
    8
    """

    edges_: FloatArray
    share_: FloatArray
    n_bins_: IntArray
    posterior_: FloatArray

    def __init__(self) -> None:
        pass

    def _fit(self, scores: FloatArray, labels: IntArray, weights: FloatArray) -> None:
        from scipy import special

        check_probabilities(scores)
        total = float(weights.sum())
        fewest = max(int(total ** (1 / 3) / 10), 1)
        most = max(int(min(total / 5, 10 * total ** (1 / 3))), fewest)
        fits: dict[int, tuple[FloatArray, FloatArray, float]] = {}
        for n_bins in range(fewest, most + 1):
            edges = _quantiles(scores, weights, np.arange(1, n_bins) / n_bins)
            filled = len(edges) + 1
            if filled in fits:
                continue
            place = np.searchsorted(edges, scores)
            count = np.bincount(place, weights, filled)
            right = np.bincount(place, weights * labels, filled)
            ends = np.concatenate([[0.0], edges, [1.0]])
            size = 2 / filled
            a = size * np.clip((ends[1:] + ends[:-1]) / 2, 1e-12, 1 - 1e-12)
            gain = special.betaln(right + a, count - right + size - a) - special.betaln(a, size - a)
            fits[filled] = edges, (right + a) / (count + size), float(gain.sum())
        self.n_bins_ = np.array(list(fits))
        self.posterior_ = special.softmax(np.array([gain for *_, gain in fits.values()]))
        self.edges_ = np.unique(np.concatenate([edges for edges, *_ in fits.values()]))
        inside = np.append(self.edges_, np.inf)  # the upper end of each piece
        self.share_ = np.zeros(len(inside))
        for (edges, share, _), chance in zip(fits.values(), self.posterior_, strict=True):
            self.share_ += chance * share[np.searchsorted(edges, inside)]

    def _probability(self, scores: FloatArray) -> FloatArray:
        check_probabilities(scores)
        return self.share_[np.searchsorted(self.edges_, scores)]


def _quantiles(scores: FloatArray, weights: FloatArray, levels: FloatArray) -> FloatArray:
    """Distinct scores up to which each share of the weight lies, the highest score left out."""
    values, group = np.unique(scores, return_inverse=True)
    upto = np.cumsum(np.bincount(group, weights))
    cuts = np.searchsorted(upto, levels * upto[-1] * (1 - 1e-12))
    return np.asarray(values[np.unique(cuts[cuts < len(values) - 1])])
