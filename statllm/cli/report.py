"""`statllm report`: the page of one run or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from statllm.cli.common import console


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are set side by side.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML; report.html in the first run.")
    ] = None,
) -> None:
    """Write one self-contained HTML page.

    Examples:

        statllm report runs/demo/scpo runs/demo/irpo -o report.html
    """
    from statllm.report import write_report
    from statllm.stages import Run

    path = output or runs[0] / "report.html"
    write_report([Run.open(folder) for folder in runs], path)
    console().print(str(path))
