"""`statllm watermark plan`: its rows against figures and simulations made apart."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from statllm.cli.watermark.plan import _e_process
from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.marks import Marks, Null
from statllm.estimators.watermark.sequential import e_process

Run = Callable[..., tuple[int, str, str]]


def numbers(statllm: Run, *options: object) -> dict[str, str]:
    """Row and its cell."""
    code, out, err = statllm("watermark", "plan", *options)
    assert code == 0, err
    rows = re.findall(r"^\W*(\S.*?\S)  +(over .*?|[\d,]+(?: \[.*\])?) *$", out, re.MULTILINE)
    return dict(rows)


def marks_of(values: np.ndarray, n: int, null: Null) -> Marks:
    """Texts of n tokens, all distinct."""
    at = np.tile(np.arange(n), len(values) // n)
    offsets = np.arange(0, len(values) + 1, n)
    return Marks(values, at.astype(np.uint64), at, at, offsets, null)


def test_rows_hold_in_simulated_texts(statllm: Run) -> None:
    """2,000 texts of the planned lengths: the power is .9 within 4 Monte Carlo errors."""
    found = numbers(statllm, "--delta", 0.5, "--alpha", 0.01, "--power", 0.9)
    law, rng = ChosenLaw.least_favourable(0.5), np.random.default_rng(5)
    error = 4 * np.sqrt(0.09 / 2_000)

    def pivots(n: int) -> np.ndarray:
        return np.clip(law.pivots(2_000 * n, rng), 1e-300, 1 - 2**-53)

    n = int(found["Tr-GoF (trgof)"])
    p = detect(marks_of(pivots(n), n, Null("uniform")), "trgof", deduplicate="done").log_p
    assert np.mean(p <= np.log(0.01)) == pytest.approx(0.9, abs=error)

    n = int(found["sum, two keys, the second with probability 0.1"])
    chosen, other = pivots(n), rng.random(2_000 * n)
    second = rng.random(2_000 * n) < 0.1
    two = np.where(second[:, None], np.column_stack([other, chosen]),
                   np.column_stack([chosen, other]))  # fmt: skip
    p = detect(marks_of(two, n, Null("uniform", mixing=0.1)), deduplicate="done").log_p
    assert np.mean(p <= np.log(0.01)) == pytest.approx(0.9, abs=error)

    given = found["e-process, looks after every token"]
    value, low, high = (int(each) for each in re.findall(r"\d+", given))
    assert low <= value <= high
    stops = e_process(marks_of(pivots(high), high, Null("uniform")), deduplicate="done")
    first = stops.first_crossing(0.01)  # -1: not found
    # other texts than the plan's, at both ends of its interval
    assert np.mean(first >= 0) > 0.9 - error
    assert np.mean((first >= 0) & (first < low)) < 0.9 + error


def test_rows_of_a_prototype(statllm: Run) -> None:
    """A planning table made apart at 1e-6 and .99 for Delta .5: 245 and, at the least, 72."""
    found = numbers(statllm, "--delta", 0.5, "--trgof-up-to", 50)
    assert int(found["sum"]) == pytest.approx(245, rel=0.05)
    assert int(found["no test with fewer than about"]) == 72
    assert found["Tr-GoF (trgof)"] == "over 50 (--trgof-up-to)"


def test_an_e_process_that_takes_too_long() -> None:
    """Nearly certain text; and text of which only a part of 5,000 tokens' readers is told."""
    assert _e_process(ChosenLaw.least_favourable(0.001), 1e-6, 0.99, 0) == "over 5,000"
    law = ChosenLaw.least_favourable(0.5)
    given = _e_process(law, 1e-6, 0.5, 0)
    value, low, high = (int(each) for each in re.findall(r"\d+", given))
    assert 70 < low <= value <= high < 90  # the mean stop of a prototype made apart is 80


def test_a_share_that_is_none(statllm: Run) -> None:
    code, _, err = statllm("watermark", "plan", "--delta", 0.3, "--mixing", 1)
    assert code == 2
    assert "--mixing must lie between 0 and 1" in err
