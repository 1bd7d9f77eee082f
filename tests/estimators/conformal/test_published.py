"""Thresholds and set sizes that others published or computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from statllm.estimators.conformal import (
    PredictionSets,
    conformal_factuality,
    prediction_sets,
)
from statllm.estimators.conformal.scores import set_scores


@pytest.fixture(scope="module")
def factuality() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "references" / "conformal_factuality.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def parts(claims: list[list[list[float]]], noise: bool) -> tuple[list[list[float]], Any]:
    """Scores, with the noise that breaks ties or without, and labels."""
    scores = [[score + noise * jitter for score, jitter, _ in row] for row in claims]
    return scores, [[right for *_, right in row] for row in claims]


@pytest.mark.parametrize("place", range(6))
def test_thresholds_of_mohri_and_hashimoto(factuality: dict[str, Any], place: int) -> None:
    """Natural Questions, MATH and FActScore, 50 responses each, to the last digit."""
    case = factuality["thresholds"][place]
    claims = factuality[case["data"]]
    n_claims = {"nq": 294, "MATH": 293, "factscore": 408}[case["data"]]
    assert (len(claims), sum(map(len, claims))) == (50, n_claims)
    rule = conformal_factuality(*parts(claims, noise=True), case["alpha"], case["level"])
    assert rule.threshold == case["threshold"]


@pytest.mark.parametrize(
    ("data", "alpha", "level", "expected"),
    [
        ("nq", 0.1, 0.8, 3.8),
        ("nq", 0.1, 0.9, 4),
        ("nq", 0.1, 1, 4),
        ("MATH", 0.15, 1, -2),
        ("factscore", 0.15, 0.7, 3.8),
        ("factscore", 0.15, 1, 4.9),
    ],
)
def test_ties_need_no_noise(
    factuality: dict[str, Any], data: str, alpha: float, level: float, expected: float
) -> None:
    """Without the noise that the released code adds, tied claims are kept or left out together.

    FActScore's threshold for .7 falls from 4.0002 to 3.8: three responses broke early only because
    the noise put a wrong claim first among claims of equal score.
    """
    scores, correct = parts(factuality[data], noise=False)
    rule = conformal_factuality(scores, correct, alpha, level)
    assert rule.threshold == pytest.approx(expected)
    assert rule.factual(scores, correct).value >= rule.law.rank / 50  # by the quantile's place


def lac_sets(n: int) -> tuple[PredictionSets, Any]:
    """LAC sets of n items from n others, and labels: six answers, standard normal logits."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2 * n, 6))
    labels = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    probs = np.exp(logits)
    probs /= probs.sum(axis=1, keepdims=True)
    return prediction_sets(probs[:n], labels[:n], probs[n:], 0.1), labels[n:]


def test_lac_sets_of_crepes() -> None:
    """crepes 0.9.1 without smoothing, on these very draws: 38,793 answers in 10,000 sets."""
    sets, _ = lac_sets(10_000)
    assert round(sets.mean_size.value * 10_000) == 38_793


def test_lac_set_size_of_a_hundred_thousand() -> None:
    """A mean size of 3.86799 was reported for crepes and numpy, for draws that aren't known.

    So it can be met up to chance only. Given the calibration set the coverage is Beta, its
    standard deviation sqrt(.1 * .9 / n). An answer at the threshold is right with probability
    .084 (the share of 24 million such answers that covers .9), which moves the size by 1 / .084
    for each unit of coverage: .0113. At .9 itself the size is 3.870.
    """
    n = 100_000
    sets, labels = lac_sets(n)
    deviation = np.sqrt(0.1 * 0.9 / n) / 0.084
    assert deviation == pytest.approx(0.0113, abs=1e-4)
    for size in (sets.mean_size.value, 3.86799):
        assert size == pytest.approx(3.870, abs=3 * deviation)
    assert sets.coverage(labels).value == pytest.approx(0.9, abs=3 * np.sqrt(2 * 0.09 / n))


def test_randomised_aps_scores_of_mapie() -> None:
    """MAPIE, tests of its cumulated scores: RandomState(42), its u is our 1 - u."""
    probs = [[0.4, 0.5, 0.1], [0.2, 0.6, 0.2], [0.6, 0.3, 0.1]]
    u = np.random.RandomState(42).uniform(size=3)
    scores = set_scores(probs, "aps", 1 - u)
    expected = [0.750183952461055, 0.029571416154050345, 0.9268006058188594]
    np.testing.assert_allclose(scores[range(3), range(3)], expected, rtol=0, atol=1e-12)


def test_saps_margin_and_top_k_of_torchcp() -> None:
    """TorchCP's own examples, probabilities without ties, its U is our 1 - u; by its formulas:

    SAPS (weight .5, U = 0): .5, .5 + .5, .5 + 2 * .5. Margin: the largest other minus own. TopK
    (U = .25): rank - .25.
    """
    probs = [[0.1, 0.4, 0.5]]
    np.testing.assert_allclose(set_scores(probs, "saps", penalty=0.5), [[1.5, 1.0, 0.5]])
    np.testing.assert_allclose(set_scores(probs, "margin"), [[0.4, 0.1, -0.1]], atol=1e-15)
    np.testing.assert_allclose(set_scores(probs, "top_k", u=[0.75]), [[2.75, 1.75, 0.75]])
    # Its score of a single label: U * largest at rank 1, else weight * (rank - 1 - U) + largest.
    u = 0.3
    expected = [[0.2 * (2 - u) + 0.5, 0.2 * (1 - u) + 0.5, (1 - u) * 0.5]]
    np.testing.assert_allclose(set_scores(probs, "saps", u=[1 - u]), expected)
