"""Word overlap against plain loops."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations, pairwise
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


def edits(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def plain(metric: str, first: str, second: str) -> float:
    if first == second:
        return 1.0
    if metric == "jaccard":
        a, b = set(first.lower().split()), set(second.lower().split())
        return len(a & b) / max(len(a | b), 1)
    if metric == "levenshtein":
        return 1 - edits(first, second) / max(len(first), len(second))
    words = [re.findall("[a-z0-9]+", text.lower()) for text in (first, second)]
    if metric == "rouge2":
        words = [list(pairwise(each)) for each in words]  # type: ignore[misc]
    total = len(words[0]) + len(words[1])
    common = (
        longest_common(*words)
        if metric == "rougeL"
        else sum((Counter(words[0]) & Counter(words[1])).values())
    )
    return 2 * common / total if total else 0.0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(TEXT, max_size=5), min_size=1, max_size=4))
@pytest.mark.parametrize("metric", ["rougeL", "rouge1", "rouge2", "levenshtein", "jaccard"])
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
        text_similarity([["a"]], "meteor")  # type: ignore[arg-type]
    assert len(text_similarity([[], []]).values) == 0


# (first, second, ROUGE-2 of rouge_score 0.1.2 without stemming, BLEU of sacrebleu 2.6.0 with
# tokenize="none" and use_effective_order, second against first and first against second, and
# nltk 3.10.4's sentence_bleu with lm-polygraph's weights, likewise)
PUBLISHED = [
    (
        "the cat is on the mat",
        "the cat sat on the mat today",
        0.5454545454545454,
        (0.30739407647563216, 0.32159351091190125),
        (0.0, 0.0),
    ),
    (
        "the cat is on the mat",
        "the the the the the the the",
        0.0,
        (0.07809849842300637, 0.08170609724417774),
        (0.0, 0.0),
    ),
    (
        "in Paris France",
        "Paris France",
        0.6666666666666666,
        (0.6065306597126336, 0.5503212081491042),
        (0.6065306597126334, 0.5773502691896257),
    ),
    (
        "It is Paris",
        "the city is Berlin now",
        0.0,
        (0.10682175159905848, 0.14127216461522432),
        (0.0, 0.0),
    ),
    ("a b", "c d", 0.0, (0.0, 0.0), (0.0, 0.0)),
    (
        "the capital of france is paris",
        "paris is the capital of france",
        0.6,
        (0.5623413251903492, 0.5623413251903492),
        (0.5623413251903491, 0.5623413251903491),
    ),
]


@pytest.mark.parametrize(("first", "second", "rouge2", "sacrebleu", "nltk"), PUBLISHED)
def test_published_libraries_give_the_same(
    first: str,
    second: str,
    rouge2: float,
    sacrebleu: tuple[float, float],
    nltk: tuple[float, float],
) -> None:
    texts = [[first, second]]
    assert text_similarity(texts, "rouge2").block(0)[0, 1] == pytest.approx(rouge2)
    found = text_similarity(texts, "bleu").block(0)
    assert found[0, 1] == pytest.approx(np.mean(sacrebleu))
    assert found[1, 0] == found[0, 1]
    unsmoothed = text_similarity(texts, "bleu_unsmoothed").block(0)[0, 1]
    assert unsmoothed == pytest.approx(np.mean(nltk), abs=1e-12)


def test_edit_distance_counts_characters_of_any_script() -> None:
    found = text_similarity([["kitten", "sitting", "", "Прага", "Praga"]], "levenshtein").block(0)
    assert found[0, 1] == pytest.approx(1 - 3 / 7)
    assert found[0, 2] == 0
    assert found[3, 4] == 0
    assert found[3, 3] == 1
    one = text_similarity([["Прага", "Прада"]], "levenshtein").block(0)[0, 1]
    assert one == pytest.approx(0.8)
