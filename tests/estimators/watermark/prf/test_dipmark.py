"""Permuted reweighting, against PyTorch, the paper's two-part formula and closed forms."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from scipy import stats

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf.dipmark import Dipmark
from statllm.ragged import Ragged

KEY = 2**1023 + 12345


def shuffle(context: list[int], key: int, vocabulary: int) -> np.ndarray:
    """The released code's permutation: bytes of int64 tokens, then the key's, then PyTorch."""
    digest = hashlib.sha256(torch.tensor(context).numpy().tobytes() + key.to_bytes(128, "big"))
    seed = int.from_bytes(digest.digest(), "big") % (2**32 - 1)
    return torch.randperm(vocabulary, generator=torch.Generator().manual_seed(seed)).numpy()


@pytest.mark.parametrize("width", [1, 5])
@pytest.mark.parametrize("share", [0.5, 0.37])
def test_colours_are_those_of_the_released_quantiles(width: int, share: float) -> None:
    """Green where (place + 1) / V exceeds gamma."""
    vocabulary = 101
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, vocabulary, n).tolist() for n in (30, 0, 3, 17)]
    scheme = Dipmark(vocabulary, KEY, width, share=share)
    marks = scheme.marks(Ragged.from_lists(lists, np.int64))
    at = 0
    for document, row in enumerate(lists):
        for t in range(width, len(row)):
            order = shuffle(row[t - width : t], KEY, vocabulary)
            quantile = (int(np.flatnonzero(order == row[t])[0]) + 1) / vocabulary
            assert marks.values[at] == (quantile > share)
            assert (marks.documents[at], marks.positions[at]) == (document, t)
            at += 1
    assert at == len(marks.values)
    assert marks.null.greens == sum((i + 1) / vocabulary > share for i in range(vocabulary))


@pytest.mark.parametrize("alpha", [0.3, 0.45, 0.5])
def test_written_law_is_the_mixture_of_the_paper(alpha: float) -> None:
    """(1 - alpha) times the alpha-reweight and alpha times the (1 - alpha)-reweight."""
    vocabulary = 40
    rng = np.random.default_rng(1)
    law, prefix = rng.dirichlet(np.ones(vocabulary)), rng.integers(0, vocabulary, 7)
    order = shuffle(prefix[-5:].tolist(), KEY, vocabulary)
    expected = np.zeros(vocabulary)
    for part, weight in ((alpha, 1 - alpha), (1 - alpha, alpha)):
        reached = 0.0
        for token in order:
            before, reached = reached, reached + law[token]
            kept = max(reached, part) - max(before, part)  # what the first `part` doesn't take
            expected[token] += weight * kept / (1 - part)
    found = Dipmark(vocabulary, KEY, alpha=alpha).reweighted(law, prefix)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.3, 0.5])
def test_law_is_kept_on_average_over_contexts(alpha: float) -> None:
    law = np.array([0.5, 0.25, 0.15, 0.06, 0.04])
    scheme = Dipmark(5, KEY, 3, alpha)
    rng = np.random.default_rng(2)
    laws = np.array([scheme.reweighted(law, rng.integers(0, 10**6, 3)) for _ in range(4000)])
    error = laws.std(axis=0) / math.sqrt(len(laws))
    assert (np.abs(laws.mean(axis=0) - law) < 4 * error).all()


def test_gamma_reweight_doubles_the_upper_half() -> None:
    """alpha = 1/2 with equal probabilities: all mass on the last half of the places."""
    prefix = [3, 1, 4, 1, 5]
    found = Dipmark(10, KEY, alpha=0.5).reweighted(np.full(10, 0.1), np.array(prefix))
    order = shuffle(prefix, KEY, 10)
    np.testing.assert_allclose(found[order], np.repeat([0.0, 0.2], 5), atol=1e-12)


def test_p_is_binomial_over_first_contexts() -> None:
    rng = np.random.default_rng(3)
    ids = rng.integers(0, 4, 300)  # 16 contexts of two tokens
    scheme = Dipmark(10_007, KEY, 2, share=0.4)
    marks = scheme.marks(Ragged.from_lists([ids], np.int64))
    seen: dict[tuple[int, ...], int] = {}
    for t in range(2, 300):
        seen.setdefault(tuple(ids[t - 2 : t].tolist()), int(marks.values[t - 2]))
    found = detect(marks)
    assert (found.n_scored[0], found.statistic[0]) == (len(seen), sum(seen.values()))
    expected = stats.binom.logsf(sum(seen.values()) - 1, len(seen), 6005 / 10_007)
    assert found.log_p[0] == pytest.approx(expected, rel=1e-10)


def test_round_trip_and_keys_by_chance() -> None:
    rng = np.random.default_rng(4)
    scheme = Dipmark(500, KEY)
    text = rng.integers(0, 500, 5).tolist()
    for _ in range(300):
        law = np.exp(2 * rng.normal(size=500))
        law = scheme.reweighted(law / law.sum(), np.array(text))
        text.append(int(rng.choice(500, p=law / law.sum())))
    tokens = Ragged.from_lists([text[5:]], np.int64)
    assert detect(scheme.marks(tokens)).log_p[0] < math.log(1e-6)
    p = np.exp([detect(Dipmark(500, key).marks(tokens)).log_p[0] for key in range(300)])
    for alpha in (0.2, 0.05):
        assert np.mean(p <= alpha) < alpha + 3 * math.sqrt(alpha * (1 - alpha) / len(p))


def test_bad_parameters_are_named() -> None:
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 1/2\]"):
        Dipmark(10, 1, alpha=0.6)
    with pytest.raises(ValueError, match="share must leave"):
        Dipmark(10, 1, share=0.05)
    with pytest.raises(ValueError, match="vocabulary must be at least 2"):
        Dipmark(1, 1)
    with pytest.raises(ValueError, match="context_width must be at least 1"):
        Dipmark(10, 1, 0)
    with pytest.raises(ValueError, match=r"key must lie between 0 and 2\^1024"):
        Dipmark(10, 2**1024)
    assert str(KEY) not in repr(Dipmark(10, KEY))
