"""A number for every pair of a prompt's samples, for many prompts at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.errors import InputError
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_BLOCK = 1 << 21  # pairs handed out at a time: 16 MB of float64


@dataclass(frozen=True, eq=False)
class Pairwise:
    """Each prompt's k x k block of pairs, flattened row by row, prompt after prompt.

    Parameters
    ----------
    values : ndarray, shape (n_pairs, ...)
        n_pairs = Σ k². Entry (i, j) of a block belongs to the ordered pair "sample i, sample j":
        premise and hypothesis for an NLI model. Further axes are allowed, the three class
        probabilities for instance.
    sizes : ndarray of int64, shape (n_prompts,)
        k, the number of samples of each prompt; 0 is allowed.

    Raises
    ------
    InputError
        If the values aren't as many as the sizes ask for.

    Examples
    --------
    >>> pairs = Pairwise.from_blocks([[[1.0, 0.2], [0.4, 1.0]], [[1.0]]])
    >>> pairs.values, pairs.sizes
    (array([1. , 0.2, 0.4, 1. , 1. ]), array([2, 1]))
    >>> pairs.left, pairs.right
    (array([0, 0, 1, 1, 2]), array([0, 1, 0, 1, 2]))
    >>> pairs.symmetric().block(0)
    array([[1. , 0.3],
           [0.3, 1. ]])
    """

    values: NDArray[Any]
    sizes: IntArray

    def __post_init__(self) -> None:
        values, sizes = np.asarray(self.values), np.asarray(self.sizes, dtype=np.int64)
        if sizes.ndim != 1 or (sizes < 0).any():
            raise InputError("sizes must be one whole number of at least 0 per prompt")
        if values.ndim == 0 or len(values) != (sizes**2).sum():
            raise InputError(
                f"values must have {(sizes**2).sum()} rows, one per ordered pair of samples of a "
                f"prompt; their shape is {values.shape}"
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "sizes", sizes)

    # ---- making one -----------------------------------------------------------------------

    @classmethod
    def from_stack(cls, stack: ArrayLike) -> Pairwise:
        """Prompts with k samples each, shape (n_prompts, k, k, ...)."""
        array = np.asarray(stack)
        if array.ndim < 3 or array.shape[1] != array.shape[2]:
            raise InputError(f"stack must have shape (n_prompts, k, k, ...), not {array.shape}")
        n, k = array.shape[:2]
        return cls(array.reshape(n * k * k, *array.shape[3:]), np.full(n, k))

    @classmethod
    def from_blocks(cls, blocks: Sequence[ArrayLike]) -> Pairwise:
        """One k x k (x ...) array per prompt."""
        arrays = [np.asarray(block) for block in blocks]
        for number, array in enumerate(arrays):
            if array.ndim < 2 or array.shape[0] != array.shape[1]:
                raise InputError(f"block {number} must be square, not {array.shape}")
        flat = [array.reshape(-1, *array.shape[2:]) for array in arrays]
        sizes = np.array([len(array) for array in arrays], dtype=np.int64)
        return cls(np.concatenate(flat) if flat else np.empty(0), sizes)

    @classmethod
    def of_sizes(cls, sizes: ArrayLike) -> Pairwise:
        """All pairs of so many samples per prompt; the value is the pair's place."""
        counts = np.asarray(sizes, dtype=np.int64)
        return cls(np.arange((counts**2).sum()), counts)

    # ---- shape ------------------------------------------------------------------------------

    @property
    def n_prompts(self) -> int:
        """Number of prompts."""
        return len(self.sizes)

    def __len__(self) -> int:
        return self.n_prompts

    @cached_property
    def offsets(self) -> IntArray:
        """Where each prompt's block starts in `values`, shape (n_prompts + 1,)."""
        return np.concatenate([[0], np.cumsum(self.sizes**2)])

    @cached_property
    def sample_offsets(self) -> IntArray:
        """Where each prompt's samples start in a flat array of samples, shape (n_prompts + 1,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    @cached_property
    def left(self) -> IntArray:
        """First sample of each pair, as a place among the samples of all prompts."""
        owner = np.repeat(self.sizes, self.sizes)  # k, once per sample
        return np.repeat(np.arange(len(owner)), owner)

    @cached_property
    def right(self) -> IntArray:
        """Second sample of each pair, as a place among the samples of all prompts."""
        squares = self.sizes**2
        k = np.repeat(self.sizes, squares)
        within = np.arange(self.offsets[-1]) - np.repeat(self.offsets[:-1], squares)
        right: IntArray = np.repeat(self.sample_offsets[:-1], squares) + within % np.maximum(k, 1)
        return right

    @cached_property
    def diagonal(self) -> IntArray:
        """Where in `values` each sample's pair with itself lies, shape (n_samples,)."""
        k = np.repeat(self.sizes, self.sizes)
        place = np.arange(len(k)) - np.repeat(self.sample_offsets[:-1], self.sizes)
        where: IntArray = np.repeat(self.offsets[:-1], self.sizes) + place * (k + 1)
        return where

    def block(self, prompt: int) -> NDArray[Any]:
        """The k x k block of one prompt."""
        k = self.sizes[prompt]
        rows = self.values[self.offsets[prompt] : self.offsets[prompt + 1]]
        return rows.reshape(k, k, *rows.shape[1:])

    def blocks(self) -> Iterator[tuple[IntArray, NDArray[Any]]]:
        """Prompts with equally many samples, stacked: their numbers, and (m, k, k, ...) values.

        Prompts without samples are passed over.
        """
        further = self.values.shape[1:]
        for k in np.unique(self.sizes[self.sizes > 0]):
            members = np.flatnonzero(self.sizes == k)
            step = max(1, _BLOCK // int(k * k))
            for start in range(0, len(members), step):
                rows = members[start : start + step]
                first = self.offsets[rows]
                if rows[-1] - rows[0] == len(rows) - 1:  # neighbours: a view will do
                    stack = self.values[first[0] : first[-1] + k * k]
                else:
                    stack = self.values[first[:, None] + np.arange(k * k)]
                yield rows, stack.reshape(len(rows), k, k, *further)

    # ---- changing the values ----------------------------------------------------------------

    def with_values(self, values: ArrayLike) -> Pairwise:
        """The same pairs with other values."""
        return Pairwise(np.asarray(values), self.sizes)

    def fill(self, out: NDArray[Any], prompts: IntArray, stack: NDArray[Any]) -> None:
        """Put stacked blocks where they belong in a flat array; the way back from `blocks`."""
        first, k = self.offsets[prompts], stack.shape[1]
        flat = stack.reshape(len(prompts), k * k, *stack.shape[3:])
        if prompts[-1] - prompts[0] == len(prompts) - 1:
            out[first[0] : first[-1] + k * k] = flat.reshape(-1, *stack.shape[3:])
        else:
            out[first[:, None] + np.arange(k * k)] = flat

    def transpose(self) -> Pairwise:
        """Each pair's value taken from the pair in the other order."""
        out = np.empty_like(self.values)
        for prompts, stack in self.blocks():
            self.fill(out, prompts, stack.swapaxes(1, 2))
        return self.with_values(out)

    def symmetric(self, how: Literal["mean", "min", "max"] = "mean") -> Pairwise:
        """Mean, smaller or larger of the two orders of each pair.

        For booleans ``"min"`` is "both ways" and ``"max"`` is "one way or the other".
        """
        there, back = self.values, self.transpose().values
        if how == "mean":
            return self.with_values(0.5 * there + 0.5 * back)
        if how not in ("min", "max"):
            raise InputError(f"how must be mean, min or max, not {how!r}")
        return self.with_values((np.minimum if how == "min" else np.maximum)(there, back))

    def is_symmetric(self, tolerance: float = 0.0) -> bool:
        """Whether the two orders of each pair agree up to `tolerance`."""
        there, back = self.values, self.transpose().values
        if there.dtype == bool:
            return bool((there == back).all())
        return bool((np.abs(there - back) <= tolerance).all())

    def expand(self, places: Ragged) -> Pairwise:
        """Give equal texts the pairs of the one text that was compared.

        Comparing distinct texts only saves most calls of an NLI model: eight equal answers and
        two others make 9 pairs of distinct texts instead of 100.

        Parameters
        ----------
        places : Ragged of int, one row per prompt
            For each sample the place of its text among the distinct texts of this table.

        Examples
        --------
        >>> distinct = Pairwise.from_blocks([[[1.0, 0.2], [0.4, 1.0]]])
        >>> distinct.expand(Ragged.from_lists([[0, 1, 0]])).block(0)
        array([[1. , 0.2, 1. ],
               [0.4, 1. , 0.4],
               [1. , 0.2, 1. ]])
        """
        if places.n_rows != self.n_prompts:
            raise InputError(f"{places.n_rows} rows of places for {self.n_prompts} prompts")
        k = self.sizes[places.rows]
        if places.values.size and ((places.values < 0) | (places.values >= k)).any():
            raise InputError("places must lie between 0 and the number of distinct texts less one")
        out = Pairwise.of_sizes(places.lengths)
        place = places.values.astype(np.int64)
        owner = places.rows[out.left]
        source = self.offsets[owner] + place[out.left] * self.sizes[owner] + place[out.right]
        return out.with_values(self.values[source])


def checked_similarities(similarity: Pairwise) -> Pairwise:
    """Refuse anything but one number between 0 and 1 per pair; 1 for a sample with itself."""
    if similarity.values.ndim != 1:
        shape = similarity.values.shape
        raise InputError(f"similarities must be one number per pair, not of shape {shape}")
    values = similarity.values.astype(np.float64)
    values[similarity.diagonal] = 1.0
    if not ((values >= 0) & (values <= 1)).all():  # NaN fails too
        raise InputError("similarities must be numbers between 0 and 1; NaN isn't one")
    return similarity.with_values(values)
