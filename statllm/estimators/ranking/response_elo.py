"""Elo ratings of the responses to a prompt, from a matrix of battles between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ELO_SCALE = 400 / math.log(10)  # Elo points per nat of log odds

_MAX_STEPS = 200
_TOLERANCE = 1e-7  # nats; Newton's step, whose square is about the error after it


@dataclass(frozen=True, eq=False)
class EloRatings:
    """Ratings of K responses; the leading axes are those of the battle matrix.

    Attributes
    ----------
    rating : ndarray of float64, shape (..., K)
        Elo points, with mean 0 over the responses of a prompt.
    covariance : ndarray of float64, shape (..., K, K)
        Of the ratings, squared Elo points; see Notes of `elo_from_battles`.
    n_battles : ndarray of float64, shape (..., K)
        Battles that each response fought, without those of the prior.
    separated : ndarray of bool, shape (...)
        The battles alone have no finite maximum of the likelihood.
    prior_ties, scale : float
        As given.
    """

    rating: FloatArray
    covariance: FloatArray
    n_battles: FloatArray
    separated: BoolArray
    prior_ties: float
    scale: float

    @property
    def se(self) -> FloatArray:
        """Standard errors of the centred ratings, shape (..., K)."""
        variance: FloatArray = np.diagonal(self.covariance, axis1=-2, axis2=-1)
        return np.asarray(np.sqrt(variance))

    def difference_se(self) -> FloatArray:
        """Standard errors of rating_i - rating_j, shape (..., K, K)."""
        variance = np.diagonal(self.covariance, axis1=-2, axis2=-1)
        squared = variance[..., :, None] + variance[..., None, :] - 2 * self.covariance
        return np.asarray(np.sqrt(np.maximum(squared, 0.0)))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per prompt and response, in this order."""
        import pandas as pd

        k = self.rating.shape[-1]
        n = self.separated.size
        return pd.DataFrame(
            {
                "prompt": np.repeat(np.arange(n), k),
                "response": np.tile(np.arange(k), n),
                "rating": self.rating.ravel(),
                "se": self.se.ravel(),
                "n_battles": self.n_battles.ravel(),
                "separated": np.repeat(self.separated.ravel(), k),
            }
        )


def elo_from_battles(
    battles: ArrayLike, prior_ties: float = 1.0, scale: float = ELO_SCALE
) -> EloRatings:
    """Rate responses by the Bradley-Terry model, prompt by prompt.

    Maximises sum_ij B_ij log sigmoid(e_i - e_j) over e with mean 0, which is the ELO of Thinking
    LLMs (Wu et al. 2024) when `prior_ties` is 0; the rating is `scale` e. That maximum is finite
    only where no group of responses wins every battle against the rest (Ford 1957), which few
    battles often break: a response that beats all others would get an infinite rating, whatever
    it beats. By default every response therefore also fights one tied battle, spread evenly over
    its opponents: B_ij + `prior_ties` / (2 (K - 1)). For K = 2 that is half a win each, Jeffreys'
    prior of the log odds.

    Parameters
    ----------
    battles : array_like of float, shape (..., K, K)
        ``battles[..., i, j]`` counts wins of i over j; a tie is half a win for both. The diagonal
        is 0. A response that no battle reached has zeros.
    prior_ties : float
        Tied battles that are added per response. 0: plain maximum likelihood. Where it has no
        finite maximum (`separated`), responses that win against others and aren't led back to by
        any chain of wins get +inf, those that only lose so get -inf, and all the rest NaN.
    scale : float
        Elo points per nat. 1 gives e itself.

    Returns
    -------
    EloRatings

    Raises
    ------
    ValueError
        If the matrices aren't square, hold NaN or negative numbers or a diagonal that isn't 0, or
        if `prior_ties` is negative or `scale` not positive.

    Notes
    -----
    The covariance is the pseudo-inverse of the information matrix at the maximum, the Laplacian
    of N_ij p_ij p_ji with N = B + B^T (the prior included). It takes battles for independent, so
    two orders of one pair by one judge count as two: where the judge repeats itself rather than
    weighs again, errors are up to sqrt(2) times as large. NaN where a rating isn't finite.
    With independent battles, rating ± 1.96 se covered 96 to 99 % of the true ratings of K = 8 at
    one battle per pair, 96 to 97 % at two and 95 to 96 % at ten (prior of 1, strengths with a
    standard deviation of 0.3 to 2 nats).

    Newton's method with step halving, all prompts at once; e is rounded to 1e-10, so that responses
    with equal records are tied exactly. NaN where it doesn't converge.

    Examples
    --------
    Two responses: the rating difference is 400 log10 of the odds.

    >>> ratings = elo_from_battles([[0, 30], [10, 0]], prior_ties=0)
    >>> ratings.rating.round(2), round(400 * math.log10(3) / 2, 2)
    (array([ 95.42, -95.42]), 95.42)
    >>> elo_from_battles([[0, 2, 2], [0, 0, 1], [0, 1, 0]]).rating.round(1)
    array([ 254.5, -127.2, -127.2])
    """
    wins, leading = _checked(battles, prior_ties, scale)
    n, k = wins.shape[:2]
    reaches = _reachable(wins)
    separated = ~reaches.all(axis=(1, 2))
    rating, covariance = np.full((n, k), np.nan), np.full((n, k, k), np.nan)

    solvable = np.ones(n, dtype=bool) if prior_ties > 0 else ~separated
    pseudo = prior_ties / (2 * max(k - 1, 1)) * (1 - np.eye(k))
    weights = wins[solvable] + pseudo
    # Equal records have equal ratings, exactly: no rounding error may decide between them.
    log_strength = np.round(_maximum(weights), 10) + 0.0
    rating[solvable] = scale * log_strength
    covariance[solvable] = scale**2 * _covariance(weights, log_strength)
    if not solvable.all():
        rating[~solvable] = _limits(reaches[~solvable])

    return EloRatings(
        rating.reshape(*leading, k),
        covariance.reshape(*leading, k, k),
        (wins.sum(axis=2) + wins.sum(axis=1)).reshape(*leading, k),
        separated.reshape(leading),
        float(prior_ties),
        float(scale),
    )


