"""Counting equal codes within rows, many rows at a time.

Rows of about the same length are laid out as a dense matrix, in blocks that stay in the cache;
`np.sort` along the short axis then puts equal codes side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.ragged import Ragged

_BLOCK = 1 << 16  # codes per block: 256 kB of int32, 512 kB of int64 keys
_Ints = NDArray[np.int64]
_Codes = NDArray[np.int32]


def distinct_counts(codes: Ragged) -> tuple[Ragged, Ragged]:
    """Counts (int64) and codes (int32) of each row's distinct codes, most frequent first.

    Equal counts come in the order of their codes. Negative codes are no votes.
    """
    bits = int(codes.values.max(initial=0)).bit_length()
    n_distinct = np.zeros(codes.n_rows, dtype=np.int64)
    parts = []
    for rows, block in _blocks(codes):
        found, counts, labels = _count_block(block, bits)
        n_distinct[rows] = found
        parts.append((rows, counts, labels))
    offsets = np.concatenate([[0], np.cumsum(n_distinct)])
    out_counts = np.empty(offsets[-1], dtype=np.int64)
    out_codes = np.empty(offsets[-1], dtype=np.int32)
    for rows, counts, labels in parts:
        where = _places(offsets, rows)
        out_counts[where] = counts
        out_codes[where] = labels
    return Ragged(out_counts, offsets), Ragged(out_codes, offsets)


def _count_block(block: _Codes, bits: int) -> tuple[_Ints, NDArray[Any], NDArray[Any]]:
    """Per row the number of distinct codes; then their counts and codes, row after row.

    `bits` binary digits hold any code.
    """
    width = block.shape[1]
    ordered = np.sort(block, axis=1)
    starts, counts = _runs(ordered)
    codes = ordered.ravel()[starts]
    if codes.min() < 0:
        votes = codes >= 0
        starts, counts, codes = starts[votes], counts[votes], codes[votes]
    # One number per run sorts by falling count, then by code; 32 bits sort twice as fast as 64.
    small = bits + width.bit_length() < 31
    kind: type[np.signedinteger[Any]] = np.int32 if small else np.int64
    nothing = np.iinfo(kind).max
    keys = np.full(block.shape, nothing, dtype=kind)
    keys.ravel()[starts] = ((width - counts) << bits) | codes
    keys.sort(axis=1)
    present = keys != nothing
    kept = keys[present]
    return np.count_nonzero(present, axis=1), width - (kept >> bits), kept & ((1 << bits) - 1)


def votes_of_samples(codes: Ragged) -> Ragged:
    """For each sample the number of samples of its row with the same code; 0 for no vote."""
    votes = np.zeros(len(codes.values), dtype=np.int64)
    for rows, block in _blocks(codes):
        height, width = block.shape
        # Code and place in one number: sorting it keeps track of where each sample was.
        keys = (block.astype(np.int64) << np.int64(32)) | np.arange(width)
        keys.sort(axis=1)
        _, counts = _runs(keys >> np.int64(32))
        sorted_votes = np.repeat(counts, counts).reshape(height, width)
        sorted_votes[keys < 0] = 0
        placed = np.empty_like(sorted_votes)
        np.put_along_axis(placed, keys & np.int64(0xFFFFFFFF), sorted_votes, axis=1)
        lengths = codes.lengths[rows]
        inside = np.arange(width) < lengths[:, None]
        votes[_places(codes.offsets, rows)] = placed[inside]
    return codes.with_values(votes)


def take_rows(table: Ragged, rows: _Ints) -> Ragged:
    """Rows by number, which rise."""
    return Ragged.from_lengths(table.values[_places(table.offsets, rows)], table.lengths[rows])


def unique_rows(table: Ragged) -> tuple[Ragged, _Ints]:
    """Distinct rows of an int64 table, and for each row the number of its distinct row.

    Costly functions of a row are then computed once per distinct row.
    """
    import pyarrow as pa

    # A row's bytes are its identity; Arrow hashes them.
    buffers = [None, pa.py_buffer(table.offsets * 8), pa.py_buffer(table.values)]
    rows = pa.LargeBinaryArray.from_buffers(pa.large_binary(), table.n_rows, buffers)
    encoded = rows.dictionary_encode()
    group = encoded.indices.to_numpy().astype(np.int64)
    first = np.empty(len(encoded.dictionary), dtype=np.int64)
    first[group[::-1]] = np.arange(table.n_rows)[::-1]
    return take_rows(table, first), group


def _runs(ordered: NDArray[np.integer]) -> tuple[_Ints, _Ints]:
    """Flat position and length of each run of equal values in the rows of a sorted matrix."""
    new = np.ones(ordered.shape, dtype=bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=new[:, 1:])
    starts = np.flatnonzero(new)
    return starts, np.diff(starts, append=ordered.size)


def _blocks(codes: Ragged) -> Iterator[tuple[_Ints, _Codes]]:
    """Row numbers and their codes as dense matrices, short rows padded with -1.

    Rows share a matrix when their lengths have the same number of binary digits, so there are
    few kinds of matrix and padding at most doubles a row.
    """
    lengths = codes.lengths
    values = codes.values.astype(np.int32, copy=False)
    digits = np.frexp(lengths.astype(np.float64))[1]
    for group in np.unique(digits[lengths > 0]):
        members = np.flatnonzero(digits == group)
        width = int(lengths[members].max())
        step = max(1, _BLOCK // width)
        for start in range(0, len(members), step):
            rows = members[start : start + step]
            yield rows, _dense(values, codes.offsets[rows], lengths[rows], width)


def _dense(values: _Codes, starts: _Ints, lengths: _Ints, width: int) -> _Codes:
    """Lay rows out as a matrix; a view where they already lie so."""
    end = int(starts[-1] + lengths[-1])
    if lengths.min() == width and end - starts[0] == len(starts) * width:
        return values[starts[0] : end].reshape(len(starts), width)
    places = np.arange(width)
    gathered = values[np.minimum(starts[:, None] + places, len(values) - 1)]
    return np.where(places < lengths[:, None], gathered, np.int32(-1))


def _places(offsets: _Ints, rows: _Ints) -> slice | _Ints:
    """Where the values of some rows lie, row after row; the row numbers rise."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return slice(offsets[rows[0]], offsets[rows[-1] + 1])
    lengths = offsets[rows + 1] - offsets[rows]
    ends = np.cumsum(lengths)
    return np.repeat(offsets[rows] - ends + lengths, lengths) + np.arange(lengths.sum())
