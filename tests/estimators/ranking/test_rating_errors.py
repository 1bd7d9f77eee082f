"""Errors of ratings: sandwiches against statsmodels' logistic regression, refits, copies."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from statllm.estimators.ranking import Battles, battles, bradley_terry

Floats = NDArray[np.float64]
Simulate = Callable[..., Battles]


def theirs(data: Battles, ways: int) -> tuple[Floats, Floats, Floats]:
    import statsmodels.api as sm

    k = data.n_models
    design = np.eye(k)[data.first] - np.eye(k)[data.second]
    design = np.hstack([design[:, 1:], data.style])
    model = sm.GLM(1 - data.result / 2, design, family=sm.families.Binomial())
    if ways == 0:
        fitted = model.fit(cov_type="HC0", tol=1e-12)
    else:
        groups = data.clusters[0] if ways == 1 else np.stack(data.clusters, axis=1)
        fitted = model.fit(
            cov_type="cluster",
            cov_kwds={"groups": groups, "use_correction": False},
            tol=1e-12,
        )
    centre = (np.eye(k) - 1 / k)[:, 1:]
    covariance = np.asarray(fitted.cov_params())
    return (
        centre @ fitted.params[: k - 1],
        centre @ covariance[: k - 1, : k - 1] @ centre.T,
        np.asarray(fitted.params[k - 1 :]),
    )


def test_by_battle(simulate: Simulate) -> None:
    drawn = simulate(np.random.default_rng(4), 500, q=2)
    data = battles(drawn.first, drawn.second, 1 - drawn.result / 2, style=drawn.style)
    found = bradley_terry(data, covariance="sandwich", scale=1)
    rating, covariance, style = theirs(data, 0)
    np.testing.assert_allclose(found.rating, rating, atol=1e-8)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.coefficients, style, atol=1e-8)
    assert found.df == math.inf


@pytest.mark.parametrize("q", [0, 1])
def test_by_cluster(simulate: Simulate, q: int) -> None:
    data = simulate(np.random.default_rng(5), 500, q=q)
    found = bradley_terry(data, scale=1)
    _, covariance, _ = theirs(data, 1)
    np.testing.assert_allclose(found.covariance, covariance * 20 / 19, rtol=1e-6, atol=1e-9)
    assert found.df == 19
    low, high = found.interval()
    np.testing.assert_allclose((high - low) / 2, 2.093024 * found.se, rtol=1e-6)


def test_two_ways(simulate: Simulate) -> None:
    rng = np.random.default_rng(6)
    drawn = simulate(rng, 800, groups=40)
    judges = rng.integers(0, 30, 800)
    both = (drawn.clusters[0], judges)
    data = battles(drawn.first, drawn.second, 1 - drawn.result / 2, clusters=both)
    found = bradley_terry(data, scale=1)
    pieces = []
    for labels in (both[0], judges, both[0] * 30 + judges):
        one = battles(drawn.first, drawn.second, 1 - drawn.result / 2, clusters=labels)
        count = len(np.unique(labels))
        pieces.append(theirs(one, 1)[1] * count / (count - 1))
    total = pieces[0] + pieces[1] - pieces[2]
    values = np.linalg.eigvalsh(total)
    assert values.min() > -1e-9  # so nothing was cut
    np.testing.assert_allclose(found.covariance, total, rtol=1e-5, atol=1e-9)
    assert found.df == 29


def test_jackknife_is_that_of_refits(simulate: Simulate) -> None:
    data = simulate(np.random.default_rng(7), 300, groups=6)
    found = bradley_terry(data, covariance="jackknife", scale=1)
    outcome, moved = 1 - data.result / 2, []
    for group in range(6):
        kept = data.clusters[0] != group
        refit = bradley_terry(battles(data.first[kept], data.second[kept], outcome[kept]), scale=1)
        moved.append(refit.rating - found.rating)
    wanted = 5 / 6 * np.array(moved).T @ np.array(moved)
    np.testing.assert_allclose(found.covariance, wanted, rtol=1e-6, atol=1e-10)


def test_copies_of_battles_don_t_shrink_clustered_errors(simulate: Simulate) -> None:
    data = simulate(np.random.default_rng(8), 300)
    again = battles(
        np.tile(data.first, 4),
        np.tile(data.second, 4),
        np.tile(1 - data.result / 2, 4),
        clusters=np.tile(data.clusters[0], 4),
    )
    np.testing.assert_allclose(bradley_terry(again).se, bradley_terry(data).se, rtol=1e-7)
    ratio = bradley_terry(data, covariance="model").se
    ratio = ratio / bradley_terry(again, covariance="model").se
    np.testing.assert_allclose(ratio, 2, rtol=1e-7)


def test_weights_are_repeated_rows(simulate: Simulate) -> None:
    data = simulate(np.random.default_rng(9), 100)
    outcome = 1 - data.result / 2
    weighted = battles(data.first, data.second, outcome, weight=np.full(100, 3.0))
    repeated = battles(np.repeat(data.first, 3), np.repeat(data.second, 3), np.repeat(outcome, 3))
    for kind in ("model", "sandwich"):
        one = bradley_terry(weighted, covariance=kind)  # type: ignore[arg-type]
        other = bradley_terry(repeated, covariance=kind)  # type: ignore[arg-type]
        np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-8)


def test_swapping_sides_changes_nothing(simulate: Simulate) -> None:
    data = simulate(np.random.default_rng(10), 300, q=1)
    swapped = battles(
        data.second, data.first, data.result / 2, clusters=data.clusters[0], style=-data.style
    )
    for ties in ("half", "davidson", "rao-kupper"):
        one = bradley_terry(data, ties=ties)  # type: ignore[arg-type]
        other = bradley_terry(swapped, ties=ties)  # type: ignore[arg-type]
        np.testing.assert_allclose(one.rating, other.rating, atol=1e-6)
        np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-6, atol=1e-6)
