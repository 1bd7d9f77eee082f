"""Findings of all seeds as scores of (seeds, tasks), and the tables of the study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from feedback_layers import Cell, Known, layers_page, of_cell
from numpy.typing import NDArray

from statllm.estimators.proportions import proportion
from statllm.experiment.report import markdown_table, write_result
from statllm.experiment.scores import compare_scores
from statllm.files import write_json, write_text
from statllm.generations import Generations
from statllm.scoring.criteria import (
    GRANULARITIES,
    STRATEGIES,
    criteria_rewards,
)
from statllm.selection import RipSettings, rip

Array = NDArray[np.float64]

#: The first measure decides. All but the second and the last are shares of the violations that
#: there are, so that nothing is lost from the denominator.
UNITS = {
    "helpful": "share of violations",
    "right verdicts": "share of verdicts",
    "found": "share of violations",
    "quoted": "share of violations",
    "right fix": "share of violations",
    "contextual claims": "share of claims",
}
STRATEGY_CONTRASTS = (
    ("with criteria", "without criteria"),
    ("with demos", "without demos"),
    ("both or neither", "one of them"),
    ("crit", "base"),
    ("icl", "base"),
    ("cricl", "crit"),
)


def measures(found: pa.Table, truth: Known) -> dict[str, dict[str, float]]:
    """Return each measure of one seed and cell, by task; see `UNITS`."""
    sums: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in found.to_pylist():
        known = truth[row["text_id"], row["text_place"], row["criterion"]]
        claim = row["met"] is False
        quoted = any(row["in_text"])
        said = row["met"] is not None or row["reason"] == "not_applicable"
        mine = sums[row["text_id"]]
        mine["right verdicts"].append(float(said and row["met"] == known.met))
        if known.met is False:
            layers = np.cumprod(
                [claim, quoted, row["fix"].casefold() == known.fix.casefold(), bool(row["helpful"])]
            )
            for name, value in zip(
                ("found", "quoted", "right fix", "helpful"), layers, strict=True
            ):
                mine[name].append(float(value))
        if claim:
            mine["contextual claims"].append(float(quoted))
    return {
        measure: {
            task: float(np.mean(mine[measure])) if mine[measure] else float("nan")
            for task, mine in sums.items()
        }
        for measure in UNITS
    }


def scores(
    runs: list[pa.Table], truth: Known, cells: Iterable[Cell]
) -> dict[Cell, dict[str, Array]]:
    """Return the measures of every cell, each (seeds, tasks), tasks in one order."""
    tasks = sorted({task for task, _, _ in truth})
    made: dict[Cell, dict[str, Array]] = {}
    for cell in cells:
        seeds = [measures(of_cell(found, cell), truth) for found in runs]
        made[cell] = {
            name: np.array([[seed[name][task] for task in tasks] for seed in seeds])
            for name in UNITS
        }
    return made


def strategy_arms(table: Mapping[Cell, Mapping[str, Array]], demos: int) -> dict[str, Any]:
    """Each strategy averaged over the granularities, and the halves of the 2 x 2 design."""
    arms: dict[str, dict[str, Array]] = {}
    for name in UNITS:
        own = {s: mean([table[s, g, demos][name] for g in GRANULARITIES]) for s in STRATEGIES}
        arms[name] = {
            **own,
            "with criteria": mean([own["crit"], own["cricl"]]),
            "without criteria": mean([own["base"], own["icl"]]),
            "with demos": mean([own["icl"], own["cricl"]]),
            "without demos": mean([own["base"], own["crit"]]),
            "both or neither": mean([own["base"], own["cricl"]]),
            "one of them": mean([own["crit"], own["icl"]]),
        }
    return arms


def mean(parts: list[Array]) -> Array:
    """The mean of arrays, NaN where a part is."""
    found: Array = np.mean(parts, axis=0)
    return found


def choices(
    runs: list[pa.Table], quality: Mapping[str, Array], granularity: str, demos: int
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Best of n by the pass vector against a text at random: true quality, (seeds, tasks).

    Ties are averaged over; a text without a reward isn't chosen, and where none has one the choice
    is at random. Also what RIP's pairs of best and worst are worth.
    """
    tasks = sorted(quality)
    arms = {
        "random": np.array([[quality[task].mean() for task in tasks]]),
        "best there is": np.array([[quality[task].max() for task in tasks]]),
    }
    pairs: dict[str, Any] = {}
    texts = pa.table(
        {
            "prompt_id": tasks,
            "prompt": tasks,
            "response": [[f"{t}/{j}" for j in range(len(quality[t]))] for t in tasks],
        }
    )
    for strategy in STRATEGIES:
        rows, better, equal, total = [], 0, 0, 0
        for found in runs:
            mine = of_cell(found, (strategy, granularity, demos))
            rated = criteria_rewards(Generations(texts), mine, not_applicable="met")
            rewards = rated.column("reward").to_pylist()
            rows.append(
                [chosen(reward, quality[t]) for reward, t in zip(rewards, tasks, strict=True)]
            )
            for pair in rip(rated, RipSettings(missing="drop")).pairs.to_pylist():
                true = quality[pair["prompt_id"]]
                gap = true[pair["chosen_index"]] - true[pair["rejected_index"]]
                better, equal, total = better + (gap > 0), equal + (gap == 0), total + 1
        arms[strategy] = np.array(rows)
        pairs[strategy] = {
            "pairs per seed": total / len(runs),
            "chosen truly better": proportion(better, total),
            "equally good": proportion(equal, total),
        }
    return arms, pairs


