"""SynthID's bits, contexts and tests, against transformers and enumeration."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np
import pytest

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.marks import Marks, Null
from statllm.estimators.watermark.prf.synthid import SynthId
from statllm.ragged import Ragged

#: The thirty keys of DeepMind's and transformers' examples.
KEYS = (
    654, 400, 836, 123, 340, 443, 597, 160, 57, 29, 590, 639, 13, 715, 468, 990, 966, 226, 324,
    585, 118, 504, 421, 521, 129, 669, 732, 225, 90, 960,
)  # fmt: skip
RUN = Ragged.from_lists([list(range(100, 112))], np.int64)
#: Bits of the first n-gram of RUN and the sum of all, by `compute_g_values` of transformers 5.19
#: and synthid-text 0.2.1 as released, and of google-deepmind/synthid-text since commit 32197c3.
FROZEN = {
    "transformers": ("011000100111011101001010010110", 122),
    "deepmind": ("000110001000010010000000101001", 110),
}


def theirs(keys: tuple[int, ...], ngram: int, seed: int) -> Any:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    return transformers.SynthIDTextWatermarkLogitsProcessor(
        ngram, list(keys), 2**16, seed, 1024, torch.device("cpu")
    )


@pytest.mark.parametrize("flavour", ["transformers", "deepmind"])
def test_bits_are_the_published_ones(flavour: Any) -> None:
    first, total = FROZEN[flavour]
    values = SynthId(KEYS, flavour=flavour).marks(RUN).values
    assert values.shape == (8, 30)
    assert "".join(map(str, values[0])) == first
    assert values.sum() == total


def test_long_documents_have_the_bits_of_the_repository() -> None:
    """196 n-grams by the hash of google-deepmind/synthid-text, commit 32197c3, run in PyTorch."""
    tokens = np.arange(200) ** 2 * 7919 % 250_000
    values = SynthId(KEYS, flavour="deepmind").marks(Ragged.from_lengths(tokens, [200])).values
    assert values.shape == (196, 30)
    assert hashlib.sha256(values.tobytes()).hexdigest()[:16] == "68d19dd41fdd1748"


@pytest.mark.parametrize(
    ("keys", "ngram", "seed", "vocabulary"),
    [(KEYS, 5, 0, 256_000), ((2**62, 1), 3, 7, 50), (KEYS, 2, 1, 9), ((2**63 - 1,), 5, 0, 3)],
)
def test_bits_and_contexts_are_those_of_transformers(
    keys: tuple[int, ...], ngram: int, seed: int, vocabulary: int
) -> None:
    """Every bit, and every context that had been seen, of random documents."""
    import torch

    processor = theirs(keys, ngram, seed)
    ids = np.random.default_rng(3).integers(0, vocabulary, (20, 60))
    bits = processor.compute_g_values(torch.from_numpy(ids)).numpy()
    new = processor.compute_context_repetition_mask(torch.from_numpy(ids)).numpy()
    assert vocabulary > 50 or not new.all()
    marks = SynthId(keys, ngram, table_seed=seed).marks(Ragged.from_lengths(ids.ravel(), [60] * 20))
    np.testing.assert_array_equal(marks.values, bits[new])
    np.testing.assert_array_equal(marks.lengths, new.sum(axis=1))
    np.testing.assert_array_equal(marks.positions, np.nonzero(new)[1] + ngram - 1)
    assert marks.null.share == pytest.approx(processor.sampling_table.double().mean().item())


@pytest.mark.parametrize("vocabulary", [40, 70_000])
def test_the_tournament_is_that_of_transformers(vocabulary: int) -> None:
    """Thirty layers over a whole vocabulary, hashed as generation does it."""
    import torch

    processor = theirs(KEYS, 5, 0)
    rng = np.random.default_rng(1)
    law = rng.dirichlet(np.full(vocabulary, 0.3)) * 0.9 + 0.1 / vocabulary
    prefix = rng.integers(0, vocabulary, 9)
    hashed, _ = processor._compute_keys(
        torch.from_numpy(prefix[None, -4:]), torch.arange(vocabulary)[None]
    )
    scores = torch.log(torch.from_numpy(law))[None]
    expected = torch.softmax(
        processor.update_scores(scores, processor.sample_g_values(hashed)), dim=1
    )
    np.testing.assert_allclose(
        SynthId(KEYS).reweighted(law, prefix), expected[0].numpy(), rtol=1e-9
    )


def test_a_tournament_leaves_the_law_as_it_is_on_average() -> None:
    """Two leaves are unbiased: the mean over keys is the model's law (Dathathri et al. 2024)."""
    law = np.array([0.5, 0.3, 0.15, 0.05])
    keys = np.random.default_rng(5).integers(1, 2**31, (4000, 2))
    drawn = np.array(
        [
            SynthId(tuple(pair.tolist()), flavour="deepmind").reweighted(law, np.arange(4))
            for pair in keys
        ]
    )
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(keys))
    assert (np.abs(drawn.mean(axis=0) - law) < 4 * error).all()


