"""Elo ratings against closed forms and a general optimiser."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, special

from statllm.estimators.ranking import ELO_SCALE, elo_from_battles

Floats = NDArray[np.float64]


def random_battles(rng: np.random.Generator, n: int, k: int, most: int = 4) -> Floats:
    wins = rng.integers(0, most, (n, k, k)) / 2
    return np.asarray(wins * (1 - np.eye(k)))


def brute_force(wins: Floats, prior_ties: float) -> tuple[Floats, Floats]:
    """Maximum of the likelihood in K - 1 free strengths, and the covariance when centred."""
    k = len(wins)
    wins = wins + prior_ties / (2 * (k - 1)) * (1 - np.eye(k))
    free = np.vstack([np.zeros(k - 1), np.eye(k - 1)])
    contrasts = (free[:, None] - free[None]).reshape(k * k, k - 1)
    counts = wins.ravel()

    def loss(e: Floats) -> float:
        return float(-(counts * special.log_expit(contrasts @ e)).sum())

    def gradient(e: Floats) -> Floats:
        return np.asarray(-(contrasts.T @ (counts * special.expit(-contrasts @ e))))

    best = optimize.minimize(loss, np.zeros(k - 1), jac=gradient, method="BFGS", tol=1e-10)
    p = special.expit(contrasts @ best.x)
    information = contrasts.T @ (contrasts * (counts * p * (1 - p))[:, None])
    centre = (np.eye(k) - 1 / k) @ free
    return centre @ best.x, centre @ np.linalg.inv(information) @ centre.T


@pytest.mark.parametrize(
    ("won", "lost"), [(30, 10), (1, 3), (2.5, 0.5), (7, 7), (1e9, 1), (1, 1e-9)]
)
@pytest.mark.parametrize("prior_ties", [0.0, 1.0, 3.0])
def test_two_responses_have_the_log_odds(won: float, lost: float, prior_ties: float) -> None:
    ratings = elo_from_battles([[0, won], [lost, 0]], prior_ties)
    won, lost = won + prior_ties / 2, lost + prior_ties / 2
    gap = 400 * math.log10(won / lost)
    np.testing.assert_allclose(ratings.rating, [gap / 2, -gap / 2], atol=1e-7)
    # the variance of a log odds is 1 / won + 1 / lost
    se = 400 / math.log(10) * math.sqrt(1 / won + 1 / lost)
    assert ratings.difference_se()[0, 1] == pytest.approx(se)
    assert ratings.se == pytest.approx([se / 2, se / 2])


@pytest.mark.parametrize("k", [3, 5, 8])
@pytest.mark.parametrize("prior_ties", [0.0, 0.1, 1.0])
def test_against_a_general_optimiser(k: int, prior_ties: float) -> None:
    wins = random_battles(np.random.default_rng(k), 12, k)
    ratings = elo_from_battles(wins, prior_ties, scale=1)
    compared = 0
    for row in range(len(wins)):
        if prior_ties == 0 and ratings.separated[row]:
            continue
        strength, covariance = brute_force(wins[row], prior_ties)
        np.testing.assert_allclose(ratings.rating[row], strength, atol=1e-4)
        np.testing.assert_allclose(ratings.covariance[row], covariance, rtol=1e-3, atol=1e-4)
        compared += 1
    assert compared >= 4


def test_recovers_strengths_that_made_the_battles() -> None:
    """Expected battles have their own strengths as the maximum."""
    strength = np.array([300.0, 50.0, -100.0, -250.0])
    expected = 100 / (1 + 10 ** ((strength[None, :] - strength[:, None]) / 400))
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(elo_from_battles(expected, 0).rating, strength, atol=1e-8)


def test_standard_errors_are_those_of_repeated_battles() -> None:
    rng = np.random.default_rng(1)
    strength = np.array([0.8, 0.1, -0.2, -0.7])
    p = special.expit(strength[:, None] - strength[None, :])
    upper = np.triu(rng.binomial(60, p, (3000, 4, 4)), 1)
    wins = upper + np.tril(60 - upper.swapaxes(1, 2), -1)
    ratings = elo_from_battles(wins, prior_ties=0, scale=1)
    assert not ratings.separated.any()
    np.testing.assert_allclose(ratings.rating.std(axis=0), ratings.se.mean(axis=0), rtol=0.05)
    inside = np.abs(ratings.rating - strength) < 1.96 * ratings.se
    assert 0.94 < inside.mean() < 0.96


class TestSeparation:
    """Ford's condition, and what is returned where it fails."""

    sweep = ((0, 2, 2), (0, 0, 1), (0, 1, 0))  # the first wins every battle

    def test_the_maximum_is_infinite_without_a_prior(self) -> None:
        ratings = elo_from_battles(self.sweep, prior_ties=0)
        assert ratings.separated
        assert ratings.rating.tolist() == [math.inf, -math.inf, -math.inf]
        assert np.isnan(ratings.se).all()

    def test_the_prior_makes_it_finite_and_the_flag_stays(self) -> None:
        ratings = elo_from_battles(self.sweep)
        assert ratings.separated
        assert ratings.rating[0] > ratings.rating[1] == pytest.approx(ratings.rating[2])
        # two equal losers: the gap is the log odds of (2 + 1/4) to 1/4
        assert ratings.rating[0] - ratings.rating[1] == pytest.approx(400 * math.log10(9))

    def test_the_middle_of_three_levels_is_undefined(self) -> None:
        rating = elo_from_battles([[0, 1, 1], [0, 0, 1], [0, 0, 0]], prior_ties=0).rating
        assert rating[0] == math.inf
        assert math.isnan(rating[1])
        assert rating[2] == -math.inf

    def test_groups_that_never_met(self) -> None:
        wins = np.zeros((4, 4))
        wins[0, 1] = wins[1, 0] = wins[2, 3] = wins[3, 2] = 1
        ratings = elo_from_battles([wins, np.ones((4, 4)) - np.eye(4)], prior_ties=0)
        assert ratings.separated.tolist() == [True, False]
        assert np.isnan(ratings.rating[0]).all()
        assert ratings.rating[1] == pytest.approx(np.zeros(4))

    def test_a_cycle_is_not_separated(self) -> None:
        k = 9  # the longest chain of wins that a closure has to follow
        ratings = elo_from_battles(np.roll(np.eye(k), 1, axis=1), prior_ties=0)
        assert not ratings.separated
        assert ratings.rating == pytest.approx(np.zeros(k), abs=1e-6)

    @given(st.integers(2, 6), st.integers(0, 10_000))
    @settings(max_examples=40, deadline=None)
    def test_the_flag_is_strong_connection(self, k: int, seed: int) -> None:
        from scipy.sparse.csgraph import connected_components

        wins = random_battles(np.random.default_rng(seed), 1, k, 2)[0]
        groups, _ = connected_components(wins > 0, connection="strong")
        assert bool(elo_from_battles(wins).separated) == (groups > 1)


