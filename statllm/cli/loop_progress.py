"""How a loop tells of its stages, and what it prints at the end."""

from __future__ import annotations

from typing import Any

from statllm.cli.common import table_of


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
