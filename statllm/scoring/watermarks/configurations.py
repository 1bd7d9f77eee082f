"""Keys and schemes from a file that stays secret: they are named, never shown."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from statllm.errors import InputError
from statllm.estimators.watermark.marks import Scheme
from statllm.estimators.watermark.schemes import SCHEMES, scheme_class
from statllm.files import existing_file


@dataclass(frozen=True)
class Configuration:
    """A scheme under a key, by the name that results show.

    Attributes
    ----------
    name : str
    scheme : Scheme
    """

    name: str
    scheme: Scheme = field(repr=False)

    def digest(self) -> str:
        """Return a digest of scheme, key and options; it changes when any of them does."""
        scheme: Any = self.scheme  # a frozen dataclass
        decides = {f.name: repr(getattr(scheme, f.name)) for f in dataclasses.fields(scheme)}
        text = json.dumps([type(self.scheme).__name__, decides], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_configurations(path: str | Path, scheme: str | None = None) -> list[Configuration]:
    """Read the configurations of a YAML (or JSON) file.

    The file is a list with one entry per configuration::

        - name: assistant-2026     # what results call it
          scheme: vllm-gumbel      # may be left out where `scheme` is given
          key: 42                  # a number, 0x…, or the scheme's list of numbers
          context_width: 4         # any option of the scheme

    Parameters
    ----------
    path : str or Path
    scheme : str, optional
        Of the entries that name none.

    Raises
    ------
    InputError
        Names the file, the entry and the option; it never shows a key.
    """
    path = existing_file(Path(path))
    try:
        given = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = "" if where is None else f", line {where.line + 1}"
        raise InputError(f"{path} is not YAML{line}") from None  # the cause would show the key
    entries = given if isinstance(given, list) else [given]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: a list of entries with 'name', 'scheme' and 'key' was expected")
    found = [_configuration(path, number, entry, scheme) for number, entry in enumerate(entries, 1)]
    names = [configuration.name for configuration in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: two entries are called '{name}'")
    return found


def _configuration(
    path: Path, number: int, entry: dict[str, Any], scheme: str | None
) -> Configuration:
    options = dict(entry)
    chosen = options.pop("scheme", scheme)
    name = options.pop("name", None)
    name = str(name) if name else f"{chosen if chosen in [*SCHEMES] else 'entry'}-{number}"
    place = f"{path}, entry '{name}'"
    if chosen is None:
        raise InputError(f"{place}: 'scheme' is missing; one of {', '.join(SCHEMES)}")
    if not isinstance(chosen, str) or chosen not in SCHEMES:
        raise InputError(f"{place}: there is no scheme {_shown(chosen)}; there are "
                         f"{', '.join(SCHEMES)}")  # fmt: skip
    kind = scheme_class(chosen)
    known = {f.name: f for f in dataclasses.fields(kind) if f.init}
    for option in options:
        if option not in known:
            raise InputError(
                f"{place}: {_shown(option)} is no option of {chosen}; it has {', '.join(known)}"
            )
    for option, described in known.items():
        missing = (
            described.default is dataclasses.MISSING
            and described.default_factory is dataclasses.MISSING
        )
        if missing and option not in options:
            raise InputError(f"{place}: '{option}' is missing")
    values = {option: _value(value) for option, value in options.items()}
    try:
        return Configuration(name, kind(**values))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{place}: {error}") from None


def _shown(word: Any) -> str:
    """A word in quotes; what isn't one may be a key in the wrong place."""
    plain = isinstance(word, str) and re.fullmatch(r"[A-Za-z_-]{1,30}", word)
    return f"'{word}'" if plain else "(not shown)"


def _value(value: Any) -> Any:
    """Lists as tuples, which can't change; hexadecimal texts as numbers."""
    if isinstance(value, list):
        return tuple(_value(item) for item in value)
    if isinstance(value, str) and value.lower().startswith("0x"):
        try:
            return int(value, 16)
        except ValueError:
            return value
    return value
