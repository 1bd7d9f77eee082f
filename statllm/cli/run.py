"""`statllm run`: a whole recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import console, table_of


def run(
    recipe: Annotated[Path, typer.Argument(help="YAML.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder; runs/NAME when left out.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Replaces the recipe's seed.")] = None,
) -> None:
    """Iterate sample -> score -> select -> train -> evaluate; the same command resumes.

    Examples:

        statllm run statllm/lab/recipes/scpo.yaml -o runs/scpo

        statllm run my-recipe.yaml --seed 3
    """
    from statllm.loop import run as run_recipe
    from statllm.recipe import read_recipe
    from statllm.report import write_report

    overrides = {} if seed is None else {"seed": seed}
    parsed = read_recipe(recipe, **overrides)
    folder = output or Path("runs") / parsed.name
    done = run_recipe(parsed, folder, listener=announce(parsed.name))
    write_report([done], folder / "report.html")
    console().print(metrics_table(done))
    console().print(f"{folder / 'report.html'}")


def announce(name: str) -> Any:
    """Return a listener that prints one line per stage, with its time."""
    import time

    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    started = time.monotonic()

    def listener(iteration: int, stage: str, state: str) -> None:
        nonlocal started
        if state == "start":
            started = time.monotonic()
            return
        seconds = f"{time.monotonic() - started:.1f} s" if state == "done" else state
        console.print(f"  {name}  iteration {iteration}  {stage:<9} {seconds}")

    return listener


def metrics_table(done: Any) -> Any:
    """Return a run's accuracies and gains as a table for the terminal."""
    from statllm.files import read_parquet
    from statllm.results import format_p

    rows = []
    for row in read_parquet(done.folder / "metrics.parquet").to_pylist():
        p = "" if row["log_p_value"] is None else f"p {format_p(row['log_p_value'])}"
        interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
        rows.append((row["name"], row["iteration"], f"{row['value']:.3f}", interval, row["n"], p))
    columns = ("figure", "iteration", "value", "95 % interval", "n", "exact McNemar")
    return table_of(done.recipe.name, columns, sorted(rows, key=lambda r: (r[0], r[1])))
