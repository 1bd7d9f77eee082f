"""Pair tables and clusters against plain loops and scipy's linkage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from statllm.estimators.semantic.clusters import (
    RULES,
    n_semantic_sets,
    nli_relation,
    semantic_clusters,
)
from statllm.estimators.semantic.entropy import semantic_entropy
from statllm.estimators.semantic.pairwise import Pairwise
from statllm.ragged import Ragged

METHODS = ("components", "complete", "greedy", "jlko", "lorenzkuhn")
ONE_HOT = np.eye(3)  # contradiction, neutral, entailment


def relation_of(rng: np.random.Generator, k: int, share: float) -> np.ndarray:
    upper = np.triu(rng.random((k, k)) < share, 1)
    return upper | upper.T | np.eye(k, dtype=bool)


def plain_clusters(same: np.ndarray, method: str) -> list[int]:
    """The algorithms sample by sample, with cluster numbers by first appearance."""
    k = len(same)
    ids = list(range(k)) if method == "lorenzkuhn" else [-1] * k
    if method == "components":
        for i in range(k):
            stack = [i] if ids[i] == -1 else []
            while stack:
                member = stack.pop()
                ids[member] = i
                stack += [j for j in range(k) if same[member, j] and ids[j] == -1]
    elif method == "lorenzkuhn":
        for i in range(k):
            for j in range(i + 1, k):
                if same[i, j]:
                    ids[j] = ids[i]
    else:
        for i in range(k):
            if ids[i] != -1:
                continue
            ids[i] = i
            for j in range(i + 1, k):
                if same[i, j] and (method == "jlko" or ids[j] == -1):
                    ids[j] = i
    numbers: dict[int, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in ids]


@pytest.mark.parametrize("method", ["components", "greedy", "jlko", "lorenzkuhn"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_clusters_equal_the_plain_algorithm(method: Any, share: float) -> None:
    rng = np.random.default_rng(int(100 * share))
    blocks = [relation_of(rng, int(k), share) for k in rng.integers(0, 9, 60)]
    found = semantic_clusters(Pairwise.from_blocks(blocks), method)
    assert found.to_lists() == [plain_clusters(block, method) for block in blocks]


def test_complete_linkage_equals_scipy_without_ties() -> None:
    rng = np.random.default_rng(5)
    blocks = []
    for k in [1, 2, 3, 5, 8, 8, 8, 12]:
        similar = np.eye(k)
        places = np.triu_indices(k, 1)
        similar[places] = rng.random(len(places[0]))
        blocks.append(np.maximum(similar, similar.T))
    found = semantic_clusters(Pairwise.from_blocks(blocks), "complete", 0.35)
    for block, labels in zip(blocks, found.to_lists(), strict=True):
        if len(block) == 1:
            assert labels == [0]
            continue
        tree = linkage(squareform(1 - block, checks=False), "complete")
        expected = fcluster(tree, 1 - 0.35, "distance")
        pairs = np.equal.outer(expected, expected)
        np.testing.assert_array_equal(np.equal.outer(labels, labels), pairs)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.floats(0.05, 0.9))
def test_properties_of_every_method(seed: int, k: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    same = relation_of(rng, k, share)
    order = rng.permutation(k)
    table = Pairwise.from_blocks([same, same[np.ix_(order, order)]])
    for method in METHODS:
        first, second = semantic_clusters(table, method).to_lists()
        assert len(first) == k  # every sample is in exactly one cluster
        assert sorted(set(first)) == list(range(max(first) + 1))  # numbered without gaps
        together = np.equal.outer(first, first)
        chained = np.linalg.matrix_power(same.astype(float), k) > 0
        assert not (together & ~chained).any()  # nothing is joined without a chain
        if method == "components":
            np.testing.assert_array_equal(together, chained)
            back = np.equal.outer(second, second)
            np.testing.assert_array_equal(back, together[np.ix_(order, order)])
        if method == "complete":
            assert not (together & ~same).any()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 3), max_size=7), min_size=1, max_size=5))
def test_an_equivalence_gives_its_classes_whatever_the_method(rows: list[list[int]]) -> None:
    blocks = [np.equal.outer(row, row).reshape(len(row), len(row)) for row in rows]
    for method in METHODS:
        found = semantic_clusters(Pairwise.from_blocks(blocks), method)
        for row, labels in zip(rows, found.to_lists(), strict=True):
            numbers: dict[int, int] = {}
            assert labels == [numbers.setdefault(c, len(numbers)) for c in row]
        assert n_semantic_sets(found).tolist() == [len(set(row)) for row in rows]


def test_overlapping_clusters_of_uqlm_become_a_partition() -> None:
    # Entailment one way: 0 -> 1, 0 -> 2, 3 -> 1, 3 -> 2 (by uqlm 0.6.7 clusters of sizes that
    # sum to 6 for 4 responses, and entropy 0.693). Each response is in one cluster here.
    verdict = np.ones((4, 4), dtype=int)
    verdict[[0, 0, 3, 3], [1, 2, 1, 2]] = 2
    relation = nli_relation(Pairwise.from_blocks([ONE_HOT[verdict]]), "uqlm")
    assert semantic_clusters(relation, "greedy").to_lists() == [[0, 0, 0, 1]]
    greedy = semantic_entropy(semantic_clusters(relation, "greedy"), kind="discrete")
    assert greedy.value[0] == pytest.approx(0.5623351446)  # 3 + 1
    assert semantic_clusters(relation).to_lists() == [[0, 0, 0, 0]]


def test_jlko_lets_a_later_cluster_take_members() -> None:
    same = np.eye(3, dtype=bool)
    same[[0, 2, 1, 2], [2, 0, 2, 1]] = True  # 2 is like 0 and like 1, which differ
    table = Pairwise.from_blocks([same])
    assert semantic_clusters(table, "greedy").to_lists() == [[0, 1, 0]]
    assert semantic_clusters(table, "jlko").to_lists() == [[0, 1, 1]]


# ---- verdicts ---------------------------------------------------------------------------------

# Rows: verdict one way, the other way; 0 contradiction, 1 neutral, 2 entailment.
TRUTH = {
    "strict": {(2, 2)},
    "jlko": {(1, 2), (2, 2)},
    "lorenzkuhn": {(1, 1), (1, 2), (2, 2)},
    "uq_nlg": {(1, 1), (1, 2), (2, 2)},
    "truthtorchlm": {(1, 1), (1, 2), (2, 2)},
    "uqlm": {(0, 2), (1, 2), (2, 2)},
    "entailment_over_contradiction": {(2, 2)},
}


def test_all_rules_are_tested() -> None:
    assert set(TRUTH) == {*RULES, "entailment_over_contradiction"}


@pytest.mark.parametrize("rule", TRUTH)
@pytest.mark.parametrize("there", [0, 1, 2])
@pytest.mark.parametrize("back", [0, 1, 2])
def test_rules_by_truth_table(rule: str, there: int, back: int) -> None:
    logits = np.full((2, 2, 3), -2.0)
    logits[0, 1, there] = logits[1, 0, back] = 3.0
    expected = (min(there, back), max(there, back)) in TRUTH[rule]
    found = nli_relation(Pairwise.from_blocks([logits]), rule).block(0)
    np.testing.assert_array_equal(found, [[True, expected], [expected, True]])
    # Another order of the model's classes.
    moved = nli_relation(
        Pairwise.from_blocks([logits[..., [2, 1, 0]]]),
        rule,
        ("entailment", "neutral", "contradiction"),
    )
    np.testing.assert_array_equal(moved.block(0), found)


def test_a_tie_between_classes_is_no_verdict() -> None:
    torn = Pairwise.from_blocks([np.full((2, 2, 3), 1 / 3)])
    assert not nli_relation(torn, "strict").block(0)[0, 1]
    assert not nli_relation(torn, "uqlm").block(0)[0, 1]
    assert nli_relation(torn, "lorenzkuhn").block(0)[0, 1]  # nothing contradicts


# ---- the table --------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 5), max_size=6), st.integers(0, 2**32 - 1))
def test_layout(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = [rng.random((k, k)) for k in sizes]
    table = Pairwise.from_blocks(blocks)
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    place = 0
    for number, block in enumerate(blocks):
        np.testing.assert_array_equal(table.block(number), block)
        np.testing.assert_array_equal(table.transpose().block(number), block.T)
        np.testing.assert_allclose(table.symmetric().block(number), (block + block.T) / 2)
        np.testing.assert_array_equal(
            table.symmetric("max").block(number), np.maximum(block, block.T)
        )
        for i in range(len(block)):
            for j in range(len(block)):
                assert table.left[place] == start[number] + i
                assert table.right[place] == start[number] + j
                assert (place in table.diagonal) == (i == j)
                place += 1
    seen = {
        int(row): stack
        for rows, stacks in table.blocks()
        for row, stack in zip(rows, stacks, strict=True)
    }
    assert set(seen) == {i for i, k in enumerate(sizes) if k}
    for row, stack in seen.items():
        np.testing.assert_array_equal(stack, blocks[row])
    places = [rng.integers(0, k, 4) if k else np.empty(0, int) for k in sizes]
    wide = table.expand(Ragged.from_lists([p.tolist() for p in places], np.int64))
    for number, (block, chosen) in enumerate(zip(blocks, places, strict=True)):
        np.testing.assert_array_equal(wide.block(number), block[np.ix_(chosen, chosen)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Pairwise(np.zeros(3), np.array([2])), "values must have 4 rows"),
        (lambda: Pairwise.from_stack(np.zeros((2, 3, 4))), "stack must have shape"),
        (lambda: Pairwise.from_blocks([np.zeros((1, 2))]), "block 0 must be square"),
        (lambda: semantic_clusters(Pairwise.from_blocks([np.eye(2)])), "need a threshold"),
        (
            lambda: semantic_clusters(Pairwise.from_blocks([np.eye(2) > 0]), threshold=0.5),
            "threshold is for similarities",
        ),
        (
            lambda: semantic_clusters(Pairwise.from_blocks([np.array([[1, 1], [0, 1]]) > 0])),
            "must be symmetric",
        ),
        (
            lambda: semantic_clusters(
                Pairwise.from_blocks([np.full((2, 2), np.nan)]), threshold=0.5
            ),
            "NaN",
        ),
        (
            lambda: semantic_clusters(Pairwise.from_blocks([np.eye(2) > 0]), "kmeans"),  # type: ignore[arg-type]
            "method is 'kmeans'",
        ),
        (lambda: nli_relation(Pairwise.from_blocks([np.eye(2)])), "three numbers per pair"),
        (
            lambda: nli_relation(Pairwise.from_stack(np.full((1, 2, 2, 3), np.nan))),
            "nli holds NaN",
        ),
        (lambda: nli_relation(Pairwise.from_blocks([np.ones((1, 1, 3))]), "loose"), "rule is"),
        (
            lambda: nli_relation(
                Pairwise.from_blocks([np.ones((1, 1, 3))]), "strict", ("yes", "no")
            ),
            "classes must be",
        ),
    ],
)
def test_wrong_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_no_prompts_and_no_samples() -> None:
    empty = Pairwise(np.empty(0, dtype=bool), np.array([0, 0]))
    for method in METHODS:
        assert semantic_clusters(empty, method).to_lists() == [[], []]
    assert (
        semantic_clusters(Pairwise.from_blocks([]).with_values(np.empty(0, bool))).to_lists() == []
    )
