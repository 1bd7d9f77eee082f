"""Binned calibration errors against loops over rows, their symmetries, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.estimators.calibration._outcomes import bin_index, distinct_cells
from statllm.estimators.calibration.binned import (
    calibration_error,
    classwise_calibration_error,
    debiased_squared_calibration_error,
    top_label,
)

GRID = [0.0, 0.07, 0.2, 1 / 3, 0.5, 0.6, 0.7, 0.9, 1.0]
ROWS = st.lists(
    st.tuples(st.sampled_from(GRID), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30
)
patient = settings(deadline=None, max_examples=60)  # other work may share the machine


def unpack(rows: list[tuple[float, bool, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p, y, c = zip(*rows, strict=True)
    return np.array(p), np.array(y), np.array(c)


def plain_bins(p: np.ndarray, n_bins: int) -> list[list[int]]:
    """Rows of each bin ((m - 1) / M, m / M], zero in the first."""
    bins: list[list[int]] = [[] for _ in range(n_bins)]
    for i, value in enumerate(p):
        bins[next(m for m in range(n_bins) if value <= (m + 1) / n_bins)].append(i)
    return [rows for rows in bins if rows]


@patient
@given(ROWS, st.integers(1, 20))
def test_plug_in_error_equals_a_loop(rows: list[tuple[float, bool, int]], n_bins: int) -> None:
    p, y, c = unpack(rows)
    gaps = [abs(y[b].mean() - p[b].mean()) for b in plain_bins(p, n_bins)]
    shares = [len(b) / len(p) for b in plain_bins(p, n_bins)]
    one, two = np.dot(shares, gaps), np.dot(shares, np.square(gaps)) ** 0.5
    for correct in (y, y.astype(float)):
        assert calibration_error(p, correct, n_bins).value == pytest.approx(one)
        assert calibration_error(p, correct, n_bins, norm=2).value == pytest.approx(two)
        top = calibration_error(p, correct, n_bins, norm="max").value
        assert top == pytest.approx(max(gaps))
    # Clusters change the error, not the value; a weight of two is a row written twice.
    assert calibration_error(p, y, n_bins, clusters=c).value == pytest.approx(one)
    twice = np.repeat(np.arange(len(p)), 1 + (c > 0))
    weighted = calibration_error(p, y, n_bins, weights=1 + (c > 0))
    assert weighted.value == pytest.approx(calibration_error(p[twice], y[twice], n_bins).value)
    order = np.random.default_rng(0).permutation(len(p))
    assert calibration_error(p[order], y[order], n_bins).value == pytest.approx(one)


@patient
@given(ROWS, st.integers(1, 6))
def test_debiased_error_equals_all_pairs(rows: list[tuple[float, bool, int]], n_bins: int) -> None:
    p, y, c = unpack(rows)
    d = y - p
    forms = {"unbiased": 0.0, "t-cal": 0.0, "kumar": 0.0, "clusters": 0.0}
    for b in plain_bins(p, n_bins):
        pairs = [(i, j) for i in b for j in b if i != j]
        products = sum(d[i] * d[j] for i, j in pairs)
        forms["t-cal"] += products / len(b) / len(p)
        if len(b) > 1:
            forms["unbiased"] += len(b) / len(p) * products / len(pairs)
            noise = y[b].mean() * (1 - y[b].mean()) / (len(b) - 1)
            forms["kumar"] += len(b) / len(p) * (d[b].mean() ** 2 - noise)
        apart = [d[i] * d[j] for i, j in pairs if c[i] != c[j]]
        if apart:
            forms["clusters"] += len(b) / len(p) * np.mean(apart)
    for name in ("unbiased", "t-cal", "kumar"):
        found = debiased_squared_calibration_error(p, y, n_bins, convention=name)  # type: ignore[arg-type]
        assert found.value == pytest.approx(forms[name], abs=1e-12)
    clustered = debiased_squared_calibration_error(p, y, n_bins, clusters=c)
    assert clustered.value == pytest.approx(forms["clusters"], abs=1e-12)
    interval = clustered.interval()
    assert 0 <= interval.low <= interval.high <= 1


@patient
@given(ROWS)
def test_equal_mass_bins_keep_ties_and_ignore_order(rows: list[tuple[float, bool, int]]) -> None:
    p, y, _ = unpack(rows)
    cell, n_cells = bin_index(p, "equal-mass", 4)
    assert n_cells == 4
    assert all(len(set(cell[p == value])) == 1 for value in set(p))
    assert np.all(np.diff(cell[np.argsort(p)]) >= 0)
    order = np.random.default_rng(0).permutation(len(p))
    assert np.array_equal(bin_index(p[order], "equal-mass", 4)[0], cell[order])
    value = calibration_error(p, y, 4, "equal-mass").value
    assert calibration_error(p[order], y[order], 4, "equal-mass").value == pytest.approx(value)


def test_equal_mass_bins_are_equal() -> None:
    p = np.random.default_rng(0).random(1000)
    cell, _ = bin_index(p, "equal-mass", 10)
    assert np.array_equal(np.bincount(cell), np.full(10, 100))
    weights = np.where(p > 0.5, 3.0, 1.0)
    cell, _ = bin_index(p, "equal-mass", 10, weights)
    assert np.bincount(cell, weights) == pytest.approx(np.full(10, weights.sum() / 10), abs=3.1)


@pytest.mark.parametrize("n_bins", [1, 2, 7, 10, 15, 20, 49, 100, 1000])
def test_every_edge_falls_in_the_bin_below_it(n_bins: int) -> None:
    edges = np.arange(n_bins + 1) / n_bins
    expected = np.maximum(np.arange(n_bins + 1) - 1, 0)
    assert np.array_equal(bin_index(edges, "equal-width", n_bins)[0], expected)
    above = edges[:-1] + 1e-9
    assert np.array_equal(bin_index(above, "equal-width", n_bins)[0], np.arange(n_bins))
    decimals = np.array([float(f"{k / n_bins:.10g}") for k in range(n_bins + 1)])
    same = decimals == edges
    assert np.array_equal(bin_index(decimals, "equal-width", n_bins)[0][same], expected[same])


def test_certain_confidences_count() -> None:
    # torchmetrics put 1.0 into a bin of its own, other code dropped 0.0.
    assert calibration_error([1.0, 1.0, 0.95, 0.0], [0, 1, 1, 1], 10).value == pytest.approx(
        (abs(2 - 2.95) + 1) / 4
    )


def test_given_edges_and_number_of_bins() -> None:
    p, y = np.array([0.1, 0.2, 0.5, 0.9]), np.array([0, 1, 1, 1])
    by_hand = (abs(1 - 0.3) + abs(2 - 1.4)) / 4
    assert calibration_error(p, y, bins=[0, 0.2, 1]).value == pytest.approx(by_hand)
    # An S-shaped miscalibration keeps its size when bins are counted rightly: ten are ten.
    p = np.linspace(0.0005, 0.9995, 1000)
    s = p + 0.2 * np.sin(2 * np.pi * p)
    assert calibration_error(p, s, n_bins=10).value == pytest.approx(0.4 / np.pi, rel=0.03)


def test_uncertainty_in_place_of_confidence_is_refused() -> None:
    # Negated uncertainties fall outside all bins: an error of 0 in one library.
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        calibration_error([-0.2, -0.5], [1, 0])


def test_top_label_and_ties() -> None:
    p = [[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [1 / 3, 1 / 3, 1 / 3]]
    confidence, right = top_label(p, [0, 1, 2])
    assert confidence == pytest.approx([0.5, 0.4, 1 / 3])
    assert right == pytest.approx([1, 0.5, 1 / 3])
    assert calibration_error([0.4, 0.4], [0.5, 0.5]).value == pytest.approx(0.1)
    assert top_label(np.empty((0, 3)), [])[0].shape == (0,)
    with pytest.raises(ValueError, match="class numbers from 0 to 2"):
        top_label(p, [0, 1, 3])
    with pytest.raises(ValueError, match="sum to 1"):
        top_label([[0.5, 0.9]], [0])


@pytest.mark.parametrize("bins", ["equal-width", "equal-mass"])
def test_classwise_error_is_the_mean_over_classes(bins: str) -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 2, 3], 200)
    label = rng.integers(0, 3, 200)
    each = [
        [calibration_error(p[:, k], label == k, 8, bins, norm).value for k in range(3)]  # type: ignore[arg-type]
        for norm in (1, 2, "max")
    ]
    for norm, expected in (
        (1, np.mean(each[0])),
        (2, np.sqrt(np.mean(np.square(each[1])))),
        ("max", np.max(each[2])),
    ):
        found = classwise_calibration_error(p, label, 8, bins, norm)  # type: ignore[arg-type]
        assert found.value == pytest.approx(expected)
        assert found.n == 200
        assert found.value in found.interval()


def test_missing_rows() -> None:
    p, y = [0.1, float("nan"), 0.9, 0.4], [0.0, 1.0, float("nan"), 1.0]
    with pytest.raises(ValueError, match="2 of 4 rows have a NaN"):
        calibration_error(p, y)
    kept = calibration_error(p, y, missing="drop", clusters=list("abcd"), weights=[1, 1, 1, 2])
    expected = calibration_error([0.1, 0.4], [0, 1], clusters=["a", "d"], weights=[1, 2])
    assert (kept.value, kept.se, kept.n) == pytest.approx((expected.value, expected.se, 2))
    table = [[0.5, 0.5], [float("nan"), 0.2]]
    assert classwise_calibration_error(table, [0, 1], missing="drop", clusters=[3, 4]).n == 1


def test_few_rows() -> None:
    empty = calibration_error([], [])
    assert np.isnan(empty.value)
    assert empty.n == 0
    assert np.isnan(empty.interval().low)
    none = debiased_squared_calibration_error([], [])
    assert np.isnan(none.value)
    assert np.isnan(none.interval().high)
    one = calibration_error([0.8], [True])
    assert one.value == pytest.approx(0.2)
    assert one.interval().low == 0
    assert debiased_squared_calibration_error([0.8], [True]).value == 0  # no pair
    assert debiased_squared_calibration_error([0.8], [True]).interval().high > 0.1


def test_wrong_input_is_refused() -> None:
    good = ([0.5, 0.5], [0, 1])
    for wrong, words in (
        ({"norm": 3}, "norm must be"),
        ({"bins": "deciles"}, "bins must be"),
        ({"bins": [0.5, 0.2]}, "must rise"),
        ({"n_bins": 0}, "n_bins must be at least 1"),
        ({"weights": [1, -1]}, "weights must be finite and not negative"),
        ({"weights": [0, 0]}, "weights must not all be zero"),
        ({"weights": [1]}, "weights must be of shape"),
        ({"clusters": [1]}, "clusters must be of shape"),
        ({"missing": "zero"}, "missing must be"),
    ):
        with pytest.raises(ValueError, match=words):
            calibration_error(*good, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="correct must lie between"):
        calibration_error([0.5], [2])
    with pytest.raises(ValueError, match="one length"):
        calibration_error([0.5], [1, 0])
    with pytest.raises(ValueError, match="convention must be"):
        debiased_squared_calibration_error(*good, convention="mine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weights and clusters belong"):
        debiased_squared_calibration_error(*good, convention="kumar", weights=[1, 1])


@patient
@given(ROWS, st.integers(1, 4))
def test_cells_lose_nothing_or_little(rows: list[tuple[float, bool, int]], limit: int) -> None:
    p, _, _ = unpack(rows)
    values, cell = distinct_cells(p, 100)
    assert np.array_equal(values[cell], p)
    coarse, cell = distinct_cells(p, limit)
    assert len(coarse) <= max(limit, 1)
    assert np.all(np.abs(coarse[cell] - p) <= 1 / limit + 1e-9)
    assert np.bincount(cell) @ coarse == pytest.approx(p.sum())


def draw(shape: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Confidences of the Beta(5, 2) law, and the probabilities that they should have been."""
    p = rng.beta(5, 2, n)
    truth = {
        "calibrated": p,
        "slightly over": np.clip(p - 0.03, 0, 1),
        "over": np.clip(p - 0.1, 0, 1),
        "at the end": np.where(p > 0.9, p - 0.3, p),
    }[shape]
    return p, truth


