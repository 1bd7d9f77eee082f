"""`statllm experiment`: recipes side by side, with seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import console, printable, table_of


def experiment(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="YAML; see the example.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; runs/NAME when left out.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="With the file's part `quick`: fewer seeds, problems.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="So many seeds, from 0, instead of the file's.")
    ] = None,
    figure: Annotated[bool, typer.Option(help="Draw result.png.")] = True,
) -> None:
    """Train every arm of an experiment with every seed, and compare them on the same problems.

    An experiment is a recipe (`base`), what each arm changes in it, and which arms are compared.
    Intervals and tests count the problems and the training seeds as random; p-values are adjusted
    over the comparisons. The same command resumes.

    Examples:

        statllm experiment studies/scpo/lab.yaml -o runs/scpo

        statllm experiment studies/scpo/lab.yaml --quick
    """
    from statllm.experiment import analyse, read_experiment, run_experiment
    from statllm.experiment.report import write_result

    overrides: dict[str, Any] = {} if seeds is None else {"seeds": list(range(seeds))}
    parsed = read_experiment(source, quick=quick, **overrides)
    folder = output or Path("runs") / f"{parsed.name}{'-quick' if quick else ''}"
    run_experiment(parsed, folder, listener=_announce())
    result = analyse(parsed, folder)
    write_result(result, folder, figure=figure)
    for measure in parsed.measures:
        console().print(_table(result, measure))
    console().print(printable(f"{folder / 'result.md'}"))


def _announce() -> Any:
    """Return a listener that prints a line per stage that was computed, with its time."""
    import time

    from rich.console import Console

    out = Console(stderr=True, highlight=False)
    started = time.monotonic()

    def listener(arm: str, seed: int, iteration: int, stage: str, state: str) -> None:
        nonlocal started
        if state == "start":
            started = time.monotonic()
        elif state == "done":
            seconds = time.monotonic() - started
            place = f"  {arm}  seed {seed}  iteration {iteration}"
            out.print(printable(f"{place}  {stage:<9} {seconds:.1f} s"))

    return listener


def _table(result: Any, measure: str) -> Any:
    from statllm.results import format_p

    level = result.level
    rows = [
        (
            contrast.name,
            f"{contrast.estimate.value:+.3f}",
            f"{contrast.estimate.interval(level):.3f}",
            format_p(contrast.log_p_holm),
            f"{contrast.mde:.3f}",
        )
        for contrast in result.contrasts
        if contrast.measure == measure
    ]
    title = (
        f"{measure}: {len(result.seeds)} seeds, {result.n_problems} problems, "
        f"{rows and result.contrasts[0].estimate.unit}"
    )
    columns = (
        "comparison",
        "difference",
        f"{100 * level:g} % interval",
        "p (Holm)",
        "detectable",
    )
    return table_of(title, columns, rows, wrap=("comparison",))
