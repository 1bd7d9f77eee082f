"""Lower bounds of the privacy loss, from attacks that worked."""

from __future__ import annotations

import math

import numpy as np

from statllm.estimators._arrays import between, whole
from statllm.estimators.proportions import clopper_pearson
from statllm.results import Interval


def epsilon_lower_bound(
    false_positives: int,
    n_out: int,
    false_negatives: int,
    n_in: int,
    delta: float = 0.0,
    level: float = 0.95,
) -> Interval:
    """Lower bound of epsilon from many training runs with and without a record.

    A mechanism with (epsilon, delta)-privacy has FPR + e^epsilon FNR >= 1 - delta and the same with
    the two exchanged (Kairouz, Oh and Viswanath 2015), so epsilon is at least
    max(ln((1 - delta - FNR) / FPR), ln((1 - delta - FPR) / FNR)). Both rates are replaced by upper
    Clopper-Pearson limits at level 1 - (1 - level) / 2 each (Nasr et al. 2021).

    Parameters
    ----------
    false_positives, n_out : int
        Runs without the record that the attack took for runs with it, of how many.
    false_negatives, n_in : int
    delta : float
    level : float
        Confidence that epsilon is at least `low`; the attack and its threshold must have been fixed
        before these runs.

    Returns
    -------
    Interval
        From the bound (0 at least) to infinity.

    Raises
    ------
    ValueError
        If counts are impossible.

    Examples
    --------
    >>> f"{epsilon_lower_bound(5, 1000, 400, 1000).low:.3f}"
    '3.890'
    """
    fpr, fnr = _upper_rates(false_positives, n_out, false_negatives, n_in, level)
    if not 0 <= delta < 1:
        raise ValueError(f"delta must be at least 0 and below 1, not {delta}")
    best = 0.0
    for kept, lost in ((fnr, fpr), (fpr, fnr)):
        if 1 - delta - kept > lost:
            best = max(best, math.log((1 - delta - kept) / lost))
    return Interval(best, math.inf, level, "Clopper-Pearson of both rates")


def mu_lower_bound(
    false_positives: int, n_out: int, false_negatives: int, n_in: int, level: float = 0.95
) -> Interval:
    """Lower bound of mu in Gaussian differential privacy.

    Phi^-1(1 - FPR) - Phi^-1(FNR) with the limits of `epsilon_lower_bound` (Dong, Roth and Su 2022;
    Nasr et al. 2023): tighter than epsilon where the mechanism is Gaussian noise.

    Parameters, returned value and errors as for `epsilon_lower_bound`.

    Examples
    --------
    >>> f"{mu_lower_bound(5, 1000, 400, 1000).low:.2f}"
    '2.44'
    """
    from scipy import special

    fpr, fnr = _upper_rates(false_positives, n_out, false_negatives, n_in, level)
    mu = float(special.ndtri(1 - fpr) - special.ndtri(fnr))
    return Interval(max(mu, 0.0), math.inf, level, "Clopper-Pearson of both rates")


def epsilon_of_one_run(
    correct: int, guesses: int, canaries: int, delta: float = 0.0, level: float = 0.95
) -> Interval:
    """Lower bound of epsilon from a single training run with many canaries.

    Each of m canaries was put in or left out by a fair coin; the attack guesses for r of them and
    is right c times. Under (epsilon, delta)-privacy P(W >= c) is at most
    P(W* >= c) + delta m max_i (2 / i) P(c - i <= W* < c) with W* ~ Binomial(r, e^eps / (1 + e^eps))
    (Steinke, Nasr and Jagielski 2023, theorem 5.2). The bound is the largest epsilon at which that
    is at most 1 - `level`.

    Parameters
    ----------
    correct, guesses, canaries : int
    delta, level : float

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        Unless 0 <= correct <= guesses <= canaries.

    Examples
    --------
    >>> f"{epsilon_of_one_run(100, 100, 1000).low:.2f}"
    '3.49'
    """
    from scipy import optimize, special

    correct, guesses = whole(correct, "correct", 0), whole(guesses, "guesses", 0)
    canaries = whole(canaries, "canaries", 1)
    if not correct <= guesses <= canaries:
        raise ValueError(
            f"{correct} right of {guesses} guesses for {canaries} canaries is impossible"
        )
    between(level, "level")
    if not 0 <= delta < 1:
        raise ValueError(f"delta must be at least 0 and below 1, not {delta}")

    def p_value(epsilon: float) -> float:
        share = float(special.expit(epsilon))
        p = float(special.bdtrc(correct - 1, guesses, share)) if correct else 1.0
        if delta:
            i = np.arange(1, correct + 1)
            below = special.bdtr(correct - 1, guesses, share) if correct else 0.0
            further = np.where(
                correct - i > 0, special.bdtr(np.maximum(correct - i - 1, 0), guesses, share), 0.0
            )
            if correct:
                p += delta * canaries * float(np.max(2 / i * (below - further)))
        return min(p, 1.0)

    if p_value(0.0) > 1 - level:
        return Interval(0.0, math.inf, level, "one run")
    high = 1.0
    while p_value(high) <= 1 - level and high < 60:
        high *= 2
    if high >= 60:
        return Interval(high, math.inf, level, "one run")
    bound = optimize.brentq(lambda e: p_value(e) - (1 - level), 0.0, high, xtol=1e-10)
    return Interval(float(bound), math.inf, level, "one run")


def _upper_rates(
    false_positives: int, n_out: int, false_negatives: int, n_in: int, level: float
) -> tuple[float, float]:
    between(level, "level")
    for name, count, n in (
        ("false positives", false_positives, n_out),
        ("false negatives", false_negatives, n_in),
    ):
        if whole(count, name, 0) > whole(n, f"runs ({name})", 1):
            raise ValueError(f"{count} {name} in {n} runs is impossible")
    # A two-sided interval of level `level` has upper tails of (1 - level) / 2 each.
    fpr = float(clopper_pearson(false_positives, n_out, level)[1])
    fnr = float(clopper_pearson(false_negatives, n_in, level)[1])
    return fpr, fnr
