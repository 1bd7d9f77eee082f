"""Numbers of PyTorch's CPU generator at places of a vocabulary, seeded by contexts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from statllm.estimators.watermark.prf._mersenne import seeded, tempered, twist

_WORDS = 624
_BITS24 = 0xFFFFFF  # torch.rand keeps 24 bits in single precision


@njit(cache=True, nogil=True)
def _times_plus(state: Any, factor: Any, term: Any) -> Any:
    """state * factor + term modulo 2^64 - 1, where 2^64 is 1; factor and term have 32 bits."""
    low, shift, most = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(0xFFFFFFFFFFFFFFFF)
    high_part = (state >> shift) * factor
    total = (high_part << shift) | (high_part >> shift)
    for part in ((state & low) * factor, term):
        total = total + part
        if total < part:
            total += np.uint64(1)
    return np.uint64(0) if total == most else total


@njit(cache=True, nogil=True)
def context_seeds(tokens: Any, scored: Any, width: int, start: Any, factor: Any) -> Any:
    """Seeds of the `width` tokens before each scored one; PyTorch keeps their low 32 bits."""
    out = np.empty(len(scored), np.uint64)
    for i in range(len(scored)):
        state = start
        for at in range(scored[i] - width, scored[i]):
            state = _times_plus(state, factor, np.uint64(tokens[at]))
        out[i] = state & np.uint64(0xFFFFFFFF)
    return out


def rand_steps(seeds: NDArray[np.uint64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``torch.rand(...)[place] * 2^24`` of a generator with each seed, shape (n,).

    Places of one seed are read in one pass through its numbers.
    """
    order = np.lexsort((places, seeds))
    out = np.empty(len(seeds), np.int64)
    out[order] = _steps(seeds[order], places[order])
    return out


@njit(cache=True, nogil=True)
def _steps(seeds: Any, places: Any) -> Any:
    state = np.empty(_WORDS, np.uint32)
    out = np.empty(len(seeds), np.int64)
    done = -1  # blocks of 624 words that were twisted
    for i in range(len(seeds)):
        if i == 0 or seeds[i] != seeds[i - 1]:
            seeded(seeds[i], state)
            done = -1
        block = places[i] // _WORDS
        while done < block:
            twist(state)
            done += 1
        out[i] = np.int64(tempered(state[places[i] - block * _WORDS])) & _BITS24
    return out
