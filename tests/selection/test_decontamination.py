"""Shared runs of words, against a search of the texts themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.errors import InputError
from statllm.selection.decontamination import decontaminate


def words(n: int, start: int = 0) -> list[str]:
    return [f"w{i}" for i in range(start, start + n)]


def test_thirteen_words_leak_and_twelve_do_not() -> None:
    reference = words(40)
    texts, wanted = [], []
    for length in (11, 12, 13, 14):
        for place in range(0, 26, 5):
            inside = reference[place : place + length]
            texts.append(" ".join([*words(6, 100), *inside, *words(6, 200)]))
            wanted.append(length >= 13)
    found = decontaminate(texts, ["Something else, of no use here", " ".join(reference)])
    assert found.leaks.tolist() == wanted
    assert found.reference.tolist() == [1 if leak else -1 for leak in wanted]
    matches = [max(length - 12, 0) for length in (11, 12, 13, 14) for _ in range(6)]
    assert found.n_matches.tolist() == matches
    assert found.ngram[wanted.index(True)] == " ".join(reference[:13])
    assert found.counts() == {"clean": 12, "leak": 12, "short": 0, "empty": 0}


def test_normalisation() -> None:
    reference = "What's the boiling point of water (H2O), in degrees Celsius, at sea level?"
    shouted = "WHAT'S THE BOILING POINT -- of water: H2O; in degrees celsius at   sea level"
    assert decontaminate([shouted], [reference]).leaks.tolist() == [True]
    strict = decontaminate([shouted], [reference], normalisation="whitespace")
    assert strict.leaks.tolist() == [False]


@settings(max_examples=80, deadline=None)
@given(
    *[st.lists(st.lists(st.sampled_from("abc"), max_size=8).map(" ".join), max_size=6)] * 2,
    st.integers(1, 4),
)
def test_against_a_search(texts: list[str], references: list[str], n: int) -> None:
    found = decontaminate(texts, references, n=n)

    def runs(text: str) -> list[str]:
        split = text.split()
        return [" ".join(split[i : i + n]) for i in range(len(split) - n + 1)]

    known = [runs(reference) for reference in references]
    for i, text in enumerate(texts):
        hits = [run for run in runs(text) if any(run in other for other in known)]
        assert found.leaks[i] == bool(hits)
        assert found.n_matches[i] == len(hits)
        assert found.n_ngrams[i] == len(runs(text))
        assert found.ngram[i] == (hits[0] if hits else None)
        first = next((r for r, other in enumerate(known) if hits and hits[0] in other), -1)
        assert found.reference[i] == first
    assert sum(found.counts().values()) == len(texts) == len(found.to_frame())


def test_empty_null_and_short() -> None:
    found = decontaminate([None, "", "a b", "a b c d"], [None, "b c", "b c d"], n=3)
    assert found.counts() == {"clean": 0, "leak": 1, "short": 1, "empty": 2}
    assert found.n_short_references == 2
    assert "2 references have fewer than 3 words" in found.summary()
    assert not decontaminate(["a b c d"], [], n=3).leaks.any()
    assert len(decontaminate([], ["a b c"], n=3).leaks) == 0


def test_wrong_input() -> None:
    with pytest.raises(InputError, match="references: row 1 is float"):
        decontaminate(["a"], ["b", np.nan])  # type: ignore[list-item]
    with pytest.raises(InputError, match="n must be at least 1"):
        decontaminate(["a"], ["b"], n=0)
