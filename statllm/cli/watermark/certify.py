"""`statllm watermark certify`: how often human documents are accused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from statllm.cli.common import console, table_of
from statllm.errors import InputError


def certify(
    detections: Annotated[
        Path,
        typer.Argument(
            metavar="DETECTIONS", help="What `detect` wrote of human documents, with your key."
        ),
    ],
    configuration: Annotated[
        str | None, typer.Option(help="One of the keys by its name; default: all together.")
    ] = None,
    alpha: Annotated[
        list[float] | None, typer.Option(help="Levels; may be repeated. Default .01, .001, .0001.")
    ] = None,
    extrapolate: Annotated[
        float, typer.Option(help="A level beyond the data, by a fitted Pareto tail.")
    ] = 1e-6,
) -> None:
    """Measure how often human documents are accused under the deployed key.

    Examples:

        statllm watermark detect human.parquet -o human-found.parquet --key-file keys.yaml

        statllm watermark certify human-found.parquet --alpha .01 --alpha .001
    """
    from statllm.cli.engine import Stored
    from statllm.estimators.watermark.certificate import certify as measure

    if not 0 < extrapolate < 1:
        raise InputError(f"--extrapolate must lie between 0 and 1, not {extrapolate}")
    stored = Stored(detections)
    name = "log_p" if configuration is None else f"log_p[{configuration}]"
    if name not in stored:
        raise InputError(f"{detections} has no column '{name}'; is it what `detect` wrote?")
    levels = tuple(alpha) if alpha else (1e-2, 1e-3, 1e-4)
    try:
        found = measure(stored.column(name).to_numpy(), levels)
    except ValueError as error:
        raise InputError(f"{detections}: {error}") from error
    figures = list(found.rates)
    if found.tail is not None and extrapolate < min(levels):
        figures.append(found.tail.rate(extrapolate))
    out = console()
    rows = [(f.name, f"{f.value:.2e}", f"{f.interval(0.95):.1e}", f.n) for f in figures]
    columns = ("figure", "share of documents", "95 % interval", "n")
    out.print(table_of(f"{name} of human documents", columns, rows, wrap=("figure",)))
    methods = dict.fromkeys(f.interval(0.95).method for f in figures)
    out.print(f"intervals: {', '.join(methods)}")
    if found.tail is None:
        out.print(
            "no tail is fitted: it takes 50 documents above its threshold, 500 or more in all"
        )
    out.print(found.uniformity.summary())