def chosen(rewards: list[float | None], quality: Array) -> float:
    """True quality of the text with the highest reward."""
    known = np.array([-np.inf if reward is None else reward for reward in rewards])
    return float(quality[known == known.max()].mean())


def write_tables(
    runs: list[pa.Table],
    truth: Known,
    quality: Mapping[str, Array],
    settings: Mapping[str, Any],
    folder: Path,
) -> None:
    """Write result, granularity, length and selection (.md, .json, .png) and layers.md."""
    demos = settings["demos"]
    main = [(s, g, demos) for s in STRATEGIES for g in GRANULARITIES]
    short = [("icl", "aspect", 1), ("cricl", "aspect", 1)]
    table = scores(runs, truth, [*main, *short])
    seeds = settings["seeds"]

    def compared(arms: Any, contrasts: Any, units: Any, stem: str) -> None:
        found = compare_scores(arms, contrasts, units, name=f"criteria, {stem}", seeds=seeds)
        write_result(found, folder, stem=stem)

    compared(strategy_arms(table, demos), STRATEGY_CONTRASTS, UNITS, "result")
    by_scope = {
        name: {g: mean([table[s, g, demos][name] for s in STRATEGIES]) for g in GRANULARITIES}
        for name in UNITS
    }
    compared(by_scope, (("aspect", "all"), ("criterion", "all")), UNITS, "granularity")
    by_length = {
        name: {
            **{f"{s}, {demos} demos": table[s, "aspect", demos][name] for s in ("icl", "cricl")},
            **{f"{s}, 1 demo": table[s, "aspect", 1][name] for s in ("icl", "cricl")},
        }
        for name in UNITS
    }
    pairs_of_length = tuple((f"{s}, {demos} demos", f"{s}, 1 demo") for s in ("icl", "cricl"))
    compared(by_length, pairs_of_length, UNITS, "length")
    arms, pairs = choices(runs, quality, settings["selection"], demos)
    against = [(s, "random") for s in STRATEGIES] + [("crit", "base"), ("cricl", "crit")]
    measure = "criteria kept by the chosen text"
    compared({measure: arms}, against, {measure: "share of criteria"}, "selection")
    rows = [
        (s, f"{one['pairs per seed']:.1f}",
         *(f"{one[n].value:.3f} {one[n].interval():.3f}"
           for n in ("chosen truly better", "equally good")))
        for s, one in pairs.items()
    ]  # fmt: skip
    text = (folder / "selection.md").read_text(encoding="utf-8")
    text += "\n**Pairs of best and worst by the reward (RIP without bounds)**\n\n" + markdown_table(
        ["strategy", "pairs per seed", "chosen truly better", "equally good"], rows
    )
    write_text(text + "\n", folder / "selection.md")
    write_text(layers_page(runs, truth, [*main, *short], demos), folder / "layers.md")
    cells = {
        "/".join(map(str, cell)): {name: np.nanmean(values, axis=1).tolist()
                                   for name, values in found.items()}
        for cell, found in table.items()
    }  # fmt: skip
    write_json(
        {"settings": dict(settings), "cells, mean of each seed": cells}, folder / "cells.json"
    )
