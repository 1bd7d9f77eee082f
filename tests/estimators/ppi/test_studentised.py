"""The studentised interval of PPI, against every resample of a small sample and by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from statllm.estimators.ppi import ppi_mean


def exact_ratios(psi: np.ndarray) -> np.ndarray:
    """t* of all n^n resamples of n values."""
    n = len(psi)
    drawn = psi[np.array(list(itertools.product(range(n), repeat=n)))]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (drawn.mean(1) - psi.mean()) / (drawn.std(1, ddof=1) / np.sqrt(n))
    return np.where(np.isnan(ratios), 0.0, ratios)


def test_labels_alone_are_the_bootstrap_t() -> None:
    y = np.array([0.3, 1.7, 0.2, 2.6, 0.9, 0.5])
    found = ppi_mean(y, y, [0.0, 1.0], tuning=0.0, interval="studentised").estimate
    se = y.std(ddof=1) / np.sqrt(6)
    assert found.se == pytest.approx(se)
    # Enumerated 46,656 ratios: the ends may differ by the Monte Carlo error of 9,999 draws' ranks.
    ratios = np.sort(exact_ratios(y))
    interval = found.interval(0.8)
    for end, p in ((interval.low, 0.9), (interval.high, 0.1)):
        share = np.mean(ratios <= (y.mean() - end) / se + 1e-12)
        assert share == pytest.approx(p, abs=4 * np.sqrt(0.09 / 9999))


def test_it_moves_and_scales_with_the_labels() -> None:
    rng = np.random.default_rng(0)
    f, u = rng.exponential(size=25), rng.exponential(size=400)
    y = f + rng.exponential(size=25)
    plain = ppi_mean(y, f, u, interval="studentised").estimate.interval()
    moved = ppi_mean(3 * y - 5, 3 * f - 5, 3 * u - 5, interval="studentised").estimate.interval()
    assert (moved.low, moved.high) == pytest.approx((3 * plain.low - 5, 3 * plain.high - 5))
    # The tail is above, and so is the longer side; turned round, it's below.
    value = ppi_mean(y, f, u).estimate.value
    assert plain.high - value > value - plain.low
    turned = ppi_mean(-y, -f, -u, interval="studentised").estimate.interval()
    assert value + turned.low < value + turned.high
    assert -value - turned.low > turned.high + value


def test_clusters_of_copies_are_their_first_rows() -> None:
    rng = np.random.default_rng(1)
    f, u = rng.normal(size=15), rng.normal(size=60)
    y = f + rng.exponential(size=15)
    alone = ppi_mean(y, f, u, interval="studentised").estimate.interval()
    copied = ppi_mean(
        *(np.repeat(x, 3) for x in (y, f, u)), interval="studentised",
        clusters=np.repeat(np.arange(15), 3), unlabelled_clusters=np.repeat(np.arange(15, 75), 3),
    ).estimate.interval()  # fmt: skip
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))


def test_degenerate_and_wrong() -> None:
    same = ppi_mean([1.0] * 5, [1.0] * 5, [1.0] * 9, interval="studentised").estimate.interval()
    assert (same.low, same.high) == (1.0, 1.0)
    with pytest.raises(ValueError, match="studentised interval knows no bounds"):
        ppi_mean([0, 1, 1], [0, 1, 1], [0, 1], interval="studentised", bounds=(0, 1))
    with pytest.raises(ValueError, match="interval must be"):
        ppi_mean([0, 1, 1], [0, 1, 1], [0, 1], interval="bca")  # type: ignore[arg-type]


@pytest.mark.slow
def test_it_covers_more_than_t_under_a_tail() -> None:
    """1,000 samples of 20 labels, Y - f log-normal: 85 and 91 %."""
    rng = np.random.default_rng(2)
    truth, inside = np.exp(0.5), np.zeros(2)
    for _ in range(1000):
        f = rng.normal(size=1020)
        y = f + np.exp(rng.normal(size=1020))
        for k, kind in enumerate(("t", "studentised")):
            found = ppi_mean(y[:20], f[:20], f[20:], interval=kind).estimate
            inside[k] += truth in found.interval()
    assert inside[1] - inside[0] > 30
    assert inside[1] / 1000 > 0.88
