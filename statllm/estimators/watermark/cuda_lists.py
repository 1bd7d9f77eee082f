"""Lists as PyTorch's CUDA generator draws them, without a GPU.

By PyTorch's source (`DistributionTemplates.h`, `Randperm.cu`) and CUDA's documentation of curand:
thread i of T draws from Philox4x32-10 with the seed as key and (block of the stream, i) as counter,
and its k-th number goes to place i + k T. The first numbers of a seed are those that GPUs print;
permutations and tables have not been compared with a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks, Null
from statllm.estimators.watermark.prf._philox import philox_word
from statllm.estimators.watermark.prf._tokens import checked_tokens
from statllm.estimators.watermark.prf.kgw import Kgw
from statllm.estimators.watermark.prf.synthid import SynthId
from statllm.ragged import Ragged

BLOCK = 256
_TABLE = 1 << 16
_MOST_LISTS = 200


@njit(cache=True, nogil=True)
def _word(seed: Any, thread: Any, step: Any, word: Any) -> Any:
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    return philox_word(
        step, np.uint64(0), thread, np.uint64(0), seed & low, seed >> shift, np.uint64(word)
    )


@njit(cache=True, nogil=True)
def words32(seed: Any, n: int, threads: int) -> Any:
    """Numbers of 32 bits at n places, four to a step of a thread."""
    out = np.empty(n, np.uint64)
    for i in range(n):
        step, rest = i // (4 * threads), i % (4 * threads)
        out[i] = _word(seed, np.uint64(rest % threads), np.uint64(step), rest // threads)
    return out


@njit(cache=True, nogil=True)
def words64(seed: Any, n: int, threads: int) -> Any:
    """Numbers of 64 bits at n places, two to a step of a thread."""
    out = np.empty(n, np.uint64)
    for i in range(n):
        step, rest = i // (2 * threads), i % (2 * threads)
        thread, half = np.uint64(rest % threads), rest // threads
        high = _word(seed, thread, np.uint64(step), 2 * half)
        out[i] = (high << np.uint64(32)) | _word(seed, thread, np.uint64(step), 2 * half + 1)
    return out


def threads_of(n: int, most_blocks: int | None = None) -> int:
    """Return how many threads draw n numbers on a device that runs `most_blocks` blocks at once."""
    blocks = -(-n // BLOCK)
    return BLOCK * (blocks if most_blocks is None else min(blocks, most_blocks))


def key_bits(n: int) -> int:
    """Return the bits of the sorting keys of ``randperm(n)``: few enough of them are equal.

    Examples
    --------
    >>> key_bits(1000), key_bits(50_257)
    (23, 34)
    """
    return min(64, math.ceil(math.log2(n - (6.0 * n * n + 1) / (12 * math.log(0.9)))))


def cuda_permutation(
    seed: int, n: int, most_blocks: int | None = None, narrow: bool = False
) -> IntArray:
    """Return ``torch.randperm(n, device="cuda")`` of a generator with this seed.

    A stable sort by the low bits of random keys. Equal keys, which PyTorch shuffles once more,
    keep their order here: one permutation in ten has a pair of neighbours the other way round.

    Parameters
    ----------
    seed : int
        64 bits.
    n : int
    most_blocks : int, optional
        Blocks of 256 threads that the device runs at once; of no effect below 256 times that many
        numbers.
    narrow : bool
        Keys of 32 bits from one word, as older versions have it, where `key_bits` is at most 32.

    Examples
    --------
    >>> sorted(cuda_permutation(0, 5).tolist())
    [0, 1, 2, 3, 4]
    """
    order: IntArray = np.argsort(_keys(seed, n, most_blocks, narrow), kind="stable")
    return order


def _keys(seed: int, n: int, most_blocks: int | None, narrow: bool) -> NDArray[np.uint64]:
    bits, threads = key_bits(n), threads_of(n, most_blocks)
    if bits <= 32 and narrow:
        drawn = words32(np.uint64(seed), n, threads) % np.uint64(2**32 - 1)
    else:
        drawn = words64(np.uint64(seed), n, threads)
        drawn = drawn % np.uint64(2**32 - 1 if bits <= 32 else 2**64 - 1)
    keys: NDArray[np.uint64] = drawn & np.uint64((1 << bits) - 1)
    return keys


@dataclass(frozen=True)
class CudaKgw:
    """Green lists of a left-hash or additive `Kgw` that a CUDA generator drew.

    It reads the tokens after the 200 contexts that are most frequent: a list costs milliseconds.

    Parameters
    ----------
    scheme : Kgw
    most_blocks, narrow
        As `cuda_permutation`.

    Raises
    ------
    ValueError
        If the seeding is another.

    Examples
    --------
    >>> scheme = CudaKgw(Kgw(vocabulary=100))
    >>> scheme.marks(Ragged.from_lists([[1, 2, 3, 4]], np.int64)).positions
    array([1, 2, 3])
    """

    scheme: Kgw = field(repr=False)
    most_blocks: int | None = None
    narrow: bool = False
    name = "kgw"

    def __post_init__(self) -> None:
        if self.scheme.seeding not in ("lefthash", "additive") or self.scheme.self_salt:
            raise ValueError("only left-hash and additive lists are drawn by the seed alone")

    @property
    def _width(self) -> int:
        return 1 if self.scheme.seeding == "lefthash" else self.scheme.context_width

    def marks(self, tokens: Ragged) -> Marks:
        """Read which tokens are green after frequent contexts."""
        kgw = self.scheme
        flat = checked_tokens(tokens, kgw.vocabulary)
        positions = np.arange(len(flat)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        scored = np.flatnonzero(positions >= kgw.context_width)
        code = np.zeros(len(scored), np.int64)
        for back in range(1, self._width + 1):
            code += flat[scored - back]
        distinct, inverse, counts = np.unique(code, return_inverse=True, return_counts=True)
        frequent = np.zeros(len(distinct), np.bool_)
        frequent[np.argsort(-counts, kind="stable")[:_MOST_LISTS]] = True
        values = np.zeros(len(scored), np.uint8)
        order = np.argsort(inverse, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(counts)])
        for k in np.flatnonzero(frequent):
            here = order[bounds[k] : bounds[k + 1]]
            values[here] = self._green(int(distinct[k]))[flat[scored[here]]]
        kept = frequent[inverse]
        offsets = np.concatenate(
            [[0], np.cumsum(np.bincount(_documents(tokens)[scored[kept]], minlength=len(tokens)))]
        )
        null = Null("green", kgw.greens / kgw.vocabulary, kgw.greens, kgw.vocabulary)
        seeds = code[kept].astype(np.uint64)
        targets = flat[scored[kept]]
        return Marks(values[kept], seeds, targets, positions[scored[kept]], offsets, null)

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law with green logits raised."""
        if len(prefix) < self.scheme.context_width:
            return np.asarray(probabilities, np.float64)
        green = self._green(int(np.sum(prefix[len(prefix) - self._width :])))
        raised = np.where(green, probabilities * np.exp(self.scheme.bias), probabilities)
        return np.asarray(raised / raised.sum(), np.float64)

    def _green(self, code: int) -> NDArray[np.bool_]:
        seed = self.scheme.key * code % (2**64 - 1)
        return _green_list(
            seed, self.scheme.vocabulary, self.scheme.greens, self.most_blocks, self.narrow
        )


