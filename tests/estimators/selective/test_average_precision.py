"""Average precision against sklearn, all tie orders and numerical derivatives."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from statllm.estimators.selective.average_precision import average_precision

PAIRS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.booleans()), max_size=25)


@settings(deadline=None)
@given(PAIRS, st.integers(0, 2**32 - 1))
def test_value_equals_sklearn(pairs: list[tuple[float, bool]], seed: int) -> None:
    score = np.array([s for s, _ in pairs])
    label = np.array([right for _, right in pairs], dtype=bool)
    assume(label.any())
    found = average_precision(score, label)
    assert found.value == pytest.approx(average_precision_score(label, score))
    order = np.random.default_rng(seed).permutation(len(score))
    shuffled = average_precision(score[order], label[order])
    assert shuffled.value == pytest.approx(found.value)
    assert average_precision(score[order], label[order], "average").value == pytest.approx(
        average_precision(score, label, "average").value
    )


def test_published_value() -> None:
    state = np.random.RandomState(1)
    p, u = state.uniform(size=100), state.uniform(size=100)
    assert average_precision(p, u <= p).value == pytest.approx(0.8568958787, abs=1e-10)
    assert average_precision(p, u <= p, "average").value == pytest.approx(0.8568958787, abs=1e-10)


def test_averaged_ties_equal_all_orders() -> None:
    rng = np.random.default_rng(7)
    for _ in range(12):
        score, label = rng.integers(0, 3, 6).astype(float), rng.integers(0, 2, 6)
        if not label.any():
            continue
        brute = []
        for order in permutations(range(6)):
            hits = label[sorted(order, key=lambda i: -score[i])]
            brute.append((hits * np.cumsum(hits) / np.arange(1, 7)).sum() / hits.sum())
        value = average_precision(score, label, "average").value
        assert value == pytest.approx(np.mean(brute), abs=1e-12)


def test_constant_score_has_the_share_of_positives() -> None:
    assert average_precision(np.ones(10), [1] * 3 + [0] * 7).value == pytest.approx(0.3)


def test_error_is_the_derivative_by_the_weights() -> None:
    rng = np.random.default_rng(8)
    score, label = rng.integers(0, 12, 40) / 12, rng.integers(0, 2, 40)
    n, step = 40, 1e-6

    def weighted(i: int, change: float) -> float:
        weight = np.ones(n)
        weight[i] += change
        return float(average_precision_score(label, score, sample_weight=weight))

    slope = np.array([(weighted(i, step) - weighted(i, -step)) / (2 * step) for i in range(n)])
    found = average_precision(score, label)
    assert found.se == pytest.approx(np.sqrt(n / (n - 1) * (slope**2).sum()), rel=1e-5)
    alone = average_precision(score, label, clusters=np.arange(n))
    assert alone.se == pytest.approx(found.se)
    pairs = np.arange(n) // 2
    sums = np.bincount(pairs, weights=slope)
    clustered = average_precision(score, label, clusters=pairs)
    assert clustered.se == pytest.approx(np.sqrt(20 / 19 * (sums**2).sum()), rel=1e-5)
    assert clustered.n == 20


def test_edges() -> None:
    assert np.isnan(average_precision([], []).value)
    assert np.isnan(average_precision([1.0, 2.0], [0, 0]).value)
    assert np.isnan(average_precision([1.0, 2.0], [0, 1]).interval().low)
    with pytest.raises(ValueError, match="scores are NaN"):
        average_precision([0.1, np.nan], [0, 1])
    with pytest.raises(ValueError, match="true or false"):
        average_precision([0.1, 0.2], [0, 0.5])
    with pytest.raises(ValueError, match="ties must be"):
        average_precision([0.1], [1], "first")  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [50, 200])
def test_interval_covers(n: int) -> None:
    rng = np.random.default_rng(n)

    def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
        p = rng.beta(2, 2, size)
        return p, rng.uniform(size=size) < p

    truth = average_precision(*draw(400_000)).value
    found = [average_precision(*draw(n)) for _ in range(1000)]
    assert 0.92 < np.mean([truth in f.interval() for f in found]) < 0.975
