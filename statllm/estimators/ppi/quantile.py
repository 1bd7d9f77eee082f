"""Prediction-powered quantiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.ppi._combine import Combined, IntArray, Tuning, combine
from statllm.estimators.ppi.mean import mean_parts, samples, with_corners
from statllm.estimators.ppi.results import PredictionPowered
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]

_CELLS = 4_000_000  # indicators held at a time


def ppi_quantile(
    labels: ArrayLike,
    predictions: ArrayLike,
    unlabelled_predictions: ArrayLike,
    q: float = 0.5,
    *,
    tuning: Tuning | float = "plug-in",
    clip: bool = True,
    grid: int = 512,
    clusters: ArrayLike | None = None,
    unlabelled_clusters: ArrayLike | None = None,
    name: str = "",
    unit: str = "",
) -> PredictionPowered:
    """Quantile of a label that few rows have, with predictions of it for all.

    At each value t, P(Y <= t) is the mean of an indicator, estimated as in `ppi_mean` with the
    predictions' indicators and a lambda of its own (Angelopoulos et al. 2023, algorithm 2, with
    PPI++'s tuning). The interval holds the values t at which a t test doesn't reject P(Y <= t) =
    q; the test counts two labels more at the corners of (0, 1)^2, without which it would reject
    wherever all the labels lie on one side.

    Parameters
    ----------
    labels, predictions, unlabelled_predictions, tuning, clip, clusters, unlabelled_clusters
        As for `ppi_mean`.
    q : float
        In (0, 1).
    grid : int
        Values t are all labels, the predictions of labelled rows, and this many quantiles of the
        unlabelled ones.
    name, unit : str

    Returns
    -------
    PredictionPowered
        The value is the smallest t where the estimated P(Y <= t), made monotone, is at least q;
        se is the interval's width over twice its t quantile, at 95 % (Woodruff 1952). An end of
        the interval is infinite where no value of the grid is rejected on that side. `tuning` is
        lambda at the value.

    Raises
    ------
    ValueError
        As for `ppi_mean`; if `q` isn't in (0, 1).

    Examples
    --------
    >>> y = np.arange(40) / 10
    >>> found = ppi_quantile(y, y + 0.05, np.arange(2000) / 500)
    >>> f"{found.estimate.value:.2f} {found.estimate.interval():.2f}"
    '1.90 [1.62, 2.20]'
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1, not {q}")
    y, f, u, number, number_u, n_clusters = samples(
        labels, predictions, unlabelled_predictions, clusters, unlabelled_clusters
    )
    among = np.quantile(u[:, 0], np.linspace(0, 1, grid), method="inverted_cdf")
    points = np.unique(np.concatenate([y[:, 0], f[:, 0], among]))
    n = len(np.unique(number))
    copies = np.ones(n_clusters)
    if clusters is None:  # rows between the same two points are copies of each other
        place, often = np.unique(np.searchsorted(points, u[:, 0]), return_counts=True)
        u = np.append(points, np.inf)[place][:, None]
        number_u = len(y) + np.arange(len(u))
        n_clusters = len(y) + len(u)
        copies = np.concatenate([np.ones(len(y)), often])

    def over(tuning: Tuning | float) -> tuple[Combined, Combined]:
        return _distribution(y, f, u, points, number, number_u, n_clusters, copies, tuning, clip)

    at, test = over(tuning)
    middle = _crossing(at.value, q)
    alone, test_alone = over(0.0)
    kind = f"PPI quantile, lambda {at.tuning[middle]:.3g}"
    return PredictionPowered(
        _estimate(points, at, test, q, n, kind, name, unit),
        _estimate(points, alone, test_alone, q, n, "quantile of labels", name, unit),
        float(at.tuning[middle]),
    )


def _distribution(
    y: FloatArray,
    f: FloatArray,
    u: FloatArray,
    points: FloatArray,
    number: IntArray,
    number_u: IntArray,
    n_clusters: int,
    copies: FloatArray,
    tuning: Tuning | float,
    clip: bool,
) -> tuple[Combined, Combined]:
    """P(Y <= t) at all points, as it is and with two labels more."""
    width = max(1, _CELLS // n_clusters)
    plain, more = [], []
    for start in range(0, len(points), width):
        some = points[start : start + width]
        below_y, below_f, below_u = ((x <= some).astype(np.float64) for x in (y, f, u))
        rows = (below_y, below_f, below_u, number, number_u, n_clusters)
        plain.append(combine(mean_parts(*rows, copies), tuning, clip))
        corners = with_corners(*rows, (0.0, 1.0), plain[-1].tuning, copies)
        more.append(combine(corners, tuning, clip))
    return _joined(plain), _joined(more)


def _estimate(
    points: FloatArray,
    at: Combined,
    test: Combined,
    q: float,
    n: int,
    method: str,
    name: str,
    unit: str,
) -> Estimate:
    from scipy import special

    value = float(points[_crossing(at.value, q)])

    def interval_of(level: float) -> Interval:
        limit = special.stdtrit(test.df, 0.5 + level / 2) * test.se
        kept = np.flatnonzero(np.abs(test.value - q) <= limit)
        if not len(kept):  # between two points the distribution function jumps past q
            kept = np.array([_crossing(test.value, q)])
        low = -np.inf if kept[0] == 0 else float(points[kept[0]])
        high = np.inf if kept[-1] == len(points) - 1 else float(points[kept[-1] + 1])
        return Interval(low, high, level, "t tests of P(Y <= t), two corner labels added")

    ends = interval_of(0.95)
    df = float(test.df[_crossing(test.value, q)])
    width = (ends.high - ends.low) / 2 / float(special.stdtrit(df, 0.975))
    return Estimate(value, width, n, method, name or f"quantile {q:g}", unit, interval_of)


def _joined(pieces: list[Combined]) -> Combined:
    """Put the points' results together, but for what each cluster adds."""
    value, se, df, tuning = (
        np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ("value", "se", "df", "tuning")
    )
    return Combined(value, se, df, tuning, np.zeros((0, len(value))))


def _crossing(values: FloatArray, q: float) -> int:
    """First place where the running maximum is at least q, else the last."""
    reached = np.maximum.accumulate(values) >= q - 1e-12
    return int(np.argmax(reached)) if reached.any() else len(values) - 1
