"""Uniform numbers that are a function of (seed, prompt_id, sample, position) and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_WEYL = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream_keys(
    seed: int, prompt_ids: Sequence[str], samples: Sequence[int] | npt.NDArray[np.integer]
) -> npt.NDArray[np.uint64]:
    """Return one 64-bit key per sequence: the BLAKE2b digest of its name.

    Parameters
    ----------
    seed : int
    prompt_ids : sequence of str
        One per sequence.
    samples : sequence of int
        Sample number of each sequence within its prompt.

    Examples
    --------
    >>> [hex(key) for key in stream_keys(0, ["a", "a"], [0, 1])]
    ['0x8c2ef788313b597a', '0xa763b30e06cea28a']
    """
    keys = np.empty(len(prompt_ids), dtype=np.uint64)
    for row, (prompt_id, sample) in enumerate(zip(prompt_ids, samples, strict=True)):
        # the numbers come first, so that no prompt_id can imitate another name
        name = f"{seed}/{int(sample)}/{prompt_id}".encode("utf-8", "surrogatepass")
        keys[row] = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
    return keys


def uniforms(keys: npt.NDArray[np.uint64], position: int) -> npt.NDArray[np.float64]:
    """Return a uniform number for each key at a position: SplitMix64, read at that place.

    Parameters
    ----------
    keys : array of uint64, shape (n,)
        From `stream_keys`.
    position : int
        Place of the token in the response, from 0.

    Returns
    -------
    array of float64, shape (n,)
        (k + 1/2) / 2**52 with k the upper 52 bits: never 0 or 1, and 1 - u is exact.

    References
    ----------
    Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators", OOPSLA.

    Examples
    --------
    >>> uniforms(stream_keys(0, ["a", "b"], [0, 0]), position=0).round(4)
    array([0.5   , 0.6383])
    """
    z = keys + np.uint64((position + 1) * _WEYL % 2**64)
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
