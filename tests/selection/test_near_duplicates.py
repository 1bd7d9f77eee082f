"""Near-duplicates against brute force, planted pairs, and properties."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.errors import InputError
from statllm.selection._minhash import banding, missed
from statllm.selection.near_duplicates import (
    DUPLICATE_PRESETS,
    near_duplicates,
    near_duplicates_preset,
)

Set = frozenset[tuple[str, ...]]


def shingles(text: str | None, n: int) -> Set:
    words = (text or "").lower().split()
    if len(words) < n:
        return frozenset([tuple(words)] if words else [])
    return frozenset(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def similarity(a: Set, b: Set) -> float:
    return len(a & b) / len(a | b)


def by_definition(texts: list[str | None], threshold: float, n: int) -> list[int]:
    """The first row of each text's component, all pairs compared; -1 for an empty text."""
    sets = [shingles(text, n) for text in texts]
    label = list(range(len(texts)))
    for i, j in itertools.combinations(range(len(texts)), 2):
        if sets[i] and sets[j] and similarity(sets[i], sets[j]) >= threshold:
            low, high = sorted((label[i], label[j]))
            label = [low if x == high else x for x in label]
    return [x if s else -1 for x, s in zip(label, sets, strict=True)]


def pair(jaccard: float, size: int, rng: np.random.Generator) -> tuple[str, str]:
    """Two texts of `size` different words with this similarity of word sets, nearly."""
    common = round(2 * size * jaccard / (1 + jaccard))
    names = [f"w{x}" for x in rng.choice(10**9, 2 * size - common, replace=False)]
    left, right = names[:size], names[size - common :]
    return " ".join(rng.permutation(left)), " ".join(rng.permutation(right))


