"""Intervals of the parts of a score: they hold the truth, at calibration too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import special

from statllm.estimators.calibration.corp import corp_decomposition
from statllm.estimators.comparison import mean_estimate

SCENES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "calibrated": lambda p: p,
    "stretched": lambda p: special.expit(0.5 * special.logit(p)),
    "useless": lambda p: np.full(len(p), 0.7),
}


def truths(scene: str, score: str) -> tuple[float, float, float]:
    """MCB, DSC and UNC of infinitely many rows with confidences of Beta(5, 2)."""
    p = np.random.default_rng(0).beta(5, 2, 400_000)
    q = SCENES[scene](p)
    c = q.mean()
    if score == "brier":
        return float(((p - q) ** 2).mean()), float(((q - c) ** 2).mean()), float(c * (1 - c))

    def loss(forecast: np.ndarray) -> float:
        return float(-(special.xlogy(q, forecast) + special.xlog1py(1 - q, -forecast)).mean())

    return loss(p) - loss(q), loss(np.full(len(p), c)) - loss(q), loss(np.full(len(p), c))


@pytest.mark.parametrize("score", ["brier", "log"])
@pytest.mark.parametrize("scene", SCENES)
def test_intervals_hold_the_truth(scene: str, score: str) -> None:
    rng, known = np.random.default_rng(1), truths(scene, score)
    held, reps = np.zeros(3), 60
    for _ in range(reps):
        p = rng.beta(5, 2, 150)
        y = rng.random(150) < SCENES[scene](p)
        found = corp_decomposition(p, y, score)  # type: ignore[arg-type]
        parts = (found.miscalibration, found.discrimination, found.uncertainty)
        for i, (part, truth) in enumerate(zip(parts, known, strict=True)):
            interval = part.interval(0.9)
            assert interval.low <= part.value <= interval.high
            held[i] += interval.low <= truth + 1e-4 and truth - 1e-4 <= interval.high
    assert (held / reps >= [0.9, 0.9, 0.8]).all()


def test_a_bootstrap_of_the_plug_in_does_not() -> None:
    rng, held = np.random.default_rng(2), 0
    for _ in range(8):
        p = rng.beta(5, 2, 150)
        y = rng.random(150) < p
        draws = [
            corp_decomposition(p[i], y[i]).miscalibration.value
            for i in rng.integers(0, 150, (40, 150))
        ]
        held += np.quantile(draws, 0.05) <= 0
    assert held == 0


def test_intervals_shrink_and_detect() -> None:
    rng = np.random.default_rng(3)
    p = rng.beta(5, 2, 4000)
    y = rng.random(4000) < SCENES["stretched"](p)
    found = corp_decomposition(p, y)
    assert found.miscalibration.interval().low > 0.003
    assert found.discrimination.interval().low > 0.003
    known = mean_estimate((p - y) ** 2)
    assert found.score.se == pytest.approx(known.se)
    assert found.score.interval() == known.interval()
    group = np.repeat(np.arange(400), 10)
    clustered = corp_decomposition(np.sort(p), y[np.argsort(p)], clusters=group)
    assert clustered.n == 400
    assert clustered.miscalibration.value == pytest.approx(found.miscalibration.value)


def test_order_of_rows_changes_nothing() -> None:
    rng = np.random.default_rng(4)
    p = rng.choice([0.2, 0.5, 0.9], 90)
    y, w, group = rng.random(90) < p, rng.integers(1, 4, 90), rng.integers(0, 20, 90)
    order = rng.permutation(90)
    for options in ({}, {"weights": w}, {"weights": w, "clusters": group}):
        moved = {name: values[order] for name, values in options.items()}
        one, two = (
            corp_decomposition(p, y, **options),
            corp_decomposition(p[order], y[order], **moved),
        )
        for part, again in zip(vars(one).values(), vars(two).values(), strict=True):
            first, second = part.interval(), again.interval()
            assert (first.low, first.high) == pytest.approx((second.low, second.high))


def test_uncertainty_of_one_half() -> None:
    # Its derivative is 0 there, but not its error.
    part = corp_decomposition([0.3, 0.7] * 20, [0, 1] * 20).uncertainty
    assert part.value == part.interval().high == 0.25
    assert part.interval().low < 0.25
    assert "uncertainty" in corp_decomposition([0.3, 0.7] * 20, [0, 1] * 20).summary()
