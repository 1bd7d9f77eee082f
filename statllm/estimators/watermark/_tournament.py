"""SynthID's tournaments, simulated."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from statllm.ragged import FloatArray, IntArray

_REST = 32  # tokens that stand for those beyond the given ones
_CHUNK = 2_000  # positions at a time


def tournament_law(
    probabilities: ArrayLike,
    weights: IntArray,
    leaves: int,
    n_draws: int,
    rng: np.random.Generator | int,
) -> FloatArray:
    """Law of a watermarked token's bits, each layer's counted with its weight.

    Shape (sum of weights + 1,); parameters otherwise as for `tournament_bits`.
    """
    top = np.asarray(probabilities, np.float64)
    if top.ndim != 2 or top.size == 0 or not np.all((top >= 0) & (top <= 1)):
        raise ValueError("probabilities must have shape (n_positions, k) and lie in [0, 1]")
    if top.sum(axis=1).max() > 1 + 1e-4:
        row = int(np.argmax(top.sum(axis=1)))
        raise ValueError(f"probabilities of row {row} sum to {top[row].sum():.6g}, above 1")
    if len(weights) < 1 or leaves < 2 or n_draws < 1:
        raise ValueError("depth and n_draws must be at least 1, leaves at least 2")
    generator = np.random.default_rng(rng)
    laws = _completed(top)
    counts = np.zeros(int(weights.sum()) + 1)
    for start in range(0, n_draws, _CHUNK):
        some = laws[generator.integers(len(laws), size=min(_CHUNK, n_draws - start))]
        counts += np.bincount(_played(some, weights, leaves, generator), minlength=len(counts))
    return np.asarray(counts / n_draws)


def _completed(top: FloatArray) -> FloatArray:
    """Rows with their rest as equal tokens, as few and as large as can be."""
    rest = np.maximum(1 - top.sum(axis=1), 0.0)
    smallest = np.maximum(top.min(axis=1), 1e-300)
    number = np.clip(np.ceil(np.minimum(rest / smallest, _REST)), 1, _REST)
    others = np.where(np.arange(_REST) < number[:, None], (rest / number)[:, None], 0.0)
    whole = np.column_stack([top, others[:, : int(number.max())]])
    return np.asarray(whole / whole.sum(axis=1, keepdims=True))


def _played(laws: FloatArray, weights: IntArray, leaves: int, rng: np.random.Generator) -> IntArray:
    """Weighted bits of one token of each law after its tournaments."""
    rows = np.arange(len(laws))
    total = np.zeros(laws.shape, np.int64)  # of each token, so far
    for weight in weights:
        one = rng.integers(0, 2, laws.shape, dtype=np.uint8)
        mass = np.clip((laws * one).sum(axis=1, keepdims=True), 0.0, 1.0)
        lost = 1 - mass
        won = (1 - lost**leaves) / np.maximum(mass, 1e-300)
        laws = laws * np.where(one == 1, won, lost ** (leaves - 1))
        total += weight * one
    edges = np.cumsum(laws, axis=1)
    drawn = rng.random((len(laws), 1)) * edges[:, -1:]
    return np.asarray(total[rows, (edges <= drawn).sum(axis=1)], np.int64)
