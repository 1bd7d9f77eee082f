"""vLLM's Gumbel-max watermark (`philox4x32-10-v1`), with one key or two."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks, Null, Seeds
from statllm.estimators.watermark.places import Places
from statllm.estimators.watermark.prf._tokens import checked_key, checked_options, checked_tokens
from statllm.ragged import Ragged


@dataclass(frozen=True)
class VllmGumbel:
    """What ``vllm serve --watermark-config '{"algorithm": "gumbel", "key": K}'`` writes.

    The token is argmax log(u_v) / p_v, u a number of (context, v) under the key (Aaronson 2022);
    the text's law is the model's. Contexts are the last generated tokens, the prompt isn't used.
    By default vLLM leaves contexts alone that it has seen, so each counts once.

    Parameters
    ----------
    key : int
        64 bits.
    context_width : int

    Raises
    ------
    ValueError
        If the key has more bits or the width isn't positive.

    Examples
    --------
    >>> scheme = VllmGumbel(key=42)
    >>> marks = scheme.marks(Ragged.from_lists([[101, 7, 7, 2050, 128000]], np.int64))
    >>> marks.values[[0, 4]].round(9)  # as vLLM 0.33
    array([0.25670257, 0.57260686])
    """

    key: int = field(repr=False)
    context_width: int = 4
    name = "vllm-gumbel"

    def __post_init__(self) -> None:
        checked_options(self)
        checked_key(self.key)
        _check_width(self.context_width)

    def marks(self, tokens: Ragged) -> Marks:
        """Read the pivots of documents of completion tokens."""
        return self.marks_at(vllm_places(tokens, self.context_width, named=False))

    @property
    def placing(self) -> Hashable:
        """Shared by all keys and by vLLM's other schemes with this width."""
        return "vllm", self.context_width

    def places(self, tokens: Ragged) -> Places:
        """Find the scored tokens: all of them."""
        return vllm_places(tokens, self.context_width)

    def marks_at(self, places: Places) -> Marks:
        """Read the pivots at some places."""
        values, seeds = vllm_numbers(places, self.context_width, [self.key])
        return as_marks(values[:, 0], seeds, places, Null("uniform"))

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law under the key: all on one token."""
        return gumbel_choice(
            probabilities, _row(prefix, self.context_width, self.key, len(probabilities))
        )


@dataclass(frozen=True)
class VllmDualGumbel:
    """What vLLM's ``"algorithm": "dual_key_gumbel"`` writes.

    Each token uses key B with probability `alpha`, key A otherwise, by a coin that the text
    doesn't show. The statistic is (1 - alpha) S_A + alpha S_B; its exact law is that sum of two
    Gamma variables, which vLLM approximates by one (true over nominal 1.3 at 1e-6 and 50 tokens).

    Parameters
    ----------
    key : int
        64 bits; A and B are derived from it.
    context_width : int
    alpha : float
        In (0, 1).

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> VllmDualGumbel(key=42).marks(Ragged.from_lists([[101, 7]], np.int64)).values.shape
    (2, 2)
    """

    key: int = field(repr=False)
    context_width: int = 4
    alpha: float = 0.1
    name = "vllm-dual-gumbel"

    def __post_init__(self) -> None:
        checked_options(self)
        checked_key(self.key)
        _check_width(self.context_width)
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must lie between 0 and 1, not {self.alpha}")

    @property
    def _keys(self) -> list[int]:
        number = int(self.key).to_bytes(8, "big")
        return [
            int.from_bytes(hashlib.sha256(label + number).digest()[:8], "big")
            for label in (b"key_a", b"key_b")
        ]

    def marks(self, tokens: Ragged) -> Marks:
        """Read the pivots of both keys, shape (n, 2), of documents of completion tokens."""
        return self.marks_at(vllm_places(tokens, self.context_width, named=False))

    @property
    def placing(self) -> Hashable:
        """Shared by all keys and by vLLM's other schemes with this width."""
        return "vllm", self.context_width

    def places(self, tokens: Ragged) -> Places:
        """Find the scored tokens: all of them."""
        return vllm_places(tokens, self.context_width)

    def marks_at(self, places: Places) -> Marks:
        """Read the pivots of both keys at some places."""
        values, seeds = vllm_numbers(places, self.context_width, self._keys)
        return as_marks(values, seeds, places, Null("uniform", mixing=self.alpha))

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law under the keys: on one token, or shared by two."""
        law = np.zeros(len(probabilities))
        for key, share in zip(self._keys, (1 - self.alpha, self.alpha), strict=True):
            row = _row(prefix, self.context_width, key, len(probabilities))
            law += share * gumbel_choice(probabilities, row)
        return law


def gumbel_choice(probabilities: FloatArray, uniforms: FloatArray) -> FloatArray:
    """Return the law that is all on argmax log(u) / p.

    Examples
    --------
    >>> gumbel_choice(np.array([0.5, 0.5, 0.0]), np.array([0.2, 0.3, 0.9]))
    array([0., 1., 0.])
    """
    with np.errstate(divide="ignore"):
        exponents = np.log(uniforms) / probabilities
    law = np.zeros(len(probabilities))
    law[int(np.argmax(np.where(probabilities > 0, exponents, -np.inf)))] = 1.0
    return law


def _check_width(width: int) -> None:
    if width < 1:
        raise ValueError(f"context_width must be at least 1, not {width}")


def vllm_places(tokens: Ragged, width: int, *, named: bool = True) -> Places:
    """Return all tokens, after contexts that begin with -1 where the text does.

    To read marks alone their contexts needn't be named.
    """
    from statllm.estimators.watermark.prf._philox import context_names

    flat = checked_tokens(tokens, None)

    def names(scored: IntArray, positions: IntArray) -> Seeds:
        if not named:
            return np.zeros(len(scored), np.uint64)
        found: Seeds = context_names(flat, scored, scored - positions, width)
        return found

    return Places.of(tokens, flat, 0, names, "seed")


def vllm_numbers(places: Places, width: int, keys: list[int]) -> tuple[FloatArray, Seeds]:
    """Return the numbers in (0, 1) of places under each key, shape (n, n_keys), and seeds."""
    from statllm.estimators.watermark.prf._philox import gumbel_marks

    starts = places.scored - places.positions
    values, seeds = gumbel_marks(
        places.tokens, places.scored, starts, width, np.array(keys, np.uint64)
    )
    return values, seeds


def as_marks(values: NDArray[Any], seeds: Seeds, places: Places, null: Null) -> Marks:
    """Return the marks of places."""
    return Marks(
        values, seeds, places.targets, places.positions, places.offsets, null, places.once_per
    )


def _row(prefix: IntArray, width: int, key: int, vocabulary: int) -> FloatArray:
    from statllm.estimators.watermark.prf._philox import gumbel_row

    row: FloatArray = gumbel_row(np.asarray(prefix, np.int64), width, np.uint64(key), vocabulary)
    return row
