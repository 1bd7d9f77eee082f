"""An experiment's result as a table to read, a table to compute with, and a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from statllm.experiment.analysis import Contrast, Result
from statllm.files import atomic, write_json, write_parquet, write_text
from statllm.results import format_p


def write_result(result: Result, folder: str | Path, *, figure: bool = True) -> None:
    """Write result.json, result.parquet, result.md and result.png.

    Parameters
    ----------
    result : Result
    folder : str or Path
    figure : bool
        Needs matplotlib.
    """
    from statllm._formats import finite

    folder = Path(folder)
    rows = result.to_rows()
    write_parquet(pa.Table.from_pylist([_flat(row) for row in rows]), folder / "result.parquet")
    about = {
        "experiment": result.experiment.name,
        "seeds": list(result.experiment.seeds),
        "n_problems": result.n_problems,
        "figures": finite(rows),
    }
    write_json(about, folder / "result.json")
    write_text(markdown(result), folder / "result.md")
    if figure:
        draw(result, folder / "result.png")


def markdown(result: Result) -> str:
    """Return both tables as Markdown: differences first, then the arms' own means."""
    experiment = result.experiment
    lines = [
        f"{len(experiment.seeds)} training seeds, {result.n_problems} held-out problems. "
        f"Intervals ({100 * experiment.level:g} %) and tests count both as random samples; p is "
        'adjusted over the comparisons of a measure (Holm). "Detectable": the true difference '
        "that this experiment finds with probability .8.",
    ]
    for measure in experiment.measures:
        of_measure = [c for c in result.contrasts if c.measure == measure]
        lines += ["", f"**{measure}** ({of_measure[0].estimate.unit})", ""]
        lines += [
            markdown_table(
                ("comparison", "difference", "interval", "p", "detectable", "sd over seeds"),
                [_contrast_row(contrast, experiment.level) for contrast in of_measure],
            )
        ]
        lines += [""]
        levels = [found for found in result.levels if found.measure == measure]
        lines += [
            markdown_table(
                ("arm", "iteration", "mean", "interval"),
                [
                    (
                        found.arm,
                        str(found.iteration),
                        f"{found.estimate.value:.3f}",
                        f"{found.estimate.interval(experiment.level):.3f}",
                    )
                    for found in levels
                ],
            )
        ]
    return "\n".join(lines) + "\n"


def draw(result: Result, path: str | Path) -> None:
    """Draw each difference of the first measure with its interval, and every seed's own."""
    from statllm.report.drawing import new_figure

    path = Path(path)
    measure = result.experiment.measures[0]
    contrasts = [c for c in result.contrasts if c.measure == measure][::-1]
    height = 1.0 + 0.42 * len(contrasts)
    with new_figure(size=(7.6, height)) as (figure, axes):
        axes.axvline(0, color="#8C8C8C", linewidth=0.8)
        for place, contrast in enumerate(contrasts):
            interval = contrast.estimate.interval(result.experiment.level)
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
            f"bar: {100 * result.experiment.level:g} % interval, ticks: seeds"
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
