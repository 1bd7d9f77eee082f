"""Many keys at once: what one key at a time finds, and places as plain Python finds them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.marks import Marks, Null, Scheme
from statllm.estimators.watermark.places import PlacedScheme
from statllm.estimators.watermark.schemes import make_scheme
from statllm.estimators.watermark.screening import Screening
from statllm.ragged import Ragged

RNG = np.random.default_rng(3)
LENGTHS = [0, 1, 4, 5, 300, 0, 700]
#: Few different tokens, so that contexts of four repeat.
TOKENS = Ragged.from_lengths(RNG.integers(0, 5, sum(LENGTHS)), LENGTHS)

PLACED = {
    "vllm-gumbel": ("vllm-gumbel", {}),
    "vllm-dual-gumbel": ("vllm-dual-gumbel", {}),
    "vllm-red-green": ("vllm-red-green", {"context_width": 3}),
    "sglang-gumbel": ("sglang-gumbel", {}),
    "sglang, two keys": ("sglang-gumbel", {"key_b": 77, "context_width": 2}),
    "textseal-gumbel": ("textseal-gumbel", {"ngram": 2}),
    "textseal, two keys": ("textseal-gumbel", {"ngram": 2, "key_b": 77}),
}
OTHERS = {
    "kgw": ("kgw", {"vocabulary": 100}),
    "sbw": ("sbw", {}),
    "unigram": ("unigram", {"vocabulary": 100}),
}


def scheme_of(name: str, key: int) -> Scheme:
    kind, options = (PLACED | OTHERS)[name]
    return make_scheme(kind, key=key, **options)


def test_tests_are_those_of_one_key_at_a_time() -> None:
    """All schemes in turns, so that places of one aren't taken for those of another."""
    screening = Screening(TOKENS)
    for key in (1, 2, 2**62 + 3):
        for name in PLACED | OTHERS:
            scheme = scheme_of(name, key)
            alone, together = detect(scheme.marks(TOKENS)), screening.detect(scheme)
            for field in dataclasses.fields(alone):
                np.testing.assert_array_equal(
                    getattr(together, field.name), getattr(alone, field.name), f"{name}, {field}"
                )


@pytest.mark.parametrize("name", PLACED)
def test_first_occurrences_are_those_of_the_tokens_themselves(name: str) -> None:
    """Windows compared token by token; before a completion vLLM has -1."""
    scheme = scheme_of(name, 5)
    assert isinstance(scheme, PlacedScheme)
    places = scheme.places(TOKENS)
    kind, options = PLACED[name]
    width = options.get("context_width", options.get("ngram", 4))
    expected, positions = [], []
    for row in TOKENS.to_lists():
        seen = set()
        first = 0 if kind.startswith("vllm") else width
        padded = [-1] * width + row
        for t in range(first, len(row)):
            unit = (*padded[t : t + width], *([row[t]] if kind.startswith("textseal") else []))
            positions.append(t)
            expected.append(unit not in seen)
            seen.add(unit)
    assert places.positions.tolist() == positions
    assert places.first().tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_marks_at_some_places_are_those_of_all() -> None:
    for name in PLACED:
        scheme = scheme_of(name, 9)
        assert isinstance(scheme, PlacedScheme)
        places = scheme.places(TOKENS)
        mask = RNG.random(len(places.scored)) < 0.4
        some, whole = scheme.marks_at(places.kept(mask)), scheme.marks(TOKENS).kept(mask)
        for field in dataclasses.fields(Marks):
            np.testing.assert_array_equal(
                getattr(some, field.name), getattr(whole, field.name), f"{name}, {field.name}"
            )


def test_errors_are_those_of_detect() -> None:
    with pytest.raises(ValueError, match="position 1 of document 0 is negative"):
        Screening(Ragged.from_lists([[1, -2]], np.int64)).detect(scheme_of("vllm-gumbel", 1))
    with pytest.raises(ValueError, match="test must be one of sum, log, optimal, trgof"):
        Screening(TOKENS).detect(scheme_of("sglang-gumbel", 1), "weighted")


def test_a_mask_of_another_length_is_named() -> None:
    none = np.zeros(3, np.uint64)
    marks = Marks(
        np.array([0.2, 0.9, 0.5]), none, np.arange(3), np.arange(3), np.array([0, 3]),
        Null("uniform"),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"mask must have shape \(3,\), not \(2,\)"):
        marks.kept(np.array([True, False]))
