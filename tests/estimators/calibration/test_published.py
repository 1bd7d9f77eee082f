"""Every calibration statistic against the values that published packages give on two samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from statllm.estimators.calibration import cumulative
from statllm.estimators.calibration.binned import (
    calibration_error,
    classwise_calibration_error,
    debiased_squared_calibration_error,
    top_label,
)
from statllm.estimators.calibration.classical import hosmer_lemeshow, spiegelhalter
from statllm.estimators.calibration.corp import corp_decomposition
from statllm.estimators.calibration.kernel import kernel_calibration_error
from statllm.estimators.calibration.proper_scores import brier_score, log_score
from statllm.estimators.calibration.recalibration import cox
from statllm.estimators.calibration.smooth import smooth_calibration_error
from statllm.estimators.selective import auroc

REFERENCE: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "references" / "calibration.json").read_text()
)


def sample(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Confidences and outcomes, as the reference file describes them."""
    state = np.random.RandomState(1)
    if name == "independent":
        y = state.choice([0, 1], 100)
        return state.uniform(size=100), y
    p, u = state.uniform(size=100), state.uniform(size=100)
    return p, (u <= p).astype(int)


both = pytest.mark.parametrize("name", ["independent", "calibrated"])


@both
def test_binned_errors(name: str) -> None:
    (p, y), known = sample(name), REFERENCE[name]
    assert calibration_error(p, y, n_bins=10).value == pytest.approx(known["ece10"], abs=1e-10)
    assert calibration_error(p, y).value == pytest.approx(known["ece15"], abs=1e-10)
    assert calibration_error(p, y, norm=2).value == pytest.approx(known["l2_15"], abs=1e-10)
    assert calibration_error(p, y, norm="max").value == pytest.approx(known["mce15"], abs=1e-10)


@both
@pytest.mark.parametrize("m", [8, 15, 16])
def test_squared_errors(name: str, m: int) -> None:
    (p, y), known = sample(name), REFERENCE[name]
    debiased = debiased_squared_calibration_error(p, y, m, convention="t-cal")
    assert debiased.value == pytest.approx(known["debiased"][str(m)], abs=1e-10)
    biased = calibration_error(p, y, m, norm=2).value ** 2
    assert biased == pytest.approx(known["biased"][str(m)], abs=1e-9)


@both
def test_smooth_error(name: str) -> None:
    (p, y), known = sample(name), REFERENCE[name]
    published = smooth_calibration_error(p, y, method="relplot")
    assert published.value == pytest.approx(known["smooth_ece"], abs=1e-10)


@both
def test_cumulative_tests(name: str) -> None:
    (p, y), known = sample(name), REFERENCE[name]
    ks = cumulative.kolmogorov_smirnov_calibration(p, y, law="asymptotic")
    assert ks.statistic == pytest.approx(known["ks"][0], abs=1e-6)
    assert ks.p_value == pytest.approx(known["ks"][1], rel=1e-4, abs=1e-4 * known["ks"][1])
    # MAPIE's range leaves out the point 0 from which the path starts.
    _, path, scale = cumulative.cumulative_differences(p, y)
    range_without_start = (path.max() - path.min()) / scale
    assert range_without_start == pytest.approx(known["kuiper_without_start"][0], abs=1e-6)
    tail = np.exp(cumulative._log_tail_range(known["kuiper_without_start"][0]))
    assert tail == pytest.approx(known["kuiper_without_start"][1], rel=1e-4)
    kuiper = cumulative.kuiper_calibration(p, y, law="asymptotic")
    assert kuiper.statistic == pytest.approx((max(path.max(), 0) - min(path.min(), 0)) / scale)
    if name == "calibrated":  # the path crosses 0: both ranges are one
        assert kuiper.statistic == pytest.approx(1.755683, abs=1e-6)
        assert kuiper.p_value == pytest.approx(0.313006, abs=1e-6)


