"""Length bias: does the judge prefer longer responses, and more than humans do?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import whole
from statllm.estimators.comparison import TEstimate, mean_estimate, t_estimate
from statllm.estimators.judge_audit.findings import Finding, fair_test, mean_share
from statllm.estimators.judge_audit.verdicts import Verdicts
from statllm.estimators.ppi._fits import without_each

FloatArray = NDArray[np.float64]


def length_bias(verdicts: Verdicts) -> tuple[Finding, ...]:
    """How much longer responses win, by themselves and beside human preference.

    Parameters
    ----------
    verdicts : Verdicts
        With lengths.

    Returns
    -------
    tuple of Finding
        "share for the longer": verdicts for the longer response, ties half, lengths equal left
        out. "excess for the longer": that share less humans', on verdicts with a human one.
        "log odds per length" (also "..., humans held"): slope of a logistic regression of "a is
        preferred" (ties half) on (length_a - length_b) / (length_a + length_b), as in Chatbot
        Arena's style control, divided by its root mean square; with an intercept, the order in
        which a was shown, and where known (the second slope) the human verdict.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.integers(50, 500, size=(2, 300))
    >>> wins = rng.random(300) < 1 / (1 + np.exp(-2 * (a - b) / (a + b)))
    >>> verdicts = Verdicts.of(
    ...     np.arange(300), np.full(300, True), 2.0 * wins - 1, length_a=a, length_b=b
    ... )
    >>> [each.estimate.name for each in length_bias(verdicts)]
    ['share for the longer', 'log odds per length']
    """
    if verdicts.length_a is None or verdicts.length_b is None:
        return ()
    relative = relative_length(verdicts.length_a, verdicts.length_b)
    known = ~np.isnan(relative) & ~np.isnan(verdicts.place)
    used, relative = verdicts.rows(known), relative[known]
    differ = relative != 0
    if not differ.any():
        return ()
    sign, clusters = np.sign(relative), used.cluster
    for_longer = 0.5 + used.preferred * sign / 2
    longer = mean_share(for_longer[differ], clusters[differ], "share for the longer")
    found = [
        Finding(
            "length",
            longer,
            "share of verdicts for the longer response, ties half; a good judge's need not be 1/2",
        )
    ]
    human = used.human
    judged = None if human is None else differ & ~np.isnan(human)
    if human is not None and judged is not None and judged.any():
        excess = mean_estimate(
            (for_longer - 0.5 - human * sign / 2)[judged],
            clusters[judged],
            "excess for the longer",
            "share",
        )
        found.append(
            Finding(
                "length",
                excess,
                "share for the longer response by the judge less that by humans, on the same pairs",
                0.0,
                fair_test(excess, 0.0, "clusters are independent"),
            )
        )
    found.extend(_slopes(used, relative))
    return tuple(found)


def relative_length(length_a: ArrayLike, length_b: ArrayLike) -> FloatArray:
    """(a - b) / (a + b), 0 for two empty responses.

    Examples
    --------
    >>> relative_length([30, 0], [10, 0])
    array([0.5, 0. ])
    """
    a, b = np.asarray(length_a, np.float64), np.asarray(length_b, np.float64)
    total = a + b
    return np.where(total == 0, 0.0, (a - b) / np.where(total == 0, 1.0, total))


def _slopes(used: Verdicts, relative: FloatArray) -> list[Finding]:
    """Logistic slopes of length, without and with the human verdict."""
    spread = math.sqrt(float(np.mean(relative**2)))
    columns = [relative / spread, np.ones(len(used))]
    order = np.where(used.a_first, 1.0, -1.0)
    if np.ptp(order) > 0:
        columns.append(order)
    designs = [("log odds per length", columns, np.ones(len(used), bool), "")]
    if used.human is not None:
        held = ~np.isnan(used.human)
        beside = [*columns, np.nan_to_num(used.human)]
        designs.append(
            ("log odds per length, humans held", beside, held, " and the human verdict held")
        )
    found = []
    for name, chosen, rows, words in designs:
        estimate = _slope(np.stack(chosen, axis=1)[rows], used.rows(rows), name)
        if estimate is None:
            continue
        found.append(
            Finding(
                "length",
                estimate,
                f"change of the log odds that a response wins with one root mean square "
                f"({spread:.3g}) of (length - other) / (length + other), the order shown{words}",
                0.0,
                fair_test(estimate, 0.0, "clusters are independent, the log odds linear in length"),
            )
        )
    return found


def _slope(x: FloatArray, used: Verdicts, name: str) -> TEstimate | None:
    """First coefficient with its cluster jackknife and t; None where it can't be fitted."""
    names, number = np.unique(used.cluster, return_inverse=True)
    g = len(names)
    if len(x) <= x.shape[1] or g <= x.shape[1]:
        return None
    try:
        b, changes = without_each(
            x, 0.5 + used.preferred / 2, number.astype(np.int64), g, "logit", "verdicts"
        )
    except ValueError:  # separated, or the columns depend on each other
        return None
    se = math.sqrt((g - 1) / g * float(np.sum(changes[:, 0] ** 2)))
    how = "logistic regression, cluster jackknife"
    return t_estimate(float(b[0]), se, g - 1, g, how, name, "log odds")


@dataclass(frozen=True, eq=False)
class LengthCurve:
    """Wins of the longer response by how much longer it is; every array has length n_bins.

    Attributes
    ----------
    difference : ndarray of float64
        Mean of |length_a - length_b| / (length_a + length_b) in the bin.
    share, low, high : ndarray of float64
        Share of verdicts for the longer response, with 95 % limits over clusters.
    n : ndarray of int64
        Verdicts.
    """

    difference: FloatArray
    share: FloatArray
    low: FloatArray
    high: FloatArray
    n: NDArray[np.int64]


def length_curve(verdicts: Verdicts, bins: int = 5) -> LengthCurve:
    """Share for the longer response in bins of equal numbers of the relative difference.

    Parameters
    ----------
    verdicts : Verdicts
        With lengths; verdicts on equal lengths don't count.
    bins : int

    Raises
    ------
    ValueError
        Without lengths.

    Examples
    --------
    >>> verdicts = Verdicts.of(range(8), [True] * 8, [1, -1] + [1] * 6,
    ...                        length_a=[11, 11, 12, 12, 20, 20, 30, 30], length_b=[10] * 8)
    >>> length_curve(verdicts, 2).share
    array([0.75, 1.  ])
    """
    if verdicts.length_a is None or verdicts.length_b is None:
        raise ValueError("the verdicts have no lengths")
    bins = whole(bins, "bins", 1)
    relative = relative_length(verdicts.length_a, verdicts.length_b)
    kept = ~np.isnan(relative) & ~np.isnan(verdicts.place) & (relative != 0)
    used, relative = verdicts.rows(kept), relative[kept]
    order = np.argsort(np.abs(relative), kind="stable")
    rows = []
    for part in np.array_split(order, min(bins, max(len(order), 1))):
        if not len(part):
            continue
        wins = 0.5 + used.preferred[part] * np.sign(relative[part]) / 2
        found = mean_estimate(wins, used.cluster[part])
        ends = found.interval()
        mean = float(np.abs(relative[part]).mean())
        rows.append((mean, found.value, max(ends.low, 0.0), min(ends.high, 1.0), len(part)))
    difference, wins_of, low, high, n = np.array(rows, np.float64).reshape(-1, 5).T
    return LengthCurve(difference, wins_of, low, high, n.astype(np.int64))
