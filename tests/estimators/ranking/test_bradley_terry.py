"""Bradley-Terry against closed forms, a general optimiser, statsmodels and published ratings."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import optimize, special

from statllm.estimators.ranking import (
    ARENA_RIDGE,
    ELO_SCALE,
    Battles,
    battles,
    bootstrap_ratings,
    bradley_terry,
    elo_from_battles,
    style_differences,
)

Floats = NDArray[np.float64]
Simulate = Callable[..., Battles]
LLMFAO = Path(__file__).parents[4] / "shared" / "data" / "pref_llmfao"


def parts(data: Battles) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    return data.first, data.second, data.result


def minimise(loss: Any, size: int) -> Floats:
    found = optimize.minimize(loss, np.full(size, 0.1), method="BFGS", options={"gtol": 1e-9})
    return np.asarray(found.x)


def centred(x: Floats, k: int) -> Floats:
    """Ratings of which the first is left out and 0, with mean 0."""
    full = np.concatenate([[0.0], x[: k - 1]])
    return full - full.mean()


def test_two_models_have_the_log_odds() -> None:
    table = battles(["x"] * 40, ["y"] * 40, [1] * 30 + [0] * 10)
    found = bradley_terry(table)
    assert found.rating == pytest.approx([200 * math.log10(3), -200 * math.log10(3)])
    assert found.difference_se[0, 1] == pytest.approx(ELO_SCALE * math.sqrt(1 / 30 + 1 / 10))
    assert found.log_likelihood == pytest.approx(30 * math.log(0.75) + 10 * math.log(0.25))
    assert found.win_probability()[0, 1] == pytest.approx(0.75)


def test_every_model_wins_as_often_as_expected(simulate: Simulate) -> None:
    """The score equations, at 59 models."""
    rng = np.random.default_rng(0)
    data = simulate(rng, 20_000, k=59, tie=0.1)
    found = bradley_terry(data, scale=1)
    i, j, result = parts(data)
    p = special.expit(found.rating[i] - found.rating[j])
    score = 1 - result / 2 - p
    surplus = np.bincount(i, score, 59) - np.bincount(j, score, 59)
    np.testing.assert_allclose(surplus, 0, atol=1e-8)


def test_prior_ties_are_those_of_elo_from_battles(simulate: Simulate) -> None:
    data = simulate(np.random.default_rng(1), 40)
    i, j, result = parts(data)
    wins = np.zeros((5, 5))
    np.add.at(wins, (i, j), 1 - result / 2)
    np.add.at(wins, (j, i), result / 2)
    for ties in (0.5, 2.0):
        found = bradley_terry(data, prior="ties", prior_ties=ties, covariance="model")
        other = elo_from_battles(wins, ties)
        np.testing.assert_allclose(found.rating, other.rating, atol=1e-6)
        np.testing.assert_allclose(found.covariance, other.covariance, rtol=1e-6, atol=1e-6)


class TestTies:
    """Davidson and Rao-Kupper, from their definitions in odds."""

    @staticmethod
    def probabilities(model: str, odds: Floats, tie: float) -> Floats:
        """Win, tie, loss, as the papers write them with pi_i = odds, pi_j = 1."""
        if model == "davidson":
            middle = tie * np.sqrt(odds)
            total = odds + 1 + middle
            return np.stack([odds / total, middle / total, 1 / total], axis=1)
        win, loss = odds / (odds + tie), 1 / (1 + tie * odds)
        middle = odds * (tie**2 - 1) / ((odds + tie) * (tie * odds + 1))
        return np.stack([win, middle, loss], axis=1)

    @pytest.mark.parametrize("model", ["davidson", "rao-kupper"])
    def test_against_a_general_optimiser(self, simulate: Simulate, model: str) -> None:
        data = simulate(np.random.default_rng(2), 400)
        i, j, result = parts(data)

        def loss(x: Floats) -> float:
            e = np.concatenate([[0.0], x[:4]])
            tie = np.exp(x[4]) if model == "davidson" else 1 + np.exp(x[4])
            p = self.probabilities(model, np.exp(e[i] - e[j]), tie)
            return -float(np.log(p[np.arange(len(i)), result]).sum())

        x = minimise(loss, 5)
        found = bradley_terry(data, ties=model, scale=1, covariance="model")  # type: ignore[arg-type]
        np.testing.assert_allclose(found.rating, centred(x, 5), atol=1e-5)
        wanted = x[4] if model == "davidson" else math.log1p(math.exp(x[4]))
        assert found.coefficients == pytest.approx([wanted], abs=1e-5)
        assert found.log_likelihood == pytest.approx(-loss(x), abs=1e-7)

        def in_own_terms(theta: Floats) -> float:
            tie = theta[4] if model == "davidson" else math.log(math.expm1(theta[4]))
            return loss(np.concatenate([theta[:4], [tie]]))

        top = np.concatenate([found.rating[1:] - found.rating[0], found.coefficients])
        hessian = numerical_hessian(in_own_terms, top)
        free = np.vstack([np.zeros(4), np.eye(4)])
        centre = (np.eye(5) - 1 / 5) @ free
        inverse = np.linalg.inv(hessian)
        np.testing.assert_allclose(
            found.covariance, centre @ inverse[:4, :4] @ centre.T, rtol=1e-3, atol=1e-6
        )
        assert found.coefficient_covariance[0, 0] == pytest.approx(inverse[4, 4], rel=1e-3)

    def test_two_models_davidson_in_closed_form(self) -> None:
        """30 wins, 20 ties, 10 losses are fitted exactly: odds 3, nu = 20 / sqrt(300)."""
        table = battles(["x"] * 60, ["y"] * 60, [1] * 30 + [0.5] * 20 + [0] * 10)
        found = bradley_terry(table, ties="davidson", scale=1)
        assert found.rating[0] - found.rating[1] == pytest.approx(math.log(3))
        assert found.coefficients == pytest.approx([math.log(20 / math.sqrt(300))])

    def test_without_ties_all_agree(self, simulate: Simulate) -> None:
        data = simulate(np.random.default_rng(3), 300, tie=0.0)
        base = bradley_terry(data).rating
        for model in ("davidson", "rao-kupper"):
            found = bradley_terry(data, ties=model)  # type: ignore[arg-type]
            np.testing.assert_allclose(found.rating, base)
            assert found.coefficient_names == ()

    def test_nothing_but_ties(self) -> None:
        table = battles(["x", "y"], ["y", "z"], [0.5, 0.5])
        assert bradley_terry(table).rating == pytest.approx([0, 0, 0])
        apart = battles(["a", "b", "c", "d"], ["b", "a", "d", "c"], [1, 1, 1, 1])
        with pytest.raises(ValueError, match="some never met the others"):
            bradley_terry(apart, prior="jeffreys")
        for scale in (0.0, math.nan, math.inf):
            with pytest.raises(ValueError, match="scale must be positive"):
                bradley_terry(apart, scale=scale)
        with pytest.raises(ValueError, match="every battle is a tie"):
            bradley_terry(table, ties="davidson")


def numerical_hessian(f: Any, x: Floats, h: float = 1e-3) -> Floats:
    n = len(x)
    step = np.eye(n) * h
    out = np.empty((n, n))
    for a in range(n):
        for b in range(n):
            u, v = step[a], step[b]
            out[a, b] = f(x + u + v) - f(x + u - v) - f(x - u + v) + f(x - u - v)
    return out / (4 * h * h)


class TestPriorAndSeparation:
    sweep = ((["x"] * 4 + ["y"] * 3), ["y", "y", "z", "z", "z", "z", "z"], [1, 1, 1, 1, 1, 0, 1])

    def test_infinite_ratings_are_said(self) -> None:
        found = bradley_terry(battles(*self.sweep))
        assert found.separated
        assert found.rating.tolist() == [math.inf, -math.inf, -math.inf]
        assert np.isnan(found.covariance).all()
        assert "a prior makes them finite" in found.summary()
        with pytest.raises(ValueError, match="isn't finite"):
            found.ranks()
        assert found.to_frame()["model"].tolist()[0] == "x"

    def test_jeffreys_of_two_models_adds_half_a_win(self) -> None:
        table = battles(["x"] * 5, ["y"] * 5, [1] * 5)
        found = bradley_terry(table, prior="jeffreys", scale=1)
        assert found.rating[0] - found.rating[1] == pytest.approx(math.log(5.5 / 0.5))
        assert found.separated

    def test_jeffreys_is_the_penalised_maximum(self) -> None:
        data = battles(*self.sweep)
        i, j, result = parts(data)

        def loss(x: Floats) -> float:
            e = np.concatenate([[0.0], x])
            p = special.expit(e[i] - e[j])
            free = np.vstack([np.zeros(2), np.eye(2)])
            rows = free[i] - free[j]
            information = rows.T @ (rows * (p * (1 - p))[:, None])
            likelihood = np.log(np.where(result == 0, p, 1 - p)).sum()
            return -float(likelihood + np.linalg.slogdet(information)[1] / 2)

        found = bradley_terry(data, prior="jeffreys", scale=1)
        np.testing.assert_allclose(found.rating, centred(minimise(loss, 2), 3), atol=1e-6)

    @pytest.mark.parametrize("seed", range(6))
    def test_jeffreys_where_a_model_fought_once(self, simulate: Simulate, seed: int) -> None:
        """The penalised score is 0, by its own formula, and the ratings are moderate."""
        drawn = simulate(np.random.default_rng(seed), 120 + 80 * seed, k=4)
        outcome = np.append(1 - drawn.result / 2, 1.0)
        data = battles(np.append(drawn.first, 9), np.append(drawn.second, seed % 4), outcome)
        found = bradley_terry(data, prior="jeffreys", scale=1)
        assert found.separated
        i, j, _ = parts(data)
        p = special.expit(found.rating[i] - found.rating[j])
        free = np.vstack([np.zeros(4), np.eye(4)])
        rows = free[i] - free[j]
        information = rows.T @ (rows * (p * (1 - p))[:, None])
        hat = p * (1 - p) * np.einsum("na,ab,nb->n", rows, np.linalg.inv(information), rows)
        score = rows.T @ (outcome - p + hat * (0.5 - p))
        np.testing.assert_allclose(score, 0, atol=1e-6)
        # one battle, won, with a tied one beside: about log 3 above its opponent
        assert abs(found.rating[4] - found.rating[seed % 4] - math.log(3)) < 0.05

    def test_ties_connect(self) -> None:
        found = bradley_terry(battles(["x", "x"], ["y", "y"], [1, 0.5]), scale=1)
        assert not found.separated
        assert found.rating[0] - found.rating[1] == pytest.approx(math.log(3))


class TestStyle:
    def test_ridge_is_the_penalised_maximum(self, simulate: Simulate) -> None:
        data = simulate(np.random.default_rng(11), 200, tie=0.0, q=2)
        i, j, result = parts(data)

        def loss(x: Floats) -> float:
            e = np.concatenate([[0.0], x[:4]])
            eta = e[i] - e[j] + data.style @ x[4:]
            fit = special.log_expit(np.where(result == 0, eta, -eta)).sum()
            return -float(fit - 0.5 * (x[4:] ** 2).sum())

        x = minimise(loss, 6)
        found = bradley_terry(data, ridge=ARENA_RIDGE, scale=1)
        np.testing.assert_allclose(found.rating, centred(x, 5), atol=1e-5)
        np.testing.assert_allclose(found.coefficients, x[4:], atol=1e-5)

    @pytest.mark.parametrize("ties", ["half", "davidson", "rao-kupper"])
    def test_prior_ties_are_further_rows(self, simulate: Simulate, ties: str) -> None:
        """Without style in them, half won and half lost, spread over all pairs."""
        data = simulate(np.random.default_rng(12), 150, q=1)
        i, j = np.triu_indices(5, 1)
        more = battles(
            np.concatenate([data.first, i, i]),
            np.concatenate([data.second, j, j]),
            np.concatenate([1 - data.result / 2, np.ones(10), np.zeros(10)]),
            weight=np.concatenate([np.ones(150), np.full(20, 2.0 / 8)]),
            style=np.concatenate([data.style, np.zeros((20, 1))]),
        )
        options: dict[str, Any] = {"ties": ties, "covariance": "model"}
        one = bradley_terry(data, prior="ties", prior_ties=2.0, **options)
        other = bradley_terry(more, **options)
        np.testing.assert_allclose(one.rating, other.rating, atol=1e-6)
        np.testing.assert_allclose(one.coefficients, other.coefficients, atol=1e-8)
        np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-6, atol=1e-6)

    def test_bootstrap_of_clusters_keeps_style(self, simulate: Simulate) -> None:
        data = simulate(np.random.default_rng(13), 1500, groups=150, q=1)
        point, found = bradley_terry(data), bootstrap_ratings(data, 400, rng=0)
        np.testing.assert_allclose(found.se, point.se, rtol=0.15)  # its own error: 3.5 %

    def test_a_covariate_that_splits_outcomes_is_refused(self) -> None:
        won = np.tile([1.0, 0.0], 20)
        table = battles(["x"] * 40, ["y"] * 40, won, style=2 * won - 1)
        with pytest.raises(ValueError, match="style covariate"):
            bradley_terry(table)
        assert np.isfinite(bradley_terry(table, ridge=0.5).coefficients).all()

    def test_differences(self) -> None:
        a, b = [300, 100, 0, 50], [100, 300, 0, 50]
        ratio = np.array([0.5, -0.5, 0, 0])
        np.testing.assert_allclose(style_differences(a, b), ratio / math.sqrt(0.125))
        np.testing.assert_allclose(style_differences(b, a), -style_differences(a, b))
        shifted = style_differences([3, 1], [1, 1], centre=True)
        np.testing.assert_allclose(shifted, [1, -1])
        with pytest.raises(ValueError, match=r"never differ"):
            style_differences([1, 2], [1, 2])
        with pytest.raises(ValueError, match=r"not negative \(row 1\)"):
            style_differences([1, -2], [1, 2])


@pytest.mark.skipif(not LLMFAO.is_dir(), reason="the LLMFAO votes aren't here")
def test_llmfao_has_the_published_ratings() -> None:
    with gzip.open(LLMFAO / "llmfao.csv.gz") as file:
        votes = pd.read_csv(file)
    golden = pd.read_csv(LLMFAO / "llmfao-golden.csv")
    golden = golden[golden["algorithm"] == "bradley_terry"].set_index("item")["score"]
    outcome = votes["winner"].map({"left": 1.0, "tie": 0.5, "right": 0.0})
    data = battles(votes["left"].to_numpy(str), votes["right"].to_numpy(str), outcome.to_numpy())
    found = bradley_terry(data, scale=1)
    published = np.log(golden.loc[list(data.models)].to_numpy())
    np.testing.assert_allclose(found.rating, published - published.mean(), atol=1e-8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b": ["x", "z"]}, r"fights itself \(row 0\)"),
        ({"outcome": [1, 2]}, r"outcome must be 1, 0.5 or 0, not 2 \(row 1\)"),
        ({"outcome": [1, math.nan]}, r"not nan \(row 1\)"),
        ({"outcome": [1]}, "2 values were expected"),
        ({"a": [None, "y"]}, r"a label is missing \(row 0\)"),
        ({"weight": [1, -1]}, r"weight must be finite and not negative \(row 1\)"),
        ({"clusters": [1]}, "2 labels were expected"),
        ({"clusters": ([1, 2], [1, 2], [1, 2])}, "one or two ways"),
        ({"style": [[1.0], [math.inf]]}, r"style must be finite \(row 1\)"),
        ({"style": [[0.0], [0.0]], "style_names": ["len"]}, "'len' is 0 in every battle"),
        ({"style": [[0.0], [1.0]], "style_names": ["a", "b"]}, "2 style_names"),
    ],
)
def test_bad_battles(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"a": ["x", "y"], "b": ["y", "z"], "outcome": [1, 0.5]} | changes
    a, b, outcome = given.pop("a"), given.pop("b"), given.pop("outcome")
    with pytest.raises(ValueError, match=message):
        battles(np.array(a, object) if None in a else a, b, outcome, **given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ties": "none"}, "ties must be one of"),
        ({"prior": "flat"}, "prior must be"),
        ({"prior": "ties", "prior_ties": 0}, "prior_ties must be positive"),
        ({"ridge": -1}, "ridge"),
        ({"covariance": "hc3"}, "covariance must be"),
        ({"covariance": "jackknife"}, "one way of clustering"),
        ({"ties": "davidson", "prior": "jeffreys"}, "goes with ties='half'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    data = battles(["x", "y", "x"], ["y", "x", "y"], [1, 1, 0.5])
    with pytest.raises(ValueError, match=message):
        bradley_terry(data, **options)