@both
def test_spiegelhalter(name: str) -> None:
    (p, y), known = sample(name), REFERENCE[name]
    test = spiegelhalter(p, y)
    assert test.statistic == pytest.approx(known["spiegelhalter"], abs=1e-6)
    assert test.p_value == pytest.approx(known["spiegelhalter_p"], rel=1e-3)


def test_spiegelhalter_of_documentation() -> None:
    # MAPIE's documentation reports the upper tail, 0.8486.
    test = spiegelhalter([0.8, 0.3, 0.5, 0.5, 0.7, 0.1], [1, 0, 1, 0, 1, 0])
    assert 1 - test.p_value / 2 == pytest.approx(0.8486, abs=5e-5)


@both
def test_hosmer_lemeshow(name: str) -> None:
    (p, y), known = sample(name), REFERENCE[name]
    assert hosmer_lemeshow(p, y).statistic == pytest.approx(known["hl_ten_of_ten"], abs=1e-6)
    width = hosmer_lemeshow(p, y, groups="equal-width").statistic
    assert width == pytest.approx(known["hl_equal_width"], abs=5e-3)
    # calzone's equal frequency: quantiles as edges, open below, so that the least is lost.
    kept = p > p.min()
    frequency = hosmer_lemeshow(p[kept], y[kept], groups=np.quantile(p, np.linspace(0, 1, 11)))
    assert frequency.statistic == pytest.approx(known["hl_equal_frequency"], abs=5e-3)


def test_hosmer_lemeshow_p_values() -> None:
    (p, y), known = sample("calibrated"), REFERENCE["calibrated"]["hl_ten_of_ten_p"]
    plain = hosmer_lemeshow(p, y, law="asymptotic")
    assert plain.p_value == pytest.approx(known["10"], abs=1e-6)
    assert hosmer_lemeshow(p, y, fitted=True).p_value == pytest.approx(known["8"], abs=1e-6)


@both
def test_cox(name: str) -> None:
    (p, y), known = sample(name), REFERENCE[name]
    fit = cox(p, y)
    for part, values in ((fit.intercept, "intercept"), (fit.slope, "slope")):
        assert (part.value, part.se) == pytest.approx(tuple(known["cox"][values]), abs=1e-6)
    assert fit.test.statistic == pytest.approx(known["cox"]["lr"], abs=5e-4)
    assert fit.test.p_value == pytest.approx(known["cox_p"], rel=0.02)
    if name == "calibrated":
        large, error = known["cox_large"]
        assert fit.in_the_large.value == pytest.approx(large, abs=1e-6)
        # The error there is the inverse information's; ours is the sandwich's.
        fitted = p / (p + (1 - p) * np.exp(-fit.in_the_large.value))
        information = np.sum(fitted * (1 - fitted))
        assert information**-0.5 == pytest.approx(error, abs=1e-6)
        sandwich = np.sqrt(np.sum((y - fitted) ** 2)) / information
        assert fit.in_the_large.se == pytest.approx(sandwich, rel=1e-9)
        for part, values in ((fit.intercept, "intercept"), (fit.slope, "slope")):
            interval = part.interval()
            assert (interval.low, interval.high) == pytest.approx(
                tuple(known["cox_intervals"][values]), abs=1e-6
            )


@both
def test_kernel_error(name: str) -> None:
    (p, y), known = sample(name), REFERENCE[name]
    unbiased, biased = (kernel_calibration_error(p, y, e) for e in ("unbiased", "biased"))
    assert unbiased == pytest.approx(known["skce_unbiased"], abs=1e-10)
    assert biased == pytest.approx(known["skce_biased"], abs=1e-10)


@both
def test_scores(name: str) -> None:
    (p, y), known = sample(name), REFERENCE[name]
    parts = corp_decomposition(p, y)
    found = tuple(
        part.value for part in (parts.miscalibration, parts.discrimination, parts.uncertainty)
    )
    assert found == pytest.approx(tuple(known["corp"]), abs=1e-10)
    assert brier_score(p, y).value == pytest.approx(known["brier"], abs=1e-10)
    assert log_score(p, y).value == pytest.approx(known["log_loss"], abs=1e-10)


