"""`statllm demo`: the main job, end to end, on the built-in model and problems."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from statllm.cli.common import console
from statllm.cli.loop_progress import announce, metrics_table


def demo(
    quick: Annotated[bool, typer.Option(help="Fewer problems: about a minute.")] = False,
    seed: Annotated[int, typer.Option(help="Of sampling, selection and training.")] = 0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder.")] = Path("runs/demo"),
    fresh: Annotated[bool, typer.Option(help="Start anew instead of going on.")] = False,
) -> None:
    """Make a model better without labels (ScPO), and with labels (IRPO) beside it.

    Samples, votes, selects pairs, trains, evaluates on 1,000 held-out problems, twice; writes
    report.html. Takes a few minutes on two cores.

    Examples:

        statllm demo

        statllm demo --quick --seed 3 -o runs/quick
    """
    from statllm.lab import recipe_path
    from statllm.loop import run
    from statllm.processes import StageProcesses
    from statllm.recipe import read_recipe
    from statllm.report import write_report
    from statllm.stages import Run

    if fresh and output.exists():
        shutil.rmtree(output)
    runs: list[Run] = []
    with StageProcesses() as processes:
        for name in ("scpo", "irpo"):
            recipe = read_recipe(recipe_path(f"{name}-quick" if quick else name), seed=seed)
            done = run(
                recipe,
                output / name,
                reuse=[r.folder for r in runs],
                processes=processes,
                listener=announce(recipe.name),
            )
            runs.append(done)
            console().print(metrics_table(done))
    write_report(runs, output / "report.html")
    console().print(f"Report: {output / 'report.html'}")
