"""Rows of tokens laid out in one line: a prompt once, its responses as branches of it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """A prompt with its responses: one (SFT), or chosen and rejected.

    Parameters
    ----------
    prompt : array of int
        At least one token.
    responses : tuple of array of int
        At least one token each.
    """

    prompt: NDArray[np.int32]
    responses: tuple[NDArray[np.int32], ...]


@dataclass(frozen=True, eq=False)
class Layout:
    """Which positions attend to which.

    Queries are consecutive segments. A segment's keys are its own positions and, before them,
    those of its prefix; with the last query at the last key, each sees what isn't after it.

    Attributes
    ----------
    q_lengths, k_lengths : ndarray of int
        Queries and keys of each segment.
    keys : Tensor or None
        Positions of the keys, segment after segment; None where they are the queries' own.
    """

    q_lengths: NDArray[np.int64]
    k_lengths: NDArray[np.int64]
    keys: Tensor | None


@dataclass(frozen=True)
class Packed:
    """Rows in one line, as the model reads them.

    Attributes
    ----------
    input_ids, position_ids : Tensor
        Shape (1, length).
    layout : Layout
    scored : Tensor
        Positions whose hidden states predict a token of a response, (n,).
    labels : Tensor
        These tokens, (n,).
    sequence : Tensor
        The response that each belongs to, counted over rows and their responses, (n,).
    n_sequences : int
    """

    input_ids: Tensor
    position_ids: Tensor
    layout: Layout
    scored: Tensor
    labels: Tensor
    sequence: Tensor
    n_sequences: int

    def to(self, device: torch.device | str) -> Packed:
        """Return it on a device."""
        moved: Packed = _moved(self, device)
        return moved


def packed_length(prompt: int, responses: Sequence[int], share: bool = True) -> int:
    """Positions of a row.

    The last token of a response isn't read: nothing is predicted from it. The last token of a
    shared prompt is read once per response, which gives each branch a predictor of its own.

    Examples
    --------
    >>> packed_length(10, [4, 6]), packed_length(10, [4, 6], share=False)
    (19, 28)
    """
    if share:
        return prompt - 1 + sum(responses)
    return sum(prompt - 1 + response for response in responses)


def row_length(prompt: int, responses: Sequence[int], layout: str) -> int:
    """Positions of a row in a layout, padding included.

    Examples
    --------
    >>> [row_length(10, [4, 6], layout) for layout in ("shared", "packed", "padded")]
    [19, 28, 32]
    """
    if layout == "padded":
        return len(responses) * (prompt + max(responses))
    return packed_length(prompt, responses, layout == "shared")


def assign(lengths: ArrayLike, budget: int) -> list[list[int]]:
    """Distribute lengths over bins of a budget, best fit first, the longest before the others.

    It needs at most 11/9 of the fewest bins possible, and 4 more (Johnson 1974). What is
    longer than the budget has a bin of its own.

    Returns
    -------
    list of list of int
        Places of the lengths; each occurs once.

    Examples
    --------
    >>> assign([5, 3, 7, 2], 10)
    [[2, 1], [0, 3]]
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    bins: list[list[int]] = []
    free: list[tuple[int, int]] = []  # what is left of each bin, sorted
    for place in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[place])
        found = bisect_left(free, (size, -1))
        if found < len(free):
            left, number = free.pop(found)
        else:
            left, number = budget, len(bins)
            bins.append([])
        bins[number].append(place)
        insort(free, (left - size, number))
    return bins


def pack(rows: Sequence[Row], share: bool = True) -> Packed:
    """Lay rows out in one line.

    With `share`, a row is ``prompt[:-1] | prompt[-1] response_1[:-1] | prompt[-1]
    response_2[:-1] | …``, where every branch attends to the prompt and to itself; without, it is
    ``prompt response_1[:-1] | prompt response_2[:-1] | …``. Positions are those that a token has in
    prompt and response alone.

    Examples
    --------
    >>> row = Row(np.array([1, 2, 3]), (np.array([4, 5]), np.array([6])))
    >>> packed = pack([row])
    >>> packed.input_ids.tolist(), packed.position_ids.tolist()
    ([[1, 2, 3, 4, 3]], [[0, 1, 2, 3, 2]])
    >>> packed.scored.tolist(), packed.labels.tolist(), packed.sequence.tolist()
    ([2, 3, 4], [4, 5, 6], [0, 0, 1])
    >>> packed.layout.keys.tolist()
    [0, 1, 0, 1, 2, 3, 0, 1, 4]
    """
    line = _Line()
    number = 0
    for row in rows:
        prefix = line.segment(row.prompt[:-1], 0) if share else range(0)
        for response in row.responses:
            start = row.prompt[-1:] if share else row.prompt
            ids = np.concatenate([start, response[:-1]])
            own = line.segment(ids, len(prefix), prefix)
            line.scored.append(np.arange(own.stop - len(response), own.stop))
            line.labels.append(response)
            line.sequence.append(np.full(len(response), number))
            number += 1
    return line.packed(number)


class _Line:
    """What has been laid out so far."""

    def __init__(self) -> None:
        self.length = 0
        self.ids: list[NDArray[Any]] = []
        self.positions: list[NDArray[Any]] = []
        self.keys: list[NDArray[Any]] = []
        self.q_lengths: list[int] = []
        self.k_lengths: list[int] = []
        self.scored: list[NDArray[Any]] = []
        self.labels: list[NDArray[Any]] = []
        self.sequence: list[NDArray[Any]] = []

    def segment(self, ids: NDArray[Any], position: int, prefix: range = range(0)) -> range:
        """Add tokens that attend to a prefix and to themselves; return where they are."""
        own = range(self.length, self.length + len(ids))
        if len(ids):
            self.ids.append(ids)
            self.positions.append(np.arange(position, position + len(ids)))
            self.keys += [np.arange(prefix.start, prefix.stop), np.arange(own.start, own.stop)]
            self.q_lengths.append(len(ids))
            self.k_lengths.append(len(prefix) + len(ids))
            self.length = own.stop
        return own

    def packed(self, n_sequences: int) -> Packed:
        alone = self.q_lengths == self.k_lengths
        return Packed(
            input_ids=_tensor(self.ids)[None],
            position_ids=_tensor(self.positions)[None],
            layout=Layout(
                np.array(self.q_lengths, dtype=np.int64),
                np.array(self.k_lengths, dtype=np.int64),
                None if alone else _tensor(self.keys),
            ),
            scored=_tensor(self.scored),
            labels=_tensor(self.labels),
            sequence=_tensor(self.sequence),
            n_sequences=n_sequences,
        )


def _tensor(parts: Sequence[NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def _moved(value: Any, device: torch.device | str) -> Any:
    """A dataclass with its tensors on a device."""
    moved = {}
    for field in fields(value):
        part = getattr(value, field.name)
        if isinstance(part, Tensor):
            moved[field.name] = part.to(device, non_blocking=True)
        elif isinstance(part, Layout):
            moved[field.name] = _moved(part, device)
    return replace(value, **moved)
