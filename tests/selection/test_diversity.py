"""Diversity against direct computation, known values and a simulation of coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from statllm.errors import InputError
from statllm.selection.diversity import diversity, k_center


def vectors(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) + 0.5


@pytest.mark.parametrize("shape", [(12, 4), (5, 9), (3, 2)])
def test_against_direct_computation(shape: tuple[int, int]) -> None:
    x = vectors(*shape)
    n = len(x)
    found = diversity(x)
    assert found.distance.value == pytest.approx(pdist(x, "cosine").mean())
    without = np.array([pdist(np.delete(x, i, 0), "cosine").mean() for i in range(n)])
    se = np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2))
    assert found.distance.se == pytest.approx(se)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(units @ units.T / n)
    values = values[values > 1e-15]
    assert found.effective_number == pytest.approx(np.exp(-np.sum(values * np.log(values))))
    shuffled = diversity(7 * x[::-1])
    assert shuffled.distance.value == pytest.approx(found.distance.value)
    assert shuffled.effective_number == pytest.approx(found.effective_number)


def test_known_values() -> None:
    assert diversity(np.eye(5)).effective_number == pytest.approx(5)
    assert diversity(np.ones((5, 3))).effective_number == pytest.approx(1)
    assert diversity(np.repeat(np.eye(4), 3, axis=0)).effective_number == pytest.approx(4)
    assert diversity(np.eye(5)).distance.value == pytest.approx(1)
    assert diversity([[1.0, 0], [-2, 0]]).distance.value == pytest.approx(2)
    huge = diversity([[1e200, 0], [0, 1e-200], [1e200, 1e200]])
    assert huge.distance.value == pytest.approx(1 - 2 / np.sqrt(2) / 3)


def test_coverage_of_the_interval() -> None:
    """Independent draws around a mean direction; the true distance is 1 - |E u|^2."""
    rng = np.random.default_rng(3)

    def draw(n: int) -> np.ndarray:
        x = rng.normal(size=(n, 8)) + np.r_[1.5, np.zeros(7)]
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    truth = 1 - np.sum(draw(400_000).mean(axis=0) ** 2)
    inside = [truth in diversity(draw(40)).distance.interval(0.95) for _ in range(1000)]
    assert 0.925 <= np.mean(inside) <= 0.975


def test_rows_without_a_vector() -> None:
    x = vectors(6, 3)
    holes = np.insert(x, [0, 4], np.nan, axis=0)
    found = diversity(holes)
    assert (found.n, found.n_missing) == (6, 2)
    assert found.distance.value == pytest.approx(diversity(x).distance.value)
    assert found.to_frame()["name"].tolist() == ["mean cosine distance", "effective number"]
    assert "2 without a vector" in found.summary()
    picked = k_center(holes, 6)
    assert sorted(picked.rows) == [1, 2, 3, 4, 6, 7]
    assert picked.nearest[[0, 5]].tolist() == [-1, -1]


def test_k_center_is_greedy_and_within_twice_the_best() -> None:
    for seed in range(15):
        x = vectors(10, 3, seed)
        units = x / np.linalg.norm(x, axis=1, keepdims=True)
        angle = np.arccos(np.clip(units @ units.T, -1, 1))
        picked = k_center(x, 3, seed=seed)
        for step in (1, 2):
            nearest = angle[:, picked.rows[:step]].min(axis=1)
            assert picked.rows[step] == np.argmax(nearest)
        best = min(
            angle[:, list(rows)].min(axis=1).max() for rows in itertools.combinations(range(10), 3)
        )
        radius = angle[:, picked.rows].min(axis=1).max()
        assert radius <= 2 * best + 1e-9
        assert picked.radius[-1] == pytest.approx(1 - np.cos(radius))
        distance = 1 - np.cos(angle[np.arange(10), picked.nearest])
        assert picked.distance == pytest.approx(distance, abs=1e-12)


def test_k_center_with_copies() -> None:
    x = np.repeat(np.eye(3), 4, axis=0)
    picked = k_center(x, 3, seed=1)
    assert {row // 4 for row in picked.rows} == {0, 1, 2}
    assert picked.radius[-1] == 0
    everything = k_center(x, 12)
    assert sorted(everything.rows) == list(range(12))
    assert everything.to_frame()["kept"].all()
    assert {k_center(x, 1, seed=s).rows[0] for s in range(40)} != {0}
    assert k_center(x, 3, seed=1).rows.tolist() == picked.rows.tolist()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0, 0], [0, 0]], "row 1 is zero"),
        ([[1.0, 0], [np.nan, 0]], "row 1 is not finite"),
        ([[1.0, np.inf], [1, 0]], "row 0 is not finite"),
        ([1.0, 2.0], "shape"),
        ([[1.0, 2.0]], "at least 2"),
    ],
)
def test_wrong_input(x, message: str) -> None:
    with pytest.raises(InputError, match=message):
        diversity(x)


def test_wrong_k() -> None:
    for k in (0, 3):
        with pytest.raises(InputError, match="between 1 and 2"):
            k_center(np.eye(2), k)
