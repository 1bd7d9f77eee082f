"""The fewest tokens that are enough."""

from __future__ import annotations

from collections.abc import Callable

from statllm.estimators._arrays import between
from statllm.estimators._search import fewest

_MOST = 1 << 22  # tokens


def fewest_tokens(enough: Callable[[int], bool]) -> int:
    """Return the fewest tokens with ``enough(n)``; ValueError if 4 million aren't enough."""
    return fewest(enough, most=_MOST, unit="tokens")


def check_share(name: str, value: float) -> None:
    """Raise `ValueError` unless a value lies between 0 and 1."""
    between(value, name)
