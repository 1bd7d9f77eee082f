"""How sure a reward model is of the gap between a prompt's best and worst response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.rewards import float_rows
from statllm.ragged import Ragged

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RewardGaps:
    """Reward gaps prompt by prompt, with the reward model's own uncertainty. NaN where undefined.

    Attributes
    ----------
    gap : ndarray of float64, shape (n_prompts,)
        Best minus worst reward; needs two responses.
    gap_var : ndarray of float64, shape (n_prompts,)
        Variance of that gap, the two responses being given: that they were picked for being best
        and worst is left out. Where several share the top or the bottom, the mean over the pairs.
    sd : Ragged of float64
        Of each response, the standard deviation of its reward minus the prompt's mean reward;
        levels are not identified by preferences, differences are.
    """

    gap: FloatArray
    gap_var: FloatArray
    sd: Ragged

    def to_frame(self) -> pd.DataFrame:
        """Return the figures of the prompts as a pandas frame."""
        import pandas as pd

        return pd.DataFrame({"gap": self.gap, "gap_var": self.gap_var})


def laplace_gaps(rewards: Any, features: ArrayLike, covariance: ArrayLike) -> RewardGaps:
    """Gaps of rewards that are linear in features, with the weights' covariance known.

    The variance of a gap is (x_a - x_b)^T C (x_a - x_b).

    Parameters
    ----------
    rewards : Ragged, Arrow list column or list of lists of float
        A row per prompt.
    features : array_like of float, shape (n_responses, d)
        Of the responses of all prompts, one prompt after the other.
    covariance : array_like of float, shape (d, d)
        Of the weights, such as `statllm.estimators.reward_laplace.BradleyTerryFit.covariance`.

    Returns
    -------
    RewardGaps
        A prompt with a reward that is NaN is NaN.

    Raises
    ------
    ValueError
        If shapes don't fit, or the covariance has a negative eigenvalue.

    Examples
    --------
    >>> gaps = laplace_gaps([[2.0, 0.5, 1.0]], [[1, 0], [0, 1], [1, 1]], np.diag([0.1, 0.2]))
    >>> gaps.gap, gaps.gap_var.round(6)
    (array([1.5]), array([0.3]))
    """
    rows = float_rows(rewards, "rewards")
    x, c = np.asarray(features, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    if x.ndim != 2 or len(x) != len(rows.values) or c.shape != (x.shape[1], x.shape[1]):
        raise ValueError(
            f"{len(rows.values)} rewards, features of shape {x.shape} and a covariance of shape "
            f"{c.shape} don't fit together"
        )
    values, vectors = np.linalg.eigh(c)
    if len(values) and values[0] < -1e-9 * max(values[-1], 0):
        raise ValueError(f"the covariance has a negative eigenvalue, {values[0]:g}")
    return _gaps(rows, _centred(x, rows) @ (vectors * np.sqrt(np.maximum(values, 0))))


def ensemble_gaps(members: Any, rows: Any) -> RewardGaps:
    """Gaps of the mean reward of several reward models, with their variance over the models.

    Parameters
    ----------
    members : array_like of float, shape (n_models, n_responses)
        Each model's rewards of the same responses, one prompt after the other. Variances have
        ddof=1 and are those between models: the mean's is smaller by n_models.
    rows : Ragged, Arrow list column or list of lists
        A row per prompt, as long as it has responses; the values don't matter.

    Returns
    -------
    RewardGaps
        Of the models' mean rewards. A prompt with a reward that is NaN is NaN.

    Raises
    ------
    ValueError
        If there are fewer than two models, or shapes don't fit.

    Examples
    --------
    >>> gaps = ensemble_gaps([[2.0, 0.0], [3.0, 2.0]], [[0, 0]])
    >>> gaps.gap, gaps.gap_var.round(6), gaps.sd.values.round(6)
    (array([1.5]), array([0.5]), array([0.353553, 0.353553]))
    """
    values = np.asarray(members, dtype=np.float64)
    table = float_rows(rows, "rows")
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"rewards of two or more models are needed, not of shape {values.shape}")
    if values.shape[1] != len(table.values):
        raise ValueError(f"{values.shape[1]} rewards per model for {len(table.values)} responses")
    mean = table.with_values(values.mean(axis=0))
    apart = _centred(values.T, mean)
    apart = (apart - apart.mean(axis=1, keepdims=True)) / np.sqrt(len(values) - 1)
    return _gaps(mean, apart)


def _centred(x: FloatArray, rows: Ragged) -> FloatArray:
    """Rows of numbers minus their prompt's mean."""
    return x - _group_means(x, rows, np.ones(len(x)))[rows.rows]


def _group_means(x: FloatArray, rows: Ragged, weights: FloatArray) -> FloatArray:
    """Weighted mean of each prompt's rows, shape (n_prompts, width)."""
    sums = np.zeros((len(rows), x.shape[1]))
    filled = rows.lengths > 0
    starts = rows.offsets[:-1][filled]
    if len(starts):
        sums[filled] = np.add.reduceat(x * weights[:, None], starts, axis=0)
    total = np.bincount(rows.rows, weights, minlength=len(rows))
    return np.asarray(sums / np.maximum(total, 1e-300)[:, None])


def _gaps(rows: Ragged, factors: FloatArray) -> RewardGaps:
    """Gaps where cov(r_i, r_j) = factors_i . factors_j, factors with mean 0 in each prompt."""
    value = rows.values
    broken = np.bincount(rows.rows, np.isnan(value), minlength=len(rows)) > 0
    factors = np.where(broken[rows.rows][:, None], np.nan, factors)
    variance = (factors**2).sum(axis=1)
    defined = (rows.lengths > 1) & ~broken
    top, bottom = rows.max(), rows.min()
    total = np.zeros(len(rows))
    means = []
    for end in (top, bottom):
        tied = (value == end[rows.rows]).astype(np.float64)
        mean = _group_means(factors, rows, tied)
        apart = ((factors - mean[rows.rows]) ** 2).sum(axis=1, keepdims=True)
        total += _group_means(apart, rows, tied)[:, 0]
        means.append(mean)
    # The mean of |f_a - f_b|^2 over pairs, split at the means: nothing large cancels.
    total += ((means[0] - means[1]) ** 2).sum(axis=1)
    return RewardGaps(
        np.where(defined, top - bottom, np.nan),
        np.where(defined, total, np.nan),
        rows.with_values(np.sqrt(variance)),
    )
