"""TPO on the lab's problems: does it pay to think first, if only the answer is judged?

`python studies/tpo/study.py` teaches the lab's model to work before "####" and to speak after it,
trains the arms of lab.yaml with five seeds, and writes result.* (accuracy), words.* (length of
what is shown), thoughts.* (length of what isn't, and parse failures), compute.* (one answer with
thoughts against four without) and selection.md (what length control did). `--quick` does it all
with two seeds on few problems.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.estimators.comparison import mean_estimate
from statllm.experiment import Experiment, compare_scores, run_study
from statllm.experiment.report import markdown_table, write_result
from statllm.experiment.run import open_run
from statllm.files import read_parquet, write_parquet, write_text
from statllm.generations import Generations
from statllm.lab import problems
from statllm.lab.thinker import MARKER, teach
from statllm.recipe import merge
from statllm.selection import TpoSettings, tpo

HERE = Path(__file__).parent
THOUGHTS = HERE / "thoughts.yaml"
POOL, TEST = 800, 400  # problems of each iteration to draw from, and held-out ones
LESSONS, QUICK_LESSONS = 200, 2  # steps that teach the start to speak
START, START_DIRECT = "start", "start, direct"
THINKERS = ("thought", "no length control", "failures dropped", "random pairs")
Scores = dict[str, dict[str, Any]]


def with_marker(table: pa.Table) -> pa.Table:
    """Prompts after which the response follows at once."""
    prompts = pa.array([f"{prompt}{MARKER}" for prompt in table["prompt"].to_pylist()])
    return table.set_column(table.column_names.index("prompt"), "prompt", prompts)


def prepare(experiment: Experiment, folder: Path) -> Experiment:
    """Make the start and the problems, and say where they are."""
    place = folder.resolve()
    start = place / "start"
    if not start.is_dir():
        teach(start, QUICK_LESSONS if experiment.is_quick else LESSONS)
    both = problems("train", 2 * POOL, 0)
    tables = {"train_1": both.slice(0, POOL), "train_2": both.slice(POOL)}
    tables["test"] = problems("test", TEST, 0)
    for name, table in tables.items():
        write_parquet(table, place / f"{name}.parquet")
        write_parquet(with_marker(table), place / f"{name}_direct.parquet")

    def sources(suffix: str) -> dict[str, Any]:
        def file(name: str) -> dict[str, str]:
            return {"source": str(place / f"{name}{suffix}.parquet")}

        second = merge(experiment.base["iterations"][1], {"problems": file("train_2")})
        return {
            "problems": file("train_1"),
            "evaluation": {"problems": file("test")},
            "iterations": [{}, second],
        }

    base = merge(experiment.base, {"model": str(start), "thoughts": str(THOUGHTS), **sources("")})
    direct = merge(experiment.arms["direct"], {"thoughts": None, **sources("_direct")})
    changes = {"base": base, "arms": {**experiment.arms, "direct": direct}}
    return experiment.model_copy(update=changes)


def evaluations(experiment: Experiment, folder: Path) -> dict[str, list[pa.Table]]:
    """Tables of each arm's seeds after the last iteration, and of the two starts."""
    last = len(experiment.base["iterations"])
    wanted = {arm: (arm, last) for arm in experiment.arms}
    wanted |= {START: ("thought", 0), START_DIRECT: ("direct", 0)}
    return {
        name: [
            read_parquet(open_run(folder, arm, seed).path(k, "evaluation.parquet"))
            .sort_by("prompt_id")
            for seed in experiment.seeds
        ]
        for name, (arm, k) in wanted.items()
    }  # fmt: skip


def shown_words(response: str, direct: bool) -> float:
    """Words of the part that is shown; without a marker nothing is."""
    if direct:
        return float(len(response.split()))
    return float(len(response.partition(MARKER)[2].split()) or np.nan)


def measured(tables: dict[str, list[pa.Table]]) -> dict[str, Scores]:
    """Scores by file: measure, arm, (seeds, problems)."""

    def stacked(name: str, arms: Any) -> dict[str, Any]:
        return {
            arm: np.stack([table[name].cast(pa.float64()).to_numpy() for table in tables[arm]])
            for arm in arms
        }

    words = {
        arm: np.array(
            [
                [
                    shown_words(text, "direct" in arm or arm == "visible")
                    for text in t["greedy_response"].to_pylist()
                ]
                for t in of_arm
            ]
        )
        for arm, of_arm in tables.items()
    }
    greedy = stacked("greedy_correct", ("thought", START, START_DIRECT))
    many = stacked("majority_correct", ("direct",))["direct"]
    thinking = (*THINKERS, START)
    return {
        "words": {"words": words},
        "thoughts": {
            "parse_failures": stacked("parse_failures", thinking),
            "thought_tokens": stacked("thought_tokens", thinking),
        },
        "compute": {"right": {**greedy, "direct, majority of 4": many}},
    }


#: Comparisons of each file; fixed before the study was run.
COMPARISONS = {
    "words": [
        ("thought", START), ("no length control", START), ("thought", "no length control"),
        ("direct", START_DIRECT),
    ],
    "thoughts": [
        ("thought", START), ("thought", "failures dropped"), ("failures dropped", START),
        ("random pairs", START),
    ],
    "compute": [("thought", "direct, majority of 4"), (START, START_DIRECT)],
}  # fmt: skip
UNITS = {
    "words": "words", "parse_failures": "share of samples", "thought_tokens": "tokens",
    "right": "share of problems",
}  # fmt: skip


def chosen_prices(experiment: Experiment, folder: Path) -> str:
    """What length control did in each iteration, and what became of failures, as Markdown."""
    rows = []
    for arm in ("thought", "direct", "visible", "no length control", "failures dropped"):
        for k in (1, 2):
            found = []
            for seed in experiment.seeds:
                run = open_run(folder, arm, seed)
                settings = run.recipe.iteration(k).selection.resolved()
                assert isinstance(settings, TpoSettings)
                found.append(tpo(Generations.read(run.scores(k)), settings))
            prices = [selection.thresholds["rho"] for selection in found]
            gaps = mean_estimate([s.thresholds["length_difference"] for s in found])
            kept = [selection.counts()["kept"] for selection in found]
            rejects = [selection.thresholds["failure_share"] for selection in found]
            rows.append(
                [arm, k, f"{np.mean(kept):.0f}", f"{min(prices):.2f} to {max(prices):.2f}",
                 f"{gaps.value:+.2f} {gaps.interval(0.95):.2f}", f"{np.mean(rejects):.3f}"]
            )  # fmt: skip
    head = [
        "arm", "iteration", "pairs per seed", "rho over seeds",
        "chosen - rejected, words [95 % over seeds]", "pairs that reject a failure",
    ]  # fmt: skip
    return markdown_table(head, rows) + "\n"


def main() -> None:
    """Run the study."""
    experiment, folder = run_study(HERE / "lab.yaml", __doc__, prepare)
    for name, scores in measured(evaluations(experiment, folder)).items():
        found = compare_scores(
            scores, COMPARISONS[name], UNITS, name=f"tpo, {name}", seeds=experiment.seeds
        )
        write_result(found, folder, stem=name)
    write_text(chosen_prices(experiment, folder), folder / "selection.md")
    for name in ("result", "words", "thoughts", "compute", "selection"):
        print((folder / f"{name}.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
