"""Distilled long chains in two stages: do they help, at equal tokens, and what else do they change?

`python studies/distill/study.py` teaches the start to read checked chains, trains the arms with
five seeds, and writes result.md, result.json and result.png (differences of arms), probes.md and
probes.json (paired probes), and tokens.png (accuracy against tokens) into `runs/distill`. `--quick`
does it all on few problems. What is complete isn't done again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the study's other files, also where this one is imported

from distill_answers import (  # noqa: E402
    UNITS,
    answers,
    at_budgets,
    majorities,
    measures,
    mistakes,
    test_sets,
)
from distill_arms import Settings, read_settings, train_arms  # noqa: E402

from statllm.distill import ProbeReport, compare_probe  # noqa: E402
from statllm.errors import InputError  # noqa: E402
from statllm.estimators.passk import curve  # noqa: E402
from statllm.experiment import compare_scores  # noqa: E402
from statllm.experiment.report import markdown_table, write_result  # noqa: E402
from statllm.files import atomic, read_json, write_json, write_text  # noqa: E402
from statllm.generations import Generations  # noqa: E402
from statllm.lab.checking import Course, teach_checking  # noqa: E402
from statllm.report.drawing import new_figure, style_of  # noqa: E402
from statllm.results import format_p  # noqa: E402

START = "start"
COMPARISONS = (
    ("short", START), ("two stages", "short"), ("two stages", "short again"),
    ("two stages", "one stage"), ("two stages", "unverified"),
)  # fmt: skip


def probe_rows(reports: dict[str, list[ProbeReport]]) -> list[dict[str, Any]]:
    """Each arm and probe: flips summed over seeds, and every seed's difference and exact p."""
    rows = []
    for name, of_seeds in reports.items():
        arm, kind = name.split("/")
        for outcome in ("right", "suggested"):
            effects = [effect for r in of_seeds if (effect := getattr(r, outcome)) is not None]
            if effects:
                rows.append(
                    {
                        "arm": arm, "probe": kind, "outcome": effects[0].name,
                        "pairs": sum(e.n_pairs for e in effects),
                        "lost": sum(e.n_lost for e in effects),
                        "gained": sum(e.n_gained for e in effects),
                        "differences": [e.difference.value for e in effects],
                        "log_p": [e.test.log_p_value for e in effects],
                    }
                )  # fmt: skip
    return rows


