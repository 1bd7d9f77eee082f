"""Right or wrong on the same prompts: McNemar's test, the sign test, Cochran's Q."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import numbers, whole
from statllm.estimators.comparison._arrays import FloatArray, Missing, differences_of, pairs
from statllm.estimators.comparison._tails import log_binomial_tail, result, two_sided
from statllm.estimators.comparison.t_tests import Alternative
from statllm.results import TestResult

IntArray = NDArray[np.int64]
_MOST_STATES = 50_000_000  # of the exact law of Cochran's Q, over all its steps
_ROUNDING = 1e-9  # of a Q that is reached again in another order


def mcnemar(
    a: ArrayLike,
    b: ArrayLike,
    exact: bool = True,
    mid_p: bool = False,
    missing: Missing = "raise",
) -> TestResult:
    """McNemar's test: do two models get equally many of the same prompts right?

    Only discordant pairs count: n01 where b alone is right, n10 where a alone is. Under the null
    hypothesis n01 is binomial(n01 + n10, 1/2).

    Parameters
    ----------
    a, b : array_like of bool, shape (n,)
        Right or wrong, prompt by prompt.
    exact : bool
        The exact binomial p-value, 2 P(X <= min(n01, n10)) and at most 1, computed on the
        logarithmic scale. False: chi-squared = (n01 - n10)^2 / (n01 + n10) on one degree of
        freedom, without continuity correction.
    mid_p : bool
        Count only half of the probability of the observed table (Fagerland, Lydersen and Laake
        2013): closer to the nominal size, no longer guaranteed to stay below it. Exact only.
    missing : {"raise", "drop"}
        What to do with a pair in which an outcome is NaN.

    Returns
    -------
    TestResult
        Two-sided; the statistic is n01 (exact) or chi-squared.

    Raises
    ------
    ValueError
        If lengths differ, an outcome isn't 0 or 1, or is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> before = [0] * 8 + [1] * 2
    >>> after = [1] * 8 + [1, 0]
    >>> test = mcnemar(before, after)
    >>> test.n_effective, round(test.p_value, 4)
    (9, 0.0391)
    """
    from statllm.estimators.calibration._tails import log_chi2

    first, second, _ = pairs(a, b, missing)
    if not (np.isin(first, [0, 1]).all() and np.isin(second, [0, 1]).all()):
        raise ValueError("outcomes must be true or false (1 or 0)")
    if mid_p and not exact:
        raise ValueError("mid_p belongs to the exact test")
    n01, n10 = int(((first == 0) & (second == 1)).sum()), int(((first == 1) & (second == 0)).sum())
    n = n01 + n10
    if exact:
        statistic, log_p = float(n01), _log_two_sided_binomial(min(n01, n10), n, mid_p)
        how = "mid-p" if mid_p else "exact"
    else:
        statistic = (n01 - n10) ** 2 / n if n else 0.0
        log_p, how = log_chi2(statistic, 1), "chi-squared"
    return TestResult(
        statistic,
        math.exp(log_p),
        log_p,
        "two-sided",
        n,
        f"McNemar, {how}",
        "pairs are independent of each other",
    )


def sign_test(differences: ArrayLike, alternative: Alternative = "two-sided") -> TestResult:
    """Sign test: is a difference above 0 as often as below?

    Differences of 0 are left out; the number above is binomial(n, 1/2), exactly. On right or
    wrong answers it's McNemar's exact test.

    Parameters
    ----------
    differences : array_like of float, shape (n,)
        b - a, prompt by prompt.
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    TestResult
        The statistic is the number above 0; n_effective the number that isn't 0.

    Raises
    ------
    ValueError
        If a difference is NaN.

    Examples
    --------
    >>> round(sign_test([1, 2, 0, 3, -1, 4, 2]).p_value, 4)
    0.2188
    """
    d = differences_of(differences)
    above, n = int((d > 0).sum()), int((d != 0).sum())
    log_p = two_sided(log_binomial_tail(above, n), log_binomial_tail(n - above, n), alternative)
    return result(
        float(above), log_p, alternative, n, "sign test, exact",
        "differences are independent; those of 0 are left out",
    )  # fmt: skip


def cochran_q(
    outcomes: ArrayLike,
    method: Literal["auto", "exact", "permutation", "chi-squared"] = "auto",
    resamples: int = 9999,
    rng: np.random.Generator | int | None = 0,
) -> TestResult:
    """Cochran's Q: are k models right equally often on the same prompts? (Cochran 1950)

    Q = (k - 1) (k sum_j C_j^2 - N^2) / (k N - sum_i R_i^2), with column sums C, row sums R and
    their total N. Under the hypothesis the labels of a row are exchangeable, so that given its sum
    every arrangement of a row is as likely as another.

    Parameters
    ----------
    outcomes : array_like of bool, shape (n, k)
        Prompts by models, complete.
    method : {"auto", "exact", "permutation", "chi-squared"}
        ``"exact"``: the law of the column sums by convolution over rows. ``"permutation"``: p =
        (1 + #) / (resamples + 1), rows of one sum drawn together. ``"chi-squared"``: k - 1 degrees
        of freedom. ``"auto"``: exact where that's quick, else permutation.
    resamples : int
    rng : Generator or int

    Returns
    -------
    TestResult
        n_effective counts the rows that are neither all right nor all wrong.

    Raises
    ------
    ValueError
        If an outcome isn't 0 or 1, there are fewer than two models, or exact takes too long.

    Examples
    --------
    >>> test = cochran_q([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 0]])
    >>> round(test.statistic, 2), round(test.p_value, 4), test.n_effective
    (4.5, 0.2222, 4)
    """
    x = numbers(outcomes, "outcomes")
    resamples = whole(resamples, "resamples", 1)
    if x.ndim != 2 or x.shape[1] < 2:
        raise ValueError(f"outcomes must be prompts by two or more models, not {x.shape}")
    if not np.isin(x, [0, 1]).all():
        raise ValueError("outcomes must be true or false (1 or 0)")
    k = x.shape[1]
    x = x[(x.sum(1) > 0) & (x.sum(1) < k)]
    rows, columns = x.sum(1).astype(np.int64), x.sum(0)
    n, total = len(x), float(x.sum())

    def q_of(sums: FloatArray) -> FloatArray:
        below = k * total - float((rows**2).sum())
        above = (k - 1) * (k * (sums**2).sum(-1) - total**2)
        return np.asarray(above / below if n else np.zeros(sums.shape[:-1]))

    q = float(q_of(columns))
    size = np.bincount(rows, minlength=k)
    states = n * float((n + 1) ** (k - 1)) * 2.0**k
    if method == "auto":
        method = "exact" if states <= _MOST_STATES else "permutation"
    if method == "chi-squared":
        from statllm.estimators.calibration._tails import log_chi2

        log_p = log_chi2(q, k - 1)
    elif method == "exact":
        if states > _MOST_STATES:
            raise ValueError(f"the exact law of {n} rows and {k} models takes too long")
        law = _column_law(size, n, k)
        axes = np.meshgrid(*[np.arange(n + 1.0)] * (k - 1), indexing="ij")
        sums = np.stack([*axes, total - sum(axes)], axis=-1)
        log_p = math.log(float(law[q_of(sums) >= q - _ROUNDING].sum()))
    elif method == "permutation":
        drawn = _column_draws(size, k, resamples, np.random.default_rng(rng))
        log_p = math.log((1 + int((q_of(drawn) >= q - _ROUNDING).sum())) / (resamples + 1))
    else:
        raise ValueError(f"method must be auto, exact, permutation or chi-squared, not {method!r}")
    return result(
        q, min(log_p, 0.0), "two-sided", n, f"Cochran's Q, {method}",
        "prompts are independent; under the hypothesis the labels of a row are exchangeable",
    )  # fmt: skip


def _arrangements(k: int, right: int) -> IntArray:
    """Every row of k outcomes with so many right."""
    found = np.zeros((math.comb(k, right), k), np.int64)
    for row, chosen in zip(found, combinations(range(k), right), strict=True):
        row[list(chosen)] = 1
    return found


def _column_law(size: IntArray, n: int, k: int) -> FloatArray:
    """Probability of the first k - 1 column sums (the last follows), an axis each."""
    law = np.zeros((n + 1,) * (k - 1))
    law[(0,) * (k - 1)] = 1.0
    for right in range(1, k):
        moves = _arrangements(k, right)[:, :-1]
        for _ in range(size[right]):
            longer = np.zeros_like(law)
            for move in moves:
                to = tuple(slice(step, None) for step in move)
                taken = tuple(slice(None, n + 1 - step) for step in move)
                longer[to] += law[taken]
            law = longer / len(moves)
    return law


def _column_draws(size: IntArray, k: int, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Column sums of permuted tables, (resamples, k)."""
    sums = np.zeros((resamples, k))
    for right in range(1, k):
        if not size[right]:
            continue
        if math.comb(k, right) <= 1000:
            moves = _arrangements(k, right)
            drawn = rng.multinomial(size[right], np.full(len(moves), 1 / len(moves)), resamples)
            sums += drawn @ moves
        else:
            for each in sums:
                order = rng.permuted(np.tile(np.arange(k), (size[right], 1)), axis=1)
                each += (order < right).sum(0)
    return sums


def _log_two_sided_binomial(x: int, n: int, mid_p: bool) -> float:
    """Log of the two-sided p-value of x <= n / 2 successes in n fair trials."""
    from scipy import special

    k = np.arange(x + 1)
    terms = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    weights = np.full(x + 1, 2.0)  # both tails
    if mid_p:
        # Half of the observed term in each tail; the same term is both tails' when x = n / 2.
        weights[x] = 1.0
    log_p = float(special.logsumexp(terms, b=weights)) - n * math.log(2)
    return min(log_p, 0.0)
