"""Templates filled in: every value escaped, what is invisible in it spelled out."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.report import words

if TYPE_CHECKING:
    from jinja2 import Environment


def check_packages() -> None:
    """Say which package of the extra ``report`` is not installed.

    Raises
    ------
    InputError
    """
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise InputError(
                f"the report needs {package}, which is not installed: "
                "install the extra with pip install 'statllm[report]'"
            )


def render(template: str, content: Mapping[str, Any]) -> str:
    """Return a page; text in `content` is not yet escaped."""
    style = (files("statllm.report") / "style.css").read_text(encoding="utf-8")
    return _environment().get_template(template).render(style=style, **content)


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("statllm.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": words.count,
        "percent": words.percent,
        "typeset": words.typeset,
        "reason": words.reason,
        "breakable": words.breakable,
    }
    return environment


def _harmless(value: Any) -> Any:
    """Spell out what is invisible in a text, unless it is markup of our own making."""
    return words.visible(value) if type(value) is str else value
