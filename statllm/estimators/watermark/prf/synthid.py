"""SynthID-Text (Dathathri et al. 2024): tournaments of keyed bits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks, Null
from statllm.estimators.watermark.prf._tokens import checked_key, checked_options, checked_tokens
from statllm.ragged import Ragged

_TABLE_SIZE = 1 << 16


@dataclass(frozen=True)
class SynthId:
    """Each key gives a fair bit to (context, token); a tournament per key prefers 1.

    With the hashing of transformers the bits are those of a table of 65,536, made by PyTorch's CPU
    generator: whole bit vectors repeat between n-grams, which count once here, and pooled over
    many documents they are too few for any p-value (the standard deviation of z over tables is 6
    at 133,000 tokens). By chance a bit is 1 with the table's own share, .502 for seed 0, which
    moves the z of 500 tokens by a half. A context that the document had before isn't scored:
    generation leaves it unmarked. With DeepMind's hashing the bits of one token depend on each
    other a little: the variance of their number was .97 to 1.06 times the binomial one over six
    sets of keys, which doubles false positives at 1e-6 where it is 1.06.

    Parameters
    ----------
    key : tuple of int
        The watermarking keys, one per layer.
    ngram : int
        ``ngram_len``: the context's tokens and the scored one.
    flavour : {"transformers", "deepmind"}
        Hashing: of transformers (MarkLLM and synthid-text 0.2.1 have the same), or of DeepMind's
        repository after that release.
    table_seed : int
        ``sampling_table_seed``, of transformers.
    leaves : int
        Contestants of a match, of generation alone.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> scheme = SynthId(key=(654, 400, 836))
    >>> marks = scheme.marks(Ragged.from_lists([[1, 2, 3, 4, 5, 6]], np.int64))
    >>> marks.values.shape, marks.positions
    ((2, 3), array([4, 5]))
    """

    key: tuple[int, ...] = field(repr=False)
    ngram: int = 5
    flavour: Literal["transformers", "deepmind"] = "transformers"
    table_seed: int = 0
    leaves: int = 2
    name = "synthid"

    def __post_init__(self) -> None:
        checked_options(self)
        if not isinstance(self.key, tuple) or not self.key:
            raise ValueError("key must be a tuple of whole numbers, one per layer")
        for key in self.key:
            checked_key(key, 63)
        if not -(2**63) <= self.table_seed < 2**64:
            raise ValueError("table_seed must be a seed of PyTorch: 64 bits")
        if self.ngram < 2:
            raise ValueError(f"ngram must be at least 2, not {self.ngram}")
        if self.flavour not in ("transformers", "deepmind"):
            raise ValueError(f"flavour must be 'transformers' or 'deepmind', not {self.flavour!r}")
        if self.leaves < 2:
            raise ValueError(f"leaves must be at least 2, not {self.leaves}")

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that are read: of keys that draw the same bits the first.

        transformers' table sees 16 bits, so there keys that are equal modulo 65,536 are one key.

        Examples
        --------
        >>> SynthId(key=(5, 6, 65541)).layers, SynthId(key=(5, 6, 65541), flavour="deepmind").layers
        ((0, 1), (0, 1, 2))
        """
        base = _TABLE_SIZE if self.flavour == "transformers" else 1 << 64
        firsts: dict[int, int] = {}
        for layer, key in enumerate(self.key):
            firsts.setdefault(int(key) % base, layer)
        return tuple(firsts.values())

    def marks(self, tokens: Ragged) -> Marks:
        """Read the bits of documents, each from its (`ngram` - 1)-th token on."""
        from statllm.estimators.watermark.prf._first import first_in_document
        from statllm.estimators.watermark.prf._lcg import ngram_hashes

        flat = checked_tokens(tokens, None)
        width = self.ngram - 1
        positions = np.arange(len(flat)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        scored = np.flatnonzero(positions >= width)
        bounds = np.concatenate([[0], np.cumsum(np.maximum(tokens.lengths - width, 0))])
        contexts, ngrams = ngram_hashes(flat, scored, width, self._start)
        new = first_in_document(contexts, np.zeros_like(scored), bounds)
        scored, ngrams = scored[new], ngrams[new]
        offsets = np.concatenate([[0], np.cumsum(new)])[bounds]
        seen = ngrams & np.uint64(_TABLE_SIZE - 1) if self.flavour == "transformers" else ngrams
        bits = self._bits(ngrams)
        if len(self.layers) < len(self.key):
            bits = bits[:, list(self.layers)]
        return Marks(
            bits,
            seen,
            np.zeros_like(scored),
            positions[scored],
            offsets,
            Null("bits", self._share, depth=bits.shape[1]),
        )

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law after the tournaments.

        p(v) becomes p(v) (1 + g(v) - G), G the mass of bits 1, layer by layer; with more leaves N
        the factors are (1 - (1 - G)^N) / G for 1 and (1 - G)^(N - 1) for 0.
        """
        from statllm.estimators.watermark.prf._lcg import continuations

        context = np.asarray(prefix, np.int64)[-(self.ngram - 1) :]
        if len(context) < self.ngram - 1:
            return np.asarray(probabilities, np.float64)
        bits = self._bits(continuations(context, self._start, len(probabilities)))
        law = np.asarray(probabilities, np.float64)
        for layer in range(bits.shape[1]):
            one = bits[:, layer] == 1
            mass = min(float(law[one].sum()), 1.0)  # rounding may pass 1: no negative law
            lost = 1 - mass
            won = (1 - lost**self.leaves) / mass if mass > 0 else 0.0
            law = law * np.where(one, won, lost ** (self.leaves - 1))
        return np.asarray(law / law.sum(), np.float64)

    @property
    def _start(self) -> np.uint64:
        if self.flavour == "transformers":
            return np.uint64(1)
        digest = hashlib.sha256(np.array(self.key, np.int64).tobytes()).digest()
        return np.uint64(int.from_bytes(digest, "big") % (2**63 - 1))

    @property
    def _share(self) -> float:
        """Bits that are 1 by chance: half of them, but for a table its own share."""
        return float(_table(self.table_seed).mean()) if self.flavour == "transformers" else 0.5

    def _bits(self, ngrams: NDArray[np.uint64]) -> NDArray[np.uint8]:
        from statllm.estimators.watermark.prf._lcg import hashed_bits, table_bits

        keys = np.array(self.key, np.uint64)
        bits: NDArray[np.uint8]
        if self.flavour == "transformers":
            bits = table_bits(ngrams, keys, _table(self.table_seed))
        else:
            bits = hashed_bits(ngrams, keys)
        return bits


@lru_cache(maxsize=4)
def _table(seed: int) -> NDArray[np.uint8]:
    """``torch.randint(0, 2, (65536,))`` of a CPU generator with this seed."""
    from statllm.estimators.watermark.prf._mersenne import words

    return (words(seed, _TABLE_SIZE) & 1).astype(np.uint8)