def test_torchmetrics_documentation() -> None:
    # torchmetrics, functional/classification/calibration_error.py, the doctests.
    p, y = [0.25, 0.25, 0.55, 0.75, 0.75], [0, 0, 1, 1, 1]
    for norm, value in ((1, 0.2900), (2, 0.2918), ("max", 0.3167)):
        assert calibration_error(p, y, 2, norm=norm).value == pytest.approx(value, abs=5e-5)  # type: ignore[arg-type]
    table = [[0.25, 0.20, 0.55], [0.55, 0.05, 0.40], [0.10, 0.30, 0.60], [0.90, 0.05, 0.05]]
    confidence, right = top_label(table, [0, 1, 2, 0])
    for norm, value in ((1, 0.2000), (2, 0.2082), ("max", 0.2333)):
        error = calibration_error(confidence, right, 3, norm=norm)  # type: ignore[arg-type]
        assert error.value == pytest.approx(value, abs=5e-5)


def test_analytic_kernel_errors() -> None:
    # CalibrationErrors.jl, test/skce.jl, and pycalibration, tests/test_calerrors.py.
    p = [[1.0, 0.0], [0.0, 1.0]]
    e = np.exp(-1)
    for label, biased, unbiased in (
        ([0, 1], 0, 0),
        ([0, 0], 0.5, 0),
        ([1, 0], 1 - e, -2 * e),
        ([1, 1], 0.5, 0),
    ):
        assert kernel_calibration_error(p, label, "biased") == pytest.approx(biased, abs=1e-12)
        assert kernel_calibration_error(p, label) == pytest.approx(unbiased, abs=1e-12)


def test_llama_on_mmlu(shared_data: Path) -> None:
    # bhaweshiitk/ConformalLLM: option probabilities of LLaMA-13B, averaged over ten prompts.
    import pandas as pd

    frame = pd.read_parquet(shared_data / "calib_conformal_mmlu" / "probs.parquet")
    mean = frame.groupby(["subject", "qid"])[["pA", "pB", "pC", "pD", "label"]].mean()
    p, label = mean[["pA", "pB", "pC", "pD"]].to_numpy(), mean["label"].to_numpy()
    confidence, right = top_label(p, label)
    assert len(right) == 2886
    assert right.mean() == pytest.approx(0.4210, abs=5e-5)
    assert calibration_error(confidence, right, 10).value == pytest.approx(0.0432, abs=5e-5)
    assert calibration_error(confidence, right, 15).value == pytest.approx(0.0338, abs=5e-5)
    assert log_score(p, label).value == pytest.approx(1.2498, abs=5e-5)
    assert auroc(confidence, right).value == pytest.approx(0.671, abs=5e-4)
    subject = mean.index.get_level_values("subject").to_numpy()
    clustered = calibration_error(confidence, right, clusters=subject)
    assert clustered.n == 16


def test_cifar_networks(shared_data: Path) -> None:
    folder = shared_data / "calib_netcal_cifar"
    known = json.loads((folder / "ref.json").read_text())
    for name, values in known.items():
        data = np.load(folder / f"{name}.npz")
        p, label = data["predictions"].astype(float), data["ground_truth"].ravel().astype(int)
        top = top_label(p, label)
        assert top[1].mean() == pytest.approx(values["acc"], abs=1e-6)
        assert calibration_error(*top, 10).value == pytest.approx(values["ece10_all"], abs=1e-9)
        assert calibration_error(*top).value == pytest.approx(values["ece15_all"], abs=1e-9)
        assert brier_score(p, label).value == pytest.approx(values["brier_multi_all"], abs=1e-9)
        half = top[0][5000:], top[1][5000:]
        mce = calibration_error(*half, norm="max").value
        assert mce == pytest.approx(values["test_before"]["mce15"], abs=1e-7)
        assert log_score(p[5000:], label[5000:]).value == pytest.approx(
            values["test_nll_before"], abs=1e-6
        )
        assert 0 < classwise_calibration_error(p, label).value < calibration_error(*top).value
