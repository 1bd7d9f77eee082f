"""Token ids as every scheme takes them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

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


def checked_options(scheme: Any, keys: tuple[str, ...] = ("key", "key_b")) -> None:
    """Refuse options of a scheme (a dataclass) that aren't of their annotated type.

    Only numbers and truth values: a key is checked by `checked_key`, a text by its own list of
    values. Messages don't show what was given: it may be a key in the wrong place.

    Raises
    ------
    ValueError
        Names the option.

    Examples
    --------
    >>> from statllm.estimators.watermark.prf.vllm_gumbel import VllmGumbel
    >>> VllmGumbel(key=42, context_width=2.5)
    Traceback (most recent call last):
    ...
    ValueError: context_width must be a whole number, not float
    """
    for option in dataclasses.fields(scheme):
        if option.name in keys or not option.init:
            continue
        value = getattr(scheme, option.name)
        is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if option.type == "bool":
            right, wanted = isinstance(value, (bool, np.bool_)), "true or false"
        elif option.type == "int":
            right, wanted = is_whole, "a whole number"
        elif option.type == "float":
            right = is_whole or isinstance(value, (float, np.floating))
            right, wanted = right and math.isfinite(value), "a finite number"
        else:
            continue
        if not right:
            kind = f"not {type(value).__name__}"
            if isinstance(value, (float, np.floating)) and option.type == "float":
                kind = f"not {value}"
            raise ValueError(f"{option.name} must be {wanted}, {kind}")
