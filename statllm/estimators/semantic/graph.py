"""How far a prompt's samples fall apart, from how similar each is to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.semantic.clusters import MNLI_ORDER
from statllm.estimators.semantic.pairwise import Pairwise, checked_similarities

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def nli_similarity(
    nli: Pairwise,
    affinity: Literal["entailment", "no_contradiction", "graded"] = "entailment",
    *,
    logits: bool = False,
    temperature: float = 1.0,
    classes: Sequence[str] = MNLI_ORDER,
) -> Pairwise:
    """Similarity between 0 and 1 from an NLI model's three classes.

    Parameters
    ----------
    nli : Pairwise, values of shape (n_pairs, 3)
    affinity : {"entailment", "no_contradiction", "graded"}
        p(entailment); 1 - p(contradiction); or p(entailment) + p(neutral) / 2, which is what
        kernel language entropy and semantic density use.
    logits : bool
        Whether the values are logits; else they must be probabilities, which add up to 1.
    temperature : float
        The logits are divided by it. UQ-NLG takes 3.
    classes : sequence of str
        Order of the model's classes.

    Returns
    -------
    Pairwise of float64
        Not symmetric: the functions that use it put both orders together. 1 for a sample with
        itself, whatever is given.

    Examples
    --------
    >>> nli = Pairwise.from_stack(np.broadcast_to([0.1, 0.3, 0.6], (1, 2, 2, 3)))
    >>> nli_similarity(nli, "graded").block(0)
    array([[1.  , 0.75],
           [0.75, 1.  ]])
    """
    if sorted(classes) != sorted(MNLI_ORDER):
        raise InputError(f"classes must be {', '.join(MNLI_ORDER)} in some order, not {classes}")
    values = np.array(nli.values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 3:
        raise InputError(f"nli must hold three numbers per pair, not values of {values.shape}")
    values[nli.diagonal] = [name == "entailment" for name in classes]
    if np.isnan(values).any():
        raise InputError("nli holds NaN")
    if logits:
        if not temperature > 0:
            raise InputError(f"temperature must be positive, not {temperature}")
        scaled = (values - values.max(axis=1, keepdims=True)) / temperature
        values = np.exp(scaled)
        values /= values.sum(axis=1, keepdims=True)
    elif ((values < 0) | (values > 1)).any() or (np.abs(values.sum(axis=1) - 1) > 1e-3).any():
        raise InputError("nli probabilities must add up to 1; logits=True is for logits")
    contradiction, neutral, entailment = (values[:, list(classes).index(c)] for c in MNLI_ORDER)
    similar = {
        "entailment": entailment,
        "no_contradiction": 1 - contradiction,
        "graded": np.minimum(entailment + neutral / 2, 1.0),
    }
    if affinity not in similar:
        raise InputError(f"affinity must be one of {', '.join(similar)}, not {affinity!r}")
    similar[affinity][nli.diagonal] = 1.0
    return nli.with_values(similar[affinity])


def eigenvalue_uncertainty(similarity: Pairwise) -> FloatArray:
    """U_EigV = Σ max(0, 1 - λ), λ the eigenvalues of the normalised graph Laplacian.

    A smooth number of clusters (Lin, Trivedi and Sun 2023): m for m groups with
    similarity 1 within and 0 between, whatever their sizes.

    Parameters
    ----------
    similarity : Pairwise of float
        Between 0 and 1. Both orders of a pair are averaged, and a sample's similarity with
        itself is 1 whatever is given.

    Returns
    -------
    ndarray of float64, shape (n_prompts,)
        At least 1; NaN without samples. Grows with the number of samples unless they form clean
        groups, so compare prompts with equally many.

    Raises
    ------
    InputError
        If a similarity is NaN or outside 0 to 1.

    Examples
    --------
    >>> pairs = Pairwise.from_stack([np.eye(4), np.ones((4, 4)), np.full((4, 4), 0.5)])
    >>> eigenvalue_uncertainty(pairs).round(4)
    array([4. , 1. , 1.6])
    """

    def score(stack: FloatArray) -> FloatArray:
        # 1 - λ are the eigenvalues of D^-½ W D^-½.
        return np.asarray(np.maximum(np.linalg.eigvalsh(_normalised(stack)), 0.0).sum(axis=1))

    return per_prompt(similarity, score)


def eccentricity(similarity: Pairwise, threshold: float = 0.9) -> FloatArray:
    """U_Ecc: how far samples lie from their centre in the graph's spectral embedding.

    The Frobenius norm of the centred eigenvectors of the normalised Laplacian whose eigenvalues
    lie below `threshold` (Lin, Trivedi and Sun 2023).

    Parameters
    ----------
    similarity : Pairwise of float
        As for `eigenvalue_uncertainty`.
    threshold : float
        0.9 in the authors' code.

    Returns
    -------
    ndarray of float64, shape (n_prompts,)
        0 for samples all alike; √(m - 1) for m groups of equal size. NaN without samples. It
        jumps where an eigenvalue crosses the threshold.

    Examples
    --------
    >>> pairs = Pairwise.from_stack([np.eye(4), np.ones((4, 4))])
    >>> eccentricity(pairs).round(4)
    array([1.7321, 0.    ])
    """
    if not threshold > 0:
        raise InputError(f"threshold must be positive, not {threshold}")

    def score(stack: FloatArray) -> FloatArray:
        values, vectors = np.linalg.eigh(_normalised(stack))
        kept = 1 - values < threshold
        # |v - mean|² = 1 - (Σ v)² / k: the sum over an eigenspace doesn't depend on its basis.
        centred = 1 - vectors.sum(axis=1) ** 2 / stack.shape[1]
        return np.asarray(np.sqrt(np.maximum(np.where(kept, centred, 0.0).sum(axis=1), 0.0)))

    return per_prompt(similarity, score)


@dataclass(frozen=True, eq=False)
class DegreeUncertainty:
    """Mean dissimilarity of each prompt's samples. Arrays have length n_prompts.

    Attributes
    ----------
    value, se : ndarray of float64
    n : ndarray of int64
        Samples.
    """

    value: FloatArray
    se: FloatArray
    n: IntArray

    def __len__(self) -> int:
        return len(self.value)


def degree_uncertainty(
    similarity: Pairwise, kind: Literal["pairs", "lm_polygraph", "uq_nlg"] = "pairs"
) -> DegreeUncertainty:
    """Mean dissimilarity between samples, from the degrees of the similarity graph.

    Parameters
    ----------
    similarity : Pairwise of float
        As for `eigenvalue_uncertainty`.
    kind : {"pairs", "lm_polygraph", "uq_nlg"}
        With S the sum of 1 - similarity over the ordered pairs of different samples:
        ``"pairs"`` (the default) is S / k(k - 1), the unbiased estimate of the expected
        dissimilarity of two responses, which prompts with different k share. ``"lm_polygraph"``
        is S / k², U_Deg of Lin, Trivedi and Sun (2023): too small by the factor
        (k - 1) / k. ``"uq_nlg"``, the authors' code, is S / k and grows with k.

    Returns
    -------
    DegreeUncertainty
        The standard error is the jackknife's over samples, and undefined (NaN) below three. It
        errs on the large side (Efron and Stein 1981): by a quarter for ten samples of three
        answers. It's 0 where all samples are alike, or all pairs equally unlike: no spread was
        seen, so no interval is offered for a single prompt.
        ``"pairs"`` needs two samples, the others one.

    Examples
    --------
    >>> same = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1.0]])
    >>> spread = degree_uncertainty(Pairwise.from_stack([same]))
    >>> spread.value, spread.se.round(4)
    (array([0.5]), array([0.5]))
    """
    scale: dict[str, Callable[[int], float]] = {
        "pairs": lambda k: k * (k - 1),
        "lm_polygraph": lambda k: k * k,
        "uq_nlg": lambda k: k,
    }
    if kind not in scale:
        raise InputError(f"kind must be one of {', '.join(scale)}, not {kind!r}")
    return mean_dissimilarity(checked_similarities(similarity), scale[kind], kind == "pairs")


def mean_dissimilarity(
    similarity: Pairwise,
    scale: Callable[[int], float] = lambda k: k * (k - 1),
    needs_two: bool = True,
) -> DegreeUncertainty:
    """Sum of 1 - similarity over pairs of different samples over scale(k), with its error."""
    value = np.full(len(similarity), np.nan)
    se = np.full(len(similarity), np.nan)
    for rows, stack in similarity.blocks():
        k = stack.shape[1]
        unlike = k - (stack.sum(axis=1) + stack.sum(axis=2)) / 2
        total = unlike.sum(axis=1)
        if k == 1 and needs_two:
            continue
        value[rows] = total / scale(k)
        if k >= 3:
            without = (total[:, None] - 2 * unlike) / scale(k - 1)
            spread = ((without - without.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
            se[rows] = np.sqrt((k - 1) / k * spread)
    return DegreeUncertainty(value, se, similarity.sizes)


def _normalised(stack: FloatArray) -> FloatArray:
    """D^-½ W D^-½ of stacked similarities; degrees are at least 1."""
    weights = (stack + stack.transpose(0, 2, 1)) / 2
    root = np.sqrt(weights.sum(axis=2))
    weights /= root[:, :, None] * root[:, None, :]
    return weights


def per_prompt(similarity: Pairwise, score: Callable[[Any], FloatArray]) -> FloatArray:
    """A function of stacked blocks, put in its place for each prompt; NaN without samples."""
    similarity = checked_similarities(similarity)
    out = np.full(len(similarity), np.nan)
    for rows, stack in similarity.blocks():
        out[rows] = score(stack)
    return out
