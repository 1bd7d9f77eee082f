"""Pictures that a command saves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What `--figure` writes.
PICTURES = (".png", ".pdf", ".svg")


def new_picture(width: float = 6.0, height: float = 4.0, columns: int = 1) -> tuple[Figure, Any]:
    """Return a figure without a display, and its axes (an array where there are several columns).

    Raises
    ------
    InputError
        If matplotlib isn't installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("--figure needs matplotlib: pip install 'statllm[report]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns)
    for each in axes if columns > 1 else [axes]:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(color="#E3E3E3", linewidth=0.8)
        each.set_axisbelow(True)
    return figure, axes


def picture_text(text: str, most: int = 48) -> str:
    """Return a name as matplotlib draws it: no mathematics between dollars, not too long."""
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    return shown.replace("$", r"\$")


def save_picture(figure: Figure, path: Path) -> None:
    """Save under a temporary name, then rename."""
    with atomic(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=150)
