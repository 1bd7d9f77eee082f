"""The tests of Shi et al. 2024, Hypothesis Testing the Circuit Hypothesis in LLMs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import between, finite
from statllm.estimators.multiplicity import holm
from statllm.estimators.shift.independence import hsic_test
from statllm.results import TestResult

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Minimality:
    """Whether each edge of a circuit is needed.

    Attributes
    ----------
    log_p : ndarray of float64, shape (n_edges,)
        Of the hypothesis that the edge matters at most as a random one.
    log_p_adjusted : ndarray of float64, shape (n_edges,)
        Holm's, over the edges.
    share_beaten : ndarray of float64, shape (n_edges,)
        Random edges whose knock-out changes less than this one's.
    quantile : float
    """

    log_p: FloatArray
    log_p_adjusted: FloatArray
    share_beaten: FloatArray
    quantile: float

    def needed(self, alpha: float = 0.05) -> NDArray[np.bool_]:
        """Return which edges are shown to be needed, with family-wise error `alpha`."""
        return self.log_p_adjusted <= math.log(between(alpha, "alpha"))


def circuit_sufficiency(
    faithfulness: float, random: ArrayLike, quantile: float = 0.9
) -> TestResult:
    """Test that a circuit does the task better than most random circuits of its size.

    H0: at most a share `quantile` of random circuits is less faithful. Binomial test of the number
    that is; circuits that are equally faithful don't count for the candidate.

    Parameters
    ----------
    faithfulness : float
        Of the candidate: larger is better. Knocked out to nothing but itself.
    random : array_like of float, shape (n,)
        Of random circuits of the same size.
    quantile : float

    Returns
    -------
    TestResult
        The statistic is the share of random circuits that the candidate beats.

    Raises
    ------
    ValueError
        If a number isn't finite or `quantile` isn't in (0, 1).

    Examples
    --------
    >>> found = circuit_sufficiency(0.9, [i / 110 for i in range(100)])
    >>> found.statistic, round(found.p_value, 4)
    (0.99, 0.0003)
    """
    return _beats(finite([faithfulness], "faithfulness")[0], random, quantile, "sufficiency")


def circuit_necessity(knock_out: float, random: ArrayLike, quantile: float = 0.9) -> TestResult:
    """Test that taking the circuit out hurts more than taking out most random ones.

    As `circuit_sufficiency`, with how much the knock-out of each changes the model (larger is
    more): the paper's partial necessity.

    Examples
    --------
    >>> circuit_necessity(0.9, [i / 110 for i in range(100)]).p_value < 0.001
    True
    """
    return _beats(finite([knock_out], "knock_out")[0], random, quantile, "partial necessity")


def circuit_minimality(
    knock_out: ArrayLike, random: ArrayLike, quantile: float = 0.9
) -> Minimality:
    """Test each edge: does its knock-out change more than that of most random edges?

    The reference are edges that a random path adds to the circuit: an edge that isn't needed is
    like one of them. Binomial tests, with Holm's adjustment over edges, which the released code
    leaves out.

    Parameters
    ----------
    knock_out : array_like of float, shape (n_edges,)
        Change when the edge is knocked out.
    random : array_like of float, shape (n,)
        The same of random edges of inflated circuits.
    quantile : float

    Returns
    -------
    Minimality

    Examples
    --------
    >>> found = circuit_minimality([0.95, 0.5], [i / 100 for i in range(100)])
    >>> found.share_beaten, found.needed()
    (array([0.95, 0.5 ]), array([False, False]))
    """
    edges, others = finite(knock_out, "knock_out"), finite(random, "random")
    log_p = np.array([_beats(edge, others, quantile, "").log_p_value for edge in edges])
    beaten = np.array([float(np.mean(others < edge)) for edge in edges])
    return Minimality(log_p, holm(log_p), beaten, quantile)


def circuit_equivalence(
    circuit: ArrayLike, model: ArrayLike, margin: float = 0.1, equivalent: bool = False
) -> TestResult:
    """Compare a circuit with the whole model, input by input.

    With q the probability that the circuit scores higher, the paper's H0 is equivalence,
    |q - 1/2| < margin; rejected, the circuit differs. A circuit that isn't rejected may simply have
    been tried on few inputs: with ``equivalent=True`` H0 is |q - 1/2| >= margin, whose rejection
    shows equivalence. Both are exact binomial tests of the proportion of inputs on which the
    circuit wins (the released code takes the mean difference of scores for it). Ties count half,
    rounded against rejection.

    Parameters
    ----------
    circuit, model : array_like of float, shape (n,)
        Scores on the same inputs.
    margin : float
        In (0, 1/2).
    equivalent : bool

    Returns
    -------
    TestResult
        The statistic is the proportion of wins.

    Raises
    ------
    ValueError
        If lengths differ or `margin` isn't in (0, 1/2).

    Examples
    --------
    >>> circuit_equivalence([1.0] * 90 + [0.0] * 10, [0.5] * 100).p_value < 1e-6
    True
    >>> circuit_equivalence([1.0, 0.0] * 200, [0.5] * 400, equivalent=True).p_value < 0.001
    True
    """
    ours, whole = finite(circuit, "circuit"), finite(model, "model")
    if len(ours) != len(whole):
        raise ValueError(f"the circuit has {len(ours)} scores, the model {len(whole)}")
    if not 0 < margin < 0.5:
        raise ValueError(f"margin must lie between 0 and 1/2, not {margin}")
    n = len(ours)
    wins = float(np.sum(ours > whole) + 0.5 * np.sum(ours == whole))
    upper = 0.5 + margin
    if equivalent:
        # Two one-sided tests; ties are rounded away from the middle.
        k = math.ceil(wins) if wins >= n / 2 else math.floor(wins)
        log_p = max(_log_binomial(0, k, n, upper), _log_binomial(k, n, n, 1 - upper))
        method = f"binomial, two one-sided, margin {margin:g}"
    else:
        distance = math.floor(abs(wins - n / 2))
        high = math.ceil(n / 2) + distance if n % 2 else n // 2 + distance
        # Under q = 1/2 + margin, the least favourable equivalent circuit, both tails.
        tails = _log_binomial(high, n, n, upper), _log_binomial(0, n - high, n, upper)
        log_p = min(float(np.logaddexp(*tails)), 0.0)
        method = f"binomial at 1/2 + {margin:g}"
    return TestResult(
        wins / n,
        math.exp(log_p),
        log_p,
        "two-sided",
        n,
        f"circuit equivalence, {method}",
        "inputs are independent of each other",
    )


def circuit_independence(
    knocked_out: ArrayLike,
    model: ArrayLike,
    n_permutations: int = 999,
    rng: np.random.Generator | int | None = 0,
) -> TestResult:
    """Test that without the circuit the model's output says nothing about the task.

    H0: scores of the model with the circuit knocked out are independent of the model's own. HSIC
    with 1 + #{permuted >= observed} over B + 1. A rejection means that something outside the
    circuit still does the task.

    Parameters
    ----------
    knocked_out, model : array_like of float, shape (n,)
    n_permutations : int
    rng : Generator or int

    Returns
    -------
    TestResult

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> model = rng.normal(size=100)
    >>> circuit_independence(model + rng.normal(size=100), model).p_value
    0.001
    """
    return hsic_test(
        finite(knocked_out, "knocked_out"), finite(model, "model"), n_permutations, rng
    )


def _beats(candidate: float, random: ArrayLike, quantile: float, name: str) -> TestResult:
    others = finite(random, "random")
    between(quantile, "quantile")
    beaten, n = int(np.sum(others < candidate)), len(others)
    log_p = _log_binomial(beaten, n, n, quantile)
    return TestResult(
        beaten / n,
        math.exp(log_p),
        log_p,
        "greater",
        n,
        f"circuit {name}, binomial at {quantile:g}",
        "random circuits are drawn independently of each other and of the candidate",
    )


def _log_binomial(first: int, last: int, n: int, p: float) -> float:
    """Log of P(first <= X <= last), at most 0, where the probability itself may underflow."""
    from scipy import special, stats

    if last < first:
        return -math.inf
    found = special.logsumexp(stats.binom.logpmf(np.arange(first, last + 1), n, p))
    return min(float(found), 0.0)
