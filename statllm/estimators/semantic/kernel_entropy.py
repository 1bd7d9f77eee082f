"""Kernel language entropy: the von Neumann entropy of a kernel over a prompt's samples."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators import _answers
from statllm.estimators.semantic.graph import per_prompt
from statllm.estimators.semantic.pairwise import Pairwise, checked_similarities

FloatArray = NDArray[np.float64]
Scale = Literal["anchored", "log_k", "nats"]


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
        If a similarity is NaN or outside 0 to 1, an option isn't positive, or a sample has no
        cluster.

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
    if not min(time, nu, kappa) > 0:
        raise InputError(f"time, nu and kappa must be positive, not {time}, {nu} and {kappa}")
    if scale not in ("anchored", "log_k", "nats"):
        raise InputError(f"scale must be anchored, log_k or nats, not {scale!r}")
    if kernel not in ("heat", "matern"):
        raise InputError(f"kernel must be heat or matern, not {kernel!r}")
    if not 0 <= weight <= 1:
        raise InputError(f"weight must lie between 0 and 1, not {weight}")

    def unit(stack: FloatArray) -> FloatArray:
        values, vectors = np.linalg.eigh(_laplacian(stack + stack.transpose(0, 2, 1)))
        values = np.maximum(values, 0.0)  # rounding
        if kernel == "heat":
            shape = np.exp(-time * values)
        else:
            shape = (2 * nu / kappa**2 + values) ** -nu
        found = (vectors * shape[:, None]) @ vectors.transpose(0, 2, 1)
        root = np.sqrt(np.einsum("nii->ni", found))
        return np.asarray(found / (root[:, :, None] * root[:, None, :] * stack.shape[1]))

    def scaled(mixture: FloatArray) -> FloatArray:
        k = mixture.shape[1]
        value = _von_neumann(mixture)
        if scale == "nats":
            return value
        if k == 1:
            return np.full(len(mixture), np.nan)
        alike = 0.0
        if scale == "anchored":
            one = unit(np.ones((1, k, k)))
            if labels is not None:
                one = weight * one + (1 - weight) / k
            alike = float(_von_neumann(one)[0])
        return np.asarray((value - alike) / (np.log(k) - alike))

    if labels is None:
        return per_prompt(similarity, lambda stack: scaled(unit(stack)))
    similarity = checked_similarities(similarity)
    codes = _answers.encode(labels)[0]
    if not np.array_equal(codes.offsets, similarity.sample_offsets):
        raise InputError("labels must have as many values per prompt as there are samples")
    if (codes.values < 0).any():
        raise InputError("labels must not be missing: every sample needs a cluster")
    out = np.full(len(similarity), np.nan)
    for rows, stack in similarity.blocks():
        k = stack.shape[1]
        own = codes.values[codes.offsets[rows][:, None] + np.arange(k)]
        same = (own[:, :, None] == own[:, None, :]) / k
        out[rows] = scaled(weight * unit(stack) + (1 - weight) * same)
    return out


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
