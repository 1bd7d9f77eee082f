"""Result files and the tables between markers of a Markdown page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def save(name: str, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows to results/NAME, one JSON object per line."""
    path = HERE / "results" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")


def load(name: str) -> list[dict[str, Any]]:
    """Read what `save` wrote; no rows where there's no file."""
    path = HERE / "results" / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(page: str, name: str, text: str) -> None:
    """Replace what stands between ``<!-- NAME -->`` and ``<!-- end NAME -->``."""
    path = HERE / page
    before, rest = path.read_text().split(f"<!-- {name} -->\n")
    after = rest.split(f"<!-- end {name} -->")[1]
    path.write_text(f"{before}<!-- {name} -->\n{text}\n<!-- end {name} -->{after}")
