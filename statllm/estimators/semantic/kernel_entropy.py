"""Kernel language entropy: the von Neumann entropy of a kernel over a prompt's samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators import _answers
from statllm.estimators.semantic.pairwise import Pairwise, checked_similarities
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
Scale = Literal["anchored", "log_k", "nats"]

_CHUNK = 1 << 15  # pairs worked on at a time: 256 kB of float64, so that steps stay in the cache
_SQUARINGS = 10  # each doubles the rounding error
_TAYLOR = 1.0 / np.array([math.factorial(j) for j in range(16)]).reshape(4, 4)


def kernel_language_entropy(
    similarity: Pairwise,
    time: float = 0.3,
    scale: Scale = "anchored",
    kernel: Literal["heat", "matern"] = "heat",
    nu: float = 1.0,
    kappa: float = 1.0,
    labels: Any = None,
    weight: float = 0.5,
) -> FloatArray:
    """Von Neumann entropy of a kernel on the similarity graph.

    With W = S + Sᵀ and L = D - W, the heat kernel is K = exp(-time L) and the Matérn kernel
    K = (2 ν / κ² I + L)^-ν. Rescaled to diagonal 1/k, its entropy is -Tr(K ln K) (Nikitin,
    Kossen, Gal and Marttinen 2024).

    Parameters
    ----------
    similarity : Pairwise of float
        Between 0 and 1; both orders of a pair are added up. The authors take 1 for entailment,
        ½ for neutral, 0 for contradiction (`nli_similarity` with ``"graded"`` is the smooth
        form).
    time : float
        How long heat flows, 0.3 as published; above 0.
    scale : {"anchored", "log_k", "nats"}
        ``"nats"``: the entropy itself. ``"log_k"``: divided by ln k, as the authors' code and
        lm-polygraph give it. ``"anchored"`` (the default): (H - H1) / (ln k - H1), where H1 is
        the entropy of k equal samples: 0 for samples all alike, 1 for samples with nothing in
        common.
    kernel : {"heat", "matern"}
    nu, kappa : float
        Smoothness and length scale of the Matérn kernel, 1 in the authors' code.
    labels : Ragged, Arrow list column or list of lists, optional
        Cluster of each sample. Then the kernel is the mixture weight K + (1 - weight) K_SE, the
        "full" kernel of the paper, K_SE having 1/k between samples of one cluster and 0 between
        others. K_SE alone (``weight=0``) gives the discrete semantic entropy.
    weight : float
        Of the graph's kernel, in [0, 1]; ½ is the plain mean.

    Returns
    -------
    ndarray of float64, shape (n_prompts,)
        NaN below two samples (``"nats"``: below one).

    Raises
    ------
    InputError
        If a similarity is NaN or outside 0 to 1, an option isn't positive and finite, or a sample
        has no cluster.

    Notes
    -----
    The entropy depends on the number of samples k: heat spreads along every edge, and more
    samples have more of them. Equal samples have entropy 0.42 ln k for k = 5 and 0.07 ln k
    for k = 10, never 0; and similarities drawn at random give less and less as k grows. The
    anchored form repairs both ends of the scale but not what lies between, so compare prompts
    with equally many samples.

    Examples
    --------
    >>> pairs = Pairwise.from_stack([np.eye(5), np.ones((5, 5)), np.full((5, 5), 0.2)])
    >>> kernel_language_entropy(pairs, scale="log_k").round(4)
    array([1.    , 0.4224, 0.9779])
    >>> kernel_language_entropy(pairs).round(4)
    array([1.    , 0.    , 0.9618])
    >>> kernel_language_entropy(pairs, kernel="matern").round(4)
    array([1.    , 0.    , 0.8724])
    """
    if not (min(time, nu, kappa) > 0 and max(time, nu, kappa) < math.inf):
        given = f"{time}, {nu} and {kappa}"
        raise InputError(f"time, nu and kappa must be positive and finite, not {given}")
    if scale not in ("anchored", "log_k", "nats"):
        raise InputError(f"scale must be anchored, log_k or nats, not {scale!r}")
    if kernel not in ("heat", "matern"):
        raise InputError(f"kernel must be heat or matern, not {kernel!r}")
    if not 0 <= weight <= 1:
        raise InputError(f"weight must lie between 0 and 1, not {weight}")

    function = _heat_or_matern(kernel, time, nu, kappa)
    similarity = checked_similarities(similarity)
    codes = None if labels is None else _codes(labels, similarity)

    def unit(stack: FloatArray) -> FloatArray:
        found = function(stack + stack.transpose(0, 2, 1))
        root = np.sqrt(np.einsum("nii->ni", found))
        return np.asarray(found / (root[:, :, None] * root[:, None, :] * stack.shape[1]))

    def alike(k: int) -> float:
        one = unit(np.ones((1, k, k)))
        if codes is not None:
            one = weight * one + (1 - weight) / k
        return float(_von_neumann(one)[0])

    out = np.full(len(similarity), np.nan)
    for rows, block in similarity.blocks():
        k = block.shape[1]
        step = max(1, _CHUNK // (k * k))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            mixture = unit(block[start : start + step])
            if codes is not None:
                own = codes.values[codes.offsets[part][:, None] + np.arange(k)]
                same = (own[:, :, None] == own[:, None, :]) / k
                mixture = weight * mixture + (1 - weight) * same
            out[part] = _von_neumann(mixture)
        if scale != "nats":
            low = alike(k) if scale == "anchored" else 0.0
            out[rows] = (out[rows] - low) / (np.log(k) - low) if k > 1 else np.nan
    return out


def _codes(labels: Any, similarity: Pairwise) -> Ragged:
    """A number for the cluster of each sample."""
    codes = _answers.encode(labels)[0]
    if not np.array_equal(codes.offsets, similarity.sample_offsets):
        raise InputError("labels must have as many values per prompt as there are samples")
    if (codes.values < 0).any():
        raise InputError("labels must not be missing: every sample needs a cluster")
    return codes


def _heat_or_matern(
    kernel: str, time: float, nu: float, kappa: float
) -> Callable[[FloatArray], FloatArray]:
    """The function of stacked graphs' weights that gives their kernels."""
    heat = _Heat(time)

    def by_eigenvalues(weights: FloatArray) -> FloatArray:
        values, vectors = np.linalg.eigh(_laplacian(weights))
        values = np.maximum(values, 0.0)  # rounding
        if kernel == "heat":
            shape = np.exp(-time * values)
        else:
            shape = (2 * nu / kappa**2 + values) ** -nu
        return np.asarray((vectors * shape[:, None]) @ vectors.transpose(0, 2, 1))

    def by_products(weights: FloatArray) -> FloatArray:
        within_reach = heat.squarings(weights.shape[1]) <= _SQUARINGS
        return heat(weights) if within_reach else by_eigenvalues(weights)

    return by_products if kernel == "heat" else by_eigenvalues


