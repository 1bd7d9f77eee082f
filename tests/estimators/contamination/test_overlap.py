"""Shared runs against a search; sizes of the tests; the gap against CR2 by matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.estimators.contamination.overlap import overlap
from statllm.estimators.contamination.overlap_tests import (
    accuracy_gap,
    corpus_rank_test,
    corpus_test,
    item_tests,
)
from statllm.ragged import Ragged
from statllm.selection._words import word_rows
from statllm.selection.decontamination import decontaminate

LISTS = st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=6)


def runs(tokens: list[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


@settings(max_examples=150)
@given(LISTS, LISTS, st.integers(1, 4))
def test_against_a_search(documents: list[list[int]], items: list[list[int]], n: int) -> None:
    found = overlap(Ragged.from_lists(documents, int), Ragged.from_lists(items, int), n)
    for i, item in enumerate(items):
        longest, first = 0, -1
        for d, document in enumerate(documents):
            for m in range(len(item), longest, -1):
                if set(runs(item, m)) & set(runs(document, m)):
                    longest, first = m, d
                    break
        assert (found.longest[i], found.document[i]) == (longest, first)
        known = {run for document in documents for run in runs(document, n)}
        assert found.covered.row(i).tolist() == [run in known for run in runs(item, n)]
    every = {run for item in items for run in runs(item, n)}
    assert found.n_matches.tolist() == [sum(r in every for r in runs(d, n)) for d in documents]
    half = len(documents) // 2
    parts = [Ragged.from_lists(part, int) for part in (documents[:half], documents[half:])]
    merged = overlap(parts[0], Ragged.from_lists(items, int), n).merged(
        overlap(parts[1], Ragged.from_lists(items, int), n)
    )
    assert merged.to_frame().equals(found.to_frame())
    assert merged.n_matches.tolist() == found.n_matches.tolist()


def test_documents_match_as_decontamination_counts_them() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{x}" for x in rng.integers(0, 6, rng.integers(0, 30))) for _ in range(60)]
    documents, items = texts[:40], texts[40:]
    theirs = decontaminate(documents, items, n=4)
    words = word_rows(texts, "words")
    every = Ragged(words.codes, words.offsets)
    split = [
        Ragged(every.values[: every.offsets[40]], every.offsets[:41]),
        Ragged(every.values[every.offsets[40] :], every.offsets[40:] - every.offsets[40]),
    ]
    found = overlap(*split, n=4)
    assert found.n_matches.tolist() == theirs.n_matches.tolist()
    assert 0 < theirs.leaks.sum() < 40


def test_thirteen_of_a_planted_item() -> None:
    item = list(range(100, 140))
    documents = [[1, *item[3:15], 2], [1, *item[5:18], 2], item[20:40] * 2]
    found = overlap(Ragged.from_lists(documents), Ragged.from_lists([item, item, [100]]))
    assert found.n_matches.tolist() == [0, 1, 16]
    assert found.longest.tolist() == [20, 20, 0]  # item[0] stands nowhere
    assert found.document.tolist() == [2, 2, -1]
    assert found.share[:2].tolist() == [9 / 28, 9 / 28]  # an item that is there twice: the same
    assert math.isnan(found.share[2])
    assert found.leaks.tolist() == [True, True, False]


def test_nothing_at_all() -> None:
    none = Ragged.from_lists([], int)
    empty = Ragged.from_lists([[], []], int)
    item = Ragged.from_lists([[1, 2]])
    assert overlap(none, none).to_frame().empty
    assert overlap(none, item, n=1).longest.tolist() == [0]
    assert overlap(empty, item, n=1).share.tolist() == [0.0]
    assert overlap(item, empty, n=1).longest.tolist() == [0, 0]
    assert overlap(item, none, n=1).n_matches.tolist() == [0]
    with pytest.raises(ValueError, match="n must be at least 1"):
        overlap(item, item, n=0)
    with pytest.raises(ValueError, match="documents must hold whole numbers, not float64"):
        overlap(Ragged.from_lists([[0.5]]), item)
    with pytest.raises(ValueError, match="can be merged where"):
        overlap(item, item, n=1).merged(overlap(item, item, n=2))


def zipf(rng: np.random.Generator, n: int, length: int) -> Ragged:
    return Ragged.from_lengths(np.minimum(rng.zipf(1.4, n * length), 200), [length] * n)


def test_sizes_and_power_of_item_tests() -> None:
    """2,000 clean items in 40 worlds: P(p <= .1) <= .1 + 3 se; planted items are found.

    Items of one world share its corpus, so the error is that of 40 worlds' means.
    """
    rng = np.random.default_rng(1)
    rates, false, found = [], [], []
    for _ in range(40):
        clean, reference, corpus = zipf(rng, 50, 40), zipf(rng, 99, 40), zipf(rng, 100, 60)
        leaked = Ragged.from_lengths(
            np.concatenate([corpus.row(i)[:40] for i in range(10)]), [40] * 10
        )
        scores = [overlap(corpus, each, 5).longest for each in (clean, leaked, reference)]
        tests = item_tests(np.concatenate(scores[:2]), scores[2])
        rates.append(np.mean(tests.p_value[:50] <= 0.1))
        called = tests.found(0.1)
        false.append(called[:50].sum() / max(called.sum(), 1))
        found.append(called[50:].mean())
    assert np.mean(rates) <= 0.1 + 3 * np.std(rates) / math.sqrt(40)
    assert np.mean(false) <= 0.1 + 3 * np.std(false) / math.sqrt(40)
    assert np.mean(found) > 0.95


def test_item_p_values_by_hand() -> None:
    clean = np.array([[3.0, 1.0], [4.0, 1.0], [5.0, 1.0]])
    tests = item_tests([4.0, 2.0], clean)
    assert tests.p_value.tolist() == [0.75, 0.25]
    assert tests.q_value.tolist() == [0.75, 0.5]
    tests = item_tests([np.nan, 5.0, 5.0], [1.0, 9.0], groups=([0, 1], [0, 0, 1]))
    np.testing.assert_allclose(tests.p_value, [np.nan, 0.5, 1.0])
    assert tests.found(1.0).tolist() == [False, True, True]
    assert len(tests.to_frame()) == 3
    for reference, message in (
        ([], "reference is empty"),
        ([np.nan], "reference holds a NaN"),
        (np.zeros((2, 3)), r"shape \(m,\) or \(B, 2\)"),
        (0.5, r"shape \(m,\) or"),
    ):
        with pytest.raises(ValueError, match=message):
            item_tests([1.0, 2.0], reference)
    with pytest.raises(ValueError, match="groups compare items"):
        item_tests([1.0], [[1.0]], groups=([0], [0]))
    with pytest.raises(ValueError, match="one-dimensional"):
        item_tests([[1.0]], [1.0])


def test_corpus_tests_against_scipy() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        ours, clean = rng.random(rng.integers(1, 40)) < 0.4, rng.random(rng.integers(1, 40)) < 0.2
        table = [[ours.sum(), (~ours).sum()], [clean.sum(), (~clean).sum()]]
        expected = stats.fisher_exact(table, alternative="greater").pvalue
        np.testing.assert_allclose(corpus_test(ours, clean).p_value, expected, rtol=1e-9)
    deep = corpus_test(np.ones(3000), np.zeros(3000))
    assert deep.p_value == 0.0
    expected = -math.lgamma(6001) + 2 * math.lgamma(3001)  # 1 / (6000 choose 3000)
    assert deep.log_p_value == pytest.approx(expected, rel=1e-9)
    assert corpus_test([0], [0]).p_value == 1.0
    with pytest.raises(ValueError, match="0 documents and 1 of reference"):
        corpus_test([], [1])
    assert corpus_rank_test(1.0, [1.0, 0.0, 2.0]).p_value == 0.75
    with pytest.raises(ValueError, match="one number per corpus"):
        corpus_rank_test(1.0, [])
    with pytest.raises(ValueError, match="NaN"):
        corpus_rank_test(math.nan, [1.0])


def by_matrices(
    y: np.ndarray, treated: np.ndarray, clusters: np.ndarray
) -> tuple[float, float, float]:
    """CR2 of the coefficient of `treated`, with Bell and McCaffrey's degrees of freedom."""
    x = np.column_stack([np.ones(len(y)), treated])
    bread = np.linalg.inv(x.T @ x)
    hat = x @ bread @ x.T
    residual = y - hat @ y
    makers = np.eye(len(y)) - hat
    z, columns = [], []
    for name in np.unique(clusters):
        rows = clusters == name
        values, vectors = np.linalg.eigh(np.eye(rows.sum()) - hat[np.ix_(rows, rows)])
        root = (vectors / np.sqrt(values)) @ vectors.T
        a = root @ x[rows] @ bread[:, 1]
        z.append(a @ residual[rows])
        columns.append(makers[:, rows] @ a)
    p = np.column_stack(columns)
    omega = p.T @ p
    df = np.trace(omega) ** 2 / np.sum(omega**2)
    return float((bread @ x.T @ y)[1]), float(np.sqrt(np.sum(np.square(z)))), float(df)


