"""Adjusted p-values and e-values against statsmodels, R's tables, closed testing and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from statllm.estimators import multiplicity

ALL = {
    "bonferroni": multiplicity.bonferroni,
    "holm": multiplicity.holm,
    "hommel": multiplicity.hommel,
    "fdr_bh": multiplicity.benjamini_hochberg,
    "fdr_by": multiplicity.benjamini_yekutieli,
}


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("m", [1, 2, 8, 31])
def test_as_statsmodels(method: str, m: int) -> None:
    rng = np.random.default_rng(m)
    p = rng.random((5, m)) ** 4
    p[:, ::3] = p[:, :1]  # ties
    found = np.exp(ALL[method](np.log(p)))
    expected = [multipletests(row, method=method)[1] for row in p]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def simes(p: list[float]) -> float:
    return min(len(p) * value / (j + 1) for j, value in enumerate(sorted(p)))


@pytest.mark.parametrize(
    ("adjusted", "local"),
    [
        (multiplicity.holm, lambda p: len(p) * min(p)),
        (multiplicity.hommel, simes),
        (lambda log_p: multiplicity.closed_e(-log_p), lambda p: 1 / np.mean(1 / np.array(p))),
    ],
    ids=["Bonferroni", "Simes", "averaged e-values"],
)
def test_closed_testing_by_enumeration(adjusted: object, local: object) -> None:
    rng = np.random.default_rng(3)
    for m in (1, 2, 5, 6):
        p = rng.random(m) ** 3
        sets = [s for k in range(1, m + 1) for s in itertools.combinations(range(m), k)]
        expected = [
            max(min(1.0, local([p[j] for j in s])) for s in sets if i in s)  # type: ignore[operator]
            for i in range(m)
        ]
        np.testing.assert_allclose(np.exp(adjusted(np.log(p))), expected, rtol=1e-9)  # type: ignore[operator]


def test_e_bh_by_its_definition() -> None:
    # Wang and Ramdas (2022), definition 2: k* = max{k : k e_(k) / m >= 1 / alpha}
    rng = np.random.default_rng(4)
    e = np.exp(rng.normal(1, 3, 40))
    adjusted = multiplicity.e_benjamini_hochberg(np.log(e))
    for alpha in (0.01, 0.05, 0.3):
        ranked = np.sort(e)[::-1]
        found = [k for k in range(1, 41) if k * ranked[k - 1] / 40 >= 1 / alpha]
        expected = e >= ranked[max(found) - 1] if found else np.zeros(40, bool)
        np.testing.assert_array_equal(adjusted <= math.log(alpha), expected)


@pytest.mark.parametrize("adjust", [*ALL.values(), multiplicity.closed_e])
def test_far_below_the_smallest_double(adjust: object) -> None:
    sign = -1 if adjust is multiplicity.closed_e else 1
    found = adjust(sign * np.array([-5000.0, -4000.0]))  # type: ignore[operator]
    assert np.all(found < -3990)
    assert found[0] <= -4999 + math.log(1.5)


@pytest.mark.parametrize("adjust", [*ALL.values(), multiplicity.e_benjamini_hochberg])
def test_undefined_ones_stay_and_count(adjust: object) -> None:
    given_nan = adjust(np.array([math.nan, -9.0, -7.0]))  # type: ignore[operator]
    as_one = adjust(np.array([0.0, -9.0, -7.0]))  # type: ignore[operator]
    assert math.isnan(given_nan[0])
    np.testing.assert_allclose(given_nan[1:], as_one[1:])


def test_undefined_e_values_are_no_evidence() -> None:
    given_nan = multiplicity.closed_e([math.nan, 9.0])
    assert math.isnan(given_nan[0])
    assert given_nan[1] == pytest.approx(-9 + math.log(2))


@pytest.mark.parametrize(
    "adjust",
    [
        multiplicity.bonferroni,
        multiplicity.holm,
        multiplicity.benjamini_hochberg,
        multiplicity.benjamini_yekutieli,
    ],
)
@given(st.lists(st.floats(1e-9, 1), min_size=2, max_size=8), st.data())
def test_of_the_smallest_is_never_smaller_than_of_all(
    adjust: object, p_values: list[float], data: object
) -> None:
    """Tests that aren't listed count as not rejected: valid, whatever they are."""
    shown = data.draw(st.integers(1, len(p_values)))  # type: ignore[attr-defined]
    log_p = np.log(sorted(p_values))
    every, some = adjust(log_p), adjust(log_p[:shown], len(log_p))  # type: ignore[operator]
    assert np.all(some >= every[:shown] - 1e-12)


def test_errors_over_many_families() -> None:
    """FWER of Holm and closed e-values, FDR of BH and e-BH, in 4,000 families of 10, 7 true."""
    rng = np.random.default_rng(5)
    shift = np.where(np.arange(10) < 7, 0.0, 3.0)
    z = rng.normal(size=(4000, 10)) + shift
    from scipy import stats

    log_p = stats.norm.logsf(z)
    log_e = 3 * z - 4.5  # likelihood ratio of N(3, 1)
    true = shift == 0
    for adjusted in (
        multiplicity.holm(log_p),
        multiplicity.hommel(log_p),
        multiplicity.closed_e(log_e),
    ):
        wrong = np.any(adjusted[:, true] <= math.log(0.1), axis=1)
        assert wrong.mean() <= 0.1 + 3 * math.sqrt(0.09 / 4000)
        assert np.mean(adjusted[:, ~true] <= math.log(0.1)) > 0.4
    for adjusted in (
        multiplicity.benjamini_hochberg(log_p),
        multiplicity.benjamini_yekutieli(log_p),
        multiplicity.e_benjamini_hochberg(log_e),
    ):
        called = adjusted <= math.log(0.1)
        share = called[:, true].sum(axis=1) / np.maximum(called.sum(axis=1), 1)
        assert share.mean() <= 0.1 * 0.7 + 3 * share.std() / math.sqrt(4000)
        assert called[:, ~true].mean() > 0.4


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="log_p must be at most 0, but one is 0.5"):
        multiplicity.holm([0.5, -1.0])
    with pytest.raises(ValueError, match="n_tests must be a whole number of at least 2"):
        multiplicity.benjamini_hochberg([-1.0, -2.0], n_tests=1)
    with pytest.raises(ValueError, match="dimension"):
        multiplicity.bonferroni(-1.0)
