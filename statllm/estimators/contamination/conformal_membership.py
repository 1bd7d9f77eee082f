"""P-values of membership, from documents that are known to be new to the model.

How many members a score finds at a low false-positive rate, where both kinds are known, is
`statllm.estimators.privacy.tpr_at_fpr`; the area under the ROC curve is
`statllm.estimators.selective.auroc`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from statllm.estimators.conformal.law import checked_scores
from statllm.estimators.conformal.p_values import conformal_p_values
from statllm.estimators.conformal.sets import group_codes
from statllm.estimators.multiplicity import benjamini_hochberg
from statllm.ragged import BoolArray, FloatArray, IntArray
from statllm.results import TestResult

Groups = tuple[ArrayLike, ArrayLike]

_ASSUMPTIONS = (
    "suspect documents, if they are new to the model, are exchangeable with the reference documents"
)
_CELLS = 1 << 28  # of the exact law's additions
_DRAWS = 1 << 22  # numbers of permuted labels at a time


@dataclass(frozen=True, eq=False)
class Membership:
    """P-values of "this document is new to the model".

    Attributes
    ----------
    p_values : ndarray, shape (m,)
        NaN where the score is.
    q_values : ndarray, shape (m,)
        Adjusted by Benjamini and Hochberg over all suspects: those up to alpha are members, with a
        false discovery rate of at most alpha.
    n_reference : ndarray of int, shape (m,)
        How many reference documents each was compared with; p is at least 1 / (1 + this).
    """

    p_values: FloatArray
    q_values: FloatArray
    n_reference: IntArray

    def members(self, alpha: float = 0.05) -> BoolArray:
        """Which documents are called members at a false discovery rate."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.q_values <= alpha)


def membership(scores: ArrayLike, reference: ArrayLike, groups: Groups | None = None) -> Membership:
    """Conformal p-values of membership, one for each suspect document.

    p = (1 + #{reference scores >= score}) / (n + 1), within the document's group (Mondrian: Vovk,
    Gammerman and Shafer 2005). A score depends on domain and length even for new documents; a
    p-value compares like with like. The p-values share their references, which makes them
    positively dependent, and Benjamini-Hochberg valid (Bates et al. 2023).

    Parameters
    ----------
    scores : array_like, shape (m,)
        Of the suspects; larger for what is more likely a member. NaN has p = NaN.
    reference : array_like, shape (n,)
        Of documents that the model can't have seen.
    groups : pair of array_like, shapes (m,) and (n,), optional
        Group of each suspect and each reference document: domain by length, say. A suspect whose
        group has no reference has p = 1.

    Returns
    -------
    Membership

    Raises
    ------
    ValueError
        If a reference score is NaN, or lengths differ.

    Examples
    --------
    >>> found = membership([9.0, 0.5], np.arange(9.0))
    >>> found.p_values, found.q_values
    (array([0.1, 0.9]), array([0.2, 0.9]))
    """
    known = checked_scores(reference, "reference scores")
    suspects = np.asarray(scores, np.float64)
    if suspects.ndim != 1:
        raise ValueError(f"scores must be one-dimensional, not of shape {suspects.shape}")
    codes, reference_codes, n_groups = _codes(groups, len(suspects), len(known))
    p = np.full(len(suspects), np.nan)
    there = ~np.isnan(suspects)
    p[there] = conformal_p_values(
        known, suspects[there], smoothed=False, groups=(reference_codes, codes[there])
    )
    q = np.exp(benjamini_hochberg(np.log(p)))
    counts = np.bincount(reference_codes, minlength=n_groups)[codes]
    return Membership(p, q, counts.astype(np.int64))


def membership_test(
    scores: ArrayLike,
    reference: ArrayLike,
    groups: Groups | None = None,
    method: Literal["auto", "exact", "permutation"] = "auto",
    n_permutations: int = 9999,
    rng: np.random.Generator | int = 0,
) -> TestResult:
    """Test whether suspects score above new documents, as a set.

    Wilcoxon's rank sum, ties at their mid-ranks; with groups, van Elteren's (1960): ranks within
    groups, each group's sum over N_g + 1. Either by its exact law given the ties, or by
    permutations of the labels within groups, p = (1 + #{permuted >= observed}) / (B + 1).

    Parameters
    ----------
    scores, reference : array_like, shapes (m,) and (n,)
    groups : pair of array_like, shapes (m,) and (n,), optional
    method : {"auto", "exact", "permutation"}
        The exact law is made for one group; "auto" takes it where that is quick (about 75
        documents of each kind).
    n_permutations : int
    rng : Generator or int

    Returns
    -------
    TestResult
        `alternative` is "greater". The statistic is the share of pairs of a suspect and a reference
        of one group in which the suspect scores higher, ties a half; n_effective is the number of
        documents in groups that have both kinds.

    Raises
    ------
    ValueError
        If a score is NaN, lengths differ, no group has both kinds, or "exact" is asked for with
        more than one group.

    Examples
    --------
    All three suspects above all four references: one of 35 arrangements.

    >>> test = membership_test([5.0, 6.0, 7.0], [1.0, 2.0, 3.0, 4.0])
    >>> test.statistic, round(1 / test.p_value)
    (1.0, 35)
    """
    suspects, known = checked_scores(scores, "scores"), checked_scores(reference, "references")
    m, n = len(suspects), len(known)
    codes, known_codes, n_groups = _codes(groups, m, n)
    group = np.concatenate([codes, known_codes])
    own, other = (np.bincount(c, minlength=n_groups) for c in (codes, known_codes))
    use = (own > 0) & (other > 0)
    if not use.any():
        raise ValueError("no group has both suspects and references")
    kept = use[group]
    group, values = group[kept], np.concatenate([suspects, known])[kept]
    labels = np.concatenate([np.ones(m, bool), np.zeros(n, bool)])[kept]
    ranks = _ranks_within(values, group, n_groups)
    pairs = float(np.sum(own[use] * other[use]))
    least = float(np.sum(own[use] * (own[use] + 1) / 2))
    share = (float(ranks[labels].sum()) - least) / pairs
    n_used = len(ranks)

    one = int(use.sum()) == 1
    if method == "exact" and not one:
        raise ValueError("the exact law is made for one group; use method='permutation'")
    smaller = min(labels.sum(), n_used - labels.sum())
    quick = int(smaller) * n_used * n_used * n_used <= _CELLS
    if method == "exact" or (method == "auto" and one and quick):
        p, name = _exact_p(ranks, labels), "Wilcoxon's rank sum, exact"
    elif method in ("auto", "permutation"):
        weighted = ranks / (own + other + 1)[group]
        p = _permutation_p(weighted, labels, group, n_permutations, rng)
        name = f"rank sum within groups, {n_permutations} permutations"
    else:
        raise ValueError(f"method must be auto, exact or permutation, not {method!r}")
    return TestResult(share, p, math.log(p), "greater", n_used, name, _ASSUMPTIONS)


