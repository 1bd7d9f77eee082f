"""What a ledger says in sum: how many rows were kept, and why the others weren't."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The reason of a row that was kept.
KEPT = "kept"


def count_reasons(reasons: Any) -> dict[str, int]:
    """Count rows by reason, "kept" first (0 if none was), then by falling count; they add up.

    Parameters
    ----------
    reasons : Arrow column of string

    Examples
    --------
    >>> import pyarrow as pa
    >>> count_reasons(pa.array(["tied", "kept", "short", "tied"]))
    {'kept': 1, 'tied': 2, 'short': 1}
    """
    import pyarrow.compute as pc

    rows = pc.value_counts(reasons).to_pylist()  # without a Python object per row
    found = {row["values"]: row["counts"] for row in rows}
    kept = found.pop(KEPT, 0)
    return {KEPT: kept, **dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))}


def with_dropped(line: str, counts: Mapping[str, int]) -> str:
    """Return a line of a summary, and after it why rows were dropped.

    Examples
    --------
    >>> with_dropped("3 rows, 1 kept", {"kept": 1, "tied": 2})
    '3 rows, 1 kept; dropped: tied 2'
    """
    dropped = ", ".join(f"{reason} {count}" for reason, count in counts.items() if reason != KEPT)
    return f"{line}; dropped: {dropped}" if dropped else line
