"""Win rates at equal length, or equal style of any kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import label_codes, numbers
from statllm.estimators.comparison import mean_estimate
from statllm.estimators.winrate._logistic import expit, ridge_logistic
from statllm.estimators.winrate.raw import outcomes, win_rate
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ControlledWinRate:
    """A win rate at covariates of 0, beside the raw one.

    Attributes
    ----------
    win_rate, raw : Estimate
        Shares.
    effects : tuple of Estimate
        Of each covariate: by how much the win rate rises per unit of it, about equality; the mean
        of phi p (1 - p) over instructions. A share per unit.
    coefficients : ndarray of float64, shape (p,)
        theta, psi where difficulty was given, then phi of each covariate; nats.
    covariance : ndarray of float64, shape (p, p)
        Of the coefficients, clustered as the win rate. NaN where it isn't estimated.
    names : tuple of str
    """

    win_rate: Estimate
    raw: Estimate
    effects: tuple[Estimate, ...]
    coefficients: FloatArray
    covariance: FloatArray
    names: tuple[str, ...]


def controlled_win_rate(
    outcome: ArrayLike,
    covariates: ArrayLike,
    *,
    difficulty: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    ridge: float = 0.0,
    names: Sequence[str] = (),
) -> ControlledWinRate:
    """Win rate if the covariates were 0: equally long answers, equal style.

    logit p_i = theta + psi d_i + phi' z_i, by maximum likelihood; the win rate is the mean of
    sigmoid(theta + psi d_i) over instructions. Its error counts the draw of instructions and the
    error of the parameters (theta, psi, phi) together: the influence of instruction i is
    sigmoid(theta + psi d_i) - rate + n g' H^-1 s_i, with the score s_i, the information H and the
    gradient g of the rate, and se that of their mean over clusters.

    Parameters
    ----------
    outcome : array_like of float, shape (n,)
        In [0, 1].
    covariates : array_like of float, shape (n, q) or (n,)
        Of the model's answer less the baseline's, 0 where they are equal: `style_differences`, say.
    difficulty : array_like of float, shape (n,), optional
        How hard an instruction is, known from other models (`instruction_difficulty`); it's taken
        for given.
    clusters : array_like, shape (n,), optional
    ridge : float
        Subtracts ridge * (sum of squared phi) from the log likelihood.
    names : sequence of str
        Of the covariates.

    Returns
    -------
    ControlledWinRate
        Intervals of the rate are t intervals of its log odds, so they stay within 0 and 1.

    Raises
    ------
    ValueError
        If lengths differ, values aren't finite or the fit isn't.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> longer = rng.normal(1.0, 1.0, 500)
    >>> wins = rng.random(500) < 1 / (1 + np.exp(-longer))
    >>> found = controlled_win_rate(wins, longer)
    >>> f"{found.raw.value:.2f} {found.win_rate.value:.2f} {found.win_rate.interval():.2f}"
    '0.68 0.45 [0.39, 0.52]'
    """
    y = outcomes(outcome)
    z = numbers(covariates, "covariates")
    z = z.reshape(len(z), -1) if z.ndim else z.reshape(0, 0)
    if not 0 <= ridge < math.inf:
        raise ValueError(f"ridge must be finite and not negative, not {ridge}")
    if z.shape[0] != len(y):
        raise ValueError(f"covariates have {z.shape[0]} rows, outcome has {len(y)}")
    labels = tuple(names) or tuple(f"covariate{number}" for number in range(z.shape[1]))
    if len(labels) != z.shape[1]:
        raise ValueError(f"{len(labels)} names for {z.shape[1]} covariates")
    columns, heads = [np.ones(len(y))], ["theta"]
    if difficulty is not None:
        d = numbers(difficulty, "difficulty")
        if d.shape != y.shape:
            raise ValueError(f"difficulty has shape {d.shape}, outcome {y.shape}")
        columns.append(d)
        heads.append("psi")
    x = np.column_stack([*columns, z])
    wrong = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(wrong):
        raise ValueError(f"covariates and difficulty must be finite (row {wrong[0]})")
    n, base = len(y), len(columns)
    penalty = np.concatenate([np.zeros(base), np.full(z.shape[1], ridge)])
    b = ridge_logistic(x, y, penalty)
    p = expit(x @ b)
    information = (x * (p * (1 - p))[:, None]).T @ x + 2 * np.diag(penalty)
    # by how much each instruction moves the coefficients, times n
    moves = n * np.linalg.solve(information, ((y - p)[:, None] * x).T).T
    moves -= moves.mean(axis=0)  # 0 already without a ridge

    level = x.copy()
    level[:, base:] = 0.0
    p0 = expit(level @ b)
    slope = p0 * (1 - p0)
    gradient = (level * slope[:, None]).mean(axis=0)
    rate = _on_log_odds(
        mean_estimate(p0 + moves @ gradient, clusters, "controlled win rate", "share")
    )
    effects = []
    bend = (level * (slope * (1 - 2 * p0))[:, None]).mean(axis=0)
    for number, label in enumerate(labels):
        at = base + number
        influence = b[at] * slope + b[at] * (moves @ bend) + moves[:, at] * slope.mean()
        effects.append(mean_estimate(influence, clusters, f"effect of {label}", "share per unit"))
    return ControlledWinRate(
        rate,
        win_rate(y, clusters, name="raw win rate"),
        tuple(effects),
        b,
        _covariance(moves, clusters),
        (*heads, *labels),
    )


def _covariance(moves: FloatArray, clusters: ArrayLike | None) -> FloatArray:
    """Clustered covariance of the mean of the rows."""
    n = len(moves)
    if clusters is not None:
        number = label_codes(clusters, "clusters", len(moves))
        moves = np.stack([np.bincount(number, column) for column in moves.T], axis=1)
    g = len(moves)
    factor = g / (g - 1) if g > 1 else math.nan
    return np.asarray(factor * moves.T @ moves / n**2)


def _on_log_odds(found: Estimate) -> Estimate:
    """The same estimate with its t interval on the log odds."""
    p = found.value

    def interval_of(level: float) -> Interval:
        plain = found.interval(level)
        if not 0 < p < 1 or not math.isfinite(plain.high):
            return plain
        half = (plain.high - p) / (p * (1 - p))
        centre = math.log(p / (1 - p))
        low, high = expit(np.array([centre - half, centre + half]))
        return Interval(float(low), float(high), level, f"{plain.method} of log odds")

    return Estimate(
        p, found.se, found.n, "logistic, at covariates of 0", found.name, found.unit, interval_of
    )
