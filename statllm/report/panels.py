"""Figures with their captions: numbers prepared, drawn, and said in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.report import plots, words
from statllm.report.artefacts import RunData
from statllm.report.drawing import START, Style, style_of
from statllm.report.prepare import (
    Reliability,
    entropy_edges,
    prepare_course,
    prepare_curve,
    prepare_histogram,
    prepare_reliability,
    weight_edges,
)


@dataclass(frozen=True)
class Panel:
    """A figure as the page shows it.

    Attributes
    ----------
    title, caption : str
        Plain text; the page escapes it.
    svg : str
        From `plots`; empty where words say it all.
    header, rows : list
        The same numbers as a table, if the figure has one.
    """

    title: str
    svg: str
    caption: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of the page with figures: its panels, and what is missing from it."""

    panels: list[Panel]
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Model:
    """A model whose evaluation is shown: before a run, or after its last iteration."""

    title: str
    data: RunData
    iteration: int
    style: Style


def shown_models(runs: Sequence[RunData]) -> list[Model]:
    """Return the starting models (one, where the runs share it) and the final ones."""
    if shared_start(runs):
        found = [Model("Starting model", runs[0], 0, START)]
    else:
        found = [Model(f"Starting model of {data.label}", data, 0, START) for data in runs]
    for place, data in enumerate(runs):
        title = f"{data.label}, after iteration {data.last}"
        found.append(Model(title, data, data.last, style_of(place)))
    return found


def shared_start(runs: Sequence[RunData]) -> bool:
    """Whether all runs start from models that answer the evaluation in the same way."""
    tables = [data.tables.get(("evaluation", 0)) for data in runs]
    return all(table is not None and table.equals(tables[0]) for table in tables)


def accuracy_panels(runs: Sequence[RunData]) -> list[Panel]:
    """Greedy and majority accuracy over the iterations, on one scale."""
    found = []
    for name in ("greedy_accuracy", "majority"):
        courses = {place: prepare_course(data.metrics, name) for place, data in enumerate(runs)}
        known = {place: course for place, course in courses.items() if course is not None}
        if known:
            found.append((name, known))
    lowest = min((float(c.low.min()) for _, known in found for c in known.values()), default=0.0)
    panels = []
    for name, known in found:
        row = next(r for d in runs for r in d.metrics if r["name"].split("@")[0] == name)
        title = words.figure_name(row["name"])
        caption = (
            f"95{words.NARROW}% {words.interval_method(row)} intervals; "
            f"{words.count(row['n'])} problems."
        )
        svg = plots.plot_courses(known, lowest, f"accuracy-{name}", f"{title}, by iteration")
        panels.append(Panel(title, svg, caption))
    return panels


def reliability_panels(runs: Sequence[RunData]) -> list[Panel]:
    """Accuracy of the majority answer by its share of the votes."""
    panels = []
    for number, model in enumerate(shown_models(runs)):
        table = model.data.table(
            "evaluation", model.iteration, "vote_share", "majority_correct", "n_samples"
        )
        if table is None:
            continue
        k = _n_votes(table)
        bins = prepare_reliability(
            _floats(table, "vote_share"), _floats(table, "majority_correct"), k
        )
        svg = plots.plot_reliability(
            bins, model.style, f"reliability-{number}", f"{model.title}: accuracy by vote share"
        )
        panels.append(
            Panel(
                model.title,
                svg,
                _reliability_caption(model, bins),
                ("mean share", "problems", "right", "accuracy", f"95{words.NARROW}% interval"),
                _reliability_rows(bins),
            )
        )
    return panels


def _reliability_caption(model: Model, bins: Reliability) -> str:
    row = model.data.figure("auroc_vote_share", model.iteration)
    if not model.data.metrics:
        text = "AUROC not known."
    elif row is None:
        text = "AUROC not defined: all majority answers are right, or all are wrong."
    else:
        text = f"AUROC {words.value(row)} {words.interval(row)}, n = {words.count(row['n'])}."
    if bins.n_unknown:
        text += f" {words.count(bins.n_unknown)} problems without a vote are not drawn."
    return text


def _reliability_rows(bins: Reliability) -> tuple[tuple[str, ...], ...]:
    rows = []
    for i in np.flatnonzero(bins.count):
        rows.append(
            (
                f"{bins.share[i]:.3f}",
                words.count(int(bins.count[i])),
                f"{bins.correct[i]:,g}",
                words.percent(float(bins.accuracy[i])),
                f"[{100 * bins.low[i]:.1f}, {100 * bins.high[i]:.1f}]",
            )
        )
    return tuple(rows)


