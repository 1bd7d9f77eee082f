"""Settings from a YAML file; what is wrong with them is said in one sentence that names the key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from statllm.errors import InputError
from statllm.files import read_yaml

_Settings = TypeVar("_Settings", bound=BaseModel)


def read_settings(
    kind: type[_Settings], path: str | Path, what: str = "a recipe", **overrides: Any
) -> _Settings:
    """Read settings from YAML; paths in it are relative to where the command runs.

    Parameters
    ----------
    kind : type
        Of the settings.
    path : str or Path
    what : str
        What the file should be, for the error.
    **overrides
        Top-level keys that replace the file's.

    Raises
    ------
    InputError
        If the file isn't YAML, or a key is unknown, missing or has a wrong value. Of several
        complaints an unknown key comes first: it is what a missing one was meant to be.

    Examples
    --------
    >>> import tempfile
    >>> from statllm.sampling import SamplingSettings
    >>> path = Path(tempfile.mkdtemp()) / "how.yaml"
    >>> _ = path.write_text("temperature: 0.7")
    >>> read_settings(SamplingSettings, path, n=4).temperature
    0.7
    """
    content = read_yaml(path, what)
    try:
        return kind.model_validate({**content, **overrides})
    except ValidationError as error:
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = key_of(first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "there is no such key"
        place = f"key '{key}': " if key else ""
        raise InputError(f"{path}: {place}{message}") from error


def key_of(place: Sequence[str | int]) -> str:
    """Return a key with the parts that it is in, as pydantic places an error.

    Of a value that may be of several types, pydantic names the type that it was tried as.

    Examples
    --------
    >>> key_of(("choice", "every", "literal['epoch']")), key_of(("iterations", 0, "sampling"))
    ('choice.every', 'iterations.0.sampling')
    """
    tried = {"int", "float", "bool", "str"}
    parts = [str(part) for part in place]
    return ".".join(p for p in parts if p not in tried and not p.startswith("literal["))
