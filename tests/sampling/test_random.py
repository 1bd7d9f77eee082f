"""Uniform numbers: against plain integers, and the tests that a generator has to pass."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.sampling.random import stream_keys, uniforms

MASK = 2**64 - 1


def splitmix(state: int) -> int:
    """Reference in Python's integers: Vigna's splitmix64.c."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_the_reference_gives_the_published_stream() -> None:
    """The first outputs of splitmix64 seeded with 1234567 (Rosetta Code, 'Pseudo-random
    numbers/Splitmix64')."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    state = 1234567
    for value in expected:
        assert splitmix(state) == value
        state = (state + 0x9E3779B97F4A7C15) & MASK


@given(
    seed=st.integers(0, 2**63 - 1),
    prompt_id=st.text(max_size=20),
    sample=st.integers(0, 10**6),
    position=st.integers(0, 10**5),
)
@settings(deadline=None)
def test_equals_plain_integers(seed: int, prompt_id: str, sample: int, position: int) -> None:
    name = f"{seed}/{sample}/{prompt_id}".encode()
    key = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
    bits = splitmix((key + position * 0x9E3779B97F4A7C15) & MASK) >> 12
    u = uniforms(stream_keys(seed, [prompt_id], [sample]), position)[0]
    assert Fraction(float(u)) == Fraction(2 * bits + 1, 2**53)
    assert 0 < u < 1
    assert Fraction(1 - float(u)) == 1 - Fraction(float(u))


def test_extreme_bits_stay_inside() -> None:
    low, high = 0.5 * 2.0**-52, (2**52 - 0.5) * 2.0**-52
    assert low > 0
    assert high < 1
    assert 1 - high == low


@pytest.fixture(scope="module")
def grid() -> np.ndarray:
    """u[seed, prompt, sample, position]"""
    seeds = []
    for seed in range(4):
        ids = [f"p{i}" for i in range(50) for _ in range(8)]
        keys = stream_keys(seed, ids, list(range(8)) * 50)
        seeds.append(np.stack([uniforms(keys, t) for t in range(64)], axis=-1))
    return np.stack(seeds).reshape(4, 50, 8, 64)


def test_uniform(grid: np.ndarray) -> None:
    counts = np.histogram(grid, bins=256, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-3
    for axis in range(4):  # every marginal, too: no seed, prompt, sample or place is special
        means = np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1)
        z = (means.mean(axis=1) - 0.5) * np.sqrt(12 * means.shape[1])
        assert stats.kstest(z, "norm").pvalue > 1e-3


@pytest.mark.parametrize("axis", range(4), ids=["seed", "prompt", "sample", "position"])
def test_neighbours_are_independent(grid: np.ndarray, axis: int) -> None:
    along = np.moveaxis(grid, axis, 0)
    table = np.histogram2d(along[:-1].ravel(), along[1:].ravel(), bins=16, range=[[0, 1], [0, 1]])[
        0
    ]
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_names_do_not_collide() -> None:
    """A prompt_id can't imitate another (seed, sample)."""
    keys = {
        int(stream_keys(seed, [prompt_id], [sample])[0])
        for seed in (0, 1, 11)
        for sample in (0, 1, 11)
        for prompt_id in ("", "1", "/1", "1/1", "11", "0/1/")
    }
    assert len(keys) == 3 * 3 * 6
