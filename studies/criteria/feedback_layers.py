"""Layers of feedback, quotations out of demonstrations, and verdicts by criterion, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from statllm.estimators.proportions import proportion
from statllm.experiment.report import markdown_table
from statllm.scoring.criteria import Truth, claim_layers, evaluate
from statllm.scoring.judges import LAYERS, layered_rates

Known = Mapping[tuple[str, int, str], Truth]
Cell = tuple[str, str, int]


def of_cell(found: pa.Table, cell: Cell) -> pa.Table:
    """The findings of one strategy, granularity and number of demonstrations."""
    strategy, granularity, n_demos = cell
    rows = pc.and_(pc.equal(found["strategy"], strategy), pc.equal(found["n_demos"], n_demos))
    return found.filter(pc.and_(rows, pc.equal(found["granularity"], granularity)))


def layers_page(runs: list[pa.Table], truth: Known, cells: Iterable[Cell], demos: int) -> str:
    """The cascade of layers, the verdicts by criterion, and quotations out of demonstrations."""
    rows, leaks = [], []
    for cell in cells:
        per_seed = [claim_layers(of_cell(found, cell), truth) for found in runs]
        pooled = layered_rates(np.concatenate(per_seed))
        spread = [layered_rates(one) for one in per_seed]
        label = f"{cell[0]}, {cell[1]}" + (f", {cell[2]} demo" if cell[2] != demos else "")
        cellwise = [label, pooled.n_asked[0]]
        for place in range(len(LAYERS)):
            rate = pooled.rates[place]
            values = [one.rates[place].value for one in spread]
            cellwise.append(
                f"{rate.value:.3f} {rate.interval():.3f} of {rate.n}; "
                f"{np.nanmin(values):.2f} to {np.nanmax(values):.2f}"
                if rate.n else "-"
            )  # fmt: skip
        rows.append(cellwise)
        if cell[0] in ("icl", "cricl"):
            claims = [
                row for found in runs for row in of_cell(found, cell).to_pylist()
                if row["met"] is False
            ]  # fmt: skip
            copied = sum(any(row["in_example_only"]) for row in claims)
            rate = proportion(copied, len(claims))
            leaks.append((label, len(claims), f"{rate.value:.3f} {rate.interval():.3f}"))
    parts = [
        "Claims of a violation, layer by layer: the rate among those that passed all before, with "
        "Wilson's 95 % interval over the claims of all seeds, and the range over seeds. Seeds "
        "share the texts, and a text has several claims, so these intervals are too narrow; the "
        "comparisons above are not.",
        markdown_table(["cell", "claims", *LAYERS], rows),
        "**Claims with a quotation that stands in a demonstration only**",
        markdown_table(["cell", "claims", "share"], leaks),
        "**Verdicts by criterion** (crit, aspect; all seeds)",
    ]
    found = pa.concat_tables(
        [
            renamed(of_cell(one, ("crit", "aspect", demos)), seed) for seed, one in enumerate(runs)
        ]
    )  # fmt: skip
    every = {
        (f"{seed}:{task}", place, key): one
        for seed in range(len(runs))
        for (task, place, key), one in truth.items()
    }
    whole = evaluate(found, every)
    parts.append(
        markdown_table(
            ["criterion", "precision", "claims", "recall", "violations", "unread"],
            [
                (
                    one.criterion.split("/")[-1],
                    f"{one.precision.value:.2f} {one.precision.interval():.2f}", one.precision.n,
                    f"{one.recall.value:.2f} {one.recall.interval():.2f}", one.recall.n,
                    one.n_unread,
                )
                for one in (*whole.criteria, whole.overall)
            ],
        )
    )  # fmt: skip
    interval = whole.kappa.interval()
    parts.append(f"Cohen's kappa with the truth: {whole.kappa.value:.3f} {interval:.3f}.")
    return "\n\n".join(parts) + "\n"


def renamed(found: pa.Table, seed: int) -> pa.Table:
    """Texts named by seed, so that seeds can be evaluated together."""
    names = [f"{seed}:{name}" for name in found["text_id"].to_pylist()]
    return found.set_column(0, "text_id", pa.array(names, pa.string()))