def page(rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """Probes, the k of each budget and what became of the chains, as Markdown."""
    listed = [
        [row["arm"], row["probe"], row["outcome"], row["pairs"], row["lost"], row["gained"],
         f"{min(row['differences']):+.3f} to {max(row['differences']):+.3f}",
         f"p {format_p(min(row['log_p']))} to {format_p(max(row['log_p']))}"]
        for row in rows
    ]  # fmt: skip
    head = ["arm", "probe", "outcome", "pairs", "lost", "gained", "difference by seed", "McNemar"]
    paid = [[name, *ks.values()] for name, ks in facts["paid"].items()]
    chains = [
        [seed, *(found["right"].get(name, 0) for name in ("kept", "wrong", "cut", "repeated")),
         found["redone"], found["tokens"], found["unverified"]["kept"]]
        for seed, found in facts["chains"].items()
    ]  # fmt: skip
    wrong = [[arm, *counts.values()] for arm, counts in facts["mistakes"].items()]
    return "\n\n".join(
        [
            "**Probes**: pairs of greedy answers to one problem without and with the probe, over "
            "all seeds; lost and gained count pairs; the exact test is of each seed's own.",
            markdown_table(head, listed),
            f"**Samples that a budget pays** (mean tokens of a sample: "
            f"{', '.join(f'{arm} {n:.1f}' for arm, n in facts['cost'].items())})",
            markdown_table(["budget", *facts["cost"]], paid),
            "**What wrong answers are made of**, and steps that were done again (counts)",
            markdown_table(["arm", *next(iter(facts["mistakes"].values()))], wrong),
            "**The teacher's chains** (samples; redone: tries that failed their check)",
            markdown_table(
                ["seed", "kept", "wrong", "cut", "repeated", "redone", "tokens kept",
                 "unverified kept"],
                chains,
            ),
        ]
    ) + "\n"  # fmt: skip


def draw(votes: dict[str, Any], cost: dict[str, float], path: Path) -> None:
    """Draw accuracy of maj@k against the tokens of k samples, with bands over problems."""
    with new_figure(size=(7.0, 4.2)) as (figure, axes):
        for place, (arm, values) in enumerate(votes.items()):
            style = style_of(place)
            ks = np.arange(1, values.shape[2] + 1)
            found = curve(values.mean(axis=0), ks, name=arm)
            x = ks * cost[arm]
            axes.fill_between(x, found.low, found.high, color=style.colour, alpha=0.12, lw=0)
            axes.plot(x, found.value, color=style.colour, marker=style.marker, markersize=4,
                      linestyle=style.line, label=arm)  # fmt: skip
        axes.set_xscale("log", base=2)
        ticks = [16, 32, 64, 128, 256, 512]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlim(0.8 * min(cost.values()), 1.2 * max(cost.values()) * max(ks))
        axes.set_xlabel("tokens of k samples, mean")
        axes.set_ylabel("share right by majority of k, 95 % band over problems")
        axes.legend(frameon=False, fontsize=8)
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")


def report(
    settings: Settings, folder: Path, found: dict[str, list[dict[str, Generations]]]
) -> None:
    """Compare the arms, and write everything."""
    scores: dict[str, dict[str, Any]] = {name: {} for name in UNITS}
    votes, cost, reports = {}, {}, {}
    for arm, of_seeds in found.items():
        each = [measures(one) for one in of_seeds]
        for name in UNITS:
            scores[name][arm] = np.stack([one[name] for one in each])
        votes[arm] = np.stack([majorities(one, settings.samples) for one in of_seeds])
        lengths = [one["samples"].column("n_tokens").to_pylist() for one in of_seeds]
        cost[arm] = float(np.mean(np.array(lengths)))
        for kind in ("misled", "irrelevant", "reworded", "renamed"):
            reports[f"{arm}/{kind}"] = [compare_probe(o["plain"], o[kind]) for o in of_seeds]
    budgeted, paid = at_budgets(votes, cost, settings.budgets)
    units = {**UNITS, **dict.fromkeys(budgeted, "share of problems")}
    result = compare_scores(
        {**scores, **budgeted}, COMPARISONS, units, name="distill", seeds=settings.seeds
    )
    write_result(result, folder)
    chains = {seed: read_json(folder / f"seed_{seed}" / "chains.json") for seed in settings.seeds}
    wrong = {arm: mistakes(of_seeds) for arm, of_seeds in found.items()}
    facts = {"cost": cost, "paid": paid, "chains": chains, "mistakes": wrong}
    rows = probe_rows(reports)
    write_json({"probes": rows, **facts}, folder / "probes.json")
    write_text(page(rows, facts), folder / "probes.md")
    draw(votes, cost, folder / "tokens.png")
    for name in ("result.md", "probes.md"):
        print((folder / name).read_text(encoding="utf-8"))


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Two seeds, few problems.")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/distill"))
    parser.add_argument("--only-seed", type=int, help="Train and ask this one, without a report.")
    options = parser.parse_args()
    settings, folder = read_settings(HERE / "lab.yaml", options.quick), options.output
    record, wanted = folder / "settings.json", settings.model_dump(mode="json")
    if record.is_file() and read_json(record) != wanted:
        raise InputError(f"{folder} holds a study with other settings: choose another folder")
    write_json(wanted, record)
    base = folder / "base"
    if not base.is_dir():
        teach_checking(base, 0, Course(**settings.course))
    sets = test_sets(settings)
    found: dict[str, list[dict[str, Generations]]] = {
        START: [answers(base, sets, settings.samples, folder / "answers" / START)]
    }
    seeds = settings.seeds if options.only_seed is None else (options.only_seed,)
    for seed in seeds:
        own = folder / f"seed_{seed}"
        for arm, model in train_arms(settings, base, own, seed).items():
            asked = answers(model, sets, settings.samples, own / f"{arm} answers")
            found.setdefault(arm, []).append(asked)
            print(f"seed {seed}, {arm}: done", flush=True)
    if options.only_seed is None:
        report(settings, folder, found)


if __name__ == "__main__":
    main()
