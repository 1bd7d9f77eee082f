"""The page: everything gathered, put into the template, written as one file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.files import write_text
from statllm.report import examples, ledger, panels, tables, words
from statllm.report.artefacts import RunData, read_runs
from statllm.report.panels import Section
from statllm.report.summary import describe_run, summarise
from statllm.report.templates import check_packages, render
from statllm.report.uncertainty.run import run_ranking

if TYPE_CHECKING:
    from statllm.stages import Run


def write_report(runs: Sequence[Run], path: str | Path, title: str | None = None) -> None:
    """Write one HTML page that needs no other file, no network and no script.

    Equal runs give equal bytes: the page holds no time, no path and no random name. What a run
    folder lacks is named on the page, and its section says so. All text that comes from models,
    data or recipes is escaped, and its invisible characters are spelled out.

    Parameters
    ----------
    runs : sequence of Run
        Shown side by side, in this order.
    path : str or Path
        The file to write.
    title : str, optional
        Default: "Training report" and the recipes' names.

    Raises
    ------
    InputError
        If there is no run, a file of a run can't be read, or the extra ``report`` (jinja2,
        matplotlib) is not installed.

    Examples
    --------
    >>> write_report([], "report.html")
    Traceback (most recent call last):
    ...
    statllm.errors.InputError: a report needs at least one run
    """
    if not runs:
        raise InputError("a report needs at least one run")
    check_packages()
    data = read_runs(runs)
    heading = title or f"Training report: {' and '.join(run.label for run in data)}"
    write_text(render("run.html", _content(data, heading)), path)


def _content(runs: list[RunData], title: str) -> dict[str, Any]:
    """Everything the template needs; text in it is not yet escaped."""
    overlap = [ledger.held_out_overlap(data) for data in runs]
    return {
        "title": title,
        "runs": [_run(place, data) for place, data in enumerate(runs)],
        "summary": summarise(runs, overlap),
        "overlap": overlap,
        "missing": _missing(runs, ""),
        "accuracy": Section(panels.accuracy_panels(runs), _missing(runs, "metrics")),
        "figures": tables.prepare_figures(runs),
        "reliability": Section(panels.reliability_panels(runs), _missing(runs, "evaluation")),
        "entropy": Section(panels.entropy_panels(runs), _missing(runs, "evaluation")),
        "training": Section(panels.curve_panels(runs), _missing(runs, "training")),
        "steps_per_point": panels.steps_per_point(runs),
        "weights": Section(panels.weight_panels(runs), _missing(runs, "pairs")),
        "ledger": ledger.prepare_ledger(runs),
        "ledger_missing": _missing(runs, "ledger"),
        "quality": ledger.prepare_pair_quality(runs),
        "differences": tables.prepare_differences(runs),
        "versions": _versions(runs),
    }


def _run(place: int, data: RunData) -> dict[str, Any]:
    """What the page says of one run."""
    from markupsafe import Markup

    from statllm.report.drawing import plot_swatch, style_of

    recipe, style = data.run.recipe, style_of(place)
    return {
        "label": data.label,
        "swatch": Markup(plot_swatch(style)),
        "colour": style.colour,
        "what": describe_run(data).rstrip(","),
        "key": _key_figures(data),
        "iterations": list(data.iterations),
        "start": data.figure("greedy_accuracy", 0),
        "flow": [tables.prepare_flow(data, k) for k in data.iterations],
        "ranking": run_ranking(data),
        "pairs": examples.prepare_pairs(data),
        "answers": examples.prepare_answers(data),
        "yaml": (data.run.folder / "run.yaml").read_text(encoding="utf-8"),
        "seed": recipe.seed,
        "seeds": [
            (k, *(recipe.derived_seed(k, stage) for stage in ("sample", "select", "train")))
            for k in data.iterations
        ],
        "evaluation_seed": recipe.derived_seed(0, "evaluate"),
        "digests": _digests(data),
        "file": data.label if re.fullmatch(r"[A-Za-z0-9_.-]+", data.label) else f"run-{place + 1}",
    }


def _key_figures(data: RunData) -> dict[str, str] | None:
    """Greedy accuracy before and after, and the gain, ready to be printed large."""
    before, after, gain = (
        data.figure(name, iteration)
        for name, iteration in (
            ("greedy_accuracy", 0),
            ("greedy_accuracy", data.last),
            ("greedy_gain", data.last),
        )
    )
    if before is None or after is None or gain is None:
        return None
    return {
        "before": words.percent(before["value"]),
        "before_interval": words.interval(before),
        "after": words.percent(after["value"]),
        "after_interval": words.interval(after),
        "gain": f"{words.value(gain)} points",
        "gain_interval": words.interval(gain),
        "p": words.p_value(gain["log_p_value"]),
        "n": words.count(after["n"]),
    }


def _missing(runs: Sequence[RunData], artefact: str) -> list[str]:
    """Names of missing files and columns whose name has `artefact` in it."""
    several = len(runs) > 1
    return [
        f"{data.label}: {name}" if several else name
        for data in runs
        for name in data.missing
        if artefact in name
    ]


def _digests(data: RunData) -> list[tuple[str, str]]:
    """File -> SHA-256, in the order of the iterations."""
    top = [
        (name, data.manifest[name])
        for name in ("run.yaml", "metrics.parquet")
        if name in data.manifest
    ]
    return top + sorted(data.manifest.get("artefacts", {}).items())


def _versions(runs: Sequence[RunData]) -> list[tuple[str, str]]:
    """Package -> version; where runs differ, each run's, in their order."""
    every = [data.manifest.get("versions", {}) for data in runs if data.manifest]
    names = dict.fromkeys(name for found in every for name in found)
    return [
        (name, " / ".join(dict.fromkeys(found.get(name, "–") for found in every)))
        for name in sorted(names)
    ]