def squared_truth(shape: str, n_bins: int = 15) -> float:
    """sum_b P(b) E[d | b]^2 by integration over a fine mesh."""
    mesh = (np.arange(200_000) + 0.5) / 200_000
    mass = stats.beta(5, 2).pdf(mesh) / 200_000
    gap = {
        "calibrated": 0 * mesh,
        "slightly over": np.minimum(mesh, 0.03),
        "over": np.minimum(mesh, 0.1),
        "at the end": 0.3 * (mesh > 0.9),
    }[shape]
    cell = np.minimum((mesh * n_bins).astype(int), n_bins - 1)
    return float((np.bincount(cell, mass * gap) ** 2 / np.bincount(cell, mass)).sum())


@pytest.mark.parametrize("shape", ["calibrated", "slightly over", "over", "at the end"])
def test_intervals_cover_at_and_away_from_calibration(shape: str) -> None:
    rng = np.random.default_rng(1)
    squared, reps, n = squared_truth(shape), 250, 400
    plug_in, debiased, values, errors = 0, 0, [], []
    for _ in range(reps):
        p, truth = draw(shape, n, rng)
        y = rng.random(n) < truth
        given_p = calibration_error(p, truth).value
        plug_in += given_p in calibration_error(p, y).interval()
        estimate = debiased_squared_calibration_error(p, y)
        debiased += squared in estimate.interval()
        values.append(estimate.value)
        errors.append(estimate.se)
    assert plug_in / reps > 0.92
    assert debiased / reps > 0.91
    mean_error = np.std(values) / np.sqrt(reps)
    assert np.mean(values) == pytest.approx(squared, abs=4 * mean_error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)


