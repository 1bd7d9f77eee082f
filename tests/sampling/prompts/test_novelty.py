"""ROUGE-L against rouge_score's values and a plain table; the nearest text against all pairs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from statllm.errors import InputError
from statllm.estimators.semantic import text_similarity
from statllm.sampling.prompts import RougePool, common_subsequence
from statllm.sampling.prompts.novelty import words_of

REFERENCES = json.loads(
    (Path(__file__).parents[2] / "references" / "prompt_words.json").read_text(encoding="utf-8")
)


def plain(a: list[str], b: list[str]) -> int:
    """The textbook's table."""
    table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            same = table[i, j] + 1
            table[i + 1, j + 1] = same if one == other else max(table[i, j + 1], table[i + 1, j])
    return int(table[-1, -1])


def random_text(rng: random.Random, longest: int) -> str:
    return " ".join(rng.choice("abcdefg") for _ in range(rng.randint(1, longest)))


def test_common_subsequences() -> None:
    rng = random.Random(0)
    for _ in range(200):
        a, b = (random_text(rng, 90).split() for _ in range(2))  # more than 64 words, too
        assert common_subsequence(a, b) == common_subsequence(b, a) == plain(a, b)
    assert common_subsequence([], ["a"]) == common_subsequence(["a"], []) == 0


@pytest.mark.parametrize("case", REFERENCES["rouge_l"], ids=lambda case: case["first"][:12])
def test_values_of_rouge_score(case: dict[str, str]) -> None:
    pool = RougePool()
    pool.add(case["first"])
    _, value = pool.nearest(case["second"])
    assert value == pytest.approx(float(case["rouge_l"]), abs=1e-12)


def test_nearest_is_the_first_of_the_nearest() -> None:
    rng = random.Random(1)
    texts = [random_text(rng, 14) for _ in range(120)]
    pool = RougePool()
    for number, text in enumerate(texts):
        at, value = pool.nearest(text)
        if number:
            similar = text_similarity([[*texts[:number], text]]).block(0)[-1, :-1]
            assert value == pytest.approx(similar.max(), abs=1e-12)
            best = similar.max()
            assert at == int(np.flatnonzero(similar > best - 1e-12)[0])
        else:
            assert (at, value) == (None, 0.0)
        pool.add(text)
    assert len(pool) == 120


def test_scripts_without_spaces() -> None:
    assert words_of("猫が好き!") == []
    pool = RougePool("unicode")
    pool.add("猫が好きです")
    assert pool.nearest("犬が好きです") == (0, pytest.approx(5 / 6))
    plain_pool = RougePool()
    plain_pool.add("猫が好きです")
    assert plain_pool.nearest("犬が好きです") == (None, 0.0)  # as rouge_score has it
    with pytest.raises(InputError, match="words must be"):
        RougePool("bytes")  # type: ignore[arg-type]
