"""Shares of watermarked tokens: against EM, by coverage, and from counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.marks import FloatArray, Marks, Null
from statllm.estimators.watermark.mixture import (
    mixture_share,
    share_from_count,
    watermarked_share,
)
from statllm.estimators.watermark.ratios import log_ratios


def marks_of(values: np.ndarray, null: Null) -> Marks:
    n = np.arange(len(values))
    return Marks(values, n.astype(np.uint64), n, n, np.array([0, len(values)]), null)


def mixed_pivots(n: int, share: float, delta: float, rng: np.random.Generator) -> FloatArray:
    watermarked = ChosenLaw.least_favourable(delta).pivots(n, rng)
    return np.where(rng.random(n) < share, watermarked, rng.random(n))


def expectation_maximisation(ratio: FloatArray) -> float:
    share = 0.5
    for _ in range(20_000):
        following = float(np.mean(share * ratio / (1 - share + share * ratio)))
        if abs(following - share) < 1e-13:
            break
        share = following
    return share


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_against_expectation_maximisation(share: float) -> None:
    y = mixed_pivots(800, share, 0.4, np.random.default_rng(1))
    log_ratio = log_ratios(marks_of(y, Null("uniform")), 0.4)
    expected = expectation_maximisation(np.exp(log_ratio))
    assert mixture_share(log_ratio).value == pytest.approx(expected, abs=1e-6)


def test_the_largest_likelihood_of_several_laws() -> None:
    """Value, standard error and limits, from the likelihood on a fine grid."""
    y = mixed_pivots(400, 0.5, 0.3, np.random.default_rng(2))
    marks = marks_of(y, Null("uniform"))
    ratios = np.array([log_ratios(marks, delta) for delta in (0.1, 0.3, 0.6)])
    grid = np.linspace(0, 1, 2001)[:, None, None]
    profile = np.log1p(grid * np.expm1(ratios)).sum(axis=2).max(axis=1)
    found = mixture_share(ratios)
    assert found.value == pytest.approx(float(grid[np.argmax(profile), 0, 0]), abs=6e-4)
    for level in (0.5, 0.95):
        kept = grid[profile >= profile.max() - stats.chi2.ppf(level, 1) / 2, 0, 0]
        interval = found.interval(level)
        assert (interval.low, interval.high) == pytest.approx((kept[0], kept[-1]), abs=1e-3)
    assert found.se == pytest.approx(
        (found.interval(0.05).high - found.interval(0.05).low) / 2 / stats.norm.ppf(0.525), rel=0.02
    )


@pytest.mark.parametrize(
    ("share", "strength"), [(0.0, 0.5), (0.4, 0.5), (1.0, 0.5), (0.0, None), (0.6, None)]
)
def test_coverage(share: float, strength: float | None) -> None:
    """At least .95, to 4 standard errors of 250 texts of 300 tokens."""
    check_coverage(share, 0.5, strength, n=300, texts=250, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("delta", "strength"), [(0.5, 0.5), (0.2, 0.2), (0.5, None), (0.3, None)])
def test_coverage_of_many(share: float, delta: float, strength: float | None) -> None:
    for n in (200, 1000):
        check_coverage(share, delta, strength, n=n, texts=1000, seed=4)


def check_coverage(
    share: float, delta: float, strength: float | None, *, n: int, texts: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    covered = []
    for _ in range(texts):
        marks = marks_of(mixed_pivots(n, share, delta, rng), Null("uniform"))
        found = watermarked_share(marks, strength, deduplicate="done")
        covered.append(share in found.interval(0.95))
    assert np.mean(covered) >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / texts)
    if strength is not None and 0.05 < share < 0.95:
        assert np.mean(covered) <= 0.95 + 4 * math.sqrt(0.95 * 0.05 / texts)


def test_known_strengths_count_tokens_without_a_choice() -> None:
    """Half the tokens are certain. Told so, the share is that of all; not told, of the others."""
    rng = np.random.default_rng(5)
    delta = np.where(rng.random(6000) < 0.5, 0.0, 0.5)
    y = np.where(delta > 0, mixed_pivots(6000, 0.6, 0.5, rng), rng.random(6000))
    marks = marks_of(y, Null("uniform"))
    told = watermarked_share(marks, delta, deduplicate="done")
    not_told = watermarked_share(marks, 0.5, deduplicate="done")
    assert told.value == pytest.approx(0.6, abs=4 * told.se)
    assert not_told.value == pytest.approx(0.3, abs=4 * not_told.se)


@pytest.mark.parametrize("kind", ["green", "bits", "two keys"])
def test_other_marks(kind: str) -> None:
    rng = np.random.default_rng(6)
    written = rng.random(8000) < 0.4
    if kind == "green":
        p = np.where(written, 0.25 + 0.5 * 0.75, 0.25)
        marks = marks_of((rng.random(8000) < p).astype(np.uint8), Null("green", 0.25))
    elif kind == "bits":
        lean = np.where(written, 0.5, 0.0)[:, None] * np.linspace(1, 0.1, 10)
        bits = rng.random((8000, 10)) < (1 + lean) / 2
        marks = marks_of(bits.astype(np.uint8), Null("bits", depth=10))
    else:
        y = rng.random((8000, 2))
        key = (rng.random(8000) < 0.1).astype(np.int64)
        at = np.flatnonzero(written)
        y[at, key[at]] = ChosenLaw.least_favourable(0.5).pivots(len(at), rng)
        marks = marks_of(y, Null("uniform", mixing=0.1))
    found = watermarked_share(marks, 0.5, deduplicate="done")
    assert 0.005 < found.se < 0.05
    assert found.value == pytest.approx(0.4, abs=4 * found.se)


def test_repeated_pairs_count_once() -> None:
    y = mixed_pivots(300, 0.5, 0.5, np.random.default_rng(7))
    once = marks_of(y, Null("uniform"))
    n = np.tile(np.arange(300), 3)
    thrice = Marks(
        np.tile(y, 3), n.astype(np.uint64), n, np.arange(900), np.array([0, 450, 900]), once.null
    )
    assert watermarked_share(thrice).value == watermarked_share(once).value
    assert watermarked_share(thrice, deduplicate="document").n > 300


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_coverage_from_counts_is_exact(share: float) -> None:
    """Clopper and Pearson's guarantee, summed over all counts."""
    n, chance, watermarked = 150, 0.25, 0.45
    rate = chance + share * (watermarked - chance)
    covered = [
        share in share_from_count(hits, n, chance, watermarked).interval(0.9)
        for hits in range(n + 1)
    ]
    assert float(stats.binom(n, rate).pmf(np.arange(n + 1)) @ covered) >= 0.9


