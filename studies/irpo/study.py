"""IRPO in the lab: accuracy of its arms, and what training does to the responses it prefers.

`python studies/irpo/study.py` trains the arms of lab.yaml and one with gold chains with five seeds,
and writes result.md,
result.json, result.png (differences of accuracy) and logps.md, logps.json, logps.png (the
log-probability of chosen and rejected responses over training) and steps.md (which number of steps
was chosen). `--quick` does it all with two
seeds on few problems.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm.estimators.comparison import TEstimate, mean_estimate, t_test
from statllm.experiment import Comparison, Experiment, run_study
from statllm.experiment.report import markdown_table
from statllm.experiment.run import open_run
from statllm.files import atomic, read_parquet, write_json, write_parquet, write_text
from statllm.lab import problems
from statllm.lab.world import careful_solution, generate
from statllm.results import format_p

HERE = Path(__file__).parent
ARMS = ("irpo", "dpo", "sft on chosen")
SIDES = ("chosen", "rejected")
LAST = 0.25  # share of the steps that the table is about
Array = NDArray[np.float64]


def gold_chains(experiment: Experiment, folder: Path) -> Experiment:
    """Add an arm whose right responses include a careful solution of each problem.

    Its problems are those of the other arms; the solution is the last of the right ones, so a pair
    has it where K is larger than the number of right samples.
    """
    n = experiment.base["problems"]["n"]
    for seed in experiment.seeds:
        table = problems("train", n, seed)
        solved = [careful_solution(problem) for problem, _ in zip(
            generate("train", seed), range(n), strict=False
        )]  # fmt: skip
        write_parquet(
            table.append_column("gold_response", pa.array(solved)), folder / f"gold-{seed}.parquet"
        )
    arm = {
        "problems": {"source": str(folder.resolve() / "gold-{seed}.parquet")},
        "selection": {"settings": {"gold": "last"}},
    }
    comparison = Comparison(
        arm="gold chains",
        against="irpo",
        against_iteration=1,
        claim="written solutions among the right ones help",
    )
    return experiment.model_copy(
        update={
            "arms": {**experiment.arms, "gold chains": arm},
            "comparisons": (*experiment.comparisons, comparison),
        }
    )


def tried_steps(experiment: Experiment, folder: Path) -> str:
    """Accuracy on the held-out problems after so many steps, and how often it was chosen."""
    tables = [
        read_parquet(open_run(folder, "chosen step", seed).path(1, "steps.parquet")).to_pylist()
        for seed in experiment.seeds
    ]
    rows = []
    for tried in zip(*tables, strict=True):
        values = [row["value"] for row in tried]
        rows.append(
            (
                tried[0]["step"],
                f"{np.mean(values):.3f}",
                f"{mean_estimate(values).interval(0.95):.3f}",
                sum(row["chosen"] for row in tried),
            )
        )
    n = len(tables)
    heads = ("steps", "held-out accuracy", f"interval over {n} seeds", "chosen (seeds)")
    return markdown_table(heads, rows)


def curves(experiment: Experiment, folder: Path) -> dict[tuple[str, str], Array]:
    """Change of the log-probability since the start: (arm, side) -> (seeds, steps), in nats.

    A step's figure is the mean over its batch, of the model before that step. The three arms
    have the same batches; the reference's figure on a batch follows from DPO's rewards.
    """
    found: dict[tuple[str, str], list[Array]] = {(a, s): [] for a in ARMS for s in SIDES}
    for seed in experiment.seeds:
        tables = {
            arm: read_parquet(open_run(folder, arm, seed).path(1, "training.parquet"))
            for arm in ARMS
        }
        beta = experiment.recipe("dpo", seed).training.beta
        for side in SIDES:
            columns = {arm: _numbers(table, f"logp_{side}") for arm, table in tables.items()}
            reference = columns["dpo"] - _numbers(tables["dpo"], f"reward_{side}") / beta
            for arm, values in columns.items():
                if abs(values[0] - reference[0]) > 1e-3:
                    raise ValueError(f"{arm}, seed {seed}: its first batch is not that of dpo")
                found[arm, side].append(values - reference)
    return {key: np.stack(values) for key, values in found.items()}


def _numbers(table: Any, column: str) -> Array:
    values: Array = table[column].cast("float64").to_numpy()
    return values


def at_the_end(changes: dict[tuple[str, str], Array]) -> dict[str, TEstimate]:
    """Mean change over the last quarter of the steps, over seeds; and the arms' differences."""
    last = {
        key: values[:, -max(1, round(LAST * values.shape[1])) :].mean(axis=1)
        for key, values in changes.items()
    }
    found = {f"{arm}, {side}": mean_estimate(x) for (arm, side), x in last.items()}
    for other in ARMS[1:]:
        for side in SIDES:
            gap = last["irpo", side] - last[other, side]
            found[f"irpo - {other}, {side}"] = mean_estimate(gap)
    return found


def page(found: dict[str, TEstimate], n_seeds: int, n_steps: int) -> str:
    """The table as Markdown."""
    about = (
        f"Log-probability of a whole response minus its log-probability before training (nats), "
        f"mean over the last quarter of {n_steps} steps; 95 % t intervals and tests over "
        f"{n_seeds} seeds, p unadjusted."
    )
    rows = [
        (
            name,
            f"{estimate.value:+.2f}",
            f"{estimate.interval(0.95):+.2f}",
            format_p(t_test(estimate).log_p_value),
        )
        for name, estimate in found.items()
    ]
    return f"{about}\n\n{markdown_table(('arm, response', 'change', 'interval', 'p'), rows)}\n"


def draw(changes: dict[tuple[str, str], Array], path: Path) -> None:
    """Draw the curves: chosen solid, rejected dashed, with bands of 95 % over seeds."""
    from statllm.report.drawing import STYLES, new_figure

    with new_figure(size=(7.6, 3.8)) as (figure, axes):
        axes.axhline(0, color="#8C8C8C", linewidth=0.8)
        for style, arm in zip(STYLES, ARMS, strict=False):
            for side, line in zip(SIDES, ("-", (0, (4, 2))), strict=True):
                values = changes[arm, side]
                steps = np.arange(1, values.shape[1] + 1)
                limits = [mean_estimate(values[:, i]).interval(0.95) for i in range(len(steps))]
                axes.plot(
                    steps, values.mean(axis=0), color=style.colour, linestyle=line,
                    label=f"{arm}, {side}",
                )  # fmt: skip
                axes.fill_between(
                    steps, [x.low for x in limits], [x.high for x in limits],
                    color=style.colour, alpha=0.15, linewidth=0,
                )  # fmt: skip
        axes.set_xlabel("step")
        axes.set_ylabel("change of log-probability (nats)")
        axes.legend(frameon=False, fontsize=8, ncol=3, loc="lower left")
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")


def main() -> None:
    """Run the study."""
    experiment, folder = run_study(HERE / "lab.yaml", __doc__, gold_chains)
    changes = curves(experiment, folder)
    found = at_the_end(changes)
    text = page(found, len(experiment.seeds), changes["dpo", "chosen"].shape[1])
    write_text(text, folder / "logps.md")
    write_json(
        {
            "unit": "nats",
            "figures": [e.named(name, "nats").to_dict() for name, e in found.items()],
        },
        folder / "logps.json",
    )
    draw(changes, folder / "logps.png")
    write_text(tried_steps(experiment, folder) + "\n", folder / "steps.md")
    for name in ("result.md", "logps.md", "steps.md"):
        print((folder / name).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
