"""Paired probes: a published table, closed forms, brute force over clusters, and size."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statllm.estimators.probes import probe_contrast, probe_effect


def test_a_published_table() -> None:
    """Airway responsiveness of 21 children before and after a transplantation (Bentur et al. 2009):
    1 both times, 1 before alone, 7 after alone, 12 never. Fagerland, Lydersen and Laake (2013,
    BMC Medical Research Methodology 13:91) give McNemar's exact p as .0703."""
    before = [1] * 1 + [1] * 1 + [0] * 7 + [0] * 12
    after = [1] * 1 + [0] * 1 + [1] * 7 + [0] * 12
    found = probe_effect(before, after)
    assert found.test.p_value == pytest.approx(0.0703, abs=5e-5)
    assert (found.n_lost, found.n_gained, found.n_pairs) == (1, 7, 21)
    assert found.difference.value == pytest.approx(6 / 21)
    assert found.flips == pytest.approx(8 / 21)


def test_shares_are_those_of_the_table() -> None:
    """Of 8 right ones 4 are lost: Wilson's interval of 4 in 8; of 2 others 1 is gained."""
    found = probe_effect([1] * 8 + [0] * 2, [1] * 4 + [0] * 4 + [1, 0])
    assert (found.lost.value, found.lost.n) == (0.5, 8)
    assert (found.gained.value, found.gained.n) == (0.5, 2)
    interval = found.lost.interval()
    # Wilson: centre 1/2, half width z / sqrt(n + z^2) / 2
    half = 1.959964 / np.sqrt(8 + 1.959964**2) / 2
    assert (interval.low, interval.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    # variance of the differences -4, +1 of 10 about -0.3
    d = np.array([0] * 4 + [-1] * 4 + [1, 0])
    assert found.difference.se == pytest.approx(d.std(ddof=1) / np.sqrt(10))


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 4)), min_size=2, max_size=12)
)
def test_clusters_flip_as_a_whole(rows: list[tuple[bool, bool, int]]) -> None:
    """p by listing every sign of every cluster."""
    a, b, c = (np.array(column) for column in zip(*rows, strict=True))
    found = probe_effect(a, b, c)
    sums = np.array([(b.astype(int) - a)[c == k].sum() for k in np.unique(c)])
    flipped = [abs(sum(s * x for s, x in zip(signs, sums, strict=True)))
               for signs in product((1, -1), repeat=len(sums))]  # fmt: skip
    assert found.test.p_value == pytest.approx(np.mean(np.array(flipped) >= abs(sums.sum())))
    assert found.lost.value == pytest.approx(
        (a & ~b).sum() / a.sum() if a.any() else np.nan, nan_ok=True
    )


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40), st.randoms())
def test_neither_order_nor_names_matter(rows: list[tuple[bool, bool]], rng) -> None:
    a, b = zip(*rows, strict=True)
    found = probe_effect(a, b)
    rng.shuffle(rows)
    again = probe_effect(*zip(*rows, strict=True))
    turned = probe_effect(b, a)
    assert found.difference.value == pytest.approx(again.difference.value)
    assert found.test.p_value == pytest.approx(again.test.p_value)
    assert (found.n_lost, found.n_gained) == (turned.n_gained, turned.n_lost)
    assert found.test.p_value == pytest.approx(turned.test.p_value)
    single = probe_effect(a, b, np.arange(len(a)))  # clusters of one are no clusters
    assert single.test.p_value == pytest.approx(found.test.p_value)


def test_size_with_several_samples_of_a_problem() -> None:
    """A probe that does nothing is rejected in at most 5 % of worlds, though samples depend."""
    rng = np.random.default_rng(1)
    rejected = 0
    for _ in range(400):
        p = rng.beta(0.5, 0.5, 30)
        a, b = (rng.random((30, 4)) < p[:, None] for _ in range(2))
        found = probe_effect(a.ravel(), b.ravel(), np.repeat(np.arange(30), 4))
        rejected += found.test.p_value < 0.05
    assert rejected <= 0.05 * 400 + 2.6 * np.sqrt(400 * 0.05 * 0.95)


def test_contrast_is_the_difference_of_differences() -> None:
    rng = np.random.default_rng(0)
    a0, a1, b0, b1 = rng.random((4, 50)) < 0.6
    change, test = probe_contrast((a0, a1), (b0, b1))
    one, two = probe_effect(a0, a1), probe_effect(b0, b1)
    assert change.value == pytest.approx(two.difference.value - one.difference.value)
    back, same = probe_contrast((b0, b1), (a0, a1))
    assert back.value == pytest.approx(-change.value)
    assert same.p_value == pytest.approx(test.p_value)


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="row 1 isn't 0 or 1"):
        probe_effect([1, 0.5], [1, 0])
    with pytest.raises(ValueError, match="2 neutral outcomes and 3"):
        probe_effect([1, 0], [1, 0, 1])
    with pytest.raises(ValueError, match="an error needs two"):
        probe_effect([1], [0])
    with pytest.raises(ValueError, match="3 cluster labels"):
        probe_effect([1, 0], [1, 0], [1, 2, 3])
    nothing = probe_effect([0, 0, 0], [0, 0, 0])
    assert nothing.test.p_value == 1
    assert np.isnan(nothing.lost.value)
    assert np.isnan(nothing.mde)
