"""The keys of a loop's recipe, as its settings describe them: `statllm run --keys`."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from statllm.selection import RULES


def recipe_keys() -> Iterator[tuple[str, str, str]]:
    """Yield each key of a recipe, its default, and what it means; parts before what is in them.

    The settings of every rule stand under ``selection.settings (RULE)``.

    Examples
    --------
    >>> found = {key: default for key, default, _ in recipe_keys()}
    >>> found["name"], found["sampling.n"], found["selection.settings (scpo).threshold"]
    ('needed', '8', '0.5')
    """
    from statllm.recipe import Recipe

    for key, field in Recipe.model_fields.items():
        yield from _described(key, field)
    for name, rule in RULES.items():
        place = f"selection.settings ({name})"
        yield place, "", (rule.settings.__doc__ or "").splitlines()[0]
        for key, field in rule.settings.model_fields.items():
            yield from _described(f"{place}.{key}", field)


def _described(key: str, field: FieldInfo) -> Iterator[tuple[str, str, str]]:
    part = _part(field.annotation)
    about = field.description or ((part.__doc__ or "").splitlines()[0] if part else "")
    yield key, "" if part and field.default is not None else _default(field), about
    if part is not None:
        for name, inner in part.model_fields.items():
            yield from _described(f"{key}.{name}", inner)


def _part(annotation: Any) -> type[BaseModel] | None:
    """The settings class of a key that holds further keys."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = [found for one in typing.get_args(annotation) if (found := _part(one))]
        return parts[0] if parts else None
    is_part = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_part else None


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "none"
    if field.default is PydanticUndefined:
        return "needed"
    return "none" if field.default in (None, ()) else str(field.default)
