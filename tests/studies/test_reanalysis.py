"""The study of published differences against figures worked out elsewhere, and brute force."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

FOLDER = Path(__file__).parents[2] / "studies" / "reanalysis"


@pytest.fixture(scope="module")
def study() -> Any:
    spec = importlib.util.spec_from_file_location("reanalysis_study", FOLDER / "study.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows(study: Any) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["paper"], row["what"]): row for row in study.results()[0]}


@pytest.mark.parametrize(
    ("paper", "what", "p", "digits"),
    [
        ("O1 Journey 1", "journey / shortcut, Abel", 0.0073, 4),
        ("O1 Journey 1", "journey / shortcut, PRM800K", 0.0094, 4),
        ("O1 Journey 1", "DPO / journey, Abel", 0.95, 2),
        ("O1 Journey 1", "DPO / journey, PRM800K", 0.70, 2),
        ("O1 Journey 2", "MATH500 / o1-preview", 0.46, 2),
        ("O1 Journey 2", "WildSafety / baseline", 0.076, 3),
        ("O1 Journey 2", "Flames / baseline", 0.59, 2),
    ],
)
def test_unpaired_p_values_worked_out_before(
    rows: Any, paper: str, what: str, p: float, digits: int
) -> None:
    assert math.exp(rows[paper, what]["log_p"]) == pytest.approx(p, abs=0.51 * 10**-digits)


@pytest.mark.parametrize(
    ("what", "p", "digits"),
    [("AIME 2024 / o1-preview", 1.00, 2), ("AIME 2024 / o1-mini", 0.07, 2)],
)
def test_fisher_p_values_worked_out_before(rows: Any, what: str, p: float, digits: int) -> None:
    found = rows["O1 Journey 2", what]["fisher_p"]
    assert found == pytest.approx(p, abs=0.51 * 10**-digits)


def test_wilson_of_13_of_30(rows: Any) -> None:
    low, high = rows["O1 Journey 2", "AIME 2024 / o1-preview"]["wilson_b"]
    assert (round(low, 3), round(high, 3)) == (0.274, 0.608)


def test_unpaired_test_and_interval_against_statsmodels(study: Any) -> None:
    for x1, x2, n in [(193, 235, 500), (12, 13, 30), (184, 173, 200), (1, 9, 40)]:
        p = proportions_ztest([x2, x1], [n, n])[1]
        assert math.exp(study.two_proportions(x1, x2, n)) == pytest.approx(p, rel=1e-9)
        theirs = confint_proportions_2indep(x2, n, x1, n, method="newcomb", compare="diff")
        np.testing.assert_allclose(study.newcombe(x1, x2, n), theirs, atol=1e-9)


@pytest.mark.parametrize(("x1", "x2", "n"), [(5, 12, 20), (12, 5, 20), (3, 4, 15), (20, 33, 60)])
def test_pairing_bounds_by_brute_force(study: Any, x1: int, x2: int, n: int) -> None:
    p, apart = [], []
    for both in range(max(0, x1 + x2 - n), min(x1, x2) + 1):
        lone1, lone2 = x1 - both, x2 - both
        p.append(stats.binomtest(lone1, lone1 + lone2, 0.5).pvalue)
        apart.append(lone1 + lone2)
    found = study.paired_range(x1, x2, n)
    assert math.exp(found["p_least"]) == pytest.approx(min(p))
    assert math.exp(found["p_greatest"]) == pytest.approx(max(p))
    passing = [d for d, value in zip(apart, p, strict=True) if value <= 0.05]
    if passing:
        assert found["disagreement"] == pytest.approx(max(passing) / n)
    else:
        assert "disagreement" not in found


def test_counts_must_print_as_published(study: Any) -> None:
    assert study.count("43.3", 30) == (13, True)
    assert study.count("63.91", 1319) == (843, True)
    assert study.count("85.5", 500) == (428, False)  # o1-preview's, taken over from elsewhere
    assert study.count("100", 200) == (200, True)


def test_needed_correlation_makes_the_paired_z_test_touch(study: Any) -> None:
    difference, sd, n = 0.03, 0.5, 400
    rho = study.needed_correlation(difference, sd * math.sqrt(2 / n))
    paired_se = sd * math.sqrt(2 * (1 - rho) / n)
    assert 2 * stats.norm.sf(difference / paired_se) == pytest.approx(0.05)
    assert study.needed_correlation(0.5, 0.01) == 0


def test_detectable_difference_by_its_power(rows: Any) -> None:
    row = rows["O1 Journey 1", "journey / shortcut, Abel"]
    se = math.sqrt((0.386 * 0.614 + 0.47 * 0.53) / 500)
    power = stats.norm.sf(1.96 - row["detectable"] / se)
    assert power == pytest.approx(0.8, abs=0.005)


def test_natural_reasoning_error(study: Any) -> None:
    # one accuracy on 198 questions about 35 %: 3.4 points; the bound takes 50 %
    assert math.sqrt(0.35 * 0.65 / 198) == pytest.approx(0.034, abs=5e-4)
    row = study.average_rows()[0]
    draws = np.random.default_rng(1)
    gpqa, pro = draws.binomial(198, 0.5, (2, 20_000)) / 198, draws.binomial(12032, 0.5, (2, 20_000))
    spread = np.diff((gpqa + pro / 12032) / 2, axis=0).std()
    assert row["se"] == pytest.approx(spread, rel=0.02)


def test_verdicts(rows: Any) -> None:
    assert rows["O1 Journey 1", "journey / shortcut, Abel"]["verdict"] == "beyond chance"
    assert rows["O1 Journey 1", "DPO / journey, Abel"]["verdict"] == "not beyond chance"
    assert rows["O1 Journey 2", "AIME 2024 / o1-preview"]["verdict"] == "not beyond chance"
    assert rows["O1 Journey 2", "AIME 2024 / o1-mini"]["verdict"] == "cannot be told"
    assert rows["TPO", "Arena-Hard / direct"]["verdict"] == "cannot be told"


def test_the_table_is_that_beside_the_study(study: Any, tmp_path: Path) -> None:
    study.main(["-o", str(tmp_path)])
    assert (tmp_path / "result.png").stat().st_size > 10_000
    assert (tmp_path / "result.md").read_text() == (FOLDER / "result.md").read_text()
    found, kept = (json.loads((at / "result.json").read_text()) for at in (tmp_path, FOLDER))
    assert [row["verdict"] for row in found["claims"]] == [r["verdict"] for r in kept["claims"]]


def test_readme_counts_are_those_of_the_table(rows: Any) -> None:
    readme = (FOLDER / "README.md").read_text()
    for name in {row["verdict"] for row in rows.values()}:
        n = sum(row["verdict"] == name for row in rows.values())
        assert f"**{n} {name}**" in readme