def test_count_of_large_pivots() -> None:
    rng = np.random.default_rng(8)
    law = ChosenLaw.least_favourable(0.4)
    y = mixed_pivots(20_000, 0.35, 0.4, rng)
    found = share_from_count(int(np.sum(y > 0.7)), len(y), 0.3, 1 - float(law.cdf(0.7)))
    assert found.value == pytest.approx(0.35, abs=4 * found.se)
    assert found.se < 0.05


def test_nothing_and_bad_input() -> None:
    nothing = mixture_share(np.zeros(0))
    assert math.isnan(nothing.value)
    assert (nothing.interval(0.9).low, nothing.interval(0.9).high) == (0.0, 1.0)
    assert share_from_count(0, 0, 0.2, 0.5).n == 0
    with pytest.raises(ValueError, match="hold numbers"):
        mixture_share([0.1, math.nan])
    with pytest.raises(ValueError, match="0 < chance < watermarked"):
        share_from_count(1, 2, 0.5, 0.5)
    with pytest.raises(ValueError, match="0 <= hits <= n"):
        share_from_count(3, 2, 0.2, 0.5)
    with pytest.raises(ValueError, match=r"strength must have shape \(2,\), not \(3,\)"):
        watermarked_share(marks_of(np.array([0.1, 0.2]), Null("uniform")), [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="strength is needed"):
        watermarked_share(marks_of(np.array([0, 1], np.uint8), Null("green", 0.25)))
