"""PPI and PPI++ as published, against their package.

External values: ppi-python 0.2.3 (numpy 1.26.4, scipy 1.12.0, statsmodels 0.15.0), of the data
that `sample` draws, n = 60 labelled rows of 460: ppi_mean_pointestimate and ppi_mean_ci(...,
alpha=0.1, lam=...), and so on for ppi_quantile (exact_grid=True), ppi_ols and ppi_logistic.
"""

from __future__ import annotations

import numpy as np
import pytest

from statllm.estimators.ppi import (
    published_logistic,
    published_mean,
    published_ols,
    published_quantile,
)

N_LABELLED = 60


def sample() -> tuple[np.ndarray, ...]:
    """Design, label, prediction; binary label, good and weak probability."""
    rng = np.random.default_rng(0)
    m = N_LABELLED + 400
    x = np.stack([np.ones(m), rng.normal(size=m)], axis=1)
    y = 1 + 0.5 * x[:, 1] + rng.normal(size=m)
    f = 0.3 + 0.8 * y + 0.6 * rng.normal(size=m)
    b = (rng.random(m) < 1 / (1 + np.exp(-0.4 - 0.8 * x[:, 1]))).astype(float)
    noise = 0.3 * rng.normal(size=m)
    g = 1 / (1 + np.exp(-0.2 - 1.5 * (2 * b - 1) - 0.3 * x[:, 1] + noise))
    rng = np.random.default_rng(1)
    weak = np.clip(0.5 + 0.5 * (g - 0.5) + 0.2 * rng.normal(size=m), 0.05, 0.95)
    return x, y, f, b, g, weak


X, Y, F, B, G, WEAK = sample()
L, U = slice(None, N_LABELLED), slice(N_LABELLED, None)


@pytest.mark.parametrize(
    ("tuning", "value", "low", "high"),
    [
        (None, 1.1348361669, 0.9797443848, 1.289927949),
        (1.0, 1.1620494316, 1.0012386209, 1.3228602424),
        (0.5, 1.0407258551, 0.8682073845, 1.2132443257),
    ],
)
def test_mean(tuning: float | None, value: float, low: float, high: float) -> None:
    found = published_mean(Y[L], F[L], F[U], tuning)
    interval = found.interval(0.9)
    assert found.value == pytest.approx(value, abs=1e-9)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(
    ("q", "value", "low", "high"),
    [
        (0.5, 1.1413738378, 0.9738060666, 1.4108003212),
        (0.8, 2.1572492779, 1.6633602841, 2.3417350106),
    ],
)
def test_quantile(q: float, value: float, low: float, high: float) -> None:
    found = published_quantile(Y[L], F[L], F[U], q)
    interval = found.interval(0.9)
    assert found.value == pytest.approx(value, abs=1e-9)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(
    ("tuning", "values", "low", "high"),
    [
        (
            None,
            (1.0556691832, 0.4602342705),
            (0.8984532627, 0.3201703201),
            (1.2102104083, 0.6008664421),
        ),
        (
            1.0,
            (1.1635388693, 0.4373180771),
            (1.0045139451, 0.2864408821),
            (1.3225637934, 0.588195272),
        ),
        (
            0.5,
            (1.0222490122, 0.4673341623),
            (0.8575385139, 0.32485357),
            (1.1869595106, 0.6098147547),
        ),
    ],
)
def test_ols(
    tuning: float | None,
    values: tuple[float, ...],
    low: tuple[float, ...],
    high: tuple[float, ...],
) -> None:
    found = published_ols(X[L], Y[L], F[L], X[U], F[U], tuning)
    ends = [each.interval(0.9) for each in found]
    if tuning is not None:
        assert [each.value for each in found] == pytest.approx(values, abs=1e-8)
        assert [end.low for end in ends] == pytest.approx(low, abs=1e-8)
        assert [end.high for end in ends] == pytest.approx(high, abs=1e-8)
    else:
        # Their interval chooses lambda at the tuned point, their point estimate at lambda = 1.
        assert [each.value for each in found] == pytest.approx(values, abs=1e-8)
        assert [end.low for end in ends] == pytest.approx(low, abs=0.003)
        assert [end.high for end in ends] == pytest.approx(high, abs=0.003)


@pytest.mark.parametrize(
    ("prediction", "tuning", "values", "low", "high"),
    [
        (
            G,
            None,
            (0.440365516, 0.825151234),
            (0.2165203876, 0.5950992488),
            (0.6642106443, 1.0552032191),
        ),
        (
            G,
            0.5,
            (0.3578634939, 1.080876705),
            (0.0130667102, 0.7031691666),
            (0.7026602777, 1.4585842434),
        ),
    ],
)
def test_logistic(
    prediction: np.ndarray,
    tuning: float | None,
    values: tuple[float, ...],
    low: tuple[float, ...],
    high: tuple[float, ...],
) -> None:
    found = published_logistic(X[L], B[L], prediction[L], X[U], prediction[U], tuning)
    ends = [each.interval(0.9) for each in found]
    assert [each.value for each in found] == pytest.approx(values, abs=1e-6)
    assert [end.low for end in ends] == pytest.approx(low, abs=1e-6)
    assert [end.high for end in ends] == pytest.approx(high, abs=1e-6)


def test_logistic_tuning_of_weak_predictions() -> None:
    found = published_logistic(X[L], B[L], WEAK[L], X[U], WEAK[U])
    assert [each.value for each in found] == pytest.approx((0.3213146302, 1.2383014572), abs=1e-6)
    # Its interval takes lambda anew at the tuned estimate, and so has another centre.
