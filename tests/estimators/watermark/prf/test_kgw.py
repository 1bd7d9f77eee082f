"""Green lists against transformers' detector and processor, and lm-watermarking's counts."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import WatermarkDetector, WatermarkingConfig, WatermarkLogitsProcessor

from statllm.estimators.watermark.deduplicate import deduplicated
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf import _green_lists
from statllm.estimators.watermark.prf.kgw import Kgw
from statllm.ragged import Ragged


def transformers_detector(vocabulary: int, repeated: bool, **settings: Any) -> WatermarkDetector:
    model = SimpleNamespace(bos_token_id=-5, is_encoder_decoder=False, vocab_size=vocabulary)
    config = WatermarkingConfig(
        greenlist_ratio=settings.get("share", 0.25), bias=2.0, hashing_key=settings["key"],
        seeding_scheme=settings["seeding"], context_width=settings["context_width"],
    )  # fmt: skip
    return WatermarkDetector(model, "cpu", config, ignore_repeated_ngrams=not repeated)


def per_document(scheme: Kgw, ids: np.ndarray) -> list[np.ndarray]:
    marks = scheme.marks(Ragged.from_lengths(ids.ravel(), [ids.shape[1]] * len(ids)))
    return np.split(marks.values, marks.offsets[1:-1])


@pytest.mark.parametrize("seeding", ["lefthash", "selfhash"])
@pytest.mark.parametrize("width", [1, 2, 4, 7])
@pytest.mark.parametrize("key", [15485863, 1, 2**31 + 11, 3_000_000_007, 2**55 + 3])
def test_counts_are_those_of_transformers(seeding: str, width: int, key: int) -> None:
    """Small vocabulary, every token of every document; large keys overflow int64 in self-hash."""
    vocabulary, share = 97, 0.3
    settings = {"key": key, "seeding": seeding, "context_width": width, "share": share}
    ids = np.random.default_rng(width).integers(0, vocabulary, (3, 40))
    theirs = transformers_detector(vocabulary, True, **settings)(
        torch.from_numpy(ids), return_dict=True
    )
    ours = per_document(Kgw(vocabulary, **settings), ids)
    assert [len(row) for row in ours] == theirs.num_tokens_scored.tolist()
    assert [int(row.sum()) for row in ours] == theirs.num_green_tokens.tolist()


@pytest.mark.parametrize("seeding", ["lefthash", "selfhash"])
@pytest.mark.parametrize("width", [1, 3])
def test_every_colour_is_that_of_transformers(seeding: str, width: int) -> None:
    """Not the sum alone: each window's colour from their processor's list."""
    vocabulary, key = 1000, 15485863
    processor = WatermarkLogitsProcessor(
        vocabulary, "cpu", hashing_key=key, seeding_scheme=seeding, context_width=width
    )
    ids = np.random.default_rng(9).integers(0, vocabulary, 60)
    scheme = Kgw(vocabulary, key, seeding=seeding, context_width=width)  # type: ignore[arg-type]
    marks = scheme.marks(Ragged.from_lists([ids], np.int64))
    for position, value in zip(marks.positions, marks.values, strict=True):
        end = position + 1 if seeding == "selfhash" else position
        listed = processor._get_greenlist_ids(torch.from_numpy(ids[:end]))
        assert value == (ids[position] in listed.numpy())


def test_counts_at_a_vocabulary_of_32_000() -> None:
    """Counts of transformers 5.23 and lm-watermarking on the same 3 x 200 tokens, side by side.

    lm-watermarking's schemes are ``simple_1``, ``selfhash`` and ``ff-additive_prf-4-False``.
    """
    ids = torch.randint(0, 32_000, (3, 200), generator=torch.Generator().manual_seed(7)).numpy()

    def greens(**settings: Any) -> list[int]:
        return [int(row.sum()) for row in per_document(Kgw(32_000, **settings), ids)]

    lm = "lm-watermarking"
    assert greens() == greens(flavour=lm) == [52, 39, 60]
    assert greens(context_width=4) == [52, 39, 59]
    assert greens(seeding="selfhash", context_width=4) == [56, 38, 40]
    assert greens(seeding="selfhash", context_width=4, flavour=lm) == [47, 58, 41]
    assert greens(seeding="additive", context_width=4, flavour=lm) == [50, 48, 43]


@pytest.mark.parametrize("seeding", ["additive", "minhash", "skipgram"])
@pytest.mark.parametrize("width", [1, 4])
def test_contexts_of_lm_watermarking_against_pytorch(seeding: str, width: int) -> None:
    """Its recipe in PyTorch: products wrap, the table is a permutation of 1,000,003 numbers."""
    vocabulary, key = 300, 3_000_000_000_000_007
    generator = torch.Generator().manual_seed(2971215073)
    table = torch.randperm(1_000_003, generator=generator)
    recipes = {
        "additive": lambda context: key * int(context.sum()),
        "minhash": lambda context: int((table[(key * context) % 1_000_003] + 1).min()),
        "skipgram": lambda context: int(table[(key * context[0]) % 1_000_003] + 1),
    }
    ids = torch.from_numpy(np.random.default_rng(width).integers(0, vocabulary, 50))
    scheme = Kgw(
        vocabulary,
        key,
        seeding=seeding,
        context_width=width,
        flavour="lm-watermarking",  # type: ignore[arg-type]
    )
    values = scheme.marks(Ragged.from_lists([ids.numpy()], np.int64)).values
    for t in range(width, 50):
        seed = recipes[seeding](ids[t - width : t]) % (2**64 - 1)
        order = torch.randperm(vocabulary, generator=torch.Generator().manual_seed(seed))
        assert values[t - width] == (int(ids[t]) in order[:75].tolist())


@pytest.mark.parametrize("seeding", ["lefthash", "selfhash"])
def test_written_law_is_that_of_transformers(seeding: str) -> None:
    """Their processor raises logits; self-hash tries the 40 likeliest tokens alone."""
    vocabulary, width = 200, 2
    processor = WatermarkLogitsProcessor(
        vocabulary, "cpu", bias=1.5, seeding_scheme=seeding, context_width=width
    )
    scheme = Kgw(vocabulary, bias=1.5, seeding=seeding, context_width=width)  # type: ignore[arg-type]
    rng = np.random.default_rng(3)
    for length in (1, 2, 9):
        prefix = rng.integers(0, vocabulary, length)
        logits = torch.from_numpy(2 * rng.normal(size=(1, vocabulary)))
        raised = processor(torch.from_numpy(prefix)[None], logits)
        found = scheme.reweighted(torch.softmax(logits[0], 0).numpy(), prefix)
        np.testing.assert_allclose(found, torch.softmax(raised[0], 0).numpy(), rtol=1e-9)


def scheme_of(seeding: str, key: int = 15485863) -> Kgw:
    width = 1 if seeding == "lefthash" else 4
    flavour = "transformers" if seeding in ("lefthash", "selfhash") else "lm-watermarking"
    return Kgw(500, key, seeding=seeding, context_width=width, flavour=flavour)  # type: ignore[arg-type]


SEEDINGS = ["lefthash", "selfhash", "additive", "minhash", "skipgram"]


@pytest.mark.parametrize("seeding", SEEDINGS)
def test_round_trip_and_keys_by_chance(seeding: str) -> None:
    """300 tokens of random laws are found; under 300 other keys p isn't too small."""
    rng = np.random.default_rng(4)
    scheme = scheme_of(seeding)
    text = rng.integers(0, 500, 4).tolist()
    for _ in range(300):
        law = np.exp(2 * rng.normal(size=500))
        law = scheme.reweighted(law / law.sum(), np.array(text))
        text.append(int(rng.choice(500, p=law)))
    tokens = Ragged.from_lists([text[4:]], np.int64)
    assert detect(scheme.marks(tokens)).log_p[0] < math.log(1e-6)
    keys = rng.integers(1, 2**31, 300).tolist()
    p = np.exp([detect(scheme_of(seeding, key).marks(tokens)).log_p[0] for key in keys])
    for alpha in (0.2, 0.05):
        assert np.mean(p <= alpha) < alpha + 3 * math.sqrt(alpha * (1 - alpha) / len(p))
    assert p.mean() < 0.6  # and isn't far too large