texts_of_few_words = st.lists(
    st.one_of(st.none(), st.lists(st.sampled_from("abcdef"), max_size=7).map(" ".join)),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(texts_of_few_words, st.sampled_from([0.3, 0.5, 0.55, 1.0]), st.integers(1, 3))
def test_clusters_are_those_of_all_pairs(texts: list[str | None], threshold: float, n: int) -> None:
    """With bands of one value and so many of them that no pair is missed."""
    found = near_duplicates(texts, threshold, shingle=n, permutations=64, rows=1)
    assert found.cluster.tolist() == by_definition(texts, threshold, n)
    sets = [shingles(text, n) for text in texts]
    for row, (of, jaccard) in enumerate(zip(found.duplicate_of, found.jaccard, strict=True)):
        if of >= 0:
            assert found.kept[of]
            assert jaccard == pytest.approx(similarity(sets[row], sets[of]))
        else:
            assert np.isnan(jaccard)
    assert sum(found.counts().values()) == len(texts)
    assert found.to_frame()["reason"].value_counts().to_dict() == {
        reason: count for reason, count in found.counts().items() if count
    }


@settings(max_examples=30, deadline=None)
@given(texts_of_few_words, st.randoms(use_true_random=False))
def test_order_of_texts_does_not_matter(texts: list[str | None], random) -> None:
    order = list(range(len(texts)))
    random.shuffle(order)
    one = near_duplicates(texts)
    other = near_duplicates([texts[i] for i in order])
    back = np.empty(len(texts), dtype=int)
    back[order] = np.arange(len(texts))
    clusters = other.cluster[back]
    for i, j in itertools.combinations(range(len(texts)), 2):
        assert (one.cluster[i] == one.cluster[j]) == (clusters[i] == clusters[j])


def test_planted_pairs() -> None:
    """Recall by similarity, and the share of candidates against 1 - (1 - J^rows)^bands."""
    rng = np.random.default_rng(0)
    n = 300
    for jaccard, low, high in ((0.9, 0.99, 1), (0.7, 0.99, 1), (0.4, 0, 0), (0.2, 0, 0)):
        texts = list(itertools.chain(*(pair(jaccard, 60, rng) for _ in range(n))))
        found = near_duplicates(texts, 0.55, shingle=1)
        assert low <= np.mean(found.duplicate_of[1::2] == np.arange(0, 2 * n, 2)) <= high
        expected = 1 - found.miss_rate(jaccard)
        error = np.sqrt(expected * (1 - expected) / n)
        assert found.n_candidates / n == pytest.approx(expected, abs=4.5 * error + 0.01)
    assert found.n_verified == 0


def test_miss_rate_at_the_threshold() -> None:
    """Wide bands miss many pairs, as often as the formula has it."""
    rng = np.random.default_rng(1)
    texts = list(itertools.chain(*(pair(0.6, 40, rng) for _ in range(800))))
    found = near_duplicates(texts, 0.59, shingle=1, permutations=40, rows=4)
    share = np.mean(found.duplicate_of[1::2] < 0)
    expected = missed(0.6, 10, 4)
    assert share == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 800))
    for threshold, permutations in ((0.55, 256), (0.55, 128), (0.8, 128)):
        rows, bands = banding(threshold, permutations)
        assert missed(threshold, bands, rows) <= 0.01
        assert missed(threshold, permutations // (rows + 1), rows + 1) > 0.01


def test_normalisation() -> None:
    same = ["What is X-ray?", "what is x ray", "  WHAT\tis X\u00a0ray!! ", "ｗｈａｔ is x ray"]
    assert near_duplicates(same, 1.0).counts()["kept"] == 1
    sums = ["x + y = 2", "x - y = 2", "x * y = 2"]
    assert near_duplicates(sums, 1.0).counts()["kept"] == 1
    assert near_duplicates(sums, 1.0, normalisation="whitespace").counts()["kept"] == 3
    symbols = ["???", "!!!", "???"]  # not empty, though without a letter
    assert near_duplicates(symbols).duplicate_of.tolist() == [-1, -1, 0]
    chinese = ["法国的首都是哪里", "法国的首都在哪里", "水的沸点是多少"]
    assert near_duplicates(chinese, shingle=1).duplicate_of.tolist() == [-1, 0, -1]


def test_which_text_of_a_cluster_is_kept() -> None:
    texts = ["a b c d", "x y", "a b c d", "a b c d", ""]
    assert near_duplicates(texts).duplicate_of.tolist() == [-1, -1, 0, 0, -1]
    best = near_duplicates(texts, score=[0, 9, 2, 2, 9])
    assert best.duplicate_of.tolist() == [2, -1, -1, 2, -1]
    assert best.cluster.tolist() == [0, 1, 0, 0, -1]
    assert best.kept.tolist() == [False, True, True, False, False]


def test_chains_are_counted() -> None:
    """a-b and b-c are near, a-c isn't: one cluster, and c is far from the kept a."""
    texts = ["1 2 3 4 5 6 7 8", "3 4 5 6 7 8 9 10", "5 6 7 8 9 10 11 12"]
    found = near_duplicates(texts, 0.6, shingle=1)
    assert found.duplicate_of.tolist() == [-1, 0, 0]
    assert found.jaccard[1:] == pytest.approx([6 / 10, 4 / 12])
    assert found.n_chained == 1


def test_many_copies_are_cheap() -> None:
    template = "solve the following problem step by step and box the final answer of part"
    found = near_duplicates([f"{template} {i}" for i in range(3000)] + ["one text"] * 3000)
    assert found.kept.sum() == 2
    assert found.n_candidates < 50_000  # of 18 million pairs


def test_nothing_depends_on_the_process() -> None:
    code = (
        "from statllm.selection.near_duplicates import near_duplicates as f;"
        "import random; random.seed(1);"
        "t = [' '.join(random.choices('abcdefghij', k=8)) for _ in range(300)];"
        "r = f(t, .5, permutations=16, rows=4); print(r.cluster.tolist(), r.n_candidates)"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_presets() -> None:
    texts = ["one two three four five six", "one two three four five seven"]
    assert near_duplicates_preset(texts, "natural-reasoning").duplicate_of.tolist() == [-1, 0]
    fineweb = near_duplicates_preset(texts, "fineweb")
    assert (fineweb.bands, fineweb.rows) == (14, 8)
    assert fineweb.miss_rate() == pytest.approx((1 - 0.75**8) ** 14)
    assert DUPLICATE_PRESETS["gopher"].shingle == 13
    with pytest.raises(InputError, match="no preset 'x'"):
        near_duplicates_preset(texts, "x")


@pytest.mark.parametrize("texts", [[], [None, "", " "], pa.array([], pa.string())])
def test_nothing_to_compare(texts) -> None:
    found = near_duplicates(texts)
    assert found.counts() == {"kept": 0, "near_duplicate": 0, "empty": len(texts)}
    assert "empty" in found.summary()


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        (["a", 3], {}, "texts: row 1 is int"),
        ("a text", {}, "not one text"),
        (pa.array([1]), {}, "must be text, not int64"),
        (["a", "b"], {"score": [0, np.nan]}, "score is NaN in row 1"),
        (["a", "b"], {"score": [0]}, "must have shape"),
        (["a"], {"threshold": 0}, "threshold must lie"),
        (["a"], {"shingle": 0}, "shingle must be at least 1"),
        (["a"], {"permutations": 0}, "permutations must be"),
        (["a"], {"permutations": 2}, "miss more than 0.01"),
        (["a"], {"rows": 300}, "rows must lie"),
        (["a"], {"max_miss": 1.0}, "max_miss"),
        (["a"], {"normalisation": "x"}, "normalisation must be"),
    ],
)
def test_wrong_input(texts, settings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        near_duplicates(texts, **settings)