def length_bins(
    lengths: ArrayLike, reference_lengths: ArrayLike, n_bins: int = 4
) -> tuple[IntArray, IntArray]:
    """Bins of length for `membership`'s groups, as many references in each as ties allow.

    Parameters
    ----------
    lengths, reference_lengths : array_like, shapes (m,) and (n,)
        Tokens of the suspects and of the references, whose quantiles are the limits.
    n_bins : int

    Returns
    -------
    pair of ndarray of int64, shapes (m,) and (n,)
        From 0 to n_bins - 1. Shorter or longer than all references: the first or last bin.

    Raises
    ------
    ValueError
        If there is no reference, or no bin.

    Examples
    --------
    >>> length_bins([1, 30, 99], [10, 20, 30, 40], 2)
    (array([0, 1, 1]), array([0, 0, 1, 1]))
    """
    known = np.asarray(reference_lengths, np.float64)
    if n_bins < 1 or known.ndim != 1 or len(known) == 0:
        raise ValueError("length bins need a reference and n_bins of at least 1")
    limits = np.quantile(known, np.arange(1, n_bins) / n_bins)
    of, of_known = (
        np.searchsorted(limits, np.asarray(x, np.float64), side="right").astype(np.int64)
        for x in (lengths, known)
    )
    return of, of_known


def _codes(groups: Groups | None, m: int, n: int) -> tuple[IntArray, IntArray, int]:
    if groups is None:
        return np.zeros(m, np.int64), np.zeros(n, np.int64), 1
    return group_codes(groups[0], groups[1], m, n)


def _ranks_within(values: FloatArray, group: IntArray, n_groups: int) -> FloatArray:
    ranks = np.empty(len(values))
    for each in range(n_groups):
        at = group == each
        ranks[at] = stats.rankdata(values[at])
    return ranks


def _exact_p(ranks: FloatArray, labels: BoolArray) -> float:
    """P(sum of m ranks drawn without replacement >= observed), from counts of all subsets."""
    doubled = np.rint(2 * ranks).astype(np.int64)
    m = int(labels.sum())
    observed = int(doubled[labels].sum())
    if 2 * m > len(ranks):  # the others' sum is the total less this one: fewer to place
        return _share_of_sums(doubled, len(ranks) - m, int(doubled.sum()) - observed, upper=False)
    return _share_of_sums(doubled, m, observed, upper=True)


def _share_of_sums(doubled: IntArray, m: int, observed: int, *, upper: bool) -> float:
    top = int(np.sort(doubled)[::-1][:m].sum())
    share = np.zeros((m + 1, top + 1))  # of the subsets of k of the ranks so far with sum s
    share[0, 0] = 1.0
    for done, rank in enumerate(doubled):
        for k in range(min(done + 1, m), 0, -1):
            # one of k in done + 1 holds the new rank with probability k / (done + 1)
            share[k] *= 1 - k / (done + 1)
            share[k, rank:] += k / (done + 1) * share[k - 1, : top + 1 - rank]
    tail = share[m, observed:] if upper else share[m, : observed + 1]
    return min(1.0, float(tail.sum()))


def _permutation_p(
    weighted: FloatArray,
    labels: BoolArray,
    group: IntArray,
    n_permutations: int,
    rng: np.random.Generator | int,
) -> float:
    if n_permutations < 1:
        raise ValueError(f"n_permutations must be at least 1, not {n_permutations}")
    generator = np.random.default_rng(rng)
    order = np.argsort(group, kind="stable")
    weighted, labels, group = weighted[order], labels[order], group[order]
    observed = float(weighted[labels].sum()) - 1e-9 * float(weighted.sum())  # sums round
    places = np.flatnonzero(labels)  # within groups, any set of places of that size is as likely
    reached, left = 0, n_permutations
    while left:
        size = min(left, max(1, _DRAWS // len(weighted)))
        keys = group + generator.random((size, len(weighted)))
        drawn = np.argsort(keys, axis=1)[:, places]
        reached += int(np.sum(weighted[drawn].sum(axis=1) >= observed))
        left -= size
    return (1 + reached) / (1 + n_permutations)
