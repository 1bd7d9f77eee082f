"""Goodness of fit: exact laws against mpmath, limit laws against tables and scipy, sizes."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy import stats

from statllm.estimators.watermark import nulls
from statllm.estimators.watermark.fit_laws import _limit_log_tail
from statllm.estimators.watermark.fit_statistics import distance, truncated_divergence
from statllm.estimators.watermark.goodness_of_fit import FitTest, pivot_test
from statllm.estimators.watermark.trgof_law import trgof_log_tail
from statllm.ragged import Ragged

CLASSICAL: list[FitTest] = [
    "ks", "kuiper", "anderson-darling", "cramer-von-mises", "watson", "neyman", "chi-squared",
    "rao", "greenwood",
]  # fmt: skip


def uniform(documents: int, n: int, rng: np.random.Generator) -> Ragged:
    return Ragged.from_lengths(rng.random(documents * n), [n] * documents)


# ---- Tr-GoF ---------------------------------------------------------------------------------


def forward_log_tail(x: float, n: int, s: float, c: float) -> float:
    """P(S >= x) by following how many p lie below each bound, in 80 digits."""
    with mpmath.workdps(80):

        def divergence(u: mpmath.mpf, v: mpmath.mpf) -> mpmath.mpf:
            if s == 1:
                rest = (1 - u) * mpmath.log((1 - u) / (1 - v)) if u < 1 else mpmath.mpf(0)
                return u * mpmath.log(u / v) + rest
            mixed = u**s * v ** (1 - s) + (1 - u) ** s * (1 - v) ** (1 - s)
            return (1 - mixed) / (s * (1 - mpmath.mpf(s)))

        bounds = []
        for i in range(1, n + 1):
            u, low, high = mpmath.mpf(i) / n, mpmath.mpf(c), mpmath.mpf(i) / n
            if low >= high or n * divergence(u, low) < x:
                bounds.append(mpmath.mpf(c))
                continue
            for _ in range(260):
                middle = (low + high) / 2
                low, high = (middle, high) if n * divergence(u, middle) >= x else (low, middle)
            bounds.append(low)
        survive = mpmath.mpf(0)
        for below in range(n + 1):  # p's below c never count
            start = (
                mpmath.binomial(n, below)
                * mpmath.mpf(c) ** below
                * (1 - mpmath.mpf(c)) ** (n - below)
            )
            state, at = {below: start}, mpmath.mpf(c)
            for i in range(below + 1, n + 1):
                if bounds[i - 1] <= at:
                    state = {k: p for k, p in state.items() if k < i}
                    continue
                step = (bounds[i - 1] - at) / (1 - at)
                at, moved = bounds[i - 1], {}
                for k, p in state.items():
                    for j in range(k, min(n, i - 1) + 1):
                        law = (
                            mpmath.binomial(n - k, j - k) * step ** (j - k) * (1 - step) ** (n - j)
                        )
                        moved[j] = moved.get(j, mpmath.mpf(0)) + p * law
                state = moved
            survive += mpmath.fsum(state.values())
        return float(mpmath.log(1 - survive))


@pytest.mark.parametrize("s", [2.0, 1.0, 0.5, 1.7])
@pytest.mark.parametrize(("n", "c"), [(1, 0.02), (4, 0.001), (9, 1 / 9)])
def test_trgof_against_mpmath(s: float, n: int, c: float) -> None:
    rng = np.random.default_rng(n)
    y = Ragged.from_lists([rng.random(n), rng.random(n) ** 0.2, rng.random(n) ** 0.01])
    for x in truncated_divergence(y, s, np.full(3, c)):
        if x > 0:
            found = float(trgof_log_tail(x, n, s, c))
            assert found == pytest.approx(forward_log_tail(float(x), n, s, c), rel=1e-8, abs=1e-11)


def test_trgof_far_out_against_mpmath() -> None:
    for x, n, s, c in ((100.0, 12, 1.0, 1e-9), (1000.0, 12, 2.0, 1e-4), (40.0, 6, 0.5, 1e-30)):
        expected = forward_log_tail(x, n, s, c)
        assert expected < -13
        assert float(trgof_log_tail(x, n, s, c)) == pytest.approx(expected, rel=1e-9)
    # all 500 p below e^-2 suffice, and each of 500 ways has at most e^-1000 (Chernoff)
    least = 500 * math.log(math.exp(-2) - 1 / 500)
    assert least < float(trgof_log_tail(1000.0, 500, 1.0)) < math.log(500) - 1000


@pytest.mark.parametrize(
    ("n", "median", "high"), [(100, 4.63, 7.34), (200, 4.95, 7.63), (400, 5.02, 7.63)]
)
def test_trgof_against_simulated_quantiles(n: int, median: float, high: float) -> None:
    """95 % and 99 % points of a Monte Carlo apart from ours, of some 10,000 texts."""
    p = np.exp(trgof_log_tail([median, high], n))
    assert p[0] == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 10_000))
    assert p[1] == pytest.approx(0.01, abs=3 * math.sqrt(0.01 * 0.99 / 10_000))


@pytest.mark.parametrize("s", [2.0, 1.0, 0.5])
def test_trgof_size(s: float) -> None:
    log_p = pivot_test(uniform(3000, 150, np.random.default_rng(2)), s=s).log_p
    assert stats.kstest(np.exp(log_p[log_p < -0.1]) / math.exp(-0.1), "uniform").pvalue > 0.001
    for alpha in (0.05, 0.01):
        error = math.sqrt(alpha * (1 - alpha) / 3000)
        assert np.mean(log_p <= math.log(alpha)) == pytest.approx(alpha, abs=4 * error)


def test_power_in_edited_text() -> None:
    """A fifth of 400 tokens is watermarked: .956 (s = 2), .929 (s = 1), .957 (sum) at alpha .01.

    Figures of 1,000 texts from an implementation apart from ours, Delta_t uniform on (.001, .3).
    """
    rng = np.random.default_rng(3)
    delta = rng.uniform(0.001, 0.3, (1000, 400))
    chosen = np.where(rng.random(delta.shape) < 1 - delta, 1 - delta, delta / 999)
    kept = rng.random(delta.shape) < 0.2
    y = np.clip(rng.random(delta.shape) ** np.where(kept, chosen, 1.0), 1e-12, 1 - 1e-12)
    rows = Ragged.from_lengths(y.ravel(), [400] * 1000)
    found = [
        np.mean(pivot_test(rows, s=2.0).log_p <= math.log(0.01)),
        np.mean(pivot_test(rows, s=1.0).log_p <= math.log(0.01)),
        np.mean(nulls.gamma_log_tail(-np.log1p(-y).sum(axis=1), 400) <= math.log(0.01)),
    ]
    np.testing.assert_allclose(found, [0.956, 0.929, 0.957], atol=4 * math.sqrt(2 * 0.06 / 1000))


# ---- classical tests ------------------------------------------------------------------------


def test_statistics_against_scipy_and_sums_written_out() -> None:
    rng = np.random.default_rng(4)
    rows = [rng.random(n) for n in (1, 2, 30, 101)]
    y = Ragged.from_lists(rows)
    for i, row in enumerate(rows):
        n, u = len(row), np.sort(row)
        gaps = np.diff(np.concatenate([[0], u, [1]]))
        rank = np.arange(1, n + 1)
        expected = {
            "ks": stats.ks_1samp(row, stats.uniform.cdf).statistic,
            "kuiper": stats.ks_1samp(row, stats.uniform.cdf, alternative="greater").statistic
            + stats.ks_1samp(row, stats.uniform.cdf, alternative="less").statistic,
            "anderson-darling": -n - np.sum((2 * rank - 1) / n * (np.log(u) + np.log(1 - u[::-1]))),
            "watson": 1 / (12 * n) + np.sum((u - (rank - 0.5) / n - u.mean() + 0.5) ** 2),
            "neyman": sum(
                np.sum(h(u)) ** 2 / n
                for h in (
                    lambda u: math.sqrt(3) * (2 * u - 1),
                    lambda u: math.sqrt(5) * (6 * u**2 - 6 * u + 1),
                    lambda u: math.sqrt(7) * (20 * u**3 - 30 * u**2 + 12 * u - 1),
                )
            ),
            "chi-squared": stats.chisquare(np.histogram(row, 20, (0, 1))[0]).statistic,
            "rao": 0.5 * np.sum(np.abs(gaps - 1 / (n + 1))),
            "greenwood": np.sum(gaps**2),
        }
        if n > 1:
            expected["cramer-von-mises"] = stats.cramervonmises(row, "uniform").statistic
        for test, value in expected.items():
            assert distance(y, test)[i] == pytest.approx(value, rel=1e-9), test


@pytest.mark.parametrize(
    ("test", "points"),
    [  # upper 10, 5, 1 % points of the limit laws, Stephens (1974), table 1
        ("anderson-darling", [1.933, 2.492, 3.857]),
        ("cramer-von-mises", [0.347, 0.461, 0.743]),
        ("watson", [0.152, 0.187, 0.267]),
        ("kuiper", [1.620, 1.747, 2.001]),
    ],
)
def test_limit_laws_against_tables(test: str, points: list[float]) -> None:
    n = np.full(3, 10**8)
    scale = 1e-4 if test == "kuiper" else 1.0
    p = np.exp(_limit_log_tail(test, np.array(points) * scale, n))
    np.testing.assert_allclose(p, [0.1, 0.05, 0.01], rtol=0.03)


def test_cramer_von_mises_against_scipy() -> None:
    rng = np.random.default_rng(5)
    y = rng.random((20, 300)) ** np.linspace(1, 0.85, 20)[:, None]
    found = pivot_test(Ragged.from_lengths(y.ravel(), [300] * 20), "cramer-von-mises")
    expected = np.array([stats.cramervonmises(row, "uniform").pvalue for row in y])
    np.testing.assert_allclose(np.exp(found.log_p), np.maximum(expected, 1e-4), rtol=0.02)


def test_watson_against_its_series() -> None:
    x = np.array([0.1, 0.2, 0.35])
    k = np.arange(1, 60)[:, None]
    series = 2 * np.sum((-1.0) ** (k - 1) * np.exp(-2 * (k * np.pi) ** 2 * x), axis=0)
    found = np.exp(_limit_log_tail("watson", x, np.full(3, 10**9)))
    np.testing.assert_allclose(found, series, rtol=1e-4)


@pytest.mark.parametrize("n", [20, 250])
def test_ks_against_scipy_and_far_out(n: int) -> None:
    rng = np.random.default_rng(6)
    y = rng.random(n) ** 0.6
    found = pivot_test(y, "ks").log_p[0]
    assert found == pytest.approx(math.log(stats.kstest(y, "uniform").pvalue), rel=1e-9)
    d = 0.9  # P(D+ >= d), Birnbaum and Tingey, in 50 digits
    far = pivot_test(np.full(n, 0.9) + np.arange(n) * 1e-9, "ks").log_p[0]
    with mpmath.workdps(50):
        tail = d * mpmath.fsum(
            mpmath.binomial(n, j)
            * (mpmath.mpf(d) + mpmath.mpf(j) / n) ** (j - 1)
            * (1 - mpmath.mpf(d) - mpmath.mpf(j) / n) ** (n - j)
            for j in range(math.floor(n * (1 - d)) + 1)
        )
        assert far == pytest.approx(float(mpmath.log(2 * tail)), rel=1e-5)


def check_size(test: FitTest, n: int, documents: int, slack: float) -> None:
    """Rejections at the level and above it by at most a share `slack`, and 4 standard errors."""
    log_p = pivot_test(uniform(documents, n, np.random.default_rng(7)), test).log_p
    for alpha in (0.05, 0.01, 0.001):
        error = math.sqrt(alpha * (1 - alpha) / documents)
        if test in ("rao", "greenwood") or n < 200:  # the simulated law has an error of its own
            error *= math.sqrt(1 + documents / 9_999)
        rate = np.mean(log_p <= math.log(alpha) + 1e-9)
        assert rate <= alpha * (1 + slack) + 4 * error
        if alpha == 0.05:
            assert rate >= alpha * (1 - slack) - 4 * error


@pytest.mark.parametrize("test", CLASSICAL)
@pytest.mark.parametrize("n", [30, 200])
def test_size(test: FitTest, n: int) -> None:
    check_size(test, n, 3000, slack=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("test", [test for test in CLASSICAL if test != "ks"])
@pytest.mark.parametrize("n", [200, 500])
def test_size_of_many(test: FitTest, n: int) -> None:
    check_size(test, n, 60_000, slack=0.1)


@pytest.mark.parametrize("test", ["trgof", *CLASSICAL])
def test_watermarks_are_found(test: FitTest) -> None:
    y = np.random.default_rng(8).random((50, 300)) ** 0.4
    log_p = pivot_test(Ragged.from_lengths(y.ravel(), [300] * 50), test).log_p
    assert np.median(log_p) <= math.log(0.05 if test in ("rao", "greenwood") else 1e-4) + 1e-9


# ---- input ----------------------------------------------------------------------------------


def test_documents_stand_alone_and_may_be_empty() -> None:
    rng = np.random.default_rng(9)
    rows = [rng.random(30), np.zeros(0), rng.random(250), rng.random(1)]
    for test in ("trgof", *CLASSICAL):
        together = pivot_test(Ragged.from_lists(rows), test)  # type: ignore[arg-type]
        assert math.isnan(together.log_p[1])
        for i in (0, 2, 3):
            alone = pivot_test(rows[i], test)  # type: ignore[arg-type]
            assert alone.log_p[0] == pytest.approx(together.log_p[i], abs=1e-12)
    assert together[0].n_effective == 30


def test_ends_of_the_line() -> None:
    ends = Ragged.from_lists([[1e-30, 1 - 1e-16], [1e-30], [0.5]])
    for test in ("trgof", *CLASSICAL):
        log_p = pivot_test(ends, test).log_p  # type: ignore[arg-type]
        assert np.all(log_p <= 0)
    assert float(trgof_log_tail(1e-18, 5)) == pytest.approx(0, abs=0.7)
    assert float(trgof_log_tail(3.0, 1)) == -math.inf  # p of the only pivot is never 1 / n = 1


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="pivot 1 of document 1 is 1.0"):
        pivot_test(Ragged.from_lists([[0.1], [0.2, 1.0]]))
    with pytest.raises(ValueError, match="test must be one of trgof, ks"):
        pivot_test([0.5], "t")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="s must be above 0"):
        pivot_test([0.9], s=0.0, truncation=0.01)
    with pytest.raises(ValueError, match="truncation must lie between 0 and 1"):
        pivot_test([0.9], truncation=2.0)
    with pytest.raises(ValueError, match="n_draws must be at least 1"):
        pivot_test([0.9], "rao", n_draws=0)
