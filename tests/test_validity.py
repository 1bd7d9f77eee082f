"""The validity study: its machinery, a small part of it, and what its results have to say."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "studies" / "validity"


@pytest.fixture(scope="module")
def simulate() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("simulate")
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def cases(simulate: ModuleType) -> dict[str, Any]:
    return {case.name: case for case in importlib.import_module("study").all_cases()}


def known_error(simulate: ModuleType, name: str, factor: float) -> Any:
    """The mean of n normal numbers ± `factor` times z known errors."""

    def intervals(x: Any, levels: tuple[float, ...]) -> list[tuple[float, float]]:
        half = [factor * NormalDist().inv_cdf(0.5 + level / 2) / len(x) ** 0.5 for level in levels]
        return [(x.mean() - each, x.mean() + each) for each in half]

    def draw(rng: np.random.Generator, n: int) -> Any:
        return rng.standard_normal(n)

    return simulate.IntervalCase(name, "", "", draw, intervals, lambda n: 0.0, sizes=(10,))


def test_right_and_wrong_intervals_are_told_apart(simulate: ModuleType) -> None:
    right, short, wide = (
        known_error(simulate, name, factor)
        for name, factor in (("right", 1.0), ("short", 0.9), ("wide", 1.1))
    )
    rows = simulate.run_intervals([right, short, wide], 2000, workers=1)
    assert [row.nominal for row in rows[:2]] == [0.9, 0.95]
    assert not any(row.is_off for row in rows[:2])
    assert all(row.is_off for row in rows[2:])
    # Coverage of ± factor z is 2 Φ(factor z) - 1, and the rest is shared by the two sides.
    for row, factor in zip(rows[::2], (1.0, 0.9, 1.1), strict=True):
        exact = 2 * NormalDist().cdf(factor * 1.6448536) - 1
        assert row.rate == pytest.approx(exact, abs=3 * row.monte_carlo_error)
        assert row.below + row.above == pytest.approx(1 - row.rate)
        assert row.width == pytest.approx(2 * factor * 1.6448536 / 10**0.5)
    assert rows[0].monte_carlo_error == pytest.approx((0.9 * 0.1 / 2000) ** 0.5)


def test_results_depend_on_name_size_and_seed_alone(simulate: ModuleType, tmp_path: Path) -> None:
    first, other = known_error(simulate, "first", 1.0), known_error(simulate, "other", 1.0)
    alone = simulate.run_intervals([first], 120, 5, workers=1)
    together = simulate.run_intervals([other, first], 120, 5, tmp_path, workers=2)
    assert together[2:] == alone
    assert together[:2] != alone
    assert simulate.run_intervals([first], 120, 6, workers=1) != alone
    assert simulate.read_rows(tmp_path / "first.json") == alone
    with pytest.raises(ValueError, match="share a name"):
        simulate.run_intervals([first, first], 120)


def test_refusals_are_counted_and_left_out(simulate: ModuleType) -> None:
    def intervals(x: float, levels: tuple[float, ...]) -> list[tuple[float, float]]:
        if x < 0.25:
            raise ValueError
        return [(math.nan if x < 0.5 else 0.0, 1.0) for _ in levels]

    case = simulate.IntervalCase(
        "refusals", "", "", lambda rng, n: rng.random(), intervals, lambda n: 1.0, sizes=(1,)
    )
    row = simulate.run_intervals([case], 2000, workers=1)[0]
    assert row.undefined == pytest.approx(0.5, abs=0.04)
    assert row.rate == 1.0  # of the defined ones; the limit itself is inside
    assert row.is_off


def test_size_of_tests(simulate: ModuleType) -> None:
    def test_case(name: str, power: float, conservative: bool) -> Any:
        return simulate.TestCase(
            name, "", "", lambda rng, n: rng.random() ** power, sizes=(1,),
            exact_or_conservative=conservative,
        )  # fmt: skip

    made = [
        test_case("uniform", 1, False),
        test_case("liberal", 1.3, True),
        test_case("cautious", 0.7, False),
        test_case("cautious-meant", 0.7, True),
    ]
    rows = simulate.run_tests(made, 2000, workers=1)
    off = {row.name: [] for row in rows}
    for row in rows:
        off[row.name].append(row.is_off)
    assert off["uniform"] == [False] * 3
    assert off["liberal"] == [True] * 3
    assert off["cautious"] == [True] * 3
    assert off["cautious-meant"] == [False] * 3
    # P(U^1.3 <= .05) = .05^(1/1.3)
    assert rows[4].rate == pytest.approx(0.05 ** (1 / 1.3), abs=0.02)


# Cases that are neither slow nor explained: they have to be right.
FEW = ("wilson-over-p", "mean-rewards", "mean-clustered", "ratio-steps", "auroc-tied")


def test_a_few_cases_cover(simulate: ModuleType, cases: dict[str, Any]) -> None:
    from dataclasses import replace

    chosen = [replace(cases[name], sizes=(50,)) for name in FEW]
    rows = simulate.run_intervals(chosen, 400, workers=1)
    assert len(rows) == 2 * len(FEW)
    assert not [row for row in rows if abs(row.errors_off) > 3]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FEW, "auroc-difference", "aurc-usual", "clopper-pearson-0.95"])
def test_cases_repeat_their_stored_result(
    simulate: ModuleType, cases: dict[str, Any], name: str
) -> None:
    stored = simulate.read_rows(FOLDER / "results" / f"{name}.json")
    again = simulate.run_intervals([cases[name]], 1000, seed=1)
    for old, new in zip(stored, again, strict=True):
        error = (old.monte_carlo_error**2 + new.monte_carlo_error**2) ** 0.5
        assert abs(old.rate - new.rate) < 4 * error, (old, new)


def test_every_case_has_a_result_and_every_cell_that_is_off_a_note(
    simulate: ModuleType, cases: dict[str, Any]
) -> None:
    stored = {path.stem for path in (FOLDER / "results").glob("*.json")}
    assert set(cases) == stored
    for name, case in cases.items():
        rows = simulate.read_rows(FOLDER / "results" / f"{name}.json")
        assert {row.n for row in rows} == set(case.sizes), name
        assert case.note or not any(row.is_off for row in rows), name
