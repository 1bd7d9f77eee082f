"""An experiment's result as a table to read, a table to compute with, and a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from statllm.experiment.scores import Contrast, Level, Result
from statllm.files import atomic, write_json, write_parquet, write_text
from statllm.results import format_p


def write_result(
    result: Result, folder: str | Path, *, stem: str = "result", figure: bool = True
) -> None:
    """Write result.json, result.parquet, result.md and result.png.

    Parameters
    ----------
    result : Result
    folder : str or Path
    stem : str
        Of the files' names.
    figure : bool
        Needs matplotlib.
    """
    from statllm._formats import finite

    folder = Path(folder)
    rows = result.to_rows()
    write_parquet(pa.Table.from_pylist([_flat(row) for row in rows]), folder / f"{stem}.parquet")
    about = {
        "experiment": result.name,
        "seeds": list(result.seeds),
        "n_problems": result.n_problems,
        "figures": finite(rows),
    }
    write_json(about, folder / f"{stem}.json")
    write_text(markdown(result), folder / f"{stem}.md")
    if figure:
        draw(result, folder / f"{stem}.png")


def markdown(result: Result) -> str:
    """Return both tables as Markdown: differences first, then the arms' own means."""
    lines = [
        f"{len(result.seeds)} training seeds, {result.n_problems} held-out problems. "
        f"Intervals ({100 * result.level:g} %) and tests count both as random samples; p is "
        'adjusted over the comparisons of a measure (Holm). "Detectable": the true difference '
        "that this experiment finds with probability .8.",
    ]
    for measure in result.measures:
        of_measure = [c for c in result.contrasts if c.measure == measure]
        lines += ["", f"**{measure}** ({of_measure[0].estimate.unit})", ""]
        lines += [
            markdown_table(
                ("comparison", "difference", "interval", "p", "detectable", "sd over seeds"),
                [_contrast_row(contrast, result.level) for contrast in of_measure],
            )
        ]
        lines += [""]
        levels = [found for found in result.levels if found.measure == measure]
        staged = any(found.iteration is not None for found in levels)
        head = ("arm", *(("iteration",) if staged else ()), "mean", "interval")
        lines += [markdown_table(head, [_level_row(found, staged, result) for found in levels])]
    return "\n".join(lines) + "\n"


def draw(result: Result, path: str | Path) -> None:
    """Draw each difference of the first measure with its interval, and every seed's own."""
    from statllm.report.drawing import new_figure

    path = Path(path)
    measure = result.measures[0]
    contrasts = [c for c in result.contrasts if c.measure == measure][::-1]
    height = 1.0 + 0.42 * len(contrasts)
    with new_figure(size=(7.6, height)) as (figure, axes):
        axes.axvline(0, color="#8C8C8C", linewidth=0.8)
        for place, contrast in enumerate(contrasts):
            interval = contrast.estimate.interval(result.level)
            axes.plot(
                contrast.per_seed,
                [place] * len(contrast.per_seed),
                "|",
                color="#56B4E9",
                markersize=9,
            )
            axes.plot([interval.low, interval.high], [place, place], color="#0072B2", linewidth=2)
            axes.plot([contrast.estimate.value], [place], "o", color="#0072B2")
        axes.set_yticks(range(len(contrasts)), [contrast.name for contrast in contrasts])
        axes.set_ylim(-0.6, len(contrasts) - 0.4)
        axes.set_xlabel(
            f"difference of {measure} ({contrasts[0].estimate.unit}); "
            f"bar: {100 * result.level:g} % interval, ticks: seeds"
        )
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")


def _contrast_row(contrast: Contrast, level: float) -> tuple[str, ...]:
    return (
        contrast.name,
        f"{contrast.estimate.value:+.3f}",
        f"{contrast.estimate.interval(level):.3f}",
        format_p(contrast.log_p_holm),
        "-" if math.isnan(contrast.mde) else f"{contrast.mde:.3f}",
        f"{contrast.seed_sd:.3f}",
    )


def _level_row(found: Level, staged: bool, result: Result) -> tuple[str, ...]:
    iteration = (str(found.iteration),) if staged else ()
    interval = found.estimate.interval(result.level)
    return (found.arm, *iteration, f"{found.estimate.value:.3f}", f"{interval:.3f}")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table; from the second column on, cells stand at the right.

    Examples
    --------
    >>> print(markdown_table(("arm", "mean"), [("irpo", 0.9)]))
    | arm | mean |
    | --- | ---: |
    | irpo | 0.9 |
    """
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (head, rule, *rows))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Every row has every column."""
    columns = {
        "kind": "", "name": "", "claim": "", "iteration": None, "measure": "", "value": None,
        "se": None, "df": None, "low": None, "high": None, "level": None, "unit": "",
        "log_p_value": None, "log_p_holm": None, "seed_sd": None, "mde": None, "per_seed": None,
    }  # fmt: skip
    return {**columns, **row}
