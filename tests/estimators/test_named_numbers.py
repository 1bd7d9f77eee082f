"""Text, complex numbers and fractions of a resample: a ValueError that names the argument."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from statllm.estimators import multiplicity
from statllm.estimators.agreement import icc
from statllm.estimators.comparison import (
    cochran_q,
    mean_estimate,
    paired_difference,
    quantile_estimate,
    sign_test,
    signed_rank,
    two_way_mean,
)
from statllm.estimators.design import Design
from statllm.estimators.ppi import ppi_mean
from statllm.estimators.ranking import battles, bootstrap_ratings, online_elo
from statllm.estimators.resampling import bootstrap_mean, permutation_test, sign_flip_test
from statllm.estimators.variance_components import variance_components
from statllm.estimators.winrate import violation_rate, win_rate

X = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
A, B = list("abcabc"), list("bcabca")

OF_NUMBERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "mean_estimate": (mean_estimate, "x"),
    "quantile_estimate": (quantile_estimate, "x"),
    "sign_test": (sign_test, "differences"),
    "signed_rank": (signed_rank, "differences"),
    "paired_difference": (lambda x: paired_difference(x, x), "a"),
    "cochran_q": (lambda x: cochran_q([x, x]), "outcomes"),
    "bootstrap_mean": (bootstrap_mean, "x"),
    "permutation_test": (lambda x: permutation_test(X, x), "b"),
    "sign_flip_test": (sign_flip_test, "differences"),
    "win_rate": (win_rate, "outcome"),
    "violation_rate": (lambda x: violation_rate(X, x), "limits"),
    "ppi_mean": (lambda x: ppi_mean(X, X, x), "unlabelled_predictions"),
    "icc": (lambda x: icc([x, x]), "ratings"),
    "battles": (lambda x: battles(A, B, x), "outcome"),
    "weight of battles": (lambda x: battles(A, B, X, weight=x), "weight"),
    "Design": (lambda x: Design.from_columns(score=x, item=range(6), model=["m"] * 6), "score"),
    "variance_components": (lambda x: variance_components(x, {"p": list("aabbcc")}), "score"),
    "holm": (multiplicity.holm, "log_p"),
    "closed_e": (multiplicity.closed_e, "log_e"),
}


@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("wrong", [list("uvwxyz"), [1j] * 6], ids=["text", "complex"])
def test_wrong_arrays_are_named(name: str, wrong: Any) -> None:
    function, argument = OF_NUMBERS[name]
    with pytest.raises(ValueError, match=rf"^{argument} must be an array of numbers"):
        function(wrong)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_mean(X, resamples=10.5), "resamples must be a whole number"),
        (lambda: sign_flip_test(X, resamples=0), "resamples must be a whole number"),
        (lambda: permutation_test(X, X, resamples=0), "resamples must be a whole number"),
        (lambda: cochran_q([[1, 0]], resamples=0), "resamples must be a whole number"),
        (lambda: bootstrap_ratings(battles(A, B, X), 2.5), "n_resamples must be a whole number"),
        (lambda: online_elo(battles(A, B, X), n_orders=1.5), "n_orders must be a whole number"),
        (lambda: multiplicity.e_benjamini_hochberg(3.0), "at least one dimension"),
        (lambda: multiplicity.closed_e(3.0), "at least one dimension"),
        (lambda: multiplicity.holm([-1.0], n_tests=math.nan), "n_tests must be a whole number"),
        (lambda: ppi_mean(X, X, X, tuning=math.nan), "tuning must be finite"),
        (lambda: ppi_mean(X, X, X, bounds=(math.nan, 1.0)), "bounds must rise"),
        (
            lambda: two_way_mean(X, list("aabbcc"), list("xyxyxy"), [1, -1, 1, 1, 1, 1]),
            "weights must not be negative, but row 1 is -1",
        ),
    ],
)
def test_wrong_options_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_correlation_without_a_denominator_is_undefined() -> None:
    # B = J = 0 and E = 1/2: (B - E) / (B + E + (J - E)) is -1/2 over 0
    found = icc([[1.0, 0.0], [0.0, 1.0]])
    assert math.isnan(found.value)
    assert np.isnan(found.interval().low)
