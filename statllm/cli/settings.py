"""Command-line options made from a settings class: its fields, their descriptions as help."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError

from statllm.errors import InputError
from statllm.settings_file import key_of


def with_settings(
    *kinds: type[BaseModel], skip: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every field of `kinds`.

    The command has a last parameter ``settings: dict``; it receives the options that were given,
    so that defaults stay where they are defined.
    """
    fields = {
        name: field
        for kind in kinds
        for name, field in kind.model_fields.items()
        if name not in skip
    }

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter
            for parameter in inspect.signature(command, eval_str=True).parameters.values()
            if parameter.name != "settings"
        ]
        options = [_option(name, field) for name, field in fields.items()]

        @functools.wraps(command)
        def wrapper(**given: Any) -> None:
            chosen = {name: given.pop(name) for name in fields}
            command(**given, settings={k: v for k, v in chosen.items() if v is not None})

        parameters = [*own, *options]
        signature = inspect.Signature(parameters)
        wrapper.__signature__ = signature  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return wrapper

    return decorate


def validated(kind: type[BaseModel], given: dict[str, Any]) -> Any:
    """Return the settings.

    Raises
    ------
    InputError
        Names the option that has a wrong value.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # several settings together
            raise InputError(message) from error
        option = "--" + key_of(first["loc"]).replace("_", "-")
        raise InputError(f"{option}: {message}, got {first['input']!r}") from error


def _option(name: str, field: Any) -> inspect.Parameter:
    """A keyword option that defaults to None, which stands for the field's own default."""
    kind, choices = _simple(field.annotation)
    text = field.description or ""
    if kind == list[str]:
        text += " May be repeated."
    if choices:
        text += f" One of: {', '.join(choices)}."
    if field.default not in (None, ()):
        text += f" Default: {field.default}."
    flag = "--" + name.replace("_", "-")
    names = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, typer.Option(names, help=text, show_default=False)],
    )


def _simple(annotation: Any) -> tuple[Any, list[str]]:
    """The type of one option, and the names of a Literal."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return str, [str(choice) for choice in typing.get_args(annotation)]
    if origin in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(annotation) if part is not type(None)]
        words = [part for part in parts if typing.get_origin(part) is typing.Literal]
        return _simple((words or parts)[0])  # "a number or one of these words" is read as text
    if origin is tuple:
        return list[str], []
    return annotation, []
