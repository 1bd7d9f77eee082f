"""Is an overlap more than chance, and what does it do to a score?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.comparison.t_tests import TEstimate, t_estimate
from statllm.estimators.conformal.p_values import conformal_p_values
from statllm.estimators.multiplicity import benjamini_hochberg
from statllm.ragged import BoolArray, FloatArray
from statllm.results import TestResult

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ItemTests:
    """Which items overlap with a corpus more than chance explains.

    Attributes
    ----------
    p_value : ndarray, shape (n_items,)
        NaN where the score is.
    q_value : ndarray, shape (n_items,)
        Adjusted by Benjamini and Hochberg over the items.
    method, assumptions : str
    """

    p_value: FloatArray
    q_value: FloatArray
    method: str
    assumptions: str

    def found(self, fdr: float = 0.05) -> BoolArray:
        """Return the items that are called contaminated at a false-discovery rate."""
        return self.q_value <= fdr

    def to_frame(self) -> pd.DataFrame:
        """Return one row per item."""
        import pandas as pd

        return pd.DataFrame({"p_value": self.p_value, "q_value": self.q_value})


def item_tests(
    scores: ArrayLike,
    reference: ArrayLike,
    groups: tuple[ArrayLike, ArrayLike] | None = None,
) -> ItemTests:
    """Test every item's overlap against what chance gives, by rank.

    What chance is, a reference says, in one of two ways:

    - shape (m,): scores, with the same corpus, of m items that can't be in it (written after it
      was collected, say). The p-value is conformal, (1 + #{reference >= score}) / (m + 1), valid
      where a clean item is exchangeable with these. Long items share long runs by chance:
      `groups` compares like with like. One reference for all items keeps Benjamini and
      Hochberg's bound (Bates, Candes, Lei, Romano and Sesia 2023).
    - shape (B, n_items): scores of these items with B corpora that are known to be clean, each as
      large as the corpus and of the same kinds of text. The p-value is the corpus's rank among
      them, valid where a clean corpus is exchangeable with these. Items share the corpora, so
      their p-values are dependent: the false-discovery rate then supposes that the dependence is
      positive.

    No p-value is below 1 / (m + 1) or 1 / (B + 1).

    Parameters
    ----------
    scores : array_like, shape (n_items,)
        Larger is more overlap: `Overlap.longest` or `Overlap.share`.
    reference : array_like, shape (m,) or (B, n_items)
    groups : pair of array_like, shapes (m,) and (n_items,), optional
        Of the reference items and the items, such as bins of their lengths.

    Raises
    ------
    ValueError
        If shapes don't fit, a reference score is NaN, or there is no reference.

    Examples
    --------
    >>> found = item_tests([3, 12], [2, 2, 3, 4, 1, 3, 2, 2, 5])
    >>> found.p_value, found.q_value
    (array([0.5, 0.1]), array([0.5, 0.2]))
    """
    values = np.asarray(scores, np.float64)
    clean = np.asarray(reference, np.float64)
    if values.ndim != 1:
        raise ValueError(f"scores must be one-dimensional, not of shape {values.shape}")
    if clean.ndim not in (1, 2) or (clean.ndim == 2 and clean.shape[1] != len(values)):
        raise ValueError(f"reference must have shape (m,) or (B, {len(values)}), not {clean.shape}")
    if len(clean) == 0:
        raise ValueError("reference is empty: nothing says what chance is")
    if np.isnan(clean).any():
        raise ValueError("reference holds a NaN: leave out items too short for an n-gram")
    told = ~np.isnan(values)
    p = np.full(len(values), np.nan)
    if clean.ndim == 1:
        chosen = None if groups is None else (groups[0], np.asarray(groups[1])[told])
        p[told] = conformal_p_values(clean, values[told], smoothed=False, groups=chosen)
        method = f"conformal, {len(clean)} clean items"
        assumptions = "an item that isn't in the corpus is exchangeable with the reference items"
    elif groups is not None:
        raise ValueError("groups compare items: reference must have one dimension")
    else:
        p[told] = (1 + (clean[:, told] >= values[told]).sum(axis=0)) / (len(clean) + 1)
        method = f"rank among {len(clean)} clean corpora"
        assumptions = "a corpus without the items is exchangeable with the reference corpora"
    q = np.exp(benjamini_hochberg(np.log(p)))
    return ItemTests(p, np.where(told, q, np.nan), method, assumptions)


def corpus_rank_test(score: float, reference: ArrayLike) -> TestResult:
    """Test a corpus's overlap with a benchmark, by its rank among clean corpora.

    p = (1 + #{reference >= score}) / (B + 1): exact where a clean corpus is exchangeable with
    these (up to ties, which make it larger).

    Parameters
    ----------
    score : float
        One number of the corpus: the mean of `Overlap.longest`, say.
    reference : array_like, shape (B,)
        The same number of corpora of the same size and kind that are known to be clean.

    Raises
    ------
    ValueError
        If there is no reference, or a score is NaN.

    Examples
    --------
    >>> corpus_rank_test(4.0, [1.0, 2.0, 1.5, 2.5]).p_value
    0.2
    """
    clean = np.asarray(reference, np.float64)
    if clean.ndim != 1 or len(clean) == 0:
        raise ValueError(f"reference must hold one number per corpus, not shape {clean.shape}")
    if np.isnan(clean).any() or math.isnan(score):
        raise ValueError("a score is NaN")
    p = (1 + int((clean >= score).sum())) / (len(clean) + 1)
    return TestResult(
        float(score),
        p,
        math.log(p),
        "greater",
        len(clean) + 1,
        "rank among clean corpora",
        "a corpus without the benchmark is exchangeable with the reference corpora",
    )


def corpus_test(n_matches: ArrayLike, reference_matches: ArrayLike) -> TestResult:
    """Test whether a corpus's documents share runs with a benchmark more often than clean ones.

    Fisher's exact test, one-sided: of all documents that have a match, given how many there are,
    the number that lies in the corpus is hypergeometric where documents are exchangeable.

    Parameters
    ----------
    n_matches, reference_matches : array_like, shapes (n,) and (m,)
        `Overlap.n_matches` of the corpus's documents and of those of a clean reference, of the
        same kinds and lengths. Near-duplicates must be gone from both: copies aren't independent.

    Returns
    -------
    TestResult
        The statistic is the number of documents of the corpus with a match.

    Raises
    ------
    ValueError
        If one of them has no documents.

    Examples
    --------
    >>> test = corpus_test([1, 2, 0, 4], [0, 0, 0, 0])
    >>> test.statistic, round(test.p_value, 4)  # (4 choose 3) / (8 choose 3)
    (3.0, 0.0714)
    """
    from statllm.estimators.watermark.nulls import hypergeometric_log_tail

    ours, clean = np.asarray(n_matches) > 0, np.asarray(reference_matches) > 0
    if not ours.size or not clean.size:
        raise ValueError(f"{ours.size} documents and {clean.size} of reference: both are needed")
    count, total = int(ours.sum()), ours.size + clean.size
    found = hypergeometric_log_tail(count, total, count + int(clean.sum()), ours.size)
    log_p = min(float(found), 0.0)
    return TestResult(
        float(count),
        math.exp(log_p),
        log_p,
        "greater",
        count + int(clean.sum()),
        "documents with a match, Fisher exact",
        "without contamination the corpus's documents are exchangeable with the reference's",
    )


def accuracy_gap(
    scores: ArrayLike, contaminated: ArrayLike, clusters: ArrayLike | None = None
) -> TEstimate:
    """Mean score of contaminated items minus that of clean ones, with a clustered interval.

    This is how much higher the score is where items leaked, not how much the leak lifted it: items
    that stand on many pages may be easier, older, of another subject. A permutation of the labels
    would test no more than that the two kinds differ. To take the difficulty out, give as `scores`
    the difference to a model that can't have seen the items, or compare within strata.

    With shares h of a cluster in each group, se^2 = sum_c z_c^2, z_c = S_c1 / (n_1 sqrt(1 - h_c1))
    - S_c0 / (n_0 sqrt(1 - h_c0)), S the cluster's sums of residuals: McCaffrey and Bell's CR2 of
    the regression on group indicators; t has Bell and McCaffrey's (2002) degrees of freedom.

    Parameters
    ----------
    scores : array_like of float, shape (n,)
        Right or wrong, or any score, item by item.
    contaminated : array_like of bool, shape (n,)
    clusters : array_like, shape (n,), optional
        Items that aren't independent (of one passage, say); clusters may have both kinds.

    Returns
    -------
    TEstimate
        n is the number of clusters. NaN where a kind has no item; NaN scores propagate.
        `statllm.estimators.comparison.t_tests.t_test` tests whether it is 0.

    Raises
    ------
    ValueError
        If lengths differ, or `contaminated` isn't true or false.

    Examples
    --------
    >>> gap = accuracy_gap([1, 1, 1, 0, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0])
    >>> gap.value, round(gap.se, 4), gap.interval().method
    (0.5, 0.3536, 't(6)')
    """
    y, treated = np.asarray(scores, np.float64), np.asarray(contaminated)
    if y.ndim != 1 or treated.shape != y.shape:
        raise ValueError(f"shapes of scores {y.shape} and contaminated {treated.shape} differ")
    if treated.dtype != np.bool_ and not np.isin(treated, [0, 1]).all():
        raise ValueError("contaminated must be true or false (1 or 0)")
    labels = np.arange(len(y)) if clusters is None else np.asarray(clusters)
    if labels.shape != y.shape:
        raise ValueError(f"{len(labels)} cluster labels for {len(y)} rows")
    _, cluster = np.unique(labels, return_inverse=True)
    g = int(cluster.max(initial=-1)) + 1
    kinds = [treated.astype(bool), ~treated.astype(bool)]
    value, se, df = math.nan, math.nan, math.nan
    if all(kind.any() for kind in kinds):
        means = [float(y[kind].mean()) for kind in kinds]
        value = means[0] - means[1]
        sizes = np.array([np.bincount(cluster[kind], minlength=g) for kind in kinds], np.float64)
        sums = np.array(
            [
                np.bincount(cluster[kind], y[kind] - mean, minlength=g)
                for kind, mean in zip(kinds, means, strict=True)
            ]
        )
        se, df = _clustered(sums, sizes)

    how = "difference of means" + ("" if clusters is None else ", clustered")
    return t_estimate(value, se, df, g, how, "contaminated - clean")


def _clustered(sums: NDArray[Any], sizes: NDArray[Any]) -> tuple[float, float]:
    """Error and degrees of freedom from sums of residuals and sizes, both (2 kinds, clusters)."""
    n = sizes.sum(axis=1, keepdims=True)
    share = sizes / n
    if (share >= 1).any():  # one cluster is all of a kind: nothing to compare it with
        return math.nan, math.nan
    weight = np.array([[1.0], [-1.0]]) / (n * np.sqrt(1 - share))
    z = (weight * sums).sum(axis=0)
    # covariance of z where scores are independent with one variance: diagonal minus U' U
    diagonal = (sizes * weight**2).sum(axis=0)
    u = sizes * weight / np.sqrt(n)
    trace = float(diagonal.sum() - (u**2).sum())
    square = float((diagonal**2).sum() - 2 * (diagonal * u**2).sum() + ((u @ u.T) ** 2).sum())
    return math.sqrt(float(z @ z)), trace**2 / square
