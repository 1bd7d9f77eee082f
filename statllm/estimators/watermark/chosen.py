"""What a model's certainty leaves for a watermark: the law of the chosen token's probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.watermark.nulls.optimal import optimal_score
from statllm.ragged import FloatArray

# probabilities are rounded up to these: a watermark is never made stronger than it is
_LEVELS = np.concatenate([np.geomspace(1e-5, 0.5, 400), 1 - np.geomspace(0.5, 1e-4, 300)[1:], [1]])


@dataclass(frozen=True)
class ChosenLaw:
    """How probable the tokens are that a model chooses.

    Under Gumbel-max sampling the pivot Y of a token of probability p has the law Beta(1 / p, 1),
    and the token is chosen with probability p: the law of the chosen token's probability says all
    of the pivot's, P(Y <= y) = sum_j m_j y^(1 / p_j) (Li, Ruan, Wang, Long and Su 2024).

    Attributes
    ----------
    probabilities : ndarray, shape (k,)
        p_j, in (0, 1].
    masses : ndarray, shape (k,)
        How often a token of probability p_j is chosen; they sum to 1.

    Examples
    --------
    >>> law = ChosenLaw.least_favourable(0.4)    # laws (.6, .4)
    >>> law.probabilities, law.masses
    (array([0.4, 0.6]), array([0.4, 0.6]))
    """

    probabilities: FloatArray
    masses: FloatArray

    @classmethod
    def least_favourable(cls, delta: ArrayLike) -> ChosenLaw:
        """Return the law of tokens whose largest probability is 1 - Delta, least for a watermark.

        1 - Delta as often as it goes, and the rest.

        Parameters
        ----------
        delta : array_like
            One Delta in (0, 1), or one per token in [0, 1): the mean over tokens of their laws.

        Raises
        ------
        ValueError
            If a Delta is out of range, or all are 0.
        """
        given = np.atleast_1d(np.asarray(delta, np.float64)).ravel()
        if len(given) == 0 or not np.all((given >= 0) & (given < 1)) or np.all(given == 0):
            raise ValueError("delta must lie between 0 and 1")
        k = np.floor(1 / (1 - given) + 1e-12)
        rest = np.maximum(1 - k * (1 - given), 0.0)
        p = np.concatenate([1 - given, rest])
        masses = np.concatenate([k * (1 - given), rest]) / len(given)
        return _gathered(p, masses, exact=len(given) == 1)

    @classmethod
    def from_log_probabilities(cls, log_probabilities: ArrayLike) -> ChosenLaw:
        """Return the law that sampled tokens show, from the log p that engines return for them.

        Parameters
        ----------
        log_probabilities : array_like
            Of the sampled tokens under the law they were sampled from (after temperature and
            truncation), nats.

        Raises
        ------
        ValueError
            If there is none, or one is above 0 or not a number.
        """
        given = np.asarray(log_probabilities, np.float64).ravel()
        if len(given) == 0 or not np.all(given <= 1e-6):
            raise ValueError("log_probabilities must be numbers up to 0, and at least one")
        p = np.exp(np.minimum(given, 0.0))
        return _gathered(p, np.full(len(p), 1 / len(p)))

    @classmethod
    def from_top(cls, probabilities: ArrayLike) -> ChosenLaw:
        """Return the law of positions of which the largest probabilities are known.

        The rest of a position's mass is taken to be tokens as large as can be.

        Parameters
        ----------
        probabilities : array_like, shape (n_positions, k)
            Largest probabilities of the sampling law.

        Raises
        ------
        ValueError
            If a probability is out of range, or a row sums to more than 1.
        """
        top = np.asarray(probabilities, np.float64)
        if top.ndim != 2 or top.size == 0 or not np.all((top >= 0) & (top <= 1 + 1e-6)):
            raise ValueError("probabilities must have shape (n_positions, k) and lie in [0, 1]")
        rest = 1 - top.sum(axis=1)
        if rest.min() < -1e-4:
            row = int(np.argmin(rest))
            raise ValueError(f"probabilities of row {row} sum to {1 - rest[row]:.6g}, above 1")
        rest = np.maximum(rest, 0.0)
        masses = np.column_stack([top, rest])
        p = np.column_stack([top, np.minimum(rest, top.min(axis=1))])
        return _gathered(p.ravel(), masses.ravel() / masses.sum())

    def cdf(self, y: ArrayLike) -> FloatArray:
        """Return P(Y <= y)."""
        logs = np.log(np.maximum(np.asarray(y, np.float64), 1e-300))
        powers = np.exp(np.multiply.outer(logs, 1 / self.probabilities))
        return np.asarray(powers @ self.masses)

    def log_density(self, y: ArrayLike) -> FloatArray:
        """Return log of the density of Y, relative to uniform: sum_j m_j / p_j y^(1 / p_j - 1)."""
        from scipy import special

        logs = np.log(np.asarray(y, np.float64))
        powers = np.multiply.outer(logs, 1 / self.probabilities - 1)
        return np.asarray(special.logsumexp(powers, b=self.masses / self.probabilities, axis=-1))

    def pivots(self, size: int | tuple[int, ...], rng: np.random.Generator | int) -> FloatArray:
        """Return pivots of independent tokens: U^p of a chosen p."""
        rng = np.random.default_rng(rng)
        chosen = rng.choice(self.probabilities, size, p=self.masses / self.masses.sum())
        return np.asarray(rng.random(size) ** chosen)

    def cells(self, n: int = 20_000) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Cut (0, 1) into cells that are narrow at both ends.

        Returns
        -------
        y, complement, mass : ndarray, shape (n,)
            Midpoints, 1 - midpoints, and the probability that Y is in the cell.
        """
        v = np.arange(2 * n + 1) / (2 * n)
        y = _smooth(v)
        mass = np.maximum(np.diff(self.cdf(y[::2])), 0.0)
        return y[1::2], _smooth(1 - v)[1::2], mass / mass.sum()


def score(test: str, y: FloatArray, complement: FloatArray, delta: float) -> FloatArray:
    """Return the score of a sum test: -log(1 - y), log y or h_Delta(y).

    Raises
    ------
    ValueError
        If the test is another.
    """
    if test == "sum":
        return np.asarray(-np.log(complement))
    if test == "log":
        return np.asarray(np.log(y))
    if test == "optimal":
        return optimal_score(y, delta)
    raise ValueError(f"test must be one of sum, log, optimal, not {test!r}")


def _smooth(v: NDArray[np.float64]) -> FloatArray:
    return np.asarray(v**3 * (10 - 15 * v + 6 * v**2))


def _gathered(p: FloatArray, masses: FloatArray, *, exact: bool = False) -> ChosenLaw:
    """Add up the masses of equal probabilities, rounded up to `_LEVELS` unless `exact`."""
    used = masses > 1e-12
    rounded = p if exact else _LEVELS[np.minimum(np.searchsorted(_LEVELS, p), len(_LEVELS) - 1)]
    values, place = np.unique(rounded[used], return_inverse=True)
    found = np.bincount(place, masses[used])
    return ChosenLaw(values, found / found.sum())
