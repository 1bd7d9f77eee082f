"""Green lists (Kirchenbauer et al. 2023), as transformers and lm-watermarking draw them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks, Null
from statllm.estimators.watermark.prf._hash_table import LM_SEED, TABLE, hash_table
from statllm.estimators.watermark.prf._tokens import checked_key, checked_tokens
from statllm.ragged import Ragged

_SEEDINGS = ("lefthash", "selfhash", "additive", "minhash", "skipgram")
_CANDIDATES = 40  # that self-hash generation tries
_CACHE_BYTES = 1 << 28


@dataclass(frozen=True)
class Kgw:
    """A fixed share of the vocabulary is green after a context, and its logits are raised.

    Left-hash seeds on the last token alone, whatever the context's width (in transformers, too,
    though its documentation says that wider is sturdier); self-hash on the smallest product of
    hashes over the window, the scored token included. Of lm-watermarking alone are additive (the
    sum of the context), minhash (the smallest hash in it) and skipgram (its first token's hash).
    The lists are those of PyTorch's CPU generator: text that was generated on a GPU has other
    lists, and no detector on a CPU finds it.

    Parameters
    ----------
    key : int
        ``hashing_key`` of transformers, ``hash_key`` of lm-watermarking.
    vocabulary : int
        Size of the model's logits, which may exceed the tokenizer's.
    share : float
        ``greenlist_ratio`` or gamma.
    bias : float
        delta, of generation alone.
    seeding : {"lefthash", "selfhash", "additive", "minhash", "skipgram"}
    context_width : int
    flavour : {"transformers", "lm-watermarking"}
        They differ in the table of hashes, which self-hash uses.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> scheme = Kgw(vocabulary=100, key=15485863)
    >>> marks = scheme.marks(Ragged.from_lists([[1, 2, 3, 4]], np.int64))
    >>> marks.positions, marks.null.greens
    (array([1, 2, 3]), 25)
    """

    vocabulary: int
    key: int = field(default=15485863, repr=False)
    share: float = 0.25
    bias: float = 2.0
    seeding: Literal["lefthash", "selfhash", "additive", "minhash", "skipgram"] = "lefthash"
    context_width: int = 1
    flavour: Literal["transformers", "lm-watermarking"] = "transformers"
    name = "kgw"

    def __post_init__(self) -> None:
        checked_key(self.key)
        if self.vocabulary < 2:
            raise ValueError(f"vocabulary must be at least 2, not {self.vocabulary}")
        if not 0 < self.share < 1 or not 0 < self.greens < self.vocabulary:
            raise ValueError(f"share must leave green and other tokens, not {self.share}")
        if self.seeding not in _SEEDINGS:
            raise ValueError(f"seeding must be one of {_SEEDINGS}, not {self.seeding!r}")
        if self.flavour not in ("transformers", "lm-watermarking"):
            raise ValueError(
                f"flavour must be 'transformers' or 'lm-watermarking', not {self.flavour!r}"
            )
        if self.flavour == "transformers" and self.seeding not in _SEEDINGS[:2]:
            raise ValueError(f"seeding {self.seeding!r} is lm-watermarking's alone; set flavour")
        if self.context_width < 1:
            raise ValueError(f"context_width must be at least 1, not {self.context_width}")

    @property
    def greens(self) -> int:
        """Tokens of a green list."""
        return int(self.vocabulary * self.share)

    def marks(self, tokens: Ragged) -> Marks:
        """Read which tokens are green; those without a whole context aren't scored."""
        flat = checked_tokens(tokens, self.vocabulary)
        positions = np.arange(len(flat)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        first = self.context_width - (self.seeding == "selfhash")
        scored = np.flatnonzero(positions >= first)
        if self.seeding == "selfhash":
            seeds, values = self._self(flat, scored)
        else:
            seeds, values = self._context(flat, scored)
        lengths = np.maximum(tokens.lengths - first, 0)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        null = Null("green", self.greens / self.vocabulary, self.greens, self.vocabulary)
        return Marks(values, seeds, flat[scored], positions[scored], offsets, null)

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law with green logits raised by `bias`."""
        if len(prefix) < self.context_width:
            return np.asarray(probabilities, np.float64)
        if self.seeding != "selfhash":
            seed, _ = self._seeds(np.asarray(prefix, np.int64), np.array([len(prefix)]))
            bits = _rows(seed, self.greens, self.vocabulary)[0]
            green = np.unpackbits(bits, bitorder="little")[: self.vocabulary].astype(bool)
        else:
            green = np.zeros(self.vocabulary, np.bool_)
            for token in np.argsort(-probabilities, kind="stable")[:_CANDIDATES]:
                window = np.append(prefix[len(prefix) - self.context_width + 1 :], token)
                marks = self.marks(Ragged.from_lengths(window, [len(window)]))
                green[token] = bool(marks.values[-1])
        raised = np.where(green, probabilities * np.exp(self.bias), probabilities)
        return np.asarray(raised / raised.sum(), np.float64)

    def _context(
        self, flat: IntArray, scored: IntArray
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """Seeds and colours where the context alone makes the list."""
        seeds, inverse = self._seeds(flat, scored)
        values = _looked_up(seeds, inverse, flat[scored], self.greens, self.vocabulary)
        return seeds[inverse], values

    def _seeds(self, flat: IntArray, scored: IntArray) -> tuple[NDArray[np.uint64], IntArray]:
        """Distinct seeds of the contexts before `scored`, and which one each has."""
        if self.seeding == "lefthash":
            code = flat[scored - 1]
        elif self.seeding == "additive":
            code = np.sum([flat[scored - i - 1] for i in range(self.context_width)], axis=0)
        elif self.seeding == "skipgram":
            code = self._hashes(flat)[scored - self.context_width]
        else:
            hashes = self._hashes(flat)
            code = np.min([hashes[scored - i - 1] for i in range(self.context_width)], axis=0)
        distinct, inverse = np.unique(code, return_inverse=True)
        factor = self.key if self.seeding in ("lefthash", "additive") else 1
        seeds = [_low_bits(factor * int(number)) for number in distinct]
        return np.array(seeds, np.uint64), inverse

    def _hashes(self, flat: IntArray) -> IntArray:
        """Hashes of key times token, in 64 bits that wrap."""
        with np.errstate(over="ignore"):
            salted = np.uint64(self.key).view(np.int64) * flat
        hashes: IntArray = hash_table(LM_SEED)[salted % TABLE] + 1
        return hashes

    def _self(
        self, flat: IntArray, scored: IntArray
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        from statllm.estimators.watermark.prf._mersenne import are_green

        table = hash_table(self.key if self.flavour == "transformers" else LM_SEED)
        hashes = table[flat % TABLE] + 1
        with np.errstate(over="ignore"):
            products = [
                np.int64(np.uint64(self.key).view(np.int64)) * hashes[scored - i] * hashes[scored]
                for i in range(self.context_width)
            ]
        least = np.minimum.reduce(products)
        # a negative one is taken modulo 2^64 - 1 first, which moves its low bits by one
        low = (least - (least < 0)).view(np.uint64) & np.uint64(0xFFFFFFFF)
        pairs = low << np.uint64(32) | flat[scored].astype(np.uint64)
        distinct, inverse = np.unique(pairs, return_inverse=True)
        greens = are_green(
            distinct >> np.uint64(32),
            (distinct & np.uint64(0xFFFFFFFF)).astype(np.int64),
            self.greens,
            self.vocabulary,
        )
        return low, greens[inverse]


def _low_bits(seed: int) -> int:
    """What PyTorch's CPU generator keeps of a seed that was taken modulo 2^64 - 1."""
    return (seed % (2**64 - 1)) & 0xFFFFFFFF


class _GreenLists:
    """Green lists that were drawn before, as bits; as many as fit into the memory bound."""

    def __init__(self, greens: int, vocabulary: int) -> None:
        width = (vocabulary + 7) // 8
        self.size = greens, vocabulary
        self.rows = np.zeros((0, width), np.uint8)
        self.most = max(1, _CACHE_BYTES // width)
        self.slots: dict[int, int] = {}

    def of(self, seeds: NDArray[np.uint64]) -> tuple[NDArray[np.uint8], IntArray]:
        """Return rows, and for each seed the row that is its own."""
        new = [seed for seed in seeds.tolist() if seed not in self.slots]
        kept = new[: self.most - len(self.slots)]
        if kept:
            drawn = _rows(np.array(kept, np.uint64), *self.size)
            self.slots |= {seed: len(self.rows) + i for i, seed in enumerate(kept)}
            self.rows = np.concatenate([self.rows, drawn])
        rows, slots = self.rows, dict(self.slots)
        rest = new[len(kept) :]
        if rest:
            rows = np.concatenate([rows, _rows(np.array(rest, np.uint64), *self.size)])
            slots |= {seed: len(self.rows) + i for i, seed in enumerate(rest)}
        return rows, np.array([slots[seed] for seed in seeds.tolist()], np.int64)


@lru_cache(maxsize=2)
def _lists(greens: int, vocabulary: int) -> _GreenLists:
    return _GreenLists(greens, vocabulary)


def _rows(seeds: NDArray[np.uint64], greens: int, vocabulary: int) -> NDArray[np.uint8]:
    from statllm.estimators.watermark.prf._mersenne import green_rows

    rows = np.zeros((len(seeds), (vocabulary + 7) // 8), np.uint8)
    green_rows(seeds, greens, vocabulary, rows)
    return rows


def _looked_up(
    seeds: NDArray[np.uint64], inverse: IntArray, targets: IntArray, greens: int, vocabulary: int
) -> NDArray[np.uint8]:
    """Colours of targets under ``seeds[inverse]``; in pieces, so that lists fit into memory."""
    lists = _lists(greens, vocabulary)
    out = np.zeros(len(targets), np.uint8)
    order = np.argsort(inverse, kind="stable")
    bounds = np.searchsorted(inverse[order], np.arange(0, len(seeds) + lists.most, lists.most))
    for start, (low, high) in enumerate(pairwise(bounds)):
        here = order[low:high]
        rows, slots = lists.of(seeds[start * lists.most : (start + 1) * lists.most])
        own = slots[inverse[here] - start * lists.most]
        out[here] = rows[own, targets[here] >> 3] >> (targets[here] & 7) & 1
    return out
