"""Log likelihoods of battles, their derivatives, and Newton's method on them.

Parameters are ratings (K, in nats, with mean 0), coefficients of style (q) and at most one of
ties, in this order. A row is a pair of models and its covariates, with counts of wins, ties and
losses of its first model, whose advantage is eta = rating_i - rating_j + style @ coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Ties = Literal["half", "davidson", "rao-kupper"]

_MAX_STEPS = 200
_TOLERANCE = 1e-6  # nats; Newton's step, whose square is about the error after it


@dataclass(frozen=True, eq=False)
class Rows:
    """Distinct comparisons: models i and j (R,), covariates z (R, q), number of models k."""

    k: int
    i: IntArray
    j: IntArray
    z: FloatArray


@dataclass(frozen=True, eq=False)
class Slopes:
    """Value, gradient and negative Hessian by row: of eta (e) and the tie parameter (t)."""

    value: float
    e: FloatArray
    ee: FloatArray
    t: float = 0.0
    et: FloatArray | None = None
    tt: float = 0.0


Likelihood = Callable[[FloatArray, FloatArray, float], Slopes]


def half_win(counts: FloatArray, eta: FloatArray, _: float) -> Slopes:
    """A tie is half a win for both: w log sigmoid(eta) + l log sigmoid(-eta)."""
    wins = counts[:, 0] + counts[:, 1] / 2
    total = _totals(counts)
    cost = np.logaddexp(0.0, -eta)
    p = np.exp(-cost)
    value = -float(total @ cost + (total - wins) @ eta)
    return Slopes(value, wins - total * p, total * p * (1 - p))


def davidson(counts: FloatArray, eta: FloatArray, log_nu: float) -> Slopes:
    """Win, tie, loss proportional to exp(eta / 2), nu, exp(-eta / 2) (Davidson 1970)."""
    log_p = _davidson_log(eta, log_nu)
    p, total = np.exp(log_p), _totals(counts)
    lead, tie = (p[:, 0] - p[:, 2]) / 2, p[:, 1]
    return Slopes(
        float((counts * log_p).sum()),
        (counts[:, 0] - counts[:, 2]) / 2 - total * lead,
        total * ((1 - tie) / 4 - lead**2),
        float(counts[:, 1].sum() - total @ tie),
        -total * lead * tie,
        float(total @ (tie * (1 - tie))),
    )


def rao_kupper(counts: FloatArray, eta: FloatArray, alpha: float) -> Slopes:
    """Win with sigmoid(eta - alpha), loss with sigmoid(-eta - alpha) (Rao and Kupper 1967)."""
    ties = float(counts[:, 1].sum())
    if alpha <= 0:
        return Slopes(-math.inf, eta, eta)
    up, down = counts[:, 0] + counts[:, 1], counts[:, 2] + counts[:, 1]
    cost_up, cost_down = np.logaddexp(0.0, alpha - eta), np.logaddexp(0.0, alpha + eta)
    p, q = np.exp(-cost_up), np.exp(-cost_down)
    odds = math.expm1(2 * alpha)
    h_up, h_down = up * p * (1 - p), down * q * (1 - q)
    g_up, g_down = up * (1 - p), down * (1 - q)
    return Slopes(
        -float(up @ cost_up + down @ cost_down) + ties * math.log(odds),
        g_up - g_down,
        h_up + h_down,
        -float(g_up.sum() + g_down.sum()) + 2 * ties * (odds + 1) / odds,
        h_down - h_up,
        float(h_up.sum() + h_down.sum()) + 4 * ties * (odds + 1) / odds**2,
    )


LIKELIHOODS: dict[str, Likelihood] = {
    "half": half_win, "davidson": davidson, "rao-kupper": rao_kupper,
}  # fmt: skip


def outcome_scores(ties: Ties, eta: FloatArray, tie: float) -> tuple[FloatArray, FloatArray]:
    """Derivatives of the log likelihood of one win, tie or loss by eta and by the tie parameter.

    Two arrays of shape (R, 3).
    """
    e, t = np.empty((len(eta), 3)), np.zeros((len(eta), 3))
    if ties == "half":
        p = np.exp(-np.logaddexp(0.0, -eta))
        e[:] = np.array([1.0, 0.5, 0.0]) - p[:, None]
    elif ties == "davidson":
        p3 = np.exp(_davidson_log(eta, tie))
        e[:] = np.array([0.5, 0.0, -0.5]) - ((p3[:, 0] - p3[:, 2]) / 2)[:, None]
        t[:] = np.array([0.0, 1.0, 0.0]) - p3[:, 1:2]
    else:
        miss_up = 1 - np.exp(-np.logaddexp(0.0, tie - eta))
        miss_down = 1 - np.exp(-np.logaddexp(0.0, tie + eta))
        odds = math.expm1(2 * tie)
        e[:] = np.stack([miss_up, miss_up - miss_down, -miss_down], axis=1)
        middle = 2 * (odds + 1) / odds - miss_up - miss_down
        t[:] = np.stack([-miss_up, middle, -miss_down], axis=1)
    return e, t


def outcome_probabilities(ties: Ties, eta: FloatArray, tie: float) -> FloatArray:
    """Probabilities of a win, a tie and a loss, shape (R, 3); no ties under half-wins."""
    if ties == "davidson":
        return np.asarray(np.exp(_davidson_log(eta, tie)))
    alpha = tie if ties == "rao-kupper" else 0.0
    win = np.exp(-np.logaddexp(0.0, alpha - eta))
    loss = np.exp(-np.logaddexp(0.0, alpha + eta))
    return np.stack([win, np.maximum(1 - win - loss, 0.0), loss], axis=1)


def _totals(counts: FloatArray) -> FloatArray:
    """Battles of each row; adding columns is faster than summing three numbers a row."""
    return np.asarray(counts[:, 0] + counts[:, 1] + counts[:, 2])


def _davidson_log(eta: FloatArray, log_nu: float) -> FloatArray:
    """Log probabilities of a win, a tie and a loss."""
    logits = np.stack([eta / 2, np.full(len(eta), log_nu), -eta / 2], axis=1)
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


@dataclass(frozen=True, eq=False)
class Problem:
    """What is maximised: a likelihood on rows, less ridge * (sum of squared coefficients)."""

    rows: Rows
    ties: Ties
    ridge: float = 0.0  # of style alone

    @property
    def n_ties(self) -> int:
        """Number of tie parameters."""
        return 0 if self.ties == "half" else 1

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.rows.k + int(self.rows.z.shape[1]) + self.n_ties

    def start(self) -> FloatArray:
        """All models equal."""
        x = np.zeros(self.size)
        if self.ties == "rao-kupper":
            x[-1] = 0.5
        return x

    def eta(self, x: FloatArray) -> FloatArray:
        """Advantage of each row's first model."""
        rows, k = self.rows, self.rows.k
        eta = x[rows.i] - x[rows.j]
        q = rows.z.shape[1]
        return eta + rows.z @ x[k : k + q] if q else eta

    def tie(self, x: FloatArray) -> float:
        """The tie parameter: log nu, or alpha = log theta."""
        return float(x[-1]) if self.n_ties else 0.0

    def slopes(self, counts: FloatArray, x: FloatArray) -> tuple[float, Slopes]:
        """Penalised value, and what the derivatives are made of."""
        slopes = LIKELIHOODS[self.ties](counts, self.eta(x), self.tie(x))
        gamma = x[self.rows.k : self.rows.k + self.rows.z.shape[1]]
        return slopes.value - self.ridge * float(gamma @ gamma), slopes

    def gradient(self, slopes: Slopes, x: FloatArray) -> FloatArray:
        """Of the penalised log likelihood."""
        k, q = self.rows.k, self.rows.z.shape[1]
        gradient = np.zeros(self.size)
        gradient[:k] = self.spread(slopes.e)
        gradient[k : k + q] = self.rows.z.T @ slopes.e - 2 * self.ridge * x[k : k + q]
        if self.n_ties:
            gradient[-1] = slopes.t
        return gradient

    def spread(self, values: FloatArray) -> FloatArray:
        """Sum of values over the rows of each model, with its sign."""
        rows = self.rows
        return np.asarray(
            np.bincount(rows.i, values, rows.k) - np.bincount(rows.j, values, rows.k), np.float64
        )

    def laplacian(self, weight: FloatArray) -> FloatArray:
        """Sum of weight (e_i - e_j)(e_i - e_j)' over rows."""
        rows = self.rows
        flat = np.bincount(rows.i * rows.k + rows.j, weight, rows.k * rows.k)
        off = flat.reshape(rows.k, rows.k)
        off = off + off.T
        return np.diag(off.sum(axis=1)) - off

    def information(self, slopes: Slopes) -> FloatArray:
        """Negative Hessian of the penalised log likelihood, singular along equal ratings."""
        k, q = self.rows.k, self.rows.z.shape[1]
        z = self.rows.z
        if self.size == k:
            return self.laplacian(slopes.ee)
        matrix = np.zeros((self.size, self.size))
        matrix[:k, :k] = self.laplacian(slopes.ee)
        for column in range(q):
            matrix[:k, k + column] = self.spread(slopes.ee * z[:, column])
        matrix[k : k + q, k : k + q] = z.T @ (slopes.ee[:, None] * z)
        matrix[k : k + q, k : k + q] += 2 * self.ridge * np.eye(q)
        if slopes.et is not None:
            matrix[:k, -1] = self.spread(slopes.et)
            matrix[k : k + q, -1] = z.T @ slopes.et
            matrix[-1, -1] = slopes.tt
        upper = np.triu(matrix)
        return np.asarray(upper + np.triu(matrix, 1).T)

    def inverse(self, information: FloatArray) -> FloatArray:
        """Inverse on the parameters whose ratings have mean 0."""
        k = self.rows.k
        filled, level = _filled(information, k)
        inverse = np.linalg.inv(filled)
        inverse[:k, :k] -= 1 / (level * k)
        return np.asarray(inverse)

    def log_determinant(self, information: FloatArray) -> float:
        """Log of the product of its eigenvalues but that of equal ratings, which is 0."""
        filled, level = _filled(information, self.rows.k)
        sign, value = np.linalg.slogdet(filled)
        return float(value) - math.log(level) if sign > 0 else -math.inf

    def maximise(self, counts: FloatArray, start: FloatArray) -> FloatArray:
        """Newton's method with step halving.

        Raises
        ------
        ValueError
            If it doesn't converge: coefficients of style that have no finite maximum, mostly.
        """
        x = start
        value, slopes = self.slopes(counts, x)
        k = self.rows.k
        for _ in range(_MAX_STEPS):
            filled, _level = _filled(self.information(slopes), k)
            try:
                step = np.linalg.solve(filled, self.gradient(slopes, x))
            except np.linalg.LinAlgError:
                break
            longest = float(np.abs(step).max())
            # No step of more than 4 nats: further out the logistic is flat and Newton overshoots.
            size = min(1.0, 4 / longest) if longest > 0 else 1.0
            slack = 1e-13 * abs(value)
            for _halving in range(50):
                moved = x + size * step
                new, new_slopes = self.slopes(counts, moved)
                if new >= value - slack:
                    break
                size /= 2
            x, value, slopes = moved, new, new_slopes
            x[:k] -= x[:k].mean()
            if longest <= _TOLERANCE:
                return x
            if np.abs(x).max() > 500:
                break
        raise ValueError(
            "the likelihood has no finite maximum that Newton's method reaches; "
            "are outcomes split by a style covariate, or is every battle a tie? "
            "A ridge or ties='half' may help"
        )


def _filled(information: FloatArray, k: int) -> tuple[FloatArray, float]:
    """The information with a level in the null space, the constant rating; and the level."""
    level = float(np.trace(information[:k, :k])) / k
    level = level if level > 0 else 1.0
    filled = information.copy()
    filled[:k, :k] += level / k
    return filled, level
