"""Kernel language entropy against matrix functions of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm, fractional_matrix_power, logm
from scipy.special import entr

from statllm.estimators.semantic.entropy import semantic_entropy
from statllm.estimators.semantic.kernel_entropy import kernel_language_entropy
from statllm.estimators.semantic.pairwise import Pairwise


def plain(similarity: np.ndarray, kernel: str, nu: float, kappa: float, time: float) -> np.ndarray:
    """The authors' code (AlexanderVNikitin/kernel-language-entropy, kle/kernels.py)."""
    weights = similarity + similarity.T
    laplacian = np.diag(weights.sum(axis=1)) - weights
    if kernel == "heat":
        found = expm(-time * laplacian)
    else:
        shifted = 2 * nu / kappa**2 * np.eye(len(weights)) + laplacian
        found = fractional_matrix_power(shifted, -nu)
    root = np.sqrt(np.diag(found))
    return np.asarray(found / np.outer(root, root) / len(weights))


def von_neumann(kernel: np.ndarray) -> float:
    return float(-np.trace(kernel @ logm(kernel)).real)


def random_block(k: int, seed: int) -> np.ndarray:
    block = np.random.default_rng(seed).uniform(0, 1, (k, k))
    np.fill_diagonal(block, 1.0)
    return block


@pytest.mark.parametrize(
    ("kernel", "nu", "kappa"), [("heat", 1, 1), ("matern", 1, 1), ("matern", 2.5, 0.7)]
)
def test_kernels_equal_matrix_functions(kernel: str, nu: float, kappa: float) -> None:
    blocks = [random_block(k, k) for k in (4, 6, 4)]
    found = kernel_language_entropy(
        Pairwise.from_blocks(blocks),
        scale="nats",
        kernel=kernel,
        nu=nu,
        kappa=kappa,  # type: ignore[arg-type]
    )
    expected = [von_neumann(plain(block, kernel, nu, kappa, 0.3)) for block in blocks]
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def graphs(k: int) -> list[np.ndarray]:
    """Random, degenerate and disconnected graphs of k samples."""
    rng = np.random.default_rng(k)
    groups = rng.integers(0, 3, k)
    rare = rng.random((k, k)) * (rng.random((k, k)) < 0.2)
    path = np.eye(k) + np.eye(k, k=1)
    star = np.eye(k)
    star[0] = 1.0
    weak = rng.random((k, k)) * 1e-9
    made = [
        *(rng.random((k, k)) for _ in range(3)), rng.integers(0, 3, (k, k)) / 2, np.ones((k, k)),
        np.eye(k), 1.0 * np.equal.outer(groups, groups), rare, path, star, weak,
    ]  # fmt: skip
    for graph in made:
        np.fill_diagonal(graph, 1.0)
    return made


@pytest.mark.parametrize("time", [1e-3, 0.3, 4.0, 60.0])
@pytest.mark.parametrize("k", range(1, 21))
def test_heat_of_every_size_and_shape(k: int, time: float) -> None:
    """By products up to some time, by eigenvalues beyond (60 from k = 9 on)."""
    blocks = graphs(k)
    found = kernel_language_entropy(Pairwise.from_stack(np.array(blocks)), time, scale="nats")
    kernels = [plain(block, "heat", 1, 1, time) for block in blocks]
    values = [np.linalg.eigvalsh((kernel + kernel.T) / 2) for kernel in kernels]
    expected = [entr(np.maximum(each, 0.0)).sum() for each in values]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_a_prompt_has_the_same_bits_whatever_others_there_are() -> None:
    blocks = [random_block(10, seed) for seed in range(700)]  # more than one chunk
    together = kernel_language_entropy(Pairwise.from_stack(np.array(blocks)))
    for place in (0, 5, 326, 327, 328, 699):
        alone = kernel_language_entropy(Pairwise.from_stack(blocks[place][None]))
        assert alone[0] == together[place]


def test_the_full_kernel_mixes_the_graph_with_the_clusters() -> None:
    blocks, labels = [random_block(5, 1), random_block(3, 2)], [[0, 0, 1, 1, 2], [0, 1, 0]]
    pairs = Pairwise.from_blocks(blocks)
    only_clusters = kernel_language_entropy(pairs, scale="nats", labels=labels, weight=0.0)
    np.testing.assert_allclose(only_clusters, semantic_entropy(labels, kind="discrete").value)
    only_graph = kernel_language_entropy(pairs, scale="nats", labels=labels, weight=1.0)
    np.testing.assert_allclose(only_graph, kernel_language_entropy(pairs, scale="nats"))
    mixed = kernel_language_entropy(pairs, scale="nats", labels=labels, weight=0.3)
    for block, own, value in zip(blocks, labels, mixed, strict=True):
        same = np.equal.outer(own, own) / len(own)
        kernel = 0.3 * plain(block, "heat", 1, 1, 0.3) + 0.7 * same
        assert value == pytest.approx(von_neumann(kernel), rel=1e-7)


@pytest.mark.parametrize("kernel", ["heat", "matern"])
def test_the_anchored_scale_runs_from_0_to_1(kernel: str) -> None:
    for k in (2, 5, 11):
        ends = Pairwise.from_stack([np.ones((k, k)), np.eye(k)])
        found = kernel_language_entropy(ends, kernel=kernel)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, [0, 1], atol=1e-9)
        labels = [[0] * k, list(range(k))]
        full = kernel_language_entropy(ends, kernel=kernel, labels=labels)  # type: ignore[arg-type]
        np.testing.assert_allclose(full, [0, 1], atol=1e-9)


def test_wrong_options_are_refused() -> None:
    pairs = Pairwise.from_stack([np.eye(2)])
    for options, match in [
        ({"nu": 0.0}, "must be positive"),
        ({"time": np.inf}, "must be positive and finite"),
        ({"kernel": "rbf"}, "kernel must be"),
        ({"weight": 2.0}, "weight"),
        ({"labels": [[0]]}, "labels must have"),
        ({"labels": [[0, None]]}, "not be missing"),
    ]:
        with pytest.raises(ValueError, match=match):
            kernel_language_entropy(pairs, **options)  # type: ignore[arg-type]