def _checked(
    battles: ArrayLike, prior_ties: float, scale: float
) -> tuple[FloatArray, tuple[int, ...]]:
    """The matrices along one axis, and the leading axes that they had."""
    wins = np.asarray(battles, dtype=np.float64)
    if wins.ndim < 2 or wins.shape[-1] != wins.shape[-2] or wins.shape[-1] == 0:
        raise ValueError(f"battles must have shape (..., K, K) with K > 0, not {wins.shape}")
    if not (np.isfinite(wins).all() and (wins >= 0).all()):
        raise ValueError("battles must be finite and not negative")
    if np.diagonal(wins, axis1=-2, axis2=-1).any():
        raise ValueError("battles must have a diagonal of 0: no response fights itself")
    if not 0 <= prior_ties < math.inf:
        raise ValueError(f"prior_ties must be finite and not negative, not {prior_ties}")
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be positive and finite, not {scale}")
    return wins.reshape(-1, *wins.shape[-2:]), wins.shape[:-2]


def _reachable(wins: FloatArray) -> BoolArray:
    """Whether a chain of wins leads from i to j, for every prompt; i reaches itself."""
    k = wins.shape[-1]
    reaches = ((wins > 0) | np.eye(k, dtype=bool)).astype(np.float32)
    for _ in range(max(k - 1, 1).bit_length()):  # each squaring doubles the length of the chains
        reaches = np.minimum(reaches @ reaches, 1)
    return np.asarray(reaches > 0)


def _limits(reaches: BoolArray) -> FloatArray:
    """Ratings where the likelihood has no finite maximum."""
    above = (reaches & ~reaches.swapaxes(1, 2)).any(axis=2)  # a group below can't strike back
    below = (~reaches & reaches.swapaxes(1, 2)).any(axis=2)
    return np.where(above & ~below, np.inf, np.where(below & ~above, -np.inf, np.nan))


def _maximum(wins: FloatArray) -> FloatArray:
    """Centred maximum of the log likelihood for each of n matrices; it must be finite."""
    n, k = wins.shape[:2]
    strength = np.zeros((n, k))
    active = np.arange(n)
    for _ in range(_MAX_STEPS):
        if not active.size:
            return strength
        now, w = strength[active], wins[active]
        information, level = _information(w, now)
        step = np.linalg.solve(information + level / k, _gradient(w, now)[..., None])[..., 0]
        done = np.abs(step).max(axis=1) <= _TOLERANCE
        # No step of more than 4 nats: further out the logistic is flat and Newton overshoots.
        step /= np.maximum(np.abs(step).max(axis=1, keepdims=True) / 4, 1)
        strength[active] = _uphill(w, now, step)
        active = active[~done]
    strength[active] = np.nan  # no maximum was found
    return strength


def _uphill(wins: FloatArray, now: FloatArray, step: FloatArray) -> FloatArray:
    """`now` + `step`, the step halved until the likelihood doesn't fall (beyond rounding)."""
    before = _log_likelihood(wins, now)
    slack = 1e-13 * np.abs(before)
    size = np.ones((len(now), 1))
    for _ in range(40):
        worse = _log_likelihood(wins, now + size * step) < before - slack
        if not worse.any():
            break
        size[worse] /= 2
    moved = now + size * step
    return np.asarray(moved - moved.mean(axis=1, keepdims=True))


def _log_likelihood(wins: FloatArray, strength: FloatArray) -> FloatArray:
    gaps = strength[:, :, None] - strength[:, None, :]
    return np.asarray(-(wins * np.logaddexp(0, -gaps)).sum(axis=(1, 2)))


def _win_probability(strength: FloatArray) -> FloatArray:
    gaps = strength[:, :, None] - strength[:, None, :]
    with np.errstate(invalid="ignore"):  # NaN where no maximum was found
        return np.asarray(np.exp(-np.logaddexp(0, -gaps)))


def _gradient(wins: FloatArray, strength: FloatArray) -> FloatArray:
    surplus = wins * _win_probability(strength).swapaxes(1, 2)  # wins times P(loss)
    return np.asarray(surplus.sum(axis=2) - surplus.sum(axis=1))


def _information(wins: FloatArray, strength: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The information matrices, and a level to give to their null space, the constant vector."""
    p = _win_probability(strength)
    weight = (wins + wins.swapaxes(1, 2)) * p * p.swapaxes(1, 2)
    k = wins.shape[-1]
    total = weight.sum(axis=2)
    level = total.mean(axis=1)[:, None, None]  # of the order of the other eigenvalues
    return total[:, :, None] * np.eye(k) - weight, np.where(level > 0, level, 1.0)


def _covariance(wins: FloatArray, strength: FloatArray) -> FloatArray:
    """Pseudo-inverse of the information."""
    k = wins.shape[-1]
    information, level = _information(wins, strength)
    return np.asarray(np.linalg.inv(information + level / k) - 1 / (level * k))
