"""Token ids as every scheme takes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from statllm.ragged import Ragged


def checked_tokens(tokens: Ragged, vocabulary: int | None) -> NDArray[np.int64]:
    """Return the flat token ids as contiguous int64.

    Raises
    ------
    ValueError
        If they aren't whole numbers, or one is negative or outside of the vocabulary; the document
        and the position are named.
    """
    if tokens.values.size and not np.issubdtype(tokens.values.dtype, np.integer):
        raise ValueError(f"token ids must be whole numbers, not {tokens.values.dtype}")
    flat = np.ascontiguousarray(tokens.values, np.int64)
    limit = (1 << 32) if vocabulary is None else vocabulary
    wrong = (flat < 0) | (flat >= limit)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        document = int(np.searchsorted(tokens.offsets, at, side="right")) - 1
        place = at - int(tokens.offsets[document])
        what = "is negative" if flat[at] < 0 else f"isn't below {limit}"
        raise ValueError(f"token {flat[at]} at position {place} of document {document} {what}")
    return flat


def checked_key(key: int, bits: int = 64) -> int:
    """Return a key that fits into `bits` bits; a message about it doesn't show it.

    Raises
    ------
    ValueError
        If it doesn't fit.
    """
    if isinstance(key, bool) or not isinstance(key, (int, np.integer)):
        raise ValueError("key must be a whole number")
    if not 0 <= int(key) < 1 << bits:
        raise ValueError(f"key must lie between 0 and 2^{bits} - 1")
    return int(key)
