"""Does a higher score mean a better answer on average? The rank-calibration error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.selective.rank_correlation import Missing, checked_pairs

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RankCalibration:
    """How far confidence and expected quality are from the same order.

    Attributes
    ----------
    value : float
        The rank-calibration error, in [0, 1]; never below 0, and so above it by chance.
    expected : float
        Its mean were the score rank-calibrated, everything else as it is.
    excess : float
        value - expected: near 0 for a rank-calibrated score.
    p_value : float
        Of "quality never falls, on average, as the score rises".
    n, n_bins : int
    """

    value: float
    expected: float
    excess: float
    p_value: float
    n: int
    n_bins: int


def rank_calibration_error(
    score: ArrayLike,
    quality: ArrayLike,
    n_bins: int = 20,
    n_draws: int = 500,
    missing: Missing = "raise",
    rng: np.random.Generator | int = 0,
) -> RankCalibration:
    """Rank-calibration error (RCE) in bins of equal size, with what it is by chance.

    The mean over answers of |share of answers of at most its expected quality - share of answers
    of at most its score|, expected quality being the mean in its bin and shares taken at the
    middle of bins, as in the authors' code (Huang et al. 2024).

    Parameters
    ----------
    score, quality : array_like of float, shape (n,)
        Larger is more confident, and better; quality in [0, 1]. An uncertainty goes in with a
        minus sign.
    n_bins : int
        20 as published.
    n_draws : int
        Data sets drawn under rank calibration: qualities right or wrong with the isotonic
        regression of quality on the score as probability. For graded qualities this has more
        spread than there is, and the p-value errs on the large side.
    missing : {"raise", "drop"}
        What to do about rows in which one is NaN.
    rng : numpy.random.Generator or int
        Orders tied scores, which may lie across the border of two bins, and draws the data sets.

    Returns
    -------
    RankCalibration

    Raises
    ------
    ValueError
        If lengths differ, quality isn't in [0, 1], there are fewer answers than bins, or fewer
        than two bins.

    Notes
    -----
    With 20 bins and 200 answers a perfectly rank-calibrated score has an error of about 0.1,
    from noise in the bins' means alone; compare `excess` rather than `value`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> confidence = rng.uniform(size=400)
    >>> found = rank_calibration_error(confidence, rng.uniform(size=400) < confidence**3)
    >>> round(found.value, 3), round(found.excess, 3), found.p_value > 0.05
    (0.089, 0.003, True)
    """
    x, y, _ = checked_pairs(score, quality, missing, None)
    n = len(x)
    if not ((y >= 0) & (y <= 1)).all():
        raise ValueError("quality must lie in [0, 1]")
    if not 2 <= n_bins <= n:
        raise ValueError(f"n_bins must lie between 2 and the {n} answers, not be {n_bins}")
    if n_draws < 1:
        raise ValueError(f"n_draws must be at least 1, not {n_draws}")
    from scipy.optimize import isotonic_regression

    generator = np.random.default_rng(rng)
    order = np.lexsort((generator.random(n), x))
    error = _binned_rce(n, n_bins)
    distinct, inverse, count = np.unique(x, return_inverse=True, return_counts=True)
    level = np.bincount(inverse, y, len(distinct)) / count
    fitted = np.clip(isotonic_regression(level, weights=count).x[inverse], 0.0, 1.0)
    value = error(y[order])
    drawn = np.array(
        [error((generator.random(n) < fitted[order]).astype(np.float64)) for _ in range(n_draws)]
    )
    expected = float(drawn.mean())
    # Rounding of means must not make a draw larger than what it equals.
    p = (1 + int((drawn >= value - 1e-12).sum())) / (n_draws + 1)
    return RankCalibration(value, expected, value - expected, p, n, n_bins)


def _binned_rce(n: int, n_bins: int) -> Callable[[FloatArray], float]:
    """RCE of qualities given in the order of the score."""
    edges = np.round(np.linspace(0, n, n_bins + 1)).astype(np.int64)
    size = np.diff(edges)
    bins = np.repeat(np.arange(n_bins), size)
    share = np.arange(n) / (n - 1)

    def error(y: FloatArray) -> float:
        # Means are rounded, so that equal ones are tied whatever the order of their sums.
        mean = np.round(np.add.reduceat(y, edges[:-1]) / size, 12)
        ordered = np.argsort(mean, kind="stable")
        reached = np.cumsum(size[ordered])
        last = np.searchsorted(mean[ordered], mean, side="right") - 1
        middle = (reached[last] - 1) / (n - 1) - (size - 1) / (2 * (n - 1))
        return float(np.abs(middle[bins] - share).mean())

    return error
