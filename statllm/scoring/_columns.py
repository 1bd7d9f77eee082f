"""Functions of single strings mapped over Arrow list columns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from statllm.ragged import IntArray

_BLOCK = 1 << 16  # values at a time


def flat_parts(column: pa.ChunkedArray | pa.Array) -> list[pa.Array]:
    """The values of a list column, chunk by chunk: texts may exceed what one array can hold."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return [chunk.flatten() for chunk in chunks] or [pa.array([], column.type.value_type)]


def flat_values(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The values of a list column as one array."""
    parts = flat_parts(column)
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def lengths_of(column: pa.ChunkedArray | pa.Array) -> IntArray:
    """Length of each list; 0 for a null."""
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)


def as_lists(values: pa.Array, lengths: IntArray) -> pa.Array:
    """Cut flat values into lists of the given lengths."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def map_lists(
    column: pa.ChunkedArray | pa.Array,
    function: Callable[[str], str | None],
    repeated: bool = False,
) -> pa.Array:
    """Apply `function` to every string of a ``list<string>`` column; null stays null.

    `repeated` values are computed once per distinct string.
    """
    if repeated:
        codes = flat_values(column).dictionary_encode()
        new = _mapped([codes.dictionary], function).take(codes.indices)
    else:
        new = _mapped(flat_parts(column), function)
    return as_lists(new, lengths_of(column))


def _mapped(parts: list[pa.Array], function: Callable[[str], str | None]) -> pa.Array:
    """`function` of each string, a block at a time to bound the memory."""
    blocks = [pa.array([], pa.string())]
    for part in parts:
        for start in range(0, len(part), _BLOCK):
            texts = part.slice(start, _BLOCK).to_pylist()
            new = [None if text is None else function(text) for text in texts]
            blocks.append(pa.array(new, pa.string()))
    return pa.concat_arrays(blocks)


def take_flat(parts: list[pa.Array], indices: IntArray) -> pa.ChunkedArray:
    """Take from the values that `parts` hold one after the other."""
    ends = np.cumsum([len(part) for part in parts])
    blocks = []
    for start in range(0, len(indices), _BLOCK):
        block = indices[start : start + _BLOCK]
        which = np.searchsorted(ends, block, side="right")
        pieces = [
            parts[place].take(pa.array(block[which == place] - ends[place] + len(parts[place])))
            for place in np.unique(which)
        ]
        if len(pieces) == 1:
            blocks += pieces
        else:
            back = np.argsort(np.argsort(which, kind="stable"))
            blocks.append(pa.concat_arrays(pieces).take(pa.array(back)))
    return pa.chunked_array(blocks, parts[0].type)