def entropy_panels(runs: Sequence[RunData]) -> list[Panel]:
    """Histogram of the vote entropy of every run's last model, over that of its first."""
    found = []
    for place, data in enumerate(runs):
        first, last = (
            data.table("evaluation", k, "vote_entropy", "n_samples") for k in (0, data.last)
        )
        if first is not None and last is not None:
            found.append((place, data, (first, last)))
    tables = [table for *_, both in found for table in both]
    values = [_floats(table, "vote_entropy") for table in tables]
    k = max((_n_votes(table) for table in tables), default=2)
    edges = entropy_edges(values, k)
    histograms = [prepare_histogram(entropy, edges) for entropy in values]
    top = max((float(histogram.share.max()) for histogram in histograms), default=1.0)
    panels = []
    pairs = zip(histograms[::2], histograms[1::2], strict=True)
    for (place, data, _), (before, after) in zip(found, pairs, strict=True):
        title = f"{data.label}, after iteration {data.last}"
        svg = plots.plot_histograms(
            after, style_of(place), before, top, "vote entropy (nats)", "problems",
            f"entropy-{place}", f"{title}: histogram of vote entropy over that of the start",
        )  # fmt: skip
        means = [data.figure("vote_entropy", k) for k in (0, data.last)]
        texts = [f"{words.value(m)} {words.interval(m)}" for m in means if m is not None]
        caption = f"Mean {' → '.join(texts)} nats. " if len(texts) == 2 else ""
        caption += f"Estimator: {data.run.recipe.scoring.entropy}."
        if before.n_unknown or after.n_unknown:
            caption += (
                f" Without a vote, and not drawn: {words.count(before.n_unknown)} problems "
                f"before, {words.count(after.n_unknown)} after."
            )
        panels.append(Panel(title, svg, caption))
    return panels


#: Column of training.parquet -> title, label of the axis, column drawn fainter beside it.
_CURVES: tuple[tuple[str, str, str, str | None], ...] = (
    ("loss", "Loss", "loss", None),
    ("margin", "Margin", "margin (nats)", None),
    ("logp_chosen", "Log-probability of responses", "nats per response", "logp_rejected"),
    ("accuracy", "Pairs in the right order", "% of pairs", None),
)

_CURVE_CAPTIONS = {
    "loss": "The training loss; its scale depends on the method, so compare its course only.",
    "margin": "How much more than the reference model the trained one prefers the chosen "
    "response: difference of log-probability ratios.",
    "logp_chosen": "Thick: chosen responses. Thin: rejected ones. A good training parts them "
    "without losing the chosen ones.",
    "accuracy": "Pairs whose margin is positive; one half is chance.",
}


def curve_panels(runs: Sequence[RunData]) -> list[Panel]:
    """Training curves, the iterations side by side."""
    n_iterations = max(data.last for data in runs)
    panels = []
    for column, title, ylabel, beside in _CURVES:
        scale = 100.0 if column == "accuracy" else 1.0
        curves = []
        for name, kind in ((column, "main"), (beside, "light")):
            for place, data in enumerate(runs):
                for iteration in data.iterations:
                    table = None if name is None else data.table("training", iteration, name)
                    if name is not None and table is not None and table.num_rows:
                        curve = prepare_curve(scale * _floats(table, name))
                        curves.append((place, iteration, curve, kind))
        if curves:
            svg = plots.plot_curves(
                curves, n_iterations, ylabel, f"curve-{column}", f"{title} during training"
            )
            panels.append(Panel(title, svg, _CURVE_CAPTIONS[column]))
    return panels


def steps_per_point(runs: Sequence[RunData]) -> int:
    """Return the largest number of optimizer steps that a point of a curve stands for."""
    lengths = [
        table.num_rows
        for data in runs
        for (name, _), table in data.tables.items()
        if name == "training"
    ]
    return max((prepare_curve(np.zeros(n)).block for n in lengths), default=1)


def weight_panels(runs: Sequence[RunData]) -> list[Panel]:
    """Histogram of the pairs' weights; where all are equal, a sentence."""
    found = []
    for place, data in enumerate(runs):
        for iteration in data.iterations:
            table = data.table("pairs", iteration, "weight")
            if table is not None and table.num_rows:
                found.append((place, data, iteration, _floats(table, "weight")))
    k = max((data.run.recipe.iteration(i).sampling.n for _, data, i, _ in found), default=1)
    edges = weight_edges([weights for *_, weights in found], k)
    panels = []
    for place, data, iteration, weights in found:
        title = f"{data.label}, iteration {iteration}"
        if np.ptp(weights) == 0:
            text = f"All {words.count(len(weights))} pairs weigh {weights[0]:g}."
            panels.append(Panel(title, "", text))
            continue
        svg = plots.plot_histograms(
            prepare_histogram(weights, edges), style_of(place), None, None, "weight", "pairs",
            f"weights-{place}-{iteration}", f"{title}: histogram of the pairs' weights",
        )  # fmt: skip
        caption = f"Mean {weights.mean():.3f}; {words.count(len(weights))} pairs."
        panels.append(Panel(title, svg, caption))
    return panels


def _n_votes(table: pa.Table) -> int:
    """The largest number of samples of a problem."""
    return int(np.max(table["n_samples"].to_numpy(), initial=1))


def _floats(table: pa.Table, name: str) -> Any:
    """A column as float64, null as NaN."""
    return table[name].cast(pa.float64()).to_numpy()
