"""A cluster that isn't known is no cluster: every function with clusters names the row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from statllm.estimators._arrays import label_codes
from statllm.estimators.agreement import cohen_kappa, fleiss_kappa, icc, krippendorff_alpha
from statllm.estimators.comparison import (
    macro_mean,
    mean_estimate,
    paired_difference,
    ratio_estimate,
    two_way_mean,
    unpaired_difference,
)
from statllm.estimators.judge_audit import audit_swaps
from statllm.estimators.passk import curve
from statllm.estimators.ppi import cross_predictions, ppi_mean, stratified_ppi_mean
from statllm.estimators.resampling import bootstrap_mean, sign_flip_test
from statllm.estimators.variance_components import variance_components
from statllm.estimators.winrate import (
    controlled_win_rate,
    length_instructed_win_rate,
    violation_rate,
    win_rate,
)

X = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
COVARIATE = [0.1, 0.2, -0.3, 0.4, -0.5, 0.6]
KNOWN = ["a", "a", "b", "b", "c", "c"]

CALLS: dict[str, Callable[[Any], Any]] = {
    "mean_estimate": lambda g: mean_estimate(X, g),
    "paired_difference": lambda g: paired_difference(X, X[::-1], g),
    "ratio_estimate": lambda g: ratio_estimate(X, [1.0] * 6, clusters=g),
    "unpaired_difference": lambda g: unpaired_difference(X, X, g, g),
    "macro_mean, groups": lambda g: macro_mean(X, g),
    "macro_mean": lambda g: macro_mean(X, [1] * 6, g),
    "two_way_mean": lambda g: two_way_mean(X, list("xyxyxy"), g),
    "bootstrap_mean": lambda g: bootstrap_mean(X, g, resamples=99),
    "sign_flip_test": lambda g: sign_flip_test(X, g),
    "curve": lambda g: curve(np.array([X]).T, [1], g),
    "win_rate": lambda g: win_rate(X, g),
    "controlled_win_rate": lambda g: controlled_win_rate(X, COVARIATE, clusters=g, ridge=1.0),
    "violation_rate": lambda g: violation_rate(X, [0.5] * 6, clusters=g),
    "length_instructed": lambda g: length_instructed_win_rate(X, X, [0.5] * 6, clusters=g),
    "ppi_mean": lambda g: ppi_mean(X, X, X, clusters=g, unlabelled_clusters=KNOWN),
    "stratified_ppi_mean": lambda g: stratified_ppi_mean(X, X, X, g, KNOWN),
    "cross_predictions": lambda g: cross_predictions(
        lambda x, y: lambda z: z[:, 0], np.ones((6, 1)), X, np.ones((2, 1)), folds=2, clusters=g
    ),
    "cohen_kappa": lambda g: cohen_kappa(X, X[::-1], clusters=g),
    "fleiss_kappa": lambda g: fleiss_kappa([[1, 2], [1, 1]] * 3, clusters=g),
    "krippendorff_alpha": lambda g: krippendorff_alpha([[1, 2], [1, 1]] * 3, clusters=g),
    "icc": lambda g: icc(np.stack([X, COVARIATE], 1), "3", interval="jackknife", clusters=g),
    "audit_swaps": lambda g: audit_swaps([1] * 6, [1, -1] * 3, g),
    "variance_components": lambda g: variance_components(X, {"prompt": g}),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "unknown",
    [
        ["a", "a", None, "b", "c", "c"],
        [1.0, 1.0, math.nan, math.nan, 3.0, 3.0],  # numpy takes two NaN for one label
        pd.Series(["a", "a", pd.NA, "b", "c", "c"], dtype=object),
    ],
    ids=["None", "NaN", "NA"],
)
def test_a_missing_label_is_named(name: str, unknown: Any) -> None:
    if "stratified" not in name:  # three labels a stratum are needed there
        CALLS[name](KNOWN)
    with pytest.raises(ValueError, match="missing in row 2"):
        CALLS[name](unknown)


@pytest.mark.parametrize("name", CALLS)
def test_another_number_of_labels(name: str) -> None:
    with pytest.raises(ValueError, match="one label per row, 6"):
        CALLS[name](KNOWN[:4])


def test_labels_that_can_t_be_compared() -> None:
    with pytest.raises(ValueError, match="clusters: labels must be of one type"):
        label_codes(np.array([1, "a"], dtype=object), "clusters", 2)
    assert label_codes(["b", "a", "b"], "clusters", 3).tolist() == [1, 0, 1]
