"""Breaking ties between answers, whatever the order of samples and prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from statllm.ragged import Ragged

if TYPE_CHECKING:
    import pyarrow as pa

_Words = NDArray[np.uint64]
_Ints = NDArray[np.int64]


def tied_rows_winners(
    codes: Ragged, counts: Ragged, vocabulary: pa.Array, rule: str, seed: int
) -> _Ints:
    """Code that wins each row, where the first of the counts is the highest of its row."""
    used, where = np.unique(codes.values, return_inverse=True)
    answers = vocabulary.take(used)
    if rule == "lexical":
        order = answers.to_numpy(zero_copy_only=False).argsort()
        ranks = order.argsort()[where].astype(np.float64)
    else:
        ranks = _random_ranks(_hashes(answers, seed)[where], counts)
    highest = np.repeat(counts.values[counts.offsets[:-1]], counts.lengths)
    place = codes.with_values(np.where(counts.values == highest, ranks, np.inf)).argmin()
    winners: _Ints = codes.values[codes.offsets[:-1] + place].astype(np.int64)
    return winners


def _random_ranks(hashes: _Words, counts: Ragged) -> NDArray[np.float64]:
    """Mix each answer's hash with all the votes of its row, so that prompts draw separately."""
    row = _mix(_row_sums(hashes * counts.values.astype(np.uint64), counts.offsets))
    keys = _mix(hashes ^ np.repeat(row, counts.lengths))
    return (keys >> np.uint64(11)).astype(np.float64)  # 53 bits are exact as float64


def _hashes(answers: pa.Array, seed: int) -> _Words:
    """Hash each answer from its bytes and the seed; the same on every machine.

    Simple tabulation hashing (Zobrist 1970): the sum over positions of a random word for
    (position, byte), with splitmix64 as the table.
    """
    import pyarrow as pa

    texts = answers.cast(pa.string()).cast(pa.large_binary())
    _, ends, data = texts.buffers()
    offsets = np.frombuffer(ends, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    text = np.frombuffer(data if data is not None else b"", dtype=np.uint8)
    text, offsets = text[offsets[0] : offsets[-1]], offsets - offsets[0]
    place = Ragged(text, offsets).positions.astype(np.uint64)
    salt = _mix(np.array([seed % 2**64], dtype=np.uint64))
    words = _mix((place << np.uint64(8)) + text + salt)
    return _mix(_row_sums(words, offsets) + np.diff(offsets).astype(np.uint64))


def _row_sums(words: _Words, offsets: _Ints) -> _Words:
    """Sum of each row modulo 2^64."""
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words, dtype=np.uint64)])
    sums: _Words = running[offsets[1:]] - running[offsets[:-1]]
    return sums


def _mix(words: _Words) -> _Words:
    """splitmix64 (Steele, Lea and Flood 2014), a bijection of 64-bit words."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
