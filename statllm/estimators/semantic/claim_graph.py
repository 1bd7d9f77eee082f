"""How central claims are in the graph of which sample supports which claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClaimCentrality:
    """Centralities of claims, prompt after prompt; every array has length n_claims.

    Attributes
    ----------
    degree : ndarray of float64
        Sum of the supports that reach the threshold over the number of samples.
    betweenness : ndarray of float64
        Share of shortest paths that pass, over the largest there can be in a bipartite graph.
    closeness : ndarray of float64
        Inverse mean distance, of what can be reached, times the share that can be.
    harmonic : ndarray of float64
        Sum of inverse distances over that of a complete bipartite graph.
    page_rank : ndarray of float64
        Stationary probability of a walk along weighted edges that restarts with 0.15.
    laplacian : ndarray of float64
        Share of the graph's Laplacian energy that goes with the claim.
    """

    degree: FloatArray
    betweenness: FloatArray
    closeness: FloatArray
    harmonic: FloatArray
    page_rank: FloatArray
    laplacian: FloatArray

    def to_frame(self) -> pd.DataFrame:
        """Return one row per claim."""
        import pandas as pd

        return pd.DataFrame({field.name: getattr(self, field.name) for field in fields(self)})


def claim_centrality(support: Sequence[ArrayLike], threshold: float = 0.5) -> ClaimCentrality:
    """Centralities of each prompt's claims in the bipartite graph of claims and samples.

    Jiang et al. (2024), with the normalisations of uqlm's ``LongTextGraph``, which takes them
    from networkx (bipartite betweenness and closeness: Borgatti and Everett 1997).

    Parameters
    ----------
    support : sequence of array_like, one per prompt, shape (n_claims, n_samples)
        p(claim entailed by sample). The claims are those of all samples, merged where they say
        the same.
    threshold : float
        A support of at least so much is an edge, with the support as its weight; paths count
        edges only.

    Returns
    -------
    ClaimCentrality
        The rows of the prompts' claims one after another; NaN without samples.

    Raises
    ------
    InputError
        If a support is NaN or outside [0, 1], or `threshold` isn't in (0, 1].

    Notes
    -----
    Only `degree` is a mean over samples, with the error that `claim_support` gives. The others
    change with the number of claims and samples, so compare within a prompt, or calibrate.

    Examples
    --------
    >>> found = claim_centrality([[[0.9, 0.8, 0.7], [0.9, 0.1, 0.2]]])
    >>> found.degree.round(4), found.closeness.round(4)
    (array([0.8, 0.3]), array([1.    , 0.5556]))
    """
    if not 0 < threshold <= 1:
        raise InputError(f"threshold must lie between 0 and 1, not {threshold}")
    blocks = [np.asarray(block, dtype=np.float64) for block in support]
    for number, block in enumerate(blocks):
        if block.ndim != 2:
            raise InputError(f"support {number} must have shape (n_claims, n_samples)")
        if not ((block >= 0) & (block <= 1)).all():  # NaN fails too
            raise InputError(f"support {number} must hold probabilities in [0, 1], without NaN")
    names = [field.name for field in fields(ClaimCentrality)]
    start = np.concatenate([[0], np.cumsum([len(block) for block in blocks])]).astype(np.int64)
    out = {name: np.full(int(start[-1]), np.nan) for name in names}
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, block in enumerate(blocks):
        alike.setdefault(block.shape, []).append(number)
    for (n, m), numbers in alike.items():  # prompts of one shape are computed together
        if n == 0 or m == 0:
            continue
        stack = np.stack([blocks[number] for number in numbers])
        found = _centralities(np.where(stack >= threshold, stack, 0.0))
        places = start[numbers][:, None] + np.arange(n)
        for name in names:
            out[name][places] = found[name]
    return ClaimCentrality(**out)


def _centralities(weights: FloatArray) -> dict[str, Any]:
    """All of them for stacked graphs of one shape, weights (g, n, m)."""
    g, n, m = weights.shape
    full = np.zeros((g, n + m, n + m))
    full[:, :n, n:] = weights
    full[:, n:, :n] = weights.transpose(0, 2, 1)
    distance, between = _paths(full > 0, n)
    strength = full.sum(axis=2)
    reached = np.isfinite(distance[:, :n])
    total = np.where(reached, distance[:, :n], 0.0).sum(axis=2)
    others = reached.sum(axis=2) - 1
    closeness = np.divide(m + 2 * (n - 1), total, out=np.zeros_like(total), where=total > 0)
    with np.errstate(divide="ignore"):
        inverse = 1 / distance[:, :n]
    inverse[:, np.arange(n), np.arange(n)] = 0.0
    # Energy Σ d² + 2 Σ w² over nodes and edges, less that of the graph without the claim.
    square = (full**2).sum(axis=2)
    energy = (strength**2).sum(axis=1) + square.sum(axis=1)
    gone = strength**2 + 2 * np.einsum("gij,gj->gi", full, strength) + square
    laplacian = np.divide(gone, energy[:, None], out=np.zeros_like(gone), where=energy[:, None] > 0)
    return {
        "degree": weights.sum(axis=2) / m,
        "betweenness": between / _largest_betweenness(n, m) if n > 1 or m > 1 else between,
        "closeness": np.minimum(closeness * others / (n + m - 1), 1.0),
        "harmonic": inverse.sum(axis=2) / (m + (n - 1) / 2),
        "page_rank": _page_rank(full)[:, :n],
        "laplacian": laplacian[:, :n],
    }


def _paths(edge: NDArray[np.bool_], n: int) -> tuple[FloatArray, FloatArray]:
    """Distances between all nodes, and the betweenness of the first n (Brandes 2001).

    From all sources at once: the numbers of shortest paths go out level by level, and the shares
    that pass through a node come back.
    """
    g, size = edge.shape[:2]
    adjacent = edge.astype(np.float64)
    distance = np.full((g, size, size), np.inf)
    count = np.zeros((g, size, size))
    diagonal = np.arange(size)
    distance[:, diagonal, diagonal], count[:, diagonal, diagonal] = 0.0, 1.0
    level, front = 0, count.copy()
    while front.any():
        level += 1
        front = np.where(np.isinf(distance), front @ adjacent, 0.0)
        distance[front > 0] = level
        count += front
    share = np.zeros((g, size, size))
    for step in range(level - 1, 0, -1):
        there = distance == step
        back = np.where(there, (1 + share) / np.maximum(count, 1.0), 0.0) @ adjacent
        share += np.where(distance == step - 1, back * count, 0.0)
    share[:, diagonal, diagonal] = 0.0
    return distance, share.sum(axis=1)[:, :n] / 2


def _largest_betweenness(n: int, m: int) -> float:
    """Of a node among n, with m on the other side (Borgatti and Halgin 2011)."""
    s, t = divmod(n - 1, m)
    whole = m**2 * (s + 1) ** 2 + m * (s + 1) * (2 * t - s - 1) - t * (2 * s - t + 3)
    return max(whole / 2, 1.0)


def _page_rank(weights: FloatArray, damping: float = 0.85) -> FloatArray:
    """Stationary distribution, by solving for it; a node without edges restarts anywhere."""
    size = weights.shape[1]
    strength = weights.sum(axis=2, keepdims=True)
    step = np.divide(
        weights, strength, out=np.full_like(weights, 1 / size), where=strength > 0
    ).transpose(0, 2, 1)
    right = np.full((len(weights), size, 1), (1 - damping) / size)
    found: FloatArray = np.linalg.solve(np.eye(size) - damping * step, right)[:, :, 0]
    return found