def test_nearly_certain_laws_stay_laws() -> None:
    """Where the bits 1 have all the mass, rounding makes no probability negative."""
    rng = np.random.default_rng(6)
    for _ in range(300):
        logits = rng.normal(0, 12, 50)
        law = np.exp(logits - logits.max())
        marked = SynthId(KEYS).reweighted(law / law.sum(), rng.integers(0, 50, 4))
        assert (marked >= 0).all()
        assert marked.sum() == pytest.approx(1)


def test_short_prefixes_and_documents_have_no_marks() -> None:
    law = np.array([0.7, 0.3])
    np.testing.assert_array_equal(SynthId(KEYS).reweighted(law, np.arange(3)), law)
    marks = SynthId(KEYS).marks(Ragged.from_lists([[], [1, 2, 3, 4], [1, 2, 3, 4, 5]], np.int64))
    np.testing.assert_array_equal(marks.lengths, [0, 0, 1])
    found = detect(marks)
    assert np.isnan(found.log_p[:2]).all()
    assert np.isfinite(found.log_p[2])


def tiny(values: np.ndarray, share: float) -> Marks:
    n, depth = values.shape
    order = np.arange(n)
    null = Null("bits", share, depth=depth)
    return Marks(values, order.astype(np.uint64), order, order, np.array([0, n]), null)


@pytest.mark.parametrize("share", [0.5, 0.52])
@pytest.mark.parametrize("test", ["sum", "weighted"])
def test_p_values_are_those_of_all_outcomes(test: Any, share: float) -> None:
    """Three tokens of four layers: the 4,096 outcomes counted out."""
    n, depth = 3, 4
    outcomes = np.array(list(itertools.product([0, 1], repeat=n * depth)), np.uint8)
    chances = share ** outcomes.sum(1) * (1 - share) ** (n * depth - outcomes.sum(1))
    weights = np.linspace(10, 1, depth) if test == "weighted" else np.ones(depth)
    scores = outcomes.reshape(-1, n, depth).sum(axis=1) @ weights
    for at in range(0, len(outcomes), 273):
        found = detect(tiny(outcomes[at].reshape(n, depth), share), test)
        expected = chances[scores >= scores[at] - 1e-9].sum()
        assert np.exp(found.log_p[0]) == pytest.approx(expected, rel=1e-9)


def test_the_weighted_mean_is_that_of_synthid() -> None:
    """Weights 10 to 1, normalised to sum to the depth (`detector_mean.weighted_mean_score`)."""
    marks = SynthId(KEYS).marks(RUN)
    weights = np.linspace(10, 1, 30)
    weights *= 30 / weights.sum()
    found = detect(marks, "weighted")
    assert found.statistic[0] == pytest.approx((marks.values * weights).sum() / (30 * 8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": ()}, "key must be a tuple"),
        ({"key": (2**63 + 987654321,)}, "key must lie"),
        ({"ngram": 1}, "ngram must be at least 2"),
        ({"flavour": "gemini"}, "flavour must be"),
        ({"leaves": 1}, "leaves must be at least 2"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        SynthId(**{"key": KEYS, **options})
    assert "987654321" not in str(caught.value)


def test_wrong_tokens_are_named() -> None:
    with pytest.raises(ValueError, match="position 1 of document 1"):
        SynthId(KEYS).marks(Ragged.from_lists([[1], [2, -3]], np.int64))