@pytest.mark.parametrize("seed", range(6))
def test_the_gap_is_cr2(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clusters = rng.integers(0, 9, 60)
    treated = rng.random(60) < 0.4
    y = (rng.random(60) < 0.5 + 0.2 * treated).astype(float)
    gap = accuracy_gap(y, treated, clusters)
    value, se, df = by_matrices(y, treated, clusters)
    assert gap.value == pytest.approx(value, rel=1e-9)
    assert gap.se == pytest.approx(se, rel=1e-9)
    assert gap.interval().method == f"t({df:.1f})".replace(".0)", ")")
    half = stats.t.ppf(0.975, df) * se
    assert gap.interval().high == pytest.approx(value + half, rel=1e-9)


def test_coverage_of_the_gap() -> None:
    """20 clusters of 1 to 9 items, both kinds inside; 95 % within 3 Monte Carlo errors, +- 2 %."""
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(1500):
        cluster = np.repeat(np.arange(20), rng.integers(1, 10, 20))
        treated = rng.random(len(cluster)) < 0.3
        effect = rng.normal(size=20)[cluster]
        y = 0.5 * treated + effect + rng.normal(size=len(cluster))
        covered.append(0.5 in accuracy_gap(y, treated, cluster).interval())
    assert abs(np.mean(covered) - 0.95) < 0.02 + 3 * math.sqrt(0.95 * 0.05 / 1500)


def test_a_gap_that_cannot_be_told() -> None:
    assert math.isnan(accuracy_gap([1, 0], [1, 1]).value)
    assert math.isnan(accuracy_gap([], []).value)
    one = accuracy_gap([1, 0, 1], [1, 0, 0])  # one contaminated item: no variance of its kind
    assert one.value == 0.5
    assert math.isnan(one.se)
    assert math.isnan(accuracy_gap([1, np.nan, 1, 0], [1, 1, 0, 0]).value)
    with pytest.raises(ValueError, match="true or false"):
        accuracy_gap([1, 0], [1, 2])
    with pytest.raises(ValueError, match="differ"):
        accuracy_gap([1, 0], [1])
    with pytest.raises(ValueError, match="cluster labels"):
        accuracy_gap([1, 0], [1, 0], [1])
