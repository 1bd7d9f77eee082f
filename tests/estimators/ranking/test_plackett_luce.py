"""Plackett-Luce against a general optimiser and Bradley-Terry; Elo against its definition."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import optimize, special

from statllm.estimators.ranking import battles, bradley_terry, online_elo, plackett_luce

Floats = NDArray[np.float64]
LLMFAO = Path(__file__).parents[4] / "shared" / "data" / "pref_llmfao"


def draw(rng: np.random.Generator, strength: Floats, n: int, size: int) -> list[list[int]]:
    """Rankings of random subsets: sorted by strength plus Gumbel noise."""
    out = []
    for _ in range(n):
        items = rng.choice(len(strength), size, replace=False)
        noisy = strength[items] + rng.gumbel(size=size)
        out.append(items[np.argsort(-noisy)].tolist())
    return out


def loss(e: Floats, rankings: list[list[int]], top: int) -> float:
    """Negative log likelihood of the first `top` places, as the definition has it."""
    total = 0.0
    for items in rankings:
        for place in range(min(top, len(items) - 1)):
            total -= e[items[place]] - special.logsumexp(e[items[place:]])
    return total


@pytest.mark.parametrize("top", [1, 2, 4])
def test_against_a_general_optimiser(top: int) -> None:
    rankings = draw(np.random.default_rng(0), np.array([0.8, 0.2, 0.0, -0.3, -0.7]), 30, 4)
    found = plackett_luce(
        [items[:top] for items in rankings],
        unranked=[items[top:] for items in rankings],
        scale=1,
    )
    best = optimize.minimize(
        lambda x: loss(np.concatenate([[0.0], x]), rankings, top),
        np.zeros(4),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    wanted = np.concatenate([[0.0], best.x])
    np.testing.assert_allclose(found.rating, wanted - wanted.mean(), atol=1e-5)
    assert found.log_likelihood == pytest.approx(-best.fun)


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_rankings_of_two_are_battles(prior: float) -> None:
    rng = np.random.default_rng(1)
    rankings = draw(rng, np.array([0.5, 0.0, -0.5, 0.2]), 200, 2)
    groups = rng.integers(0, 15, 200)
    table = np.array(rankings)
    data = battles(table[:, 0], table[:, 1], np.ones(200), clusters=groups)
    options: dict[str, Any] = {"prior": "ties", "prior_ties": prior} if prior else {}
    other = bradley_terry(data, **options)
    found = plackett_luce(rankings, clusters=groups, prior_ties=prior)
    np.testing.assert_allclose(found.rating, other.rating, atol=1e-6)
    np.testing.assert_allclose(found.covariance, other.covariance, rtol=1e-6, atol=1e-6)
    assert found.df == other.df == 14
    assert found.log_likelihood == pytest.approx(other.log_likelihood)
    model = plackett_luce(rankings, prior_ties=prior).covariance
    np.testing.assert_allclose(
        model, bradley_terry(data, covariance="model", **options).covariance, rtol=1e-6, atol=1e-6
    )


def test_errors_are_those_of_repeated_rankings() -> None:
    rng = np.random.default_rng(2)
    strength = np.array([0.6, 0.0, -0.6])
    fits = [plackett_luce(draw(rng, strength, 80, 3), scale=1) for _ in range(300)]
    spread = np.std([fit.rating for fit in fits], axis=0)
    np.testing.assert_allclose(spread, np.mean([fit.se for fit in fits], axis=0), rtol=0.12)
    inside = np.mean([np.abs(fit.rating - strength) < 1.96 * fit.se for fit in fits])
    assert abs(inside - 0.95) < 4 * math.sqrt(0.05 * 0.95 / 300)
    robust = plackett_luce(draw(rng, strength, 4000, 3), covariance="sandwich")
    model = plackett_luce(draw(rng, strength, 4000, 3))
    np.testing.assert_allclose(robust.se, model.se, rtol=0.06)


def test_separation() -> None:
    found = plackett_luce([["x", "y", "z"], ["x", "z", "y"]])
    assert found.separated
    assert found.rating.tolist() == [math.inf, -math.inf, -math.inf]
    assert np.isfinite(plackett_luce([["x", "y", "z"]], prior_ties=1.0).rating).all()


@pytest.mark.parametrize(
    ("rankings", "options", "message"),
    [
        ([], {}, "no rankings"),
        ([["x", "y"], ["x"]], {}, "ranking 1 doesn't place"),
        ([["x", "y", "x"]], {}, "ranking 0 has an item twice"),
        ([["x", "y"]], {"unranked": [["z"], []]}, "2 lists of unranked"),
        ([["x", "y"]], {"clusters": [1, 2]}, "2 cluster labels"),
        ([["x", "y"]], {"covariance": "hc"}, "covariance must be"),
        ([["x", "y"]], {"prior_ties": -1}, "prior_ties"),
    ],
)
def test_bad_rankings(rankings: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plackett_luce(rankings, **options)


class TestOnlineElo:
    def test_the_given_order_by_hand(self) -> None:
        data = battles(["x", "y", "z"], ["y", "z", "x"], [1, 0.5, 0])
        rating = {"x": 1500.0, "y": 1500.0, "z": 1500.0}
        for a, b, s in (("x", "y", 1), ("y", "z", 0.5), ("z", "x", 0)):
            move = 20 * (s - 1 / (1 + 10 ** ((rating[b] - rating[a]) / 400)))
            rating[a] += move
            rating[b] -= move
        found = online_elo(data, k=20, n_orders=0, initial=1500)
        assert found.rating == pytest.approx(list(rating.values()))
        assert found.order_sd.tolist() == [0, 0, 0]

    def test_the_mean_over_all_orders(self) -> None:
        """Two battles have two orders, equally likely."""
        data = battles(["x", "y"], ["y", "x"], [1, 1])
        one = online_elo(data, k=32, n_orders=0).rating
        reverse = battles(["y", "x"], ["x", "y"], [1, 1])
        other = online_elo(reverse, k=32, n_orders=0).rating
        found = online_elo(data, k=32, n_orders=4000, rng=0)
        assert found.order_sd == pytest.approx(np.abs(one - other) / 2, rel=0.01)
        error = found.order_sd[0] / math.sqrt(4000)
        assert abs(found.rating[0] - (one + other)[0] / 2) < 4 * error

    @pytest.mark.skipif(not LLMFAO.is_dir(), reason="the LLMFAO votes aren't here")
    def test_llmfao_in_the_given_order(self) -> None:
        with gzip.open(LLMFAO / "llmfao.csv.gz") as file:
            votes = pd.read_csv(file)
        golden = pd.read_csv(LLMFAO / "llmfao-golden.csv")
        golden = golden[golden["algorithm"] == "elo"].set_index("item")["score"]
        outcome = votes["winner"].map({"left": 1.0, "tie": 0.5, "right": 0.0})
        data = battles(
            votes["left"].to_numpy(str), votes["right"].to_numpy(str), outcome.to_numpy()
        )
        found = online_elo(data, n_orders=0)
        np.testing.assert_allclose(found.rating, golden.loc[list(data.models)], atol=1e-8)

    def test_refusals(self) -> None:
        data = battles(["x"], ["y"], [1])
        for options in ({"k": 0}, {"scale": -1}, {"n_orders": -1}):
            with pytest.raises(ValueError, match="positive|whole number"):
                online_elo(data, **options)  # type: ignore[arg-type]
