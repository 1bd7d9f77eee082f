"""Vector, matrix and Dirichlet scaling against scikit-learn's logistic regression."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize, special
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from statllm.estimators.calibrators import (
    Dirichlet,
    MatrixScaling,
    Temperature,
    VectorScaling,
    cross_fit,
)

ALL: list[Any] = [VectorScaling(), MatrixScaling(), Dirichlet(), Dirichlet(penalty=0.01)]
by_name = pytest.mark.parametrize("model", ALL, ids=repr)


def sample(n: int, k: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and classes from a distorted map of them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k))
    mapped = z @ (np.eye(k) + 0.3 * rng.normal(size=(k, k))).T + rng.normal(size=k)
    return z, (mapped + rng.gumbel(size=(n, k))).argmax(axis=1)


def test_matrix_scaling_is_multinomial_regression() -> None:
    z, y = sample(1500)
    w = np.random.default_rng(1).gamma(2, size=1500)
    for weights in (None, w):
        known = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(z, y, weights)
        ours = MatrixScaling(scale="logit").fit(z, y, weights)
        assert ours.predict_proba(z) == pytest.approx(known.predict_proba(z), abs=1e-5)
    p = special.softmax(z, axis=1)
    dirichlet, matrix = Dirichlet().fit(p, y), MatrixScaling().fit(p, y)
    known = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(np.log(p), y)
    assert dirichlet.predict_proba(p) == pytest.approx(known.predict_proba(np.log(p)), abs=1e-5)
    assert np.array_equal(dirichlet.weight_, matrix.weight_)


def test_vector_scaling_equals_another_optimiser() -> None:
    z, y = sample(800, 3)

    def loss(x: np.ndarray) -> float:
        return float(-special.log_softmax(x[:3] * z + x[3:], axis=1)[np.arange(800), y].mean())

    best = optimize.minimize(loss, np.ones(6), method="Nelder-Mead", options={"maxiter": 20_000})
    model = VectorScaling(scale="logit").fit(z, y)
    found = np.append(np.diag(model.weight_), model.bias_)
    assert loss(found) <= best.fun + 1e-9
    assert np.diag(model.weight_) == pytest.approx(best.x[:3], abs=0.01)
    assert np.array_equal(model.weight_, np.diag(np.diag(model.weight_)))


def test_penalty_is_that_of_the_paper() -> None:
    z, y = sample(300, 3, seed=2)
    free, tight = (MatrixScaling(scale="logit", penalty=each).fit(z, y) for each in (0.3, 1e6))
    off = ~np.eye(3, dtype=bool)
    # At the optimum the gradient of the mean log loss balances the penalty's.
    p = free.predict_proba(z)
    p[np.arange(300), y] -= 1
    slope = p.T @ z / 300
    assert slope[off] == pytest.approx(-2 * 0.3 / 6 * free.weight_[off], abs=1e-6)
    assert p.mean(axis=0) == pytest.approx(-2 * 0.3 / 3 * free.bias_, abs=1e-6)
    assert np.abs(tight.weight_[off]).max() < 1e-5
    with pytest.raises(ValueError, match="penalty must be finite"):
        Dirichlet(penalty=-1).fit([[0.5, 0.5]], [0])


@by_name
def test_whole_weights_are_copies_and_order_is_nothing(model: Any) -> None:
    z, y = sample(200, 3, seed=3)
    p, w = special.softmax(z, axis=1), np.random.default_rng(4).integers(0, 4, 200)
    weighted = clone(model).fit(p, y, w).predict_proba(p)
    copied = clone(model).fit(np.repeat(p, w, axis=0), np.repeat(y, w)).predict_proba(p)
    assert weighted == pytest.approx(copied, abs=1e-5)
    order = np.random.default_rng(5).permutation(200)
    again = clone(model).fit(p[order], y[order], w[order]).predict_proba(p)
    assert again == pytest.approx(weighted, abs=1e-5)
    # Classes may be numbered otherwise.
    turned = clone(model).fit(p[:, [2, 0, 1]], (y + 1) % 3, w).predict_proba(p[:, [2, 0, 1]])
    assert turned[:, [1, 2, 0]] == pytest.approx(weighted, abs=1e-5)


@by_name
def test_calibrated_probabilities_stay(model: Any) -> None:
    rng = np.random.default_rng(6)
    p = rng.dirichlet([2, 2, 2], 20_000)
    y = (rng.random((20_000, 1)) > p.cumsum(axis=1)).sum(axis=1)
    assert np.abs(clone(model).fit(p, y).predict_proba(p[:500]) - p[:500]).max() < 0.06


@by_name
def test_separated_classes_and_vectors(model: Any) -> None:
    fitted = clone(model).fit(
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]] * 3, [0, 1, 2] * 3
    )
    assert fitted.separated_
    out = fitted.predict_proba([[0.8, 0.1, 0.1]])
    assert np.isfinite(out).all()
    assert 0.5 < out[0, 0] < 0.95
    rng = np.random.default_rng(7)
    score = rng.random(400)
    y = rng.random(400) < score**2
    vector = clone(model).fit(score, y).predict_proba(score)
    table = np.column_stack([1 - score, score])
    assert vector == pytest.approx(clone(model).fit(table, y).predict_proba(table))
    assert cross_fit(model, table, y).probability.shape == (400, 2)
    with pytest.raises(ValueError, match="3 classes, not 2"):
        clone(model).fit(table, y).predict_proba([[0.2, 0.3, 0.5]])
    with pytest.raises(ValueError, match="sum to 1"):
        clone(model).fit([[0.2, 0.3]], [0])


def test_more_parameters_fit_no_worse() -> None:
    z, y = sample(600, 4, seed=8)
    losses = []
    for model in (Temperature("logit"), VectorScaling("logit"), MatrixScaling("logit")):
        p = model.fit(z, y).predict_proba(z)
        losses.append(-np.log(p[np.arange(600), y]).mean())
    assert losses[0] > losses[1] > losses[2]


def test_real_predictions(shared_data: Path) -> None:
    folder, name = shared_data / "calib_netcal_cifar", "lenet-5-cifar-10"
    with np.load(folder / f"{name}.npz") as data:
        p, y = data["predictions"].astype(float), data["ground_truth"].ravel().astype(int)
    known = json.loads((folder / "ref.json").read_text())[name]["test_nll_after"]
    after = VectorScaling().fit(p[:5000], y[:5000]).predict_proba(p[5000:])
    # No worse than one temperature for all classes, but for noise.
    assert -np.log(after[np.arange(5000), y[5000:]]).mean() < known + 0.005
