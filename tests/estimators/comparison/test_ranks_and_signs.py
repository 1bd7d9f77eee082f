"""Sign test, signed ranks, Cochran's Q and quantiles against enumeration and peers."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import cochrans_q

from statllm.estimators.comparison import (
    cochran_q,
    mcnemar,
    median_difference,
    quantile_estimate,
    sign_test,
    signed_rank,
)
from statllm.estimators.comparison._lattice import log_upper_tail


def enumerated(d: list[float], zeros: str) -> tuple[float, dict[str, Fraction]]:
    """W and its p-values over all signs, by listing them."""
    x = np.array(d)
    if zeros == "wilcoxon":
        x = x[x != 0]
    ranks = stats.rankdata(np.abs(x))[x != 0]
    x = x[x != 0]
    w = ranks[x > 0].sum()
    signs = np.array(list(itertools.product([0, 1], repeat=len(x))))
    law = signs @ ranks
    upper = Fraction(int((law >= w).sum()), len(law))
    lower = Fraction(int((law <= w).sum()), len(law))
    return w, {"greater": upper, "less": lower, "two-sided": min(1, 2 * min(upper, lower))}


@pytest.mark.parametrize("zeros", ["pratt", "wilcoxon"])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_signed_rank_with_ties_and_zeros_equals_enumeration(zeros: str, alternative: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(15):
        d = rng.integers(-3, 5, size=rng.integers(3, 11)).tolist()
        test = signed_rank(d, alternative, zeros, "exact")
        w, p = enumerated(d, zeros)
        assert test.statistic == w
        assert test.p_value == pytest.approx(float(p[alternative]), rel=1e-12)


def test_signed_rank_equals_scipy_without_ties() -> None:
    d = np.random.default_rng(1).normal(0.3, 1, size=35)
    ours, theirs = signed_rank(d), stats.wilcoxon(d, method="exact", zero_method="wilcox")
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-12)
    untied = signed_rank(d, method="normal")
    theirs = stats.wilcoxon(d, method="asymptotic", correction=True)
    assert untied.p_value == pytest.approx(theirs.pvalue, rel=1e-12)
    # With ties scipy's correction stays half a rank, ours is half of the law's step.
    tied = np.round(d)
    normal = signed_rank(tied, method="normal", zeros="wilcoxon").p_value
    with_half, without = (
        stats.wilcoxon(tied, zero_method="wilcox", method="asymptotic", correction=c).pvalue
        for c in (True, False)
    )
    assert without < normal < with_half
    exact = signed_rank(tied, method="exact", zeros="wilcoxon").p_value
    assert normal == pytest.approx(exact, rel=0.1)


def test_signed_rank_far_out_and_long() -> None:
    # All of 1500 positive: 2^-1500 on either side.
    assert signed_rank(np.ones(1500)).log_p_value == pytest.approx(-1499 * math.log(2))
    # Exact and normal agree where both can be had; many ties make the exact one quick.
    d = np.repeat([-2.0, -1.0, 1.0, 2.0, 3.0], [300, 600, 500, 400, 50])
    assert signed_rank(d, method="exact").log_p_value == pytest.approx(
        signed_rank(d, method="normal").log_p_value, rel=0.01
    )
    assert signed_rank(np.random.default_rng(2).normal(size=3000)).method.count("normal") == 1
    empty = signed_rank([0.0, 0.0])
    assert (empty.p_value, empty.n_effective) == (1.0, 0)
    with pytest.raises(ValueError, match="NaN"):
        signed_rank([1.0, math.nan])


def test_lattice_law_far_out_equals_fractions() -> None:
    values, counts = np.array([2, 3, 7]), np.array([40, 25, 9])
    law = [Fraction(1)]
    for v, m in zip(values.tolist(), counts.tolist(), strict=True):
        longer = [Fraction(0)] * (len(law) + v * m)
        for j in range(m + 1):
            for i, p in enumerate(law):
                longer[i + j * v] += p * math.comb(m, j) / Fraction(2) ** m
        law = longer
    for observed in (1, 80, 110, 180, 215, 217, 218):
        exact = sum(law[observed:])
        expected = math.log(exact.numerator) - math.log(exact.denominator)
        assert log_upper_tail(values, counts, observed) == pytest.approx(expected, rel=1e-10)
    assert log_upper_tail(values, counts, 219) == -math.inf


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_sign_test_equals_scipy_and_mcnemar(alternative: str) -> None:
    d = np.random.default_rng(3).integers(-1, 2, size=60)
    theirs = stats.binomtest(int((d > 0).sum()), int((d != 0).sum()), alternative=alternative)
    assert sign_test(d, alternative).p_value == pytest.approx(theirs.pvalue, rel=1e-12)
    assert sign_test(d).p_value == pytest.approx(mcnemar(d < 0, d > 0).p_value, rel=1e-12)
    assert sign_test([0, 0]).p_value == 1


def test_cochran_q_equals_statsmodels_and_mcnemar() -> None:
    x = (np.random.default_rng(4).random((40, 4)) < [0.5, 0.6, 0.7, 0.75]).astype(int)
    theirs = cochrans_q(x)
    ours = cochran_q(x, "chi-squared")
    assert (ours.statistic, ours.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))
    two = x[:, :2]
    exact = mcnemar(two[:, 0], two[:, 1]).p_value
    assert cochran_q(two, "exact").p_value == pytest.approx(exact)
    drawn = cochran_q(x, "permutation", 20_000).p_value
    fine = cochran_q(x[:, :3], "exact").p_value
    assert cochran_q(x[:, :3], "permutation", 20_000).p_value == pytest.approx(
        fine, abs=4 * math.sqrt(fine * (1 - fine) / 20_000)
    )
    assert drawn == pytest.approx(theirs.pvalue, rel=0.5)


def test_exact_cochran_q_equals_enumeration() -> None:
    x = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 0], [1, 0, 1]])
    arranged = [sorted(set(itertools.permutations(row))) for row in x.tolist()]

    def q_of(table: np.ndarray) -> float:
        columns, rows, total = table.sum(0), table.sum(1), table.sum()
        return 2 * (3 * (columns**2).sum() - total**2) / (3 * total - (rows**2).sum())

    law = [q_of(np.array(table)) for table in itertools.product(*arranged)]
    p = np.mean(np.array(law) >= q_of(x) - 1e-9)
    test = cochran_q(x, "exact")
    assert (test.statistic, test.p_value) == pytest.approx((q_of(x), p))
    assert cochran_q([[1, 1], [0, 0]]).p_value == 1
    with pytest.raises(ValueError, match="true or false"):
        cochran_q([[0.5, 1.0]])
    with pytest.raises(ValueError, match="two or more"):
        cochran_q([[1], [0]])


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_quantile_interval_equals_scipy(q: float) -> None:
    x = np.random.default_rng(5).normal(size=60)
    found = quantile_estimate(x, q)
    theirs = stats.quantile_test(x, p=q).confidence_interval(0.95)
    assert found.value == pytest.approx(np.quantile(x, q))
    assert found.interval().low == pytest.approx(theirs.low)
    assert found.interval().high == pytest.approx(theirs.high)


@pytest.mark.parametrize(("n", "q"), [(5, 0.5), (20, 0.5), (20, 0.9), (101, 0.05)])
def test_quantile_interval_covers_exactly(n: int, q: float) -> None:
    # With x = 1 ... n, the interval [l, u] covers where l <= B < u, B binomial(n, q).
    ends = quantile_estimate(np.arange(1.0, n + 1), q).interval()
    low = 0 if ends.low == -math.inf else int(ends.low)
    high = n + 1 if ends.high == math.inf else int(ends.high)
    covers = sum(stats.binom.pmf(range(low, high), n, q))
    assert covers >= 0.95 - 1e-12
    tighter = sum(stats.binom.pmf(range(low + 1, high), n, q))
    assert tighter < 0.975  # the lower end can't be raised


def test_median_difference() -> None:
    found = median_difference([1, 2, 3, 4, 5, 6], [2, 4, 6, 9, 8, 6])
    assert found.value == np.median([1, 2, 3, 5, 3, 0])
    assert math.isnan(found.se)
    assert math.isnan(quantile_estimate([1.0, math.nan]).interval().low)
    with pytest.raises(ValueError, match="q must"):
        quantile_estimate([1.0], 1.0)


def test_rounding_breaks_no_ties() -> None:
    a = np.array([0.4, 0.5, 0.1, 0.3, 0.7, 0.3])
    b = np.array([0.6, 0.7, 0.3, 0.1, 0.9, 0.1 + 0.2])
    whole = np.rint(10 * (b - a))
    assert len(np.unique(b - a)) > 3
    assert signed_rank(b - a).p_value == signed_rank(whole).p_value
    assert sign_test(b - a).n_effective == 5
