"""What a CUDA generator draws, as far as it can be known without a GPU."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.watermark.cuda_lists import (
    CudaKgw,
    cuda_permutation,
    cuda_table,
    key_bits,
    threads_of,
    words32,
    words64,
)
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf.kgw import Kgw
from statllm.ragged import Ragged


def test_the_first_numbers_are_those_that_gpus_print() -> None:
    """torch.manual_seed(0); torch.rand(5, device="cuda"), as users report it."""
    uniforms = words32(np.uint64(0), 5, 256) * 2.0**-32 + 2.0**-33
    assert uniforms.round(4).tolist() == [0.3990, 0.5167, 0.0249, 0.9401, 0.9459]


def philox(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    """Salmon, Moraes, Dror and Shaw (2011), ten rounds, written out."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def test_philox_has_the_published_answers() -> None:
    """Random123's known answers, of zeros and of ones."""
    assert philox((0,) * 4, (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = 0xFFFFFFFF
    assert philox((ones,) * 4, (ones, ones)) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def test_numbers_lie_where_a_grid_of_threads_puts_them() -> None:
    """The kernel's loops, thread by thread: strides of a grid, slots of a step."""
    seed, n, threads = 0x0123456789ABCDEF, 3000, 512
    key = (seed & 0xFFFFFFFF, seed >> 32)
    expected = {4: np.zeros(n, np.uint64), 2: np.zeros(n, np.uint64)}
    for slots, out in expected.items():
        for thread in range(threads):
            for step, start in enumerate(range(thread, n, threads * slots)):
                drawn = philox((step, 0, thread, 0), key)
                if slots == 2:
                    drawn = [drawn[0] << 32 | drawn[1], drawn[2] << 32 | drawn[3]]
                for slot, number in enumerate(drawn):
                    if start + slot * threads < n:
                        out[start + slot * threads] = number
    np.testing.assert_array_equal(words32(np.uint64(seed), n, threads), expected[4])
    np.testing.assert_array_equal(words64(np.uint64(seed), n, threads), expected[2])


def test_threads_and_bits() -> None:
    assert threads_of(65_536) == 65_536
    assert threads_of(65_536, 160) == 160 * 256
    assert threads_of(1000, 160) == 1024
    # ceil(log2(n - (6 n^2 + 1) / (12 log .9))): 32 bits up to 29,000 tokens or so
    assert [key_bits(n) for n in (29_000, 32_000, 128_256, 256_000)] == [32, 33, 37, 39]


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("blocks", [None, 8])
def test_permutations_are_uniform(narrow: bool, blocks: int | None) -> None:
    """Where a token lands over seeds: chi-squared in 20 classes, 2,000 seeds."""
    n = 5000
    places = []
    for seed in range(400):
        order = cuda_permutation(seed, n, blocks, narrow)
        assert seed % 40 or np.array_equal(np.sort(order), np.arange(n))
        places += np.flatnonzero(np.isin(order, [0, 17, 2047, 2048, 4999])).tolist()
    counts = np.bincount(np.array(places) * 20 // n, minlength=20)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_table_hangs_on_the_grid_only_beyond_its_threads() -> None:
    table, small = cuda_table(0), cuda_table(0, 160)
    assert np.array_equal(table, cuda_table(0, 1056))
    assert np.array_equal(table[: 160 * 256], small[: 160 * 256])
    assert 0.4 < np.mean(table[160 * 256 :] == small[160 * 256 :]) < 0.6
    assert abs(table.mean() - 0.5) < 4 * 0.5 / 256


def test_marks_are_those_of_the_lists_and_uniform_text_is_at_chance() -> None:
    scheme = CudaKgw(Kgw(vocabulary=500, key=12345))
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 500, 300).tolist() for _ in range(20)]
    marks = scheme.marks(Ragged.from_lists(rows, np.int64))
    for at in (0, 50, 999):
        document = int(marks.documents[at])
        text, place = rows[document], int(marks.positions[at])
        seed = 12345 * text[place - 1] % (2**64 - 1)
        assert marks.values[at] == (text[place] in cuda_permutation(seed, 500)[:125])
    p = np.exp(detect(marks).log_p)
    assert stats.kstest(p, "uniform").pvalue > 1e-3