class _Heat:
    """exp(-time L) of stacked graphs, by products alone: a third of the time of `eigh`.

    With d the largest degree, exp(-time L) = exp(-time d) exp(time (d I - L)). No entry of
    d I - L is negative, so that nothing cancels in the Taylor series; where time d is at most 1,
    16 powers leave out less than 1e-15. Else time is halved until it is, and the result squared
    as often. Room for the matrices is kept from call to call: getting it anew takes as long as
    the products.
    """

    def __init__(self, time: float) -> None:
        self.time = time
        self.room = np.empty((11, 0, 0, 0))

    def squarings(self, k: int) -> int:
        """How often to halve the time; a degree is at most 2k, since weights are at most 2."""
        return max(0, math.ceil(math.log2(self.time) + math.log2(2 * k)))

    def __call__(self, weights: FloatArray) -> FloatArray:
        """The kernels, which the next call overwrites."""
        n, k = weights.shape[:2]
        if self.room.shape[1] < n or self.room.shape[2] != k:
            self.room = np.empty((11, n, k, k))
        powers = self.room[:4].reshape(-1, 4, k, k)[:n]  # of each matrix: 1, B, B², B³
        cubics = self.room[4:8].reshape(-1, 4, k, k)[:n]
        fourth, found, other = self.room[8:, :n]
        time = math.ldexp(self.time, -self.squarings(k))
        degree = weights.sum(axis=2)
        most = degree.max(axis=1)
        powers[:, 0] = np.eye(k)
        np.multiply(weights, time, out=powers[:, 1])
        powers[:, 1, np.arange(k), np.arange(k)] += time * (most[:, None] - degree)
        np.matmul(powers[:, 1], powers[:, 1], out=powers[:, 2])
        np.matmul(powers[:, 2], powers[:, 1], out=powers[:, 3])
        np.matmul(powers[:, 2], powers[:, 2], out=fourth)
        # Horner's rule in B⁴ with cubics for coefficients (Paterson and Stockmeyer 1973).
        np.matmul(_TAYLOR, powers.reshape(n, 4, k * k), out=cubics.reshape(n, 4, k * k))
        np.divide(fourth, math.factorial(16), out=found)
        found += cubics[:, 3]
        for j in (2, 1, 0):
            np.matmul(fourth, found, out=other)
            np.add(other, cubics[:, j], out=found)
        found *= np.exp(-time * most)[:, None, None]
        for _ in range(self.squarings(k)):
            np.matmul(found, found, out=other)
            found, other = other, found
        return np.asarray(found)


def _laplacian(weights: FloatArray) -> FloatArray:
    """D - W of stacked graphs."""
    k = weights.shape[1]
    laplacian = -weights
    laplacian[:, np.arange(k), np.arange(k)] += weights.sum(axis=2)
    return laplacian


def _von_neumann(unit: FloatArray) -> FloatArray:
    """-Tr K ln K of stacked kernels of trace 1."""
    from scipy.special import entr

    return np.asarray(entr(np.maximum(np.linalg.eigvalsh(unit), 0.0)).sum(axis=1))
