"""One green list for all contexts, against NumPy's shuffle and the hypergeometric law."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf.unigram import Unigram
from statllm.ragged import Ragged


@pytest.mark.parametrize(
    ("key", "vocabulary", "share"), [(0, 50, 0.5), (7, 32_000, 0.25), (2**40, 50_257, 0.5)]
)
def test_list_is_that_of_the_released_code(key: int, vocabulary: int, share: float) -> None:
    """Its recipe: a list of true and false, shuffled by a generator that the key's hash seeds."""
    digest = hashlib.sha256(np.int64(key)).digest()
    mask = np.array(
        [True] * int(share * vocabulary) + [False] * (vocabulary - int(share * vocabulary))
    )
    np.random.default_rng(int.from_bytes(digest[:4], "little")).shuffle(mask)
    tokens = Ragged.from_lists([np.arange(vocabulary)], np.int64)
    marks = Unigram(vocabulary, key, share).marks(tokens)
    np.testing.assert_array_equal(marks.values, mask)


def test_p_is_hypergeometric_over_distinct_tokens() -> None:
    scheme = Unigram(60, key=5, share=0.4)
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, 60, n).tolist() for n in (80, 12, 1, 200)]
    tokens = Ragged.from_lists(lists, np.int64)
    green = scheme.marks(Ragged.from_lists([np.arange(60)], np.int64)).values.astype(bool)
    found = detect(scheme.marks(tokens))
    for document, row in enumerate(lists):
        distinct = sorted(set(row))
        count = int(green[distinct].sum())
        expected = stats.hypergeom.logsf(count - 1, 60, 24, len(distinct))
        assert found.n_scored[document] == len(distinct)
        assert found.statistic[document] == count
        if len(distinct) > 1:  # a law of one draw is binomial
            assert found.log_p[document] == pytest.approx(expected, abs=1e-9)


def test_written_law_raises_green_by_the_bias() -> None:
    scheme = Unigram(40, key=1, bias=1.5)
    law = np.random.default_rng(1).dirichlet(np.ones(40))
    green = scheme.marks(Ragged.from_lists([np.arange(40)], np.int64)).values.astype(bool)
    found = scheme.reweighted(law, np.zeros(0, np.int64))
    logits = np.log(law) + 1.5 * green
    np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(), rtol=1e-12)


def test_round_trip_and_keys_by_chance() -> None:
    """300 tokens of random laws; other keys give p that isn't too small."""
    rng = np.random.default_rng(2)
    scheme = Unigram(2000, key=3)
    text = []
    for _ in range(300):
        law = np.exp(2 * rng.normal(size=2000))
        text.append(rng.choice(2000, p=scheme.reweighted(law / law.sum(), np.array(text))))
    tokens = Ragged.from_lists([text], np.int64)
    assert detect(scheme.marks(tokens)).log_p[0] < math.log(1e-6)
    p = np.exp([detect(Unigram(2000, key).marks(tokens)).log_p[0] for key in range(100, 1100)])
    for alpha in (0.1, 0.01):
        assert np.mean(p <= alpha) < alpha + 3 * math.sqrt(alpha * (1 - alpha) / len(p))


def test_bad_parameters_are_named() -> None:
    with pytest.raises(ValueError, match="share must leave"):
        Unigram(10, share=0.01)
    with pytest.raises(ValueError, match="token 10 at position 1 of document 1"):
        Unigram(10).marks(Ragged.from_lists([[1], [2, 10]], np.int64))
