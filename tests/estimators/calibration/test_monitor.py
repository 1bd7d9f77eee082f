"""The safe test: a martingale by enumeration, in any batches, valid at any time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from statllm.estimators.calibration.monitor import CalibrationMonitor, safe_hosmer_lemeshow


def test_the_bet_is_fair() -> None:
    # Over all outcomes of six rows, E has mean one under the claimed probabilities, exactly.
    p = np.array([0.1, 0.9, 0.55, 0.9, 0.3, 0.97])
    mean = np.zeros(7)
    for outcome in itertools.product([0, 1], repeat=6):
        y = np.array(outcome)
        probability = float(np.prod(np.where(y == 1, p, 1 - p)))
        path = CalibrationMonitor().update(p, y).path
        mean += probability * np.exp(np.append(0.0, path))
    assert mean == pytest.approx(np.ones(7))


def by_rows(p: np.ndarray, y: np.ndarray) -> float:
    """One row after the other."""
    capitals = []
    for m in (1, 2, 4, 8, 16):
        seen, past, log_e = np.zeros(m), np.zeros(m), 0.0
        for claim, right in zip(p, y, strict=True):
            b = max(int(np.ceil(claim * m)) - 1, 0)
            q = claim + past[b] / (seen[b] + 20)
            q = min(max(q, claim / 2), (1 + claim) / 2)
            log_e += np.log(q / claim if right else (1 - q) / (1 - claim))
            seen[b] += 1
            past[b] += right - claim
        capitals.append(log_e)
    return float(np.log(np.mean(np.exp(capitals))))


def test_any_batches_give_the_same_capital() -> None:
    rng = np.random.default_rng(0)
    p = np.round(rng.random(200), 2).clip(0.01, 0.99)
    y = rng.random(200) < p**2
    whole = CalibrationMonitor().update(p, y)
    assert whole.log_e_value == pytest.approx(by_rows(p, y))
    pieces, highest = CalibrationMonitor(), 0.0
    for cut in np.split(np.arange(200), [1, 2, 50, 50, 171]):
        pieces = pieces.update(p[cut], y[cut])
        highest = max(highest, pieces.path.max(initial=0.0))
    assert pieces.n == whole.n == 200
    assert pieces.log_e_value == pytest.approx(whole.log_e_value)
    assert pieces.highest == pytest.approx(whole.highest) == pytest.approx(highest)
    assert pieces.test().log_p_value == pytest.approx(whole.test().log_p_value)
    assert whole.path[-1] == pytest.approx(whole.log_e_value)


def test_looking_after_every_row_keeps_the_size() -> None:
    rng = np.random.default_rng(1)
    rejected = 0
    for _ in range(400):
        p = rng.beta(2, 1, 1000)
        rejected += safe_hosmer_lemeshow(p, rng.random(1000) < p).p_value <= 0.05
    assert rejected / 400 < 0.05 + 3.3 * np.sqrt(0.05 * 0.95 / 400)


def test_certain_confidences() -> None:
    assert safe_hosmer_lemeshow([0.0, 1.0], [0, 1]).statistic == 0
    broken = CalibrationMonitor().update([0.5, 1.0], [1, 0])
    assert broken.log_e_value == np.inf
    assert broken.test().p_value == 0
    assert broken.update([0.5], [0]).log_e_value == np.inf
    assert safe_hosmer_lemeshow([], []).p_value == 1


def test_wrong_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="true or false"):
        safe_hosmer_lemeshow([0.5], [0.5])
    monitor = CalibrationMonitor().update([0.2, np.nan], [1, 0], missing="drop")
    assert monitor.n == 1