def test_p_is_the_binomial_tail_of_distinct_pairs() -> None:
    scheme = Kgw(50_000, context_width=1)
    ids = np.random.default_rng(5).integers(0, 50_000, 400)
    ids = np.concatenate([ids, ids])
    marks = scheme.marks(Ragged.from_lists([ids], np.int64))
    count = int(deduplicated(marks).values.sum())
    distinct = len({(int(a), int(b)) for a, b in pairwise(ids)})
    found = detect(marks)
    assert found.n_scored[0] == distinct
    expected = stats.binom.logsf(count - 1, distinct, 0.25)
    assert found.log_p[0] == pytest.approx(expected, rel=1e-10)


def test_a_bound_on_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists that don't fit are drawn again, piece by piece."""
    ids = np.random.default_rng(6).integers(0, 997, 5000)
    tokens = Ragged.from_lists([ids], np.int64)
    whole = Kgw(997).marks(tokens).values
    for most in (1, 7, 300):
        _green_lists.lists.cache_clear()
        monkeypatch.setattr(_green_lists, "CACHE_BYTES", most * 125)
        np.testing.assert_array_equal(Kgw(997).marks(tokens).values, whole)
        np.testing.assert_array_equal(Kgw(997).marks(tokens).values, whole)
    _green_lists.lists.cache_clear()


@pytest.mark.parametrize("seeding", SEEDINGS)
def test_documents_without_a_whole_context_have_no_marks(seeding: str) -> None:
    marks = scheme_of(seeding).marks(Ragged.from_lists([[], [1], [], [5, 6, 7, 8, 9]], np.int64))
    first = {"lefthash": 1, "selfhash": 3}.get(seeding, 4)
    assert marks.lengths.tolist() == [0, 0, 0, 5 - first]
    assert marks.positions.tolist() == list(range(first, 5))


def test_bad_parameters_are_named() -> None:
    with pytest.raises(ValueError, match="vocabulary must be at least 2"):
        Kgw(1)
    with pytest.raises(ValueError, match="share must leave"):
        Kgw(10, share=0.05)
    with pytest.raises(ValueError, match="seeding must be one of"):
        Kgw(10, seeding="other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="flavour must be"):
        Kgw(10, flavour="other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lm-watermarking's alone"):
        Kgw(10, seeding="minhash")
    with pytest.raises(ValueError, match="context_width must be at least 1"):
        Kgw(10, context_width=0)
    with pytest.raises(ValueError, match="position 0 of document 0 is negative"):
        Kgw(10).marks(Ragged.from_lists([[-1]], np.int64))
