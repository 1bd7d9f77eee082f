"""The least number that is enough."""

from __future__ import annotations

from collections.abc import Callable


def fewest(
    enough: Callable[[int], bool], least: int = 1, most: int = 10**9, unit: str = "units"
) -> int:
    """Return the smallest n from `least` on with ``enough(n)``, for what stays true once it is.

    Raises
    ------
    ValueError
        If `most` aren't enough.

    Examples
    --------
    >>> fewest(lambda n: n * n > 1000)
    32
    """
    low, high = least - 1, least
    while not enough(high):
        low, high = high, 2 * high
        if high > most:
            raise ValueError(f"more than {most:,} {unit} are needed")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
