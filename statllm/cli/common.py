"""What several verbs share: column options and how results are printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from statllm.results import Estimate

InputFile = Annotated[
    Path, typer.Argument(metavar="IN", help="Parquet, JSONL or CSV; nested or long.")
]
PromptId = Annotated[str | None, typer.Option(help="The file's column that is our prompt_id.")]
Prompt = Annotated[str | None, typer.Option(help="… our prompt.")]
Response = Annotated[str | None, typer.Option(help="… our response.")]
Answer = Annotated[str | None, typer.Option(help="… our answer.")]
Reference = Annotated[str | None, typer.Option(help="… our reference (gold answer).")]
Reward = Annotated[str | None, typer.Option(help="… our reward.")]
Where = Annotated[
    list[str] | None,
    typer.Option(help="COLUMN=VALUE: only rows of the file that have it; may be repeated."),
]


def mapping(**columns: str | None) -> dict[str, str]:
    """Return the column options that were given as {our name: the file's name}."""
    return {ours: theirs for ours, theirs in columns.items() if theirs is not None}


def conditions(where: Sequence[str] | None) -> dict[str, str]:
    """Read COLUMN=VALUE pairs.

    Raises
    ------
    InputError
        If one has no '='.
    """
    pairs = {}
    for condition in where or ():
        name, equals, value = condition.partition("=")
        if not equals or not name:
            raise InputError(f"--where {condition}: COLUMN=VALUE was expected")
        pairs[name] = value
    return pairs


def write_json(report: dict[str, Any], path: Path) -> None:
    """Write a report under a temporary name, then rename; what isn't finite becomes null."""
    import json

    from statllm._formats import finite
    from statllm.files import write_text

    write_text(json.dumps(finite(report), ensure_ascii=False, indent=2) + "\n", path)


def check_report(
    output: Path | None, figure: Path | None, sources: Iterable[Path], level: float | None = None
) -> None:
    """Check where a report and its figure go, and its level, before any work.

    Raises
    ------
    InputError
        If a file can't be written there, would replace a source, or the level isn't in (0, 1).
    """
    from statllm._formats import check_output
    from statllm.cli.figures import PICTURES

    check_output(output, (".json",))
    check_output(figure, PICTURES)
    check_not_read(output, *sources)
    if level is not None and not 0 < level < 1:
        raise InputError(f"--level must lie between 0 and 1, not {level}")


def check_not_read(output: Path | None, *sources: Path) -> None:
    """Raise `InputError` if a report would replace a file that it's about."""
    if output is not None and any(output.resolve() == source.resolve() for source in sources):
        raise InputError(f"{output} is read; write to another file")


def check_outputs(
    source: Path, output: Path, ledger: Path | None, suffixes: Sequence[str] | None = None
) -> None:
    """Refuse files that can't be written, and those that would replace each other or `source`."""
    from statllm._formats import SUFFIXES, check_output

    check_output(output, suffixes or SUFFIXES)
    check_output(ledger)
    for written in (output, ledger):
        check_not_read(written, source)
    if ledger is not None and ledger.resolve() == output.resolve():
        raise InputError(f"{output} would be both the output and the ledger")


def interval_text(estimate: Estimate, level: float, digits: int = 4) -> str:
    """Return an estimate's interval for a table; a dash where there's none."""
    interval = estimate.interval(level)
    return "-" if interval.low != interval.low else f"{interval:.{digits}f}"


def printable(text: str) -> str:
    """Return what a user gave as text to print: no markup, no half of a surrogate pair."""
    from rich.markup import escape

    return escape(_encodable(text))


def _encodable(text: object) -> str:
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def console() -> Console:
    """Return the console for results (standard output)."""
    from statllm.cli.terminal import Terminal

    return Terminal()


def table_of(
    title: str,
    columns: Iterable[str],
    rows: Iterable[Sequence[Any]],
    wrap: Sequence[str] = ("unit",),
) -> Table:
    """Return a plain table; numbers are right-aligned from the second column on.

    On a narrow terminal the columns in `wrap` are folded. The others never are, since half a
    number is a wrong one: where they don't fit, the table is wider than the terminal.
    """
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    names = list(columns)
    cells = [[*map(_encodable, row)] for row in rows]
    around = 3 * len(names) + 1  # a space on both sides of a cell, and the box
    widths = _widths(names, cells, wrap, console().width - around)
    table = Table(
        title=printable(title),
        box=SIMPLE,
        title_justify="left",
        title_style="bold",
        width=sum(widths) + around,
    )
    for place, (name, width) in enumerate(zip(names, widths, strict=True)):
        side: Any = "right" if place else "left"
        table.add_column(escape(name), justify=side, overflow="fold", width=width)
    for row in cells:
        table.add_row(*map(escape, row))
    return table


#: Longer words (paths, names of models) may be broken where a column is folded.
_WORD = 20


def _widths(
    names: Sequence[str], rows: Sequence[Sequence[str]], wrap: Sequence[str], room: int
) -> list[int]:
    """The columns' widths: whole cells, but in `wrap` whole words, and what room there is."""
    from rich.cells import cell_len

    whole, widths = [], []
    for name, *cells in zip(names, *rows, strict=True):
        lines = max(cell_len(line) for cell in cells or [""] for line in cell.split("\n"))
        words = max(cell_len(word) for text in (name, *cells) for word in text.split() or [""])
        head = max(map(cell_len, name.split()), default=1)
        widths.append(min(words, _WORD) if name in wrap else max(lines, head))
        whole.append(max(lines, cell_len(name)))
    spare = max(0, room - sum(widths))
    for place, most in enumerate(whole):
        more = min(spare, most - widths[place])
        widths[place] += more
        spare -= more
    return widths


def estimates(title: str, figures: Iterable[Any], level: float = 0.95) -> Table:
    """Return a table of `Estimate`s: name, value, interval, unit, n."""
    listed = list(figures)
    rows = []
    for figure in listed:
        interval = interval_text(figure, level)
        rows.append((figure.name, f"{figure.value:.4f}", interval, figure.n, figure.unit))
    columns = ("figure", "value", f"{100 * level:g} % interval", "n", "unit")
    table = table_of(title, columns, rows, wrap=("figure", "unit"))
    methods = dict.fromkeys(figure.interval(level).method for figure in listed)
    table.caption = f"intervals: {', '.join(methods)}"
    table.caption_justify = "left"
    return table
