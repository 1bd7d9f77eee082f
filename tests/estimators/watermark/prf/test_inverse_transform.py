"""The inverse-transform watermark against PyTorch's generator and its exact law."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf._ranks import first_and_permutation, firsts_and_values
from statllm.estimators.watermark.prf.inverse_transform import InverseTransform, _pivots
from statllm.ragged import Ragged

LAW = np.array([0.5, 0.25, 0.15, 0.06, 0.04])


@pytest.mark.parametrize("size", [2, 3, 50, 1500])
def test_first_number_and_permutation_are_those_of_pytorch(size: int) -> None:
    for seed in (0, 1, 2**32 - 1, 123456789):
        generator = torch.Generator().manual_seed(seed)
        u = float(torch.rand((1, 1), generator=generator))
        order = torch.randperm(size, generator=generator).numpy()
        first, found = first_and_permutation(np.uint64(seed), size)
        assert first / 2**24 == u
        np.testing.assert_array_equal(found, order)
        seeds = np.full(size, seed, np.uint64)
        firsts, values = firsts_and_values(seeds, np.arange(size), size)
        np.testing.assert_array_equal(values, order)
        assert set(firsts.tolist()) == {first}


def test_skipgram_seeds_are_those_of_lm_watermarking() -> None:
    """hashint(K x_{t-c}) over torch.randperm(1000003) seeded by 2971215073, plus 1."""
    table = torch.randperm(1_000_003, generator=torch.Generator().manual_seed(2971215073))
    text = np.random.default_rng(0).integers(0, 40, 30)
    marks = InverseTransform(40, context_width=5).marks(Ragged.from_lists([text], np.int64))
    for i, t in enumerate(range(5, 30)):
        assert int(marks.seeds[i]) == int(table[15485863 * int(text[t - 5]) % 1_000_003]) + 1


@pytest.mark.parametrize("vocabulary", [2, 3, 10, 1000])
def test_pivots_have_exactly_the_uniform_law(vocabulary: int) -> None:
    """P(|U - eta| >= r) by lengths of intervals, for each rank: that is the pivot at r."""
    eta = np.arange(vocabulary) / (vocabulary - 1)
    for r in np.random.default_rng(1).random(50):
        near = np.minimum(1, eta + r) - np.maximum(0, eta - r)
        assert _pivots(np.array([r]), vocabulary)[0] == pytest.approx(1 - near.mean(), abs=1e-12)


@pytest.mark.parametrize("vocabulary", [5, 400])
def test_chance_is_uniform(vocabulary: int) -> None:
    rng = np.random.default_rng(2)
    documents = Ragged.from_lengths(rng.integers(0, vocabulary, 4000), [8] * 500)
    found = []
    for key in rng.integers(0, 2**32, 20):
        scheme = InverseTransform(vocabulary, int(key), 2, "additive")
        marks = scheme.marks(documents)
        found.append(marks.values[marks.positions == 5][::25])
    assert stats.kstest(np.concatenate(found), "uniform").pvalue > 1e-3
    p = np.exp(detect(InverseTransform(vocabulary, 7, 2, "additive").marks(documents)).log_p)
    assert np.mean(p <= 0.05) < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 500)


def test_writing_keeps_the_law_and_brings_rank_and_number_together() -> None:
    """Tokens follow LAW, and pivots the law of a direct simulation with NumPy."""
    rng = np.random.default_rng(3)
    tokens, distances = [], []
    for key in rng.integers(0, 2**32, 3000):
        scheme = InverseTransform(5, int(key), 1, "additive")
        token = int(np.argmax(scheme.reweighted(LAW, np.array([3]))))
        tokens.append(token)
        marks = scheme.marks(Ragged.from_lists([[3, token]], np.int64))
        distances.append(marks.values[0])
    assert stats.chisquare(np.bincount(tokens, minlength=5), 3000 * LAW).pvalue > 1e-3
    simulated = []
    for _ in range(3000):
        order, u = rng.permutation(5), rng.random()
        rank = int(np.searchsorted(np.cumsum(LAW[order]), u))
        simulated.append(_pivots(np.array([abs(u - rank / 4)]), 5)[0])
    assert stats.ks_2samp(distances, simulated).pvalue > 1e-3
    assert np.mean(simulated) > 0.55


@pytest.mark.parametrize("seeding", ["skipgram", "additive"])
def test_written_text_is_found_and_other_text_is_not(seeding: str) -> None:
    scheme = InverseTransform(500, 77, 3, seeding)  # type: ignore[arg-type]
    rng = np.random.default_rng(4)
    text = rng.integers(0, 500, 3).tolist()
    for _ in range(200):
        weights = np.exp(1.5 * rng.normal(size=500))
        text.append(int(np.argmax(scheme.reweighted(weights / weights.sum(), np.array(text)))))
    tokens = Ragged.from_lists([text], np.int64)
    assert detect(scheme.marks(tokens)).log_p[0] < math.log(1e-9)
    other = InverseTransform(500, 78, 3, seeding)  # type: ignore[arg-type]
    assert detect(other.marks(tokens)).log_p[0] > math.log(1e-3)


def test_a_context_counts_once() -> None:
    scheme = InverseTransform(50, context_width=1, seeding="additive")
    found = detect(scheme.marks(Ragged.from_lists([[1, 2, 1, 3, 1, 4]], np.int64)))
    assert (found.n_scored[0], found.n_repeated[0]) == (3, 2)  # contexts 1, 2 and 3


def test_bad_parameters_are_named() -> None:
    with pytest.raises(ValueError, match="vocabulary must lie"):
        InverseTransform(1)
    with pytest.raises(ValueError, match="context_width"):
        InverseTransform(10, context_width=0)
    with pytest.raises(ValueError, match="seeding"):
        InverseTransform(10, seeding="minhash")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="isn't below 10"):
        InverseTransform(10).marks(Ragged.from_lists([[10]], np.int64))
    with pytest.raises(ValueError, match="shape"):
        InverseTransform(10).reweighted(LAW, np.arange(4))
