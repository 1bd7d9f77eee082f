"""Agreement coefficients against published tables, peer packages and real judges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as their_fleiss

from statllm.estimators.agreement import (
    CategoryCounts,
    category_counts,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac,
    icc,
    krippendorff_alpha,
    percent_agreement,
)

NAN = float("nan")

#: Krippendorff (2011, "Computing Krippendorff's alpha-reliability", section E): units x observers.
OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T


@pytest.mark.parametrize(
    ("metric", "published"),
    [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)],
)
def test_alpha_of_krippendorffs_example(metric: str, published: float) -> None:
    found = krippendorff_alpha(OBSERVERS, metric=metric)  # type: ignore[arg-type]
    assert found.value == pytest.approx(published, abs=5e-4)
    assert found.n == 11  # one unit has a single rating


def test_gwet_and_fleiss_of_the_same_example() -> None:
    # irrCAC 0.4.4, CAC(raw_4raters()): fleiss(), gwet(), krippendorff()
    assert fleiss_kappa(OBSERVERS).value == pytest.approx(0.76117, abs=5e-6)
    assert gwet_ac(OBSERVERS).value == pytest.approx(0.77544, abs=5e-6)
    assert krippendorff_alpha(OBSERVERS).value == pytest.approx(0.74342, abs=5e-6)


def gappy() -> np.ndarray:
    rng = np.random.default_rng(0)
    truth = rng.integers(1, 6, size=40)
    x = np.clip(truth[:, None] + rng.integers(-1, 2, size=(40, 4)), 1, 5).astype(float)
    x[rng.random(x.shape) < 0.15] = NAN
    return x


@pytest.mark.parametrize(
    ("metric", "theirs"),
    [
        ("nominal", 0.33645116918844564),
        ("ordinal", 0.7977648140611103),
        ("interval", 0.8113493610569634),
        ("ratio", 0.7791125620244599),
    ],
)
def test_alpha_equals_the_krippendorff_package(metric: str, theirs: float) -> None:
    # krippendorff 0.9.0, alpha(reliability_data=x.T, level_of_measurement=metric)
    assert krippendorff_alpha(gappy(), metric=metric).value == pytest.approx(theirs, abs=1e-12)  # type: ignore[arg-type]
    counts = category_counts(gappy())
    assert krippendorff_alpha(counts, metric=metric).value == pytest.approx(theirs, abs=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weights", "fleiss", "gwet", "share"),
    [
        ("identity", 0.3122017855, 0.3172413032, 0.452991453),
        ("linear", 0.6106838749, 0.6160940967, 0.8450854701),
        ("quadratic", 0.8080772087, 0.8120702538, 0.9521901709),
        ("ordinal", 0.7517459553, 0.7564239998, 0.9307692308),
        ("ratio", 0.7761389004, 0.7911978109, 0.9391568853),
    ],
)
def test_weighted_coefficients_equal_irrcac(
    weights: str, fleiss: float, gwet: float, share: float
) -> None:
    # irrCAC 0.4.4, CAC(DataFrame(x), weights=weights, digits=10).fleiss() and .gwet()
    x = gappy()
    assert fleiss_kappa(x, weights=weights).value == pytest.approx(fleiss, abs=1e-9)  # type: ignore[arg-type]
    assert gwet_ac(x, weights=weights).value == pytest.approx(gwet, abs=1e-9)  # type: ignore[arg-type]
    assert percent_agreement(x, weights=weights).value == pytest.approx(share, abs=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_cohen_equals_sklearn(weights: str | None) -> None:
    rng = np.random.default_rng(3)
    a = rng.integers(0, 4, size=80)
    b = np.where(rng.random(80) < 0.6, a, rng.integers(0, 4, size=80))
    theirs = cohen_kappa_score(a, b, weights=weights)
    assert cohen_kappa(a, b, weights=weights or "identity").value == pytest.approx(theirs)  # type: ignore[arg-type]
    if weights is None:
        text = cohen_kappa([f"c{x}" for x in a], [f"c{x}" for x in b])
        assert text.value == pytest.approx(theirs)


def test_fleiss_equals_statsmodels() -> None:
    x = np.random.default_rng(4).choice(["no", "tie", "yes"], size=(50, 5), p=[0.2, 0.3, 0.5])
    table, _ = aggregate_raters(x)
    assert fleiss_kappa(x).value == pytest.approx(their_fleiss(table))
    counts = CategoryCounts(table, np.array(["no", "tie", "yes"]))
    assert fleiss_kappa(counts).value == pytest.approx(their_fleiss(table))


#: Shrout and Fleiss (1979), table 2: six targets, four judges; values and limits of table 4, and
#: of pingouin 0.6.1, intraclass_corr (limits to two digits).
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


@pytest.mark.parametrize(
    ("form", "average", "value", "low", "high"),
    [
        ("1", False, 0.1657417684, -0.13, 0.72),
        ("2", False, 0.2897637795, 0.02, 0.76),
        ("3", False, 0.7148407148, 0.34, 0.95),
        ("1", True, 0.4427971337, -0.88, 0.91),
        ("2", True, 0.6200505476, 0.07, 0.93),
        ("3", True, 0.9093155424, 0.68, 0.99),
    ],
)
def test_icc_of_shrout_and_fleiss(
    form: str, average: bool, value: float, low: float, high: float
) -> None:
    found = icc(JUDGES, form, average=average, interval="F")  # type: ignore[arg-type]
    interval = found.interval(0.95)
    assert found.value == pytest.approx(value, abs=1e-9)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.0051)
    assert found.name == f"ICC({form},{'k' if average else '1'})"


# ---- real judges --------------------------------------------------------------------------------


def test_pandalm_published_kappas(shared_data: Path) -> None:
    """Three annotators of 999 pairs (WeOpenML/PandaLM, 3871806): 0.85, 0.88, 0.86."""
    folder = shared_data / "pref_pandalm"
    if not folder.is_dir():
        pytest.skip("PandaLM's annotations are not beside this checkout")
    frame = pd.read_parquet(folder / "testset.parquet")
    reference = json.loads((folder / "ref.json").read_text())
    votes = {name: frame[name].to_numpy() for name in ("annotator1", "annotator2", "annotator3")}
    for (a, b), published in (
        (("annotator1", "annotator2"), 0.85),
        (("annotator1", "annotator3"), 0.88),
        (("annotator2", "annotator3"), 0.86),
    ):
        kappa = cohen_kappa(votes[a], votes[b])
        assert round(kappa.value, 2) == published
        assert kappa.value == pytest.approx(reference["kappa"][f"{a}-{b}"], abs=1e-12)
        assert kappa.interval().low > 0.8
    together = fleiss_kappa(np.stack(list(votes.values()), axis=1))
    assert together.value == pytest.approx(reference["fleiss"], abs=1e-12)


def test_llmbar_published_kappas(shared_data: Path) -> None:
    """325 cells (princeton-nlp/LLMBar, 900616b), on the authors' coding and on the whole one.

    They read every verdict but 0 and 1 as 0, so that 2 becomes 0, while the labels stay 1 and 2.
    """
    folder = shared_data / "pref_llmbar"
    if not folder.is_dir():
        pytest.skip("LLMBar's verdicts are not beside this checkout")
    frame = pd.read_parquet(folder / "verdicts.parquet")
    keys = ["subset", "model", "prompt"]
    frame = frame.astype(dict.fromkeys([*keys, "winner_noswap", "winner_swap"], str))
    published = json.loads((folder / "published_statistics.json").read_text())
    whole = pd.read_csv(folder / "ref.csv").set_index(keys)
    groups = dict(iter(frame.groupby(keys)))
    for cell in published:
        key = tuple(cell[name] for name in keys)
        group = groups[key]
        label = group["label"].to_numpy()
        plain, swapped = (group[name].to_numpy() for name in ("winner_noswap", "winner_swap"))
        first, second = ((each == "1").astype(int) for each in (plain, swapped))
        for name, a, b in (
            ("kappa_False", first, label),
            ("kappa_True", second, label),
            ("kappa_agreement", first, second),
        ):
            assert cohen_kappa(a, b).value == pytest.approx(cell[name], abs=1e-12, nan_ok=True)
        undistorted = cohen_kappa(plain, label.astype(str)).value
        expected = whole.loc[key, "kappa_proper"]
        assert undistorted == pytest.approx(expected, abs=6e-7, nan_ok=True)  # six digits