def test_conventions_are_unbiased_under_calibration_as_they_say() -> None:
    rng = np.random.default_rng(2)
    p = rng.random(60)
    values = {
        name: [
            debiased_squared_calibration_error(p, rng.random(60) < p, 5, convention=name).value  # type: ignore[arg-type]
            for _ in range(1500)
        ]
        for name in ("unbiased", "t-cal", "kumar")
    }
    error = {name: np.std(v) / np.sqrt(1500) for name, v in values.items()}
    assert abs(np.mean(values["unbiased"])) < 3.5 * error["unbiased"]
    assert abs(np.mean(values["t-cal"])) < 3.5 * error["t-cal"]
    # -sum_b w_b var(p in b) / (n_b - 1), from the outcomes' variance being overestimated.
    cell, _ = bin_index(p, "equal-width", 5)
    bias = -sum(p[cell == b].var(ddof=1) / (cell == b).sum() * (cell == b).mean() for b in range(5))
    assert np.mean(values["kumar"]) == pytest.approx(bias, abs=3.5 * error["kumar"])


def test_clusters_widen_the_interval_to_the_truth() -> None:
    rng = np.random.default_rng(3)
    groups, size, reps = 60, 6, 200
    cluster = np.repeat(np.arange(groups), size)
    covered = {"rows": 0, "clusters": 0}
    unbiased = []
    for _ in range(reps):
        p = np.repeat(rng.beta(5, 2, groups), size)
        y = np.repeat(rng.random(groups), size) < p  # one draw for the whole cluster
        clustered = debiased_squared_calibration_error(p, y, clusters=cluster)
        covered["clusters"] += 0.0 in clustered.interval()
        covered["rows"] += 0.0 in debiased_squared_calibration_error(p, y).interval()
        unbiased.append(clustered.value)
        assert calibration_error(p, y, clusters=cluster).n == groups
    assert covered["clusters"] / reps > 0.92
    assert covered["rows"] / reps < 0.3
    assert abs(np.mean(unbiased)) < 3.5 * np.std(unbiased) / np.sqrt(reps)


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 1000, 5000])
@pytest.mark.parametrize("shape", ["calibrated", "slightly over", "over", "at the end"])
def test_intervals_cover_in_many_draws(shape: str, n: int) -> None:
    rng = np.random.default_rng(4)
    squared, reps = squared_truth(shape), 1500
    plug_in, debiased = 0, 0
    for _ in range(reps):
        p, truth = draw(shape, n, rng)
        y = rng.random(n) < truth
        plug_in += calibration_error(p, truth).value in calibration_error(p, y).interval()
        debiased += squared in debiased_squared_calibration_error(p, y).interval()
    assert plug_in / reps > 0.935
    assert debiased / reps > 0.93