@lru_cache(maxsize=512)
def _green_list(
    seed: int, vocabulary: int, greens: int, most_blocks: int | None, narrow: bool
) -> NDArray[np.bool_]:
    green = np.zeros(vocabulary, np.bool_)
    green[cuda_permutation(seed, vocabulary, most_blocks, narrow)[:greens]] = True
    return green


def _documents(tokens: Ragged) -> IntArray:
    return np.repeat(np.arange(len(tokens.lengths)), tokens.lengths)


@dataclass(frozen=True)
class CudaSynthId(SynthId):
    """SynthID of transformers with the table of a CUDA generator.

    Parameters
    ----------
    most_blocks : int, optional
        As `cuda_permutation`; of no effect from 256 on.

    Examples
    --------
    >>> CudaSynthId(key=(1, 2)).name
    'synthid'
    """

    most_blocks: int | None = None

    def _table(self) -> NDArray[np.uint8]:
        return cuda_table(self.table_seed, self.most_blocks)

    @property
    def _share(self) -> float:
        return float(self._table().mean())

    def _bits(self, ngrams: NDArray[np.uint64]) -> NDArray[np.uint8]:
        from statllm.estimators.watermark.prf._lcg import table_bits

        bits: NDArray[np.uint8] = table_bits(ngrams, np.array(self.key, np.uint64), self._table())
        return bits


@lru_cache(maxsize=8)
def cuda_table(seed: int, most_blocks: int | None = None) -> NDArray[np.uint8]:
    """Return ``torch.randint(0, 2, (65536,), device="cuda")`` of a generator with this seed.

    Examples
    --------
    >>> cuda_table(0)[:10]
    array([1, 1, 1, 0, 1, 0, 1, 1, 0, 1], dtype=uint8)
    """
    drawn = words32(np.uint64(seed), _TABLE, threads_of(_TABLE, most_blocks))
    return np.asarray(drawn & np.uint64(1), np.uint8)
