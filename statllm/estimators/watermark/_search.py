"""The fewest tokens that are enough."""

from __future__ import annotations

from collections.abc import Callable

_MOST = 1 << 22  # tokens


def fewest(enough: Callable[[int], bool]) -> int:
    """Return the smallest n from 1 on with ``enough(n)``, for what stays true once it is.

    Raises
    ------
    ValueError
        If 4 million aren't enough.

    Examples
    --------
    >>> fewest(lambda n: n * n > 1000)
    32
    """
    high = 1
    while not enough(high):
        high *= 2
        if high > _MOST:
            raise ValueError(f"{_MOST:,} tokens aren't enough")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def check_share(name: str, value: float) -> None:
    """Raise `ValueError` unless a value lies between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, not {value}")
