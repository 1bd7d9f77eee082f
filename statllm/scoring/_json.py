"""JSON objects within a text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_MOST = 1000  # a text of nothing but braces mustn't take for ever


def json_objects(text: str, of_pairs: Callable[[list[tuple[str, Any]]], T]) -> list[T]:
    r"""Return the outermost objects of a text, in its order.

    Parameters
    ----------
    text : str
    of_pairs : callable
        Makes an object, inner ones too, of its keys and values, in which a key may be repeated. A
        `ValueError` says that it's none; what it holds is looked at then.

    Examples
    --------
    >>> json_objects('I think: {"a": 1, "a": 2} or {"b": {"c": []}}', list)
    [[('a', 1), ('a', 2)], [('b', [('c', [])])]]
    """
    decoder = json.JSONDecoder(object_pairs_hook=of_pairs, strict=False)  # raw line ends are usual
    objects: list[T] = []
    start = text.find("{")
    for _ in range(_MOST):
        if start < 0:
            break
        try:
            one, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            objects.append(one)
        start = text.find("{", end)
    return objects


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as a dictionary; a `ValueError` where a key is repeated."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is repeated")
    return made
