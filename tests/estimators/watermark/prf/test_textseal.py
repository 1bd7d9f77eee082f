"""TextSeal's hash in PyTorch's arithmetic, its law by chance, and what it writes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import fft

from statllm.estimators.watermark import nulls
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf.textseal import TextSealGumbel
from statllm.ragged import Ragged

PRIMES = [10000019, 10000247, 10000439, 10000643, 10000747]


def step(context: list[int], token: int, key: int) -> int:
    """The published formula in 64-bit integers of PyTorch, which wrap."""
    weighted = (torch.tensor(context) * torch.tensor(PRIMES[: len(context)])).sum()
    mixed = weighted + 100000007 * torch.tensor(token) + 500001713 * torch.tensor(key)
    mixed = mixed * 15485863 * 40499
    return int((mixed ^ (mixed >> 13)) % 8191)


@pytest.mark.parametrize(("key", "ngram"), [(42, 1), (2**62 + 12345, 3), (7, 5)])
def test_numbers_are_those_of_the_formula(key: int, ngram: int) -> None:
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, 2**31, n).tolist() for n in (50, 0, 2, 80)]
    marks = TextSealGumbel(key, ngram, key_b=key + 12345).marks(Ragged.from_lists(lists, np.int64))
    at = 0
    for document, row in enumerate(lists):
        for t in range(ngram, len(row)):
            for column, k in enumerate((key, key + 12345)):
                expected = max(step(row[t - ngram : t], row[t], k), 0.5) / 8191
                assert marks.values[at, column] == expected
            assert (marks.documents[at], marks.positions[at]) == (document, t)
            at += 1
    assert at == len(marks.values)


@pytest.mark.parametrize("n", [1, 3, 20, 50])
def test_gamma_errs_on_the_safe_side(n: int) -> None:
    """Scores rounded up to steps of 1e-4 and convolved: at least their exact tail.

    That is at most Gamma's, but for the rounding, which adds n / 20,000 nats on average.
    """
    scores = -np.log1p(-np.maximum(np.arange(8191), 0.5) / 8191)
    law = np.bincount(np.ceil(scores * 10_000).astype(int)) / 8191
    size = n * (len(law) - 1) + 1
    length = fft.next_fast_len(size, real=True)
    tail = np.cumsum(fft.irfft(fft.rfft(law, length) ** n, length)[:size][::-1])[::-1]
    for alpha in (0.5, 0.1, 1e-3, 1e-6):
        s = int(np.argmax(tail <= alpha))
        assert tail[s] <= math.exp(float(nulls.gamma_log_tail(s / 10_000, n))) * 1.003


def test_scores_by_chance_have_the_stated_mean_and_the_variance_of_independent_ones() -> None:
    """Over 300 keys; z of 40 documents of 300 tokens, words as frequent as in a language."""
    rng = np.random.default_rng(1)
    documents = Ragged.from_lengths(rng.zipf(1.3, 40 * 300) % 32_000, [300] * 40)
    z = []
    for key in rng.integers(1, 2**40, 300):
        found = detect(TextSealGumbel(int(key), ngram=2).marks(documents))
        z.append((found.statistic - 0.99934 * found.n_scored) / np.sqrt(found.n_scored))
    values = np.array(z)
    # documents share pairs under a key, so the keys are what is independent
    assert abs(values.mean()) < 4 * values.mean(1).std() / math.sqrt(300)
    spread = (values**2).mean(1)
    assert abs(spread.mean() - 1) < 4 * spread.std() / math.sqrt(300) + 0.01


@pytest.mark.parametrize("key_b", [None, 12387])
def test_written_text_is_found_and_other_text_is_not(key_b: int | None) -> None:
    rng = np.random.default_rng(2)
    scheme = TextSealGumbel(42, ngram=2, key_b=key_b, mixing_alpha=0.7)
    text = rng.integers(0, 2000, 2).tolist()
    for _ in range(150):
        weights = np.exp(2.5 * rng.normal(size=2000))
        law = scheme.reweighted(weights / weights.sum(), np.array(text))
        assert law.max() in ((1.0,) if key_b is None else (0.7, 1.0))
        text.append(int(rng.choice(2000, p=law)))
    tokens = Ragged.from_lists([text], np.int64)
    assert detect(scheme.marks(tokens)).log_p[0] < math.log(1e-9)
    other = TextSealGumbel(43, ngram=2, key_b=None if key_b is None else 99, mixing_alpha=0.7)
    assert detect(other.marks(tokens)).log_p[0] > math.log(1e-3)


def test_a_text_that_holds_the_number_zero_still_has_every_test() -> None:
    row = next(t for t in range(100_000) if step([1], t, 42) == 0)
    marks = TextSealGumbel(42).marks(Ragged.from_lists([[1, row]], np.int64))
    for test in ("sum", "log", "optimal"):
        assert 0.99 < math.exp(detect(marks, test).log_p[0]) <= 1


def test_bad_parameters_are_named() -> None:
    with pytest.raises(ValueError, match="ngram must lie between 1 and 10"):
        TextSealGumbel(ngram=11)
    with pytest.raises(ValueError, match="mixing_alpha"):
        TextSealGumbel(key_b=1, mixing_alpha=0.0)
    with pytest.raises(ValueError, match="2\\^63"):
        TextSealGumbel(key_b=2**63)