@given(st.integers(1, 7), st.integers(0, 10_000), st.sampled_from([0.05, 1.0]))
@settings(max_examples=40, deadline=None)
def test_laws(k: int, seed: int, prior_ties: float) -> None:
    rng = np.random.default_rng(seed)
    wins = random_battles(rng, 3, k)
    ratings = elo_from_battles(wins, prior_ties)
    assert ratings.rating.sum(axis=1) == pytest.approx(np.zeros(3), abs=1e-7)
    order = rng.permutation(k)
    shuffled = elo_from_battles(wins[:, order][:, :, order], prior_ties)
    np.testing.assert_allclose(shuffled.rating, ratings.rating[:, order], atol=1e-6)
    np.testing.assert_allclose(shuffled.se, ratings.se[:, order], rtol=1e-6)
    reverse = elo_from_battles(wins.swapaxes(1, 2), prior_ties)
    np.testing.assert_allclose(reverse.rating, -ratings.rating, atol=1e-6)
    np.testing.assert_allclose(
        elo_from_battles(wins[1], prior_ties).rating, ratings.rating[1], atol=1e-6
    )
    # at the maximum every response has as many wins as the model expects
    weights = wins + prior_ties / (2 * max(k - 1, 1)) * (1 - np.eye(k))
    strength = ratings.rating / ELO_SCALE
    p = special.expit(strength[:, :, None] - strength[:, None, :])
    expected = ((weights + weights.swapaxes(1, 2)) * p).sum(axis=2)
    np.testing.assert_allclose(expected, weights.sum(axis=2), atol=1e-8)


def test_equal_records_are_tied_exactly() -> None:
    """In a full round-robin ratings depend on the number of wins alone."""
    rng = np.random.default_rng(2)
    upper = np.triu(rng.integers(0, 3, (300, 8, 8)), 1)
    wins = upper + np.tril(2 - upper.swapaxes(1, 2), -1)
    rating, points = elo_from_battles(wins).rating, wins.sum(axis=2)
    same_points = points[:, :, None] == points[:, None, :]
    np.testing.assert_array_equal(rating[:, :, None] == rating[:, None, :], same_points)
    more = points[:, :, None] > points[:, None, :]
    np.testing.assert_array_equal(rating[:, :, None] > rating[:, None, :], more)


def test_extreme_battles_converge() -> None:
    wins = [[0, 1e6, 5], [1, 0, 0.5], [1e-6, 2e5, 0]]
    ratings = elo_from_battles(wins, prior_ties=0, scale=1)
    strength, _ = brute_force(np.array(wins), 0)
    np.testing.assert_allclose(ratings.rating, strength, rtol=1e-3)


def test_shapes() -> None:
    ratings = elo_from_battles(np.zeros((2, 3, 4, 4)))
    assert ratings.rating.shape == (2, 3, 4)
    assert ratings.covariance.shape == (2, 3, 4, 4)
    assert ratings.separated.all()
    assert (ratings.rating == 0).all()
    assert len(ratings.to_frame()) == 24
    assert elo_from_battles(np.zeros((0, 4, 4))).rating.shape == (0, 4)
    one = elo_from_battles([[0]])
    assert (one.rating, one.se, one.separated) == (0, 0, False)


@pytest.mark.parametrize(
    ("battles", "options", "message"),
    [
        ([[0, 1, 2]], {}, "shape"),
        (np.zeros((2, 0, 0)), {}, "shape"),
        ([[0, math.nan], [1, 0]], {}, "finite and not negative"),
        ([[0, -1], [1, 0]], {}, "finite and not negative"),
        ([[1, 1], [1, 0]], {}, "diagonal"),
        ([[0, 1], [1, 0]], {"prior_ties": -1}, "prior_ties"),
        ([[0, 1], [1, 0]], {"scale": 0}, "scale"),
    ],
)
def test_bad_input(battles: object, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        elo_from_battles(battles, **options)  # type: ignore[arg-type]
