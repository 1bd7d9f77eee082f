"""Word overlap against plain loops."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.estimators.semantic.graph import eigenvalue_uncertainty
from statllm.estimators.semantic.lexical import lexical_similarity, text_similarity

TEXT = st.lists(st.sampled_from(["a", "B", "b", "the", "The", "x-y", "7", "."]), max_size=7).map(
    " ".join
)


def longest_common(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1]


def plain(metric: str, first: str, second: str) -> float:
    if first == second:
        return 1.0
    if metric == "jaccard":
        a, b = set(first.lower().split()), set(second.lower().split())
        return len(a & b) / max(len(a | b), 1)
    words = [re.findall("[a-z0-9]+", text.lower()) for text in (first, second)]
    total = len(words[0]) + len(words[1])
    common = (
        longest_common(*words)
        if metric == "rougeL"
        else sum((Counter(words[0]) & Counter(words[1])).values())
    )
    return 2 * common / total if total else 0.0


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(TEXT, max_size=5), min_size=1, max_size=4))
@pytest.mark.parametrize("metric", ["rougeL", "rouge1", "jaccard"])
def test_similarity_equals_all_pairs_written_out(metric: Any, prompts: list[list[str]]) -> None:
    table = text_similarity(prompts, metric)
    scores = lexical_similarity(prompts, metric)
    for number, texts in enumerate(prompts):
        expected = [[plain(metric, a, b) for b in texts] for a in texts]
        np.testing.assert_allclose(
            table.block(number), np.reshape(expected, (len(texts), len(texts)))
        )
        pairs = [plain(metric, a, b) for a, b in combinations(texts, 2)]
        assert scores[number] == pytest.approx(np.mean(pairs) if pairs else np.nan, nan_ok=True)


def test_known_values() -> None:
    # Lin (2004), section 3.1: two summaries of "police killed the gunman", F with equal weights.
    texts = [["police killed the gunman", "police kill the gunman", "the gunman kill police"]]
    found = text_similarity(texts).block(0)[0]
    assert found == pytest.approx([1.0, 0.75, 0.5])


def test_three_empty_texts_are_one_cluster() -> None:
    # lm-polygraph 0.7.0 takes them for unlike and finds 3.
    found = eigenvalue_uncertainty(text_similarity([["", "", ""]], "jaccard"))
    assert found[0] == pytest.approx(1.0)
    assert text_similarity([["", "a"]]).block(0)[0, 1] == 0


def test_long_texts_and_many_prompts_take_several_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    prompts = [
        [" ".join(rng.choice(list("abcdef"), rng.integers(0, 30))) for _ in range(4)]
        for _ in range(20)
    ]
    whole = text_similarity(prompts).values
    monkeypatch.setattr("statllm.estimators.semantic.lexical._BLOCK", 50)
    np.testing.assert_array_equal(text_similarity(prompts).values, whole)
    for number in (0, 7, 19):
        texts = prompts[number]
        expected = [plain("rougeL", a, b) for a in texts for b in texts]
        np.testing.assert_allclose(whole[16 * number : 16 * number + 16], expected)


def test_arrow_columns_and_odd_input() -> None:
    column = pa.chunked_array([[["a b", "a"]], [["c"]]])
    assert text_similarity(column).sizes.tolist() == [2, 1]
    with pytest.raises(ValueError, match="1 texts are missing"):
        text_similarity([["a", None]])
    with pytest.raises(ValueError, match="texts must be strings"):
        text_similarity([[1, 2]])
    with pytest.raises(ValueError, match="metric must be one of"):
        text_similarity([["a"]], "bleu")  # type: ignore[arg-type]
    assert len(text_similarity([[], []]).values) == 0
