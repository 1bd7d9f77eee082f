"""Documents as token ids, from a table of texts or of ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.ragged import IntArray, Ragged

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Documents:
    """Documents and where they come from.

    Attributes
    ----------
    tokens : Ragged of int64
        Token ids, one row per document.
    rows : ndarray of int64, shape (n_documents,)
        The table's row that holds the document.
    samples : ndarray of int64 or None
        Its place in the row's list; None where a row is one document.
    """

    tokens: Ragged
    rows: IntArray
    samples: IntArray | None


def documents_of(
    table: pa.Table, column: str, tokenizer: PreTrainedTokenizerBase | None = None
) -> Documents:
    """Read a column as documents.

    Parameters
    ----------
    table : pyarrow.Table
    column : str
        Token ids (a list per document, of fixed size or not) or texts; lists of either are several
        documents of one row. A null is a document without tokens.
    tokenizer : transformers tokenizer, optional
        Of the model that may have written the texts; they are encoded without special tokens.

    Raises
    ------
    InputError
        If the column is missing or there twice, holds neither ids nor texts, texts without a
        tokenizer, or bytes that aren't UTF-8.

    Examples
    --------
    >>> table = pa.table({"token_ids": [[5, 6], None, [7]]})
    >>> documents_of(table, "token_ids").tokens.lengths
    array([2, 0, 1])
    """
    if table.column_names.count(column) > 1:
        raise InputError(f"there are two columns '{column}'")
    if column not in table.column_names:
        raise InputError(f"column '{column}' is missing; there are {', '.join(table.column_names)}")
    array = table[column].combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    array = _plain(array)
    if pa.types.is_null(array.type):  # of a file, or a part of one, without any document
        array = array.cast(pa.list_(pa.int64()))
    rows = np.arange(len(array))
    samples = None
    if _is_list(array.type) and not pa.types.is_integer(array.type.value_type):
        if pa.types.is_null(array.type.value_type):  # nothing but empty lists
            array = array.cast(pa.list_(pa.list_(pa.int64())))
        lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        rows = np.repeat(rows, lengths)
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        samples = np.arange(len(rows)) - starts
        array = _plain(array.flatten())
    if _is_list(array.type) and pa.types.is_integer(array.type.value_type):
        return Documents(_ids(array, column), rows, samples)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        if tokenizer is None:
            raise InputError(
                f"column '{column}' holds texts: a tokenizer is needed, that of the model which "
                "may have written them"
            )
        return Documents(_encoded(array, tokenizer, column), rows, samples)
    raise InputError(
        f"column '{column}' holds {table[column].type}; token ids or texts were expected"
    )


def _plain(array: Any) -> Any:
    """Lists of a fixed size as lists, and numbers of a dictionary as what they stand for."""
    if pa.types.is_fixed_size_list(array.type):
        return array.cast(pa.list_(array.type.value_type))
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _ids(array: Any, column: str) -> Ragged:
    flat = array.flatten()
    if flat.null_count:
        raise InputError(f"column '{column}' holds a null among token ids")
    lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    ids = flat.to_numpy(zero_copy_only=False)
    if ids.dtype == np.uint64 and len(ids) and ids.max() > np.iinfo(np.int64).max:
        raise InputError(f"column '{column}' holds {ids.max()}, which is no token id")
    return Ragged.from_lengths(ids.astype(np.int64), lengths)


def _encoded(array: Any, tokenizer: PreTrainedTokenizerBase, column: str) -> Ragged:
    try:
        texts = [text or "" for text in array.to_pylist()]
    except UnicodeDecodeError as error:
        raise InputError(f"column '{column}' holds text that isn't UTF-8: {error}") from error
    if not texts:
        return Ragged(np.zeros(0, np.int64), np.zeros(1, np.int64))
    ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return Ragged.from_lists(ids, np.int64)
