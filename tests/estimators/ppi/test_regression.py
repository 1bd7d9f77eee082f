"""Prediction-powered regressions against statsmodels, the mean, and brute-force jackknives."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from statllm.estimators.ppi import ppi_logistic, ppi_mean, ppi_ols, published_ols


def draw(n: int, big: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    x = np.stack([np.ones(n + big), rng.normal(size=n + big)], axis=1)
    y = x @ [1.0, 0.5] + rng.normal(size=n + big)
    f = 0.3 + 0.8 * y + 0.5 * rng.normal(size=n + big)
    return x[:n], y[:n], f[:n], x[n:], f[n:]


def test_an_intercept_alone_is_the_mean() -> None:
    x, y, f, more, u = draw(14, 60)
    for tuning in ("plug-in", "cross-fitted", 0.7):
        mean = ppi_mean(y, f, u, tuning=tuning)  # type: ignore[arg-type]
        (found,) = ppi_ols(x[:, :1], y, f, more[:, :1], u, tuning=tuning).coefficients  # type: ignore[arg-type]
        assert found.tuning == pytest.approx(mean.tuning)
        assert found.estimate.value == pytest.approx(mean.estimate.value)
        assert found.estimate.se == pytest.approx(mean.estimate.se)
        assert found.estimate.interval().low == pytest.approx(mean.estimate.interval().low)


def test_labels_alone_have_the_jackknife_error() -> None:
    x, y, f, more, u = draw(20, 60)
    fit = sm.OLS(y, x).fit(cov_type="HC3")
    found = [each.classical for each in ppi_ols(x, y, f, more, u).coefficients]
    assert [each.value for each in found] == pytest.approx(fit.params)
    # HC3 is the jackknife about the full estimate, without the factor (n - 1) / n
    assert [each.se for each in found] == pytest.approx(fit.bse * np.sqrt(19 / 20))


@pytest.mark.parametrize("tuning", [1.0, 0.4])
def test_point_estimate_is_the_published_one(tuning: float) -> None:
    sample = draw(40, 200)
    ours = ppi_ols(*sample, tuning=tuning)
    theirs = [each.value for each in published_ols(*sample, tuning=tuning)]
    assert ours.values == pytest.approx(theirs)
    assert np.sqrt(np.diag(ours.covariance)) == pytest.approx(
        [each.estimate.se for each in ours.coefficients]
    )


def test_clusters_left_out_by_brute_force() -> None:
    x, y, f, more, u = draw(24, 40)
    clusters, others = np.arange(24) // 4, 10 + np.arange(40) // 5
    found = ppi_ols(x, y, f, more, u, tuning=1.0, clusters=clusters, unlabelled_clusters=others)

    def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.linalg.lstsq(x, y)[0]

    def squares(x: np.ndarray, y: np.ndarray, labels: np.ndarray) -> np.ndarray:
        names = np.unique(labels)
        changes = [fit(x[labels != c], y[labels != c]) - fit(x, y) for c in names]
        return (len(names) - 1) / len(names) * np.square(changes).sum(0)

    expected = np.sqrt(squares(x, y - f, clusters) + squares(more, u, others))
    assert [each.estimate.se for each in found.coefficients] == pytest.approx(expected)
    assert found.coefficients[0].estimate.n == 6


def test_logistic_fits_equal_statsmodels() -> None:
    x, y, f, more, u = draw(60, 300)
    label = (y > 1).astype(float)
    p, q = 1 / (1 + np.exp(1.2 - f)), 1 / (1 + np.exp(1.2 - u))
    found = ppi_logistic(x, label, p, more, q, tuning=1.0, names=["one", "slope"])
    logit = sm.families.Binomial()
    three = [
        sm.GLM(a, b, family=logit).fit(tol=1e-13).params for a, b in ((label, x), (p, x), (q, more))
    ]
    assert found.values == pytest.approx(three[0] - three[1] + three[2], abs=1e-7)
    fit = sm.GLM(label, x, family=logit).fit(cov_type="HC0")
    classical = [each.classical for each in found.coefficients]
    assert [each.name for each in classical] == ["one", "slope"]
    assert [each.value for each in classical] == pytest.approx(fit.params, abs=1e-7)
    assert [each.se for each in classical] == pytest.approx(fit.bse, rel=0.08)


def test_what_cannot_be_fitted_is_said() -> None:
    x, y, f, more, u = draw(20, 40)
    with pytest.raises(ValueError, match="labels: columns of x depend on each other"):
        ppi_ols(np.ones((20, 2)), y, f, more, u)
    with pytest.raises(ValueError, match="labels: x separates the outcomes"):
        half = (x[:, 1] > 0).astype(float)
        ppi_logistic(x, half, np.full(20, 0.5), more, np.full(40, 0.5))
    with pytest.raises(ValueError, match="between 0 and 1"):
        ppi_logistic(x, y, f, more, u)
    single = np.stack([np.ones(20), np.arange(20) == 3], axis=1)
    with pytest.raises(ValueError, match="without one of the clusters"):
        ppi_ols(single, y, f, more, u)
    with pytest.raises(ValueError, match="x has 1 columns, x_unlabelled 2"):
        ppi_ols(x[:, :1], y, f, more, u)
    with pytest.raises(ValueError, match="predictions must be finite; row 2"):
        ppi_ols(x, y, np.where(np.arange(20) == 2, np.nan, f), more, u)
