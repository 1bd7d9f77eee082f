"""The study of many tests: its worst cases are what they claim, its results what is promised."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.multiplicity import benjamini_hochberg, benjamini_yekutieli

FOLDER = Path(__file__).resolve().parents[1] / "studies" / "validity"


@pytest.fixture(scope="module")
def study() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("multiplicity")
    sys.path.remove(str(FOLDER))


def test_every_true_hypothesis_has_a_uniform_p_and_a_fair_e(study: ModuleType) -> None:
    for name, draw in study.SCENES.items():
        log_p, log_e, n_true = draw(np.random.default_rng(0), 20_000)
        for column in (0, n_true - 1):
            p, e = np.exp(log_p[:, column]), np.exp(log_e[:, column])
            if name != "all true, worst for e-BH":  # p = 1 / e there
                assert stats.kstest(p, "uniform").pvalue > 1e-4, name
            # The mean of heavy-tailed e-values is at most 1, if it's seen.
            assert e.mean() < 1 + 4 * e.std() / math.sqrt(len(e)), name


def test_the_worst_cases_reach_their_bounds(study: ModuleType) -> None:
    """Guo and Rao's alpha H for BH, and alpha for BY; 60,000 families, four errors."""
    alpha, h = study.ALPHA, study.HARMONIC
    for adjust, at, bound in (
        (benjamini_hochberg, alpha, alpha * h),
        (benjamini_yekutieli, alpha / h, alpha),
    ):
        log_p = study.worst(np.random.default_rng(1), 60_000, at)[0]
        rate = float(np.mean((adjust(log_p) <= math.log(alpha)).any(axis=1)))
        assert rate == pytest.approx(bound, abs=4 * math.sqrt(bound * (1 - bound) / 60_000))


def test_stored_rates_keep_their_promises(study: ModuleType) -> None:
    rows = study.load("multiplicity/rates.json")
    assert {(row["scene"], row["method"]) for row in rows} == {
        (scene, method) for scene in study.SCENES for method in study.METHODS
    }
    for row in rows:
        conditional = row["method"] in ("BH", "Hommel") and "worst for BH" in row["scene"]
        if row["method"] != "none" and not conditional:
            assert not study.above(row), row
    page = (FOLDER / "multiplicity.md").read_text()
    assert study.table(rows, "FWER") in page
    assert study.table(rows, "FDR") in page
