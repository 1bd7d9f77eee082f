"""Self-preference, consistency under repeats, and agreement with humans."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.agreement import (
    CategoryCounts,
    cohen_kappa,
    gwet_ac,
    krippendorff_alpha,
    percent_agreement,
)
from statllm.estimators.comparison import mean_estimate
from statllm.estimators.judge_audit.findings import Finding, fair_test, mean_share, share
from statllm.estimators.judge_audit.verdicts import Verdicts, by_pair

FloatArray = NDArray[np.float64]


def self_preference(verdicts: Verdicts, others: ArrayLike | None = None) -> tuple[Finding, ...]:
    """Does the judge favour responses of its own family of models?

    Only verdicts count where one response of the pair is by its family. Its own responses may be
    better: what counts is the difference to humans, or to other judges, on the same pairs.

    Parameters
    ----------
    verdicts : Verdicts
        With `own`.
    others : array_like of float, shape (n,), optional
        Mean verdict of other judges on each row's pair, from -1 (b) to 1 (a); NaN unknown.

    Returns
    -------
    tuple of Finding
        "share for its own", ties half; "excess for its own over humans" and "... over other
        judges", with t tests over clusters.

    Examples
    --------
    >>> verdicts = Verdicts.of(range(6), [True] * 6, [1, 1, 1, 1, -1, 1],
    ...                        human=[1, -1, 1, -1, -1, 1], own=[1] * 6)
    >>> [(each.estimate.name, round(each.estimate.value, 3)) for each in self_preference(verdicts)]
    [('share for its own', 0.833), ('excess for its own over humans', 0.333)]
    """
    if verdicts.own is None:
        return ()
    kept = (verdicts.own != 0) & ~np.isnan(verdicts.place)
    if not kept.any():
        return ()
    used = verdicts.rows(kept)
    own = used.own if used.own is not None else np.zeros(0)
    for_own = 0.5 + used.preferred * own / 2
    found = [
        Finding(
            "self-preference",
            mean_share(for_own, used.cluster, "share for its own"),
            "share of verdicts for the response of the judge's own family, ties half, where the "
            "other response isn't; its own may be better",
        )
    ]
    compared = [("humans", used.human)]
    if others is not None:
        compared.append(("other judges", np.asarray(others, np.float64)[kept]))
    for name, reference in compared:
        if reference is None or np.isnan(reference).all():
            continue
        known = ~np.isnan(reference)
        excess = mean_estimate(
            (for_own - 0.5 - reference * own / 2)[known],
            used.cluster[known],
            f"excess for its own over {name}",
            "share",
        )
        found.append(
            Finding(
                "self-preference",
                excess,
                f"share for its own family's response less that by {name}, on the same pairs",
                0.0,
                fair_test(excess, 0.0, "clusters are independent"),
            )
        )
    return tuple(found)


def repeat_consistency(verdicts: Verdicts) -> tuple[Finding, ...]:
    """Do repeated questions get the same verdict?

    Parameters
    ----------
    verdicts : Verdicts
        Rows with the same pair and order are repeats.

    Returns
    -------
    tuple of Finding
        "agreement of repeats", the share of pairs of repeats that agree, and "alpha of repeats",
        Krippendorff's; none without repeats.

    Examples
    --------
    >>> verdicts = Verdicts.of([1, 1, 2, 2, 3, 3], [True] * 6, [1, 1, -1, -1, 1, 0])
    >>> [round(each.estimate.value, 3) for each in repeat_consistency(verdicts)]
    [0.667, 0.545]
    """
    used = verdicts.read()
    if not len(used):
        return ()
    _, pair = np.unique(used.pair, return_inverse=True)
    question = pair * 2 + used.a_first
    _, first, number = np.unique(question, return_index=True, return_inverse=True)
    code = number * 3 + (used.place + 1).astype(np.int64)
    counts = np.bincount(code, minlength=3 * len(first)).reshape(-1, 3).astype(np.float64)
    repeated = counts.sum(axis=1) > 1
    if not repeated.any():
        return ()
    table = CategoryCounts(counts[repeated], np.array([-1, 0, 1]))
    clusters = used.cluster[first][repeated]
    return (
        Finding(
            "repeats",
            percent_agreement(table, clusters=clusters, name="agreement of repeats"),
            "share of two repeats of a question (same pair, same order) with the same verdict",
        ),
        Finding(
            "repeats",
            krippendorff_alpha(table, clusters=clusters, name="alpha of repeats"),
            "agreement of repeats beyond chance",
        ),
    )


def human_agreement(verdicts: Verdicts) -> tuple[Finding, ...]:
    """How far the judge agrees with humans.

    Parameters
    ----------
    verdicts : Verdicts
        With `human`.

    Returns
    -------
    tuple of Finding
        "accuracy": share of verdicts that name the response that humans prefer, ties wrong, pairs
        that humans call a tie left out. Of one verdict per pair (the majority's; a tie where the
        orders differ) with humans', ties as a category: "agreement with humans", Cohen's kappa,
        Gwet's AC1, Krippendorff's alpha.

    Examples
    --------
    >>> verdicts = Verdicts.of(range(8), [True] * 8, [1, 1, 1, -1, -1, -1, 1, 1],
    ...                        human=[1, 1, 1, -1, -1, -1, -1, 0])
    >>> found = human_agreement(verdicts)
    >>> [(each.estimate.name, round(each.estimate.value, 3)) for each in found][:3]
    [('accuracy', 0.857), ('agreement with humans', 0.75), ("Cohen's kappa with humans", 0.568)]
    """
    used = verdicts.read()
    if used.human is None or np.isnan(used.human).all():
        return ()
    found: list[Finding] = []
    decided = np.isin(used.human, [-1, 1])
    if decided.any():
        right = (used.preferred == used.human).astype(np.float64)
        found.append(
            Finding(
                "humans",
                share(right[decided], used.cluster[decided], "accuracy"),
                "share of verdicts that name the response that humans prefer, ties wrong; pairs "
                "that humans call a tie are left out",
            )
        )
    pairs = by_pair(used)
    human = used.human[pairs.first]
    known = ~np.isnan(human)
    both = np.stack([np.sign(pairs.preferred[known]), human[known]], axis=1)
    clusters = pairs.cluster[known]
    what = "of one verdict per pair (orders and votes combined) with the human one, ties included"
    for measure, name, words in (
        (percent_agreement, "agreement with humans", "share of pairs with the same verdict"),
        (gwet_ac, "Gwet's AC1 with humans", "Gwet's agreement beyond chance"),
        (krippendorff_alpha, "Krippendorff's alpha with humans", "Krippendorff's alpha"),
    ):
        found.append(
            Finding("humans", measure(both, clusters=clusters, name=name), f"{words}, {what}")
        )
    kappa = cohen_kappa(both[:, 0], both[:, 1], clusters=clusters, name="Cohen's kappa with humans")
    found.insert(-2, Finding("humans", kappa, f"Cohen's kappa, {what}"))
    return tuple(found)
