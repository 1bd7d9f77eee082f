"""From lists of answers to integer codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.ragged import Ragged

if TYPE_CHECKING:
    import pyarrow as pa


def encode(answers: Any) -> tuple[Ragged, pa.Array]:
    """Code every answer: rows of int32 codes (-1 = no vote), and the vocabulary they point to."""
    import pyarrow as pa

    if isinstance(answers, Ragged):
        flat, lengths = _of_ragged(answers), answers.lengths
    else:
        flat, lengths = _of_lists(answers)
    codes, vocabulary = _encode_flat(pa.chunked_array(flat))
    return Ragged.from_lengths(codes, lengths), vocabulary


def _of_ragged(answers: Ragged) -> list[pa.Array]:
    """Values of a Ragged; in an integer one a negative code is no vote."""
    import pyarrow as pa

    values = answers.values
    missing = values < 0 if values.dtype.kind == "i" else None
    return [pa.array(values, mask=missing)]


def _of_lists(answers: Any) -> tuple[list[pa.Array], NDArray[np.int64]]:
    """Flat chunks and row lengths of an Arrow list column, a list of lists or a 2-D array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(answers, np.ndarray) and answers.ndim == 2:
        answers = list(answers)
    if not isinstance(answers, pa.Array | pa.ChunkedArray):
        try:
            answers = pa.array(answers)
        except pa.ArrowException as error:
            raise InputError(
                f"answers must be lists of strings or of numbers, one list per prompt: {error}"
            ) from None
    if pa.types.is_null(answers.type):  # no rows, or nothing but None
        answers = answers.cast(pa.list_(pa.string()))
    kind = answers.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or _is_fixed_list(kind)):
        raise InputError(f"answers must be one list per prompt, not {kind}")
    column = answers if isinstance(answers, pa.ChunkedArray) else pa.chunked_array([answers])
    lengths = pc.list_value_length(column).fill_null(0).to_numpy().astype(np.int64)
    flat = [chunk.flatten() for chunk in column.chunks]
    return flat or [pa.array([], kind.value_type)], lengths


def _is_fixed_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_fixed_size_list(kind))


def _encode_flat(values: pa.ChunkedArray) -> tuple[NDArray[np.int32], pa.Array]:
    """Codes and vocabulary of a flat column; null and NaN are -1."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(values.type) or pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.dictionary(pa.int32(), values.type.value_type))
    else:
        values = values.dictionary_encode()
    chunks = values.unify_dictionaries().chunks or [pa.array([], values.type)]
    joined = np.concatenate([chunk.indices.fill_null(-1).to_numpy() for chunk in chunks])
    # A dictionary that somebody else made may repeat an answer or hold a null: encode it again.
    dictionary = chunks[0].dictionary.dictionary_encode()
    if dictionary.null_count or len(dictionary.dictionary) < len(dictionary):
        again = np.append(dictionary.indices.fill_null(-1).to_numpy(), -1)  # code -1 stays -1
        joined = again[joined]
    return joined.astype(np.int32, copy=False), dictionary.dictionary
