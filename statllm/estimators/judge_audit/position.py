"""Position bias: does the place in which a response is shown decide?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.judge_audit.findings import Finding, fair_test, mean_share, share
from statllm.estimators.judge_audit.swaps import SwapAudit
from statllm.estimators.judge_audit.verdicts import Verdicts, by_pair
from statllm.results import TestResult

FloatArray = NDArray[np.float64]


def position_bias(verdicts: Verdicts) -> tuple[Finding, ...]:
    """Consistency under swapping, and the pull of the first place.

    Parameters
    ----------
    verdicts : Verdicts
        Pairs shown in both orders count for consistency and the pull. Where there are none, the
        pull is that of verdicts on pairs shown once, and holds if the order was random.

    Returns
    -------
    tuple of Finding
        "consistency under swap": share of pairs on which both orders name the same response, or
        both a tie. "pull of the first place": share of verdicts for the first place, ties half;
        its test is McNemar's exact one (the sign test of the leanings) where each cluster is one
        pair, else t over clusters. With human verdicts, "right when the better is first"
        and "... second", and their difference.

    Examples
    --------
    >>> orders = [True, False] * 6
    >>> found = position_bias(Verdicts.of(np.repeat(np.arange(6), 2), orders, [1, 1] * 5 + [1, -1]))
    >>> [(each.estimate.name, round(each.estimate.value, 3)) for each in found]
    [('consistency under swap', 0.167), ('pull of the first place', 0.917)]
    """
    used = verdicts.read()
    if not len(used):
        return ()
    pairs = by_pair(used)
    both = ~np.isnan(pairs.lean)
    found: list[Finding] = []
    if both.any():
        clusters, lean = pairs.cluster[both], pairs.lean[both]
        audit = SwapAudit.of(lean, pairs.consistent[both], clusters, len(both))
        found.append(
            Finding(
                "position",
                audit.consistency,
                "share of pairs (shown in both orders) on which the two orders name the same "
                "response, or both a tie",
            )
        )
        pull = audit.first_share.named("pull of the first place")
        exact = len(np.unique(clusters)) == len(clusters)
        test = _signs(audit) if exact else fair_test(pull, 0.5, "clusters are independent")
        how = "share of verdicts for the response shown first, ties half, both orders alike"
    else:
        pull = mean_share(0.5 + used.place / 2, used.cluster, "pull of the first place")
        test = fair_test(pull, 0.5, "clusters are independent, orders random")
        how = "share of verdicts for the response shown first, ties half; orders taken for random"
    found.append(Finding("position", pull, how, 0.5, test))
    found.extend(_given_human(used))
    return tuple(found)


def _given_human(used: Verdicts) -> list[Finding]:
    """How often the judge is right when the better response is first, and when it's second."""
    if used.human is None:
        return []
    known = np.isin(used.human, [-1, 1])
    better_first = (used.human == 1) == used.a_first
    right = (used.preferred == used.human).astype(np.float64)
    groups = known & better_first, known & ~better_first
    if not (groups[0].any() and groups[1].any()):
        return []
    found = []
    for rows, place in zip(groups, ("first", "second"), strict=True):
        name = f"right when the better is {place}"
        found.append(
            Finding(
                "position",
                share(right[rows], used.cluster[rows], name),
                f"share of verdicts that name the response that humans prefer, which is shown "
                f"{place}; a tie is wrong",
            )
        )
    difference = _difference(right, *groups, used.cluster)
    if difference is not None:
        found.append(difference)
    return found


def _difference(
    right: FloatArray,
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    clusters: NDArray[np.generic],
) -> Finding | None:
    """Right when the better is first less when it's second, over clusters that hold both."""
    _, number = np.unique(clusters, return_inverse=True)
    n = int(number.max()) + 1
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [
            np.bincount(number[rows], right[rows], n) / np.bincount(number[rows], minlength=n)
            for rows in (first, second)
        ]
    differences = means[0] - means[1]
    differences = differences[~np.isnan(differences)]
    if len(differences) < 2:
        return None
    estimate = mean_estimate(differences, None, "gain of the first place", "share")
    return Finding(
        "position",
        estimate,
        "share right when the better response is first, less when it is second; mean over "
        "clusters that have both",
        0.0,
        fair_test(estimate, 0.0, "clusters are independent"),
    )


def _signs(audit: SwapAudit) -> TestResult:
    """McNemar's exact test: pairs that lean to the first place against those to the second."""
    return replace(
        audit.test, statistic=float(audit.n_toward_first), assumptions="pairs are independent"
    )
