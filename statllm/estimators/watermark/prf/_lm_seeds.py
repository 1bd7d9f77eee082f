"""lm-watermarking's functions from a window of tokens to the seed of a list."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.watermark.marks import IntArray
from statllm.estimators.watermark.prf._hash_table import TABLE, hash_table

Hash = Callable[[IntArray], IntArray]


def _position(windows: IntArray, key: np.int64, _: Hash) -> IntArray:
    places = np.arange(1, windows.shape[1] + 1)
    return np.asarray((key * windows * places).sum(axis=1), np.int64)


def _noncommuting(windows: IntArray, key: np.int64, hashed: Hash) -> IntArray:
    state = np.full(len(windows), key, np.int64)
    for token in windows.T:
        state = (state * hashed(state * token)) % 2**32
    return state


def _least_pair(windows: IntArray, key: np.int64, hashed: Hash) -> IntArray:
    """Of products of two hashes, all positive, the least is that of the two smallest."""
    least = np.partition(hashed(key * windows), 1, axis=1)[:, :2]
    return np.asarray(least[:, 0] * least[:, 1], np.int64)


#: Of windows, shape (n, width), the key and the hash: integers of 64 bits that wrap. The key of
#: those in `TIMES_KEY` is multiplied in afterwards, in whole numbers that don't.
_CODES: dict[str, Callable[[IntArray, np.int64, Hash], IntArray]] = {
    "additive": lambda windows, key, hashed: windows.sum(axis=1),
    "multiplicative": lambda windows, key, hashed: windows.prod(axis=1),
    "minfunc": lambda windows, key, hashed: windows.min(axis=1),
    "position": _position,
    "skipgram": lambda windows, key, hashed: hashed(key * windows[:, 0]),
    "anchored-skipgram": lambda windows, key, hashed: (
        hashed(key * windows[:, 0]) * hashed(key * windows[:, -1])
    ),
    "simple-skip": lambda windows, key, hashed: hashed(key * windows[:, ::2]).prod(axis=1),
    "minhash": lambda windows, key, hashed: hashed(key * windows).min(axis=1),
    "anchored-minhash": lambda windows, key, hashed: (
        key * hashed(windows) * hashed(windows[:, -1:])
    ).min(axis=1),
    "minskipgram": _least_pair,
    "noncomm": _noncommuting,
}
#: Names of the functions.
WINDOW_SEEDINGS = tuple(_CODES)
TIMES_KEY = ("additive", "multiplicative", "minfunc")


def window_seeds(function: str, windows: IntArray, key: int, table_seed: int) -> NDArray[np.uint64]:
    """Return the seeds of windows, as PyTorch's CPU generator keeps them: 32 bits.

    With H(x) = table[x mod 1000003] + 1, the window x_1 ... x_w (oldest first) and the key K:

    - additive: K (x_1 + ... + x_w); multiplicative: K x_1 ... x_w; minfunc: K min x
    - position: sum_i K i x_i
    - skipgram: H(K x_1); anchored-skipgram: H(K x_1) H(K x_w)
    - simple-skip: H(K x_1) H(K x_3) ..., every second token
    - minhash: min_i H(K x_i); minskipgram: min_(i < j) H(K x_i) H(K x_j)
    - anchored-minhash: min_i K H(x_i) H(x_w)
    - noncomm: k <- k H(k x_i) mod 2^32 for i = 1 ... w, from k = K

    in integers of 64 bits that wrap, modulo 2^64 - 1 (``alternative_prf_schemes.py`` of
    lm-watermarking, Kirchenbauer et al. 2023b, where the names end in ``_prf``).

    Parameters
    ----------
    function : str
        One of `WINDOW_SEEDINGS`.
    windows : ndarray of int64, shape (n, width)
    key : int
    table_seed : int
        Of the permutation.

    Returns
    -------
    ndarray of uint64, shape (n,)

    Examples
    --------
    >>> window_seeds("additive", np.array([[1, 2], [2, 1], [5, 0]]), 10, 0)
    array([30, 30, 50], dtype=uint64)
    """

    def hashed(numbers: IntArray) -> IntArray:
        return np.asarray(hash_table(table_seed)[numbers % TABLE] + 1, np.int64)

    with np.errstate(over="ignore"):
        codes = _CODES[function](windows, np.uint64(key).view(np.int64), hashed)
    if function in TIMES_KEY:
        from statllm.estimators.watermark.prf._green_lists import low_words

        seeds: NDArray[np.uint64] = low_words(codes, np.uint64(key))
        return seeds
    # a negative one is taken modulo 2^64 - 1 first, which moves its low bits by one
    return (codes - (codes < 0)).view(np.uint64) & np.uint64(0xFFFFFFFF)
