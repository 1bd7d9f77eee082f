"""AlpacaEval 2's length-controlled win rate, as its leaderboard computes it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.winrate._logistic import expit, lasso_logistic
from statllm.estimators.winrate.controlled import ControlledWinRate
from statllm.estimators.winrate.length_controlled import Answers
from statllm.estimators.winrate.raw import outcomes, win_rate
from statllm.results import Estimate

FloatArray = NDArray[np.float64]

N_FOLDS = 5
STRENGTHS = np.logspace(-4, 4, 10)  # of the fit against the lasso
GAMED_WEIGHT = 0.2  # of all gamed baselines together


def alpaca_eval_win_rate(
    answers: Answers,
    difficulty: Mapping[Hashable, float],
    gamed: Sequence[Answers] = (),
) -> ControlledWinRate:
    """Length-controlled win rate by AlpacaEval's estimator (Dubois et al. 2024).

    Minimises |theta| + |phi| + |psi| + C * (log loss) of logit p = theta + phi tanh(lead) + psi d.
    C is the one of ten from 1e-4 to 1e4 with the least log loss in 5-fold cross-validation. Rows
    of gamed baselines (which answer without regard to the instruction) have no theta and share a
    weight of 0.2, so that they pull phi towards what length alone does to the judge.

    Parameters
    ----------
    answers : Answers
    difficulty : mapping from id to float
        By id. AlpacaEval looks it up by the place of a row, which shifts it for models that lack
        annotations.
    gamed : sequence of Answers
        AlpacaEval has two. None: the weight isn't used.

    Returns
    -------
    ControlledWinRate
        The error is AlpacaEval's, the standard deviation of the fitted values over sqrt(n). It
        leaves out the error of theta, phi and psi, so it's too small (by factors of 1.6 to 2.0 for
        eleven models on WildBench): `length_controlled` has the whole. `covariance` is NaN and
        there are no `effects`.

    Raises
    ------
    ValueError
        If an id has no difficulty, or there are fewer rows than folds.

    Notes
    -----
    Folds go by the number of a row, gamed rows first, in turn; scikit-learn's choice among equal
    groups isn't documented, so C may differ from the leaderboard's.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> mine, other = rng.gamma(4, 60, 800), rng.gamma(4, 40, 800)
    >>> lead = np.tanh((mine - other) / np.std(mine - other))
    >>> wins = rng.random(800) < 1 / (1 + np.exp(0.5 - lead))
    >>> found = alpaca_eval_win_rate(Answers(range(800), wins, mine, other), dict.fromkeys(
    ...     range(800), 0.0))
    >>> f"{found.win_rate.value:.3f} (se {found.win_rate.se:.3f})"
    '0.342 (se 0.000)'
    """
    tables = [*gamed, answers]
    blocks = [
        np.column_stack(
            [
                np.full(len(table.ids), float(place == len(gamed))),
                table.looked_up(difficulty),
                table.lead(),
            ]
        )
        for place, table in enumerate(tables)
    ]
    x = np.concatenate(blocks)
    y = np.concatenate([outcomes(table.outcome) for table in tables])
    share = GAMED_WEIGHT / max(len(gamed), 1)
    weight = np.where(x[:, 0] == 1, 1.0, share)
    if len(y) < N_FOLDS:
        raise ValueError(f"{len(y)} rows are fewer than {N_FOLDS} folds")
    strength = _cross_validated(x, y, weight)
    b = lasso_logistic(x, y, weight, strength, np.zeros(3))
    fitted = expit(blocks[-1][:, :2] @ b[:2])
    n = len(fitted)
    rate = Estimate(
        float(fitted.mean()),
        float(fitted.std(ddof=1)) / math.sqrt(n),
        n,
        "AlpacaEval's GLM; se without the error of its parameters",
        "length-controlled win rate",
        "share",
    )
    raw = win_rate(answers.outcome, name="raw win rate")
    return ControlledWinRate(
        rate, raw, (), b, np.full((3, 3), math.nan), ("theta", "psi", "length")
    )


def _cross_validated(x: FloatArray, y: FloatArray, weight: FloatArray) -> float:
    """The strength with the least mean held-out log loss."""
    fold = np.arange(len(y)) % N_FOLDS
    losses = np.zeros((N_FOLDS, len(STRENGTHS)))
    for number in range(N_FOLDS):
        held, kept = fold == number, fold != number
        b = np.zeros(x.shape[1])
        for place, strength in enumerate(STRENGTHS):
            b = lasso_logistic(x[kept], y[kept], weight[kept], strength, b)
            eta = x[held] @ b
            loss = np.logaddexp(0.0, eta) - y[held] * eta
            losses[number, place] = float(np.mean(weight[held] * loss))
    return float(STRENGTHS[losses.mean(axis=0).argmin()])
