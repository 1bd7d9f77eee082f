"""What one trained model does: `python studies/criteria/one_model.py runs/criteria/seed_0`.

Errors are over tasks alone: they say how these figures would come out on other tasks with this very
model, and nothing about a model trained again. Not the study's result.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from feedback_layers import layers_page
from feedback_tables import STRATEGY_CONTRASTS, UNITS, choices, scores, strategy_arms
from study import Task, cells, make_tasks

from statllm.estimators.comparison import mean_estimate
from statllm.experiment.report import markdown_table
from statllm.files import read_parquet, write_text
from statllm.scoring.criteria import GRANULARITIES, STRATEGIES


def interval(values: Any) -> str:
    """A mean over tasks with its 95 % interval (t)."""
    known = np.asarray(values, dtype=float).ravel()
    known = known[np.isfinite(known)]
    found = mean_estimate(known)
    return f"{found.value:+.3f} {found.interval(0.95):.3f}"


def page(found: pa.Table, tasks: list[Task], settings: dict[str, Any]) -> str:
    """Levels of every cell, differences between strategies, length, and choices."""
    demos = settings["demos"]
    truth = {place: one for task in tasks for place, one in task.truth().items()}
    table = scores([found], truth, cells(demos))
    parts = ["**Means of the cells**"]
    rows = [
        (s, g, n, *(f"{np.nanmean(values[m]):.3f}" for m in UNITS))
        for (s, g, n), values in table.items()
    ]
    head = ["strategy", "granularity", "demos per aspect", *UNITS]
    parts.append(markdown_table(head, rows))
    arms = strategy_arms(table, demos)
    parts.append("**Differences between strategies** (mean of three granularities)")
    parts.append(
        markdown_table(
            ["comparison", *UNITS],
            [
                (f"{a} - {b}", *(interval(arms[m][a] - arms[m][b]) for m in UNITS))
                for a, b in STRATEGY_CONTRASTS
            ],
        )
    )
    others = [
        (
            f"{g} - all (mean of strategies)",
            *(
                interval(np.mean([table[s, g, demos][m] - table[s, "all", demos][m]
                                  for s in STRATEGIES], axis=0))
                for m in UNITS
            ),
        )
        for g in GRANULARITIES[1:]
    ] + [
        (
            f"{s}, {demos} demos - 1 demo (by aspect)",
            *(interval(table[s, "aspect", demos][m] - table[s, "aspect", 1][m]) for m in UNITS),
        )
        for s in ("icl", "cricl")
    ]  # fmt: skip
    parts.append("**Granularity and length**")
    parts.append(markdown_table(["comparison", *UNITS], others))
    quality = {task.name: task.quality() for task in tasks}
    picks, pairs = choices([found], quality, settings["selection"], demos)
    parts.append("**Best of the texts by the pass vector: criteria kept by the chosen one**")
    parts.append(
        markdown_table(
            ["chosen by", "mean", "against random", "pairs", "chosen truly better"],
            [
                (
                    name, f"{values.mean():.3f}", interval(values - picks["random"]),
                    *(
                        (f"{pairs[name]['pairs per seed']:.0f}",
                         f"{pairs[name]['chosen truly better'].value:.3f} "
                         f"{pairs[name]['chosen truly better'].interval():.3f}")
                        if name in pairs else ("-", "-")
                    ),
                )
                for name, values in picks.items() if name != "random"
            ],
        )
    )  # fmt: skip
    parts.append(layers_page([found], truth, cells(demos), demos))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Read one seed's findings, write one_model.md beside them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="Of one seed.")
    folder: Path = parser.parse_args().folder
    settings = yaml.safe_load((Path(__file__).parent / "lab.yaml").read_text(encoding="utf-8"))
    tasks = make_tasks(settings["tasks"], settings["candidates"])
    text = page(read_parquet(folder / "findings.parquet"), tasks, settings)
    write_text(text, folder / "one_model.md")
    print(text)


if __name__ == "__main__":
    main()
