"""Two sets of questions: is one harder, more diverse, better provided with reference answers?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.comparison import sign_test, t_estimate, t_test, unpaired_difference
from statllm.estimators.multiplicity import holm
from statllm.estimators.questions.clusters import ClusterDiversity
from statllm.estimators.questions.difficulty import QuestionDifficulty
from statllm.estimators.questions.references import ReferenceBuckets
from statllm.estimators.selective import auroc, delong_test
from statllm.results import Estimate, TestResult

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SetComparison:
    """One figure of set B against set A.

    Attributes
    ----------
    estimate : Estimate
        A difference, B less A; a probability, or a log ratio, as its name says.
    test : TestResult
        That the sets don't differ in it.
    log_p_holm : float
        Adjusted over all comparisons of the sets (Holm).
    """

    estimate: Estimate
    test: TestResult
    log_p_holm: float = math.nan

    @property
    def of_all_shares(self) -> bool:
        """Whether the test is of all shares at once, not of this figure alone."""
        return self.test.method.startswith("homogeneity")

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """Return plain values."""
        return {
            **self.estimate.to_dict(level),
            "test": self.test.method,
            "statistic": self.test.statistic,
            "log_p_value": self.test.log_p_value,
            "log_p_holm": self.log_p_holm,
        }


def compare_questions(
    a: QuestionDifficulty,
    b: QuestionDifficulty,
    *,
    measures: Mapping[str, tuple[ArrayLike, ArrayLike, str]] | None = None,
    references: tuple[ReferenceBuckets, ReferenceBuckets] | None = None,
    diversity: tuple[ClusterDiversity, ClusterDiversity] | None = None,
    rng: np.random.Generator | int = 0,
) -> list[SetComparison]:
    """Compare two sets of questions, B against A, on all that is known of both.

    Lengths, pass rates and entropies: the difference of means with Welch's error (clusters counted,
    where there are some). Lengths also by the probability that a question of B has the longer
    response, ties one half, which a few very long ones don't move. Reference answers and clusters:
    a Monte-Carlo test that both sets draw from the same shares (`homogeneity_test`), beside the
    difference of the share that has a reference, and the log ratio of the effective numbers of
    clusters. Clusters have to be those of both sets together. The Monte-Carlo test is of all shares
    at once, so that it may find a difference where the one figure beside it shows none; it takes
    questions as independent, those of one document, too.

    Parameters
    ----------
    a, b : QuestionDifficulty
    measures : mapping, optional
        Name: a number for each question of a, of b, and their unit. Compared as lengths are, by
        means.
    references, diversity : pair, optional
        Of a and of b.
    rng : Generator or int
        Of the Monte-Carlo tests.

    Returns
    -------
    list of SetComparison

    Examples
    --------
    >>> from statllm.estimators.questions import question_difficulty
    >>> easy = question_difficulty([[5], [6], [7], [6]])
    >>> hard = question_difficulty([[9], [12], [15], [11]])
    >>> found = compare_questions(easy, hard)
    >>> [(each.estimate.name, each.estimate.value) for each in found]
    [('mean response length', 5.75), ('longer response in B', 1.0)]
    """
    generator = np.random.default_rng(rng)
    found: list[SetComparison] = []
    extra = [
        (name, np.asarray(first, np.float64), np.asarray(second, np.float64), unit)
        for name, (first, second, unit) in (measures or {}).items()
    ]
    for name, first, second, unit in (
        ("mean response length", a.length, b.length, b.unit),
        ("mean pass rate", a.pass_rate, b.pass_rate, "share of responses"),
        ("mean vote entropy", a.vote_entropy, b.vote_entropy, "nats"),
        *extra,
    ):
        known = [np.isfinite(first), np.isfinite(second)]
        if min(known[0].sum(), known[1].sum()) < 2:
            continue
        groups = [
            None if each.clusters is None else each.clusters[of]
            for each, of in zip((a, b), known, strict=True)
        ]
        of_a, of_b = first[known[0]], second[known[1]]
        gap = unpaired_difference(of_a, of_b, groups[0], groups[1], name=name, unit=unit)
        certain = gap.se == 0 and gap.value != 0
        test = _apart(gap.value, of_a, of_b, groups) if certain else t_test(gap)
        found.append(SetComparison(gap, test))
        if name == "mean response length":
            found.append(_longer(of_a, of_b, groups))
    if references is not None:
        found += _references(*references, generator)
    if diversity is not None:
        found += _diversity(*diversity, generator)
    if not found:
        return []
    adjusted = holm([each.test.log_p_value for each in found])
    return [replace(each, log_p_holm=float(p)) for each, p in zip(found, adjusted, strict=True)]


def homogeneity_test(
    a: ArrayLike,
    b: ArrayLike,
    *,
    resamples: int = 9999,
    rng: np.random.Generator | int = 0,
) -> TestResult:
    """Test that two rows of counts come from the same shares, by Monte Carlo.

    The statistic is G, twice the log likelihood ratio. Given both totals and every category's, the
    first row is multivariate hypergeometric under the hypothesis; p = (1 + #{G* >= G}) / (R + 1).

    Parameters
    ----------
    a, b : array_like of int, shape (n_categories,)
    resamples : int
    rng : Generator or int

    Raises
    ------
    ValueError
        If shapes differ, or a row is empty.

    Examples
    --------
    >>> test = homogeneity_test([30, 10, 5], [10, 25, 20])
    >>> round(test.statistic, 1), test.p_value
    (25.7, 0.0001)
    """
    first, second = np.asarray(a, np.int64), np.asarray(b, np.int64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"counts have shapes {first.shape} and {second.shape}")
    if first.sum() == 0 or second.sum() == 0 or min(first.min(), second.min()) < 0:
        raise ValueError("both rows need counts, none below 0")
    total = first + second
    used = total > 0
    first, second, total = first[used], second[used], total[used]
    drawn = np.random.default_rng(rng).multivariate_hypergeometric(
        total, int(first.sum()), size=resamples, method="marginals"
    )
    observed = float(_g(first[None, :], total)[0])
    extreme = int((_g(drawn, total) >= observed - 1e-9 * max(observed, 1.0)).sum())
    p = (1 + extreme) / (resamples + 1)
    return TestResult(
        observed, p, math.log(p), "greater", int(total.sum()),
        f"homogeneity, G, {resamples} Monte-Carlo tables",
        "questions are independent of each other",
    )  # fmt: skip


def _g(first: NDArray[np.int64], total: NDArray[np.int64]) -> FloatArray:
    from scipy import special

    second = total - first
    n, m = first.sum(axis=1, keepdims=True), second.sum(axis=1, keepdims=True)
    share = total / total.sum()
    terms = special.xlogy(first, first / (n * share)) + special.xlogy(second, second / (m * share))
    g: FloatArray = 2 * terms.sum(axis=1)
    return g


def _longer(first: FloatArray, second: FloatArray, groups: Sequence[Any]) -> SetComparison:
    """P(length in B > length in A) + P(equal) / 2: the area under the ROC curve of the set.

    Tested against one half by Brunner and Munzel (2000): DeLong's error of the area, which is that
    of its difference from a score that says nothing, and t with Welch's degrees of freedom.
    """
    values = np.concatenate([first, second])
    in_b = np.repeat([False, True], [len(first), len(second)])
    clusters = None
    if any(each is not None for each in groups):
        parts = [
            [f"{side}{label}" for label in (range(len(rows)) if each is None else each.tolist())]
            for side, rows, each in zip("ab", (first, second), groups, strict=True)
        ]
        clusters = np.array(parts[0] + parts[1])
    area = auroc(values, in_b, clusters=clusters).named("longer response in B", "probability")
    if area.value in (0.0, 1.0):
        return SetComparison(area, _apart(area.value - 0.5, first, second, groups))
    nothing = np.zeros(len(values))
    return SetComparison(area, delong_test(nothing, values, in_b, clusters=clusters))


def _apart(gap: float, first: FloatArray, second: FloatArray, groups: Sequence[Any]) -> TestResult:
    """Sets that don't overlap have no error: pairs of questions, or clusters, have signs."""
    pairs = min(
        len(rows) if each is None else len(np.unique(each))
        for rows, each in zip((first, second), groups, strict=True)
    )
    return sign_test(np.full(pairs, gap))


def _references(
    a: ReferenceBuckets, b: ReferenceBuckets, rng: np.random.Generator
) -> list[SetComparison]:
    shares = [1 - each.counts[0] / each.n for each in (a, b)]
    errors = [math.sqrt(p * (1 - p) / each.n) for p, each in zip(shares, (a, b), strict=True)]
    gap = t_estimate(
        shares[1] - shares[0], math.hypot(*errors), math.inf, a.n + b.n,
        "difference of proportions", "share with a reference answer", "share of questions",
    )  # fmt: skip
    return [SetComparison(gap, homogeneity_test(a.counts, b.counts, rng=rng))]


def _diversity(
    a: ClusterDiversity, b: ClusterDiversity, rng: np.random.Generator
) -> list[SetComparison]:
    first, second = a.effective, b.effective
    errors = [each.se / each.value for each in (first, second)]
    gap = t_estimate(
        math.log(second.value / first.value), math.hypot(*errors), math.inf, first.n + second.n,
        "log ratio of Hill numbers", "log ratio of effective clusters", "nats",
    )  # fmt: skip
    more = t_estimate(
        second.value - first.value, math.hypot(first.se, second.se), math.inf, first.n + second.n,
        "difference of Hill numbers", "effective clusters", "clusters",
    )  # fmt: skip
    same = homogeneity_test(a.counts, b.counts, rng=rng)
    return [SetComparison(gap, t_test(gap)), SetComparison(more, same)]
