"""LIFT on the lab's problems: does a limit on words change how long the answer is?

`python studies/lift/study.py` trains the arms of lab.yaml with five seeds, asks every model the
test problems with limits, and writes result.md, result.json, result.png (the plain test) and
limits.md, limits.json, limits.png (the test with limits). `--quick` does it all with two seeds on
few problems.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from statllm.estimators.winrate import length_instructed_win_rate
from statllm.experiment import Experiment, Result, compare_scores, run_study
from statllm.experiment.report import markdown_table
from statllm.experiment.run import open_run
from statllm.files import atomic, read_parquet, write_json, write_text
from statllm.generations import Generations
from statllm.lab import model_path, problems
from statllm.report.drawing import new_figure
from statllm.results import format_p
from statllm.sampling import SamplingSettings, sample
from statllm.sampling.prompts import count_words, length_prompts, load_template, shortest
from statllm.scoring import score
from statllm.selection.lift import lift

HERE = Path(__file__).parent
FIXED = (1, 4, 8, 12, 20)
START = "start"
GREEDY = SamplingSettings(n=1, temperature=0.0, max_new_tokens=80, batch_size=512)
UNITS = {
    "violations": "share of answers", "wins": "share of problems", "right": "share of answers",
    "words": "words",
}  # fmt: skip
CONTRASTS = (("lift", START), ("lift", "plain"), ("lift", "limits only"), ("plain", START))


def benchmark(test: Any) -> dict[str, Any]:
    """AlpacaEval-LI's rule: the shortest of three answers sets the limit and is the baseline."""
    settings = SamplingSettings(n=3, max_new_tokens=80, batch_size=512, seed=7)
    given = score(Generations(sample(model_path(), test, settings)))
    texts = given.column("response").to_pylist()
    best = [min(range(3), key=lambda j, row=row: count_words(row[j])) for row in texts]
    right = given.column("correct").to_pylist()
    return {
        "limits": shortest(texts),
        "right": np.array([row[j] for row, j in zip(right, best, strict=True)], dtype=float),
    }


def asked(model: str | Path, test: Any, limits: Any, baseline: Any = None) -> dict[str, Any]:
    """Greedy answers to the problems with limits: violations, right ones, words, and wins."""
    prompts = length_prompts(test, limits, load_template("lift_words"))
    given = score(Generations(sample(model, prompts, GREEDY)))
    words = np.array([count_words(row[0]) for row in given.column("response").to_pylist()], float)
    right = np.array([row[0] for row in given.column("correct").to_pylist()], dtype=float)
    most = prompts["max_words"].to_numpy()
    found = {"violations": (words > most).astype(float), "right": right, "words": words}
    if baseline is not None:
        judged = 0.5 + (right - baseline) / 2  # the judge doesn't see the limit
        found["wins"] = np.where(words > most, 0.0, judged)
        rate = length_instructed_win_rate(judged, words, most).value
        assert np.isclose(found["wins"].mean(), rate)
    return found


def answers(experiment: Experiment, folder: Path, test: Any) -> dict[str, Any]:
    """Scores of every arm: {"benchmark" or a limit: {measure: {arm: (seeds, problems)}}}."""
    base = benchmark(test)
    models = {
        arm: [open_run(folder, arm, seed).path(1, "model") for seed in experiment.seeds]
        for arm in experiment.arms
    }
    found: dict[str, Any] = {"limits": base["limits"], "baseline right": base["right"].mean()}
    for limit in ("benchmark", *FIXED):
        limits, baseline = (
            (base["limits"], base["right"]) if limit == "benchmark" else (limit, None)
        )
        start = asked(model_path(), test, limits, baseline)
        scores = {
            name: {START: np.stack([row] * len(experiment.seeds))} for name, row in start.items()
        }
        for arm, paths in models.items():
            rows = [asked(path, test, limits, baseline) for path in paths]
            for name in scores:
                scores[name][arm] = np.stack([row[name] for row in rows])
        found[str(limit)] = scores
        print(f"asked with limit: {limit}", flush=True)
    return found


def levels(result: Result) -> dict[str, dict[str, dict[str, float]]]:
    """Means with their 95 % intervals: {measure: {arm: ...}}."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for level in result.levels:
        interval = level.estimate.interval(0.95)
        found.setdefault(level.measure, {})[level.arm] = {
            "value": level.estimate.value,
            "low": interval.low,
            "high": interval.high,
        }
    return found


def contrasts(result: Result) -> list[dict[str, Any]]:
    """Differences of arms on the benchmark; p adjusted over the comparisons of a measure."""
    rows = []
    for found in result.contrasts:
        interval = found.estimate.interval(0.95)
        rows.append(
            {"measure": found.measure, "unit": found.estimate.unit, "comparison": found.name,
             "value": found.estimate.value, "low": interval.low, "high": interval.high,
             "log_p_holm": found.log_p_holm,
             "detectable": None if np.isnan(found.mde) else found.mde}
        )  # fmt: skip
    return rows


def transform(experiment: Experiment, folder: Path) -> list[dict[str, int]]:
    """What became of each seed's pairs."""
    rows = []
    for seed in experiment.seeds:
        pairs = read_parquet(open_run(folder, "plain", seed).path(1, "pairs.parquet"))
        made = lift(pairs, experiment.recipe("lift", seed).iteration(1).selection.lift)
        flips = sum(bool(flip) for flip in made.ledger["flipped"].to_pylist())
        counts = {"kept": 0, "too_alike": 0, **made.counts()}
        rows.append({"seed": seed, "pairs": pairs.num_rows, **counts, "flipped": flips})
    return rows


def shown(found: dict[str, float], digits: int = 3) -> str:
    """A value and its interval."""
    return f"{found['value']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"


def page(figures: dict[str, Any], n: int) -> str:
    """All tables as Markdown."""
    parts = [
        f"{figures['n_seeds']} training seeds, {n} held-out problems, greedy answers. 95 % "
        "intervals and tests count both as random samples; p is adjusted over the comparisons of a "
        'measure (Holm). "Detectable": the true difference found with probability .8.',
        f"**The benchmark**: the limit is the shortest of three answers by the start (median "
        f"{figures['median limit']:g} words), which is right in {figures['baseline right']:.3f}.",
    ]
    levels = figures["benchmark"]
    arms = list(levels["violations"])
    parts.append(
        markdown_table(
            ["arm", "violations", "win rate", "right", "words"],
            [
                [
                    arm,
                    *(shown(levels[m][arm]) for m in ("violations", "wins", "right")),
                    shown(levels["words"][arm], 1),
                ]
                for arm in arms
            ],
        )
    )
    rows = [
        [row["comparison"], row["measure"], f"{row['value']:+.3f}",
         f"[{row['low']:+.3f}, {row['high']:+.3f}]", format_p(row["log_p_holm"]),
         "-" if row["detectable"] is None else f"{row['detectable']:.3f}"]
        for row in figures["contrasts"]
    ]  # fmt: skip
    parts.append(
        markdown_table(["comparison", "measure", "difference", "interval", "p", "detectable"], rows)
    )
    for measure, title, digits in (
        ("violations", "share of answers with more words than the limit", 3),
        ("words", "mean words of an answer", 1),
        ("right", "share of right answers", 3),
    ):
        parts.append(f"**One limit for all problems**: {title}")
        parts.append(
            markdown_table(
                ["arm", *(f"at most {limit}" for limit in FIXED)],
                [
                    [
                        arm,
                        *(
                            shown(figures["fixed"][str(limit)][measure][arm], digits)
                            for limit in FIXED
                        ),
                    ]
                    for arm in arms
                ],
            )
        )
    parts.append("**What became of the pairs**")
    head = list(figures["transform"][0])
    rows = [[row[name] for name in head] for row in figures["transform"]]
    parts.append(markdown_table(head, rows))
    return "\n\n".join(parts) + "\n"


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw mean words by limit, a line per arm, and the limit itself."""
    colours = dict(zip(figures["benchmark"]["words"], ("#8C8C8C", "#D55E00", "#0072B2", "#009E73"),
                       strict=True))  # fmt: skip
    with new_figure(size=(7.0, 4.2)) as (figure, axes):
        axes.plot(FIXED, FIXED, ":", color="black", linewidth=0.8, label="the limit")
        for place, (arm, colour) in enumerate(colours.items()):
            found = [figures["fixed"][str(limit)]["words"][arm] for limit in FIXED]
            at = np.array(FIXED) + 0.12 * (place - 1.5)
            axes.vlines(at, [f["low"] for f in found], [f["high"] for f in found], color=colour)
            axes.plot(at, [f["value"] for f in found], "o-", color=colour, markersize=4, label=arm)
        axes.set_xlabel("limit in the prompt (words)")
        axes.set_ylabel("mean words of an answer, 95 % interval")
        axes.legend(frameon=False)
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")


def main() -> None:
    """Run the study."""
    experiment, folder = run_study(HERE / "lab.yaml", __doc__)
    held_out = experiment.recipe("plain", experiment.seeds[0]).evaluation.problems
    test = problems("test", held_out.n or 300, held_out.seed)
    found = answers(experiment, folder, test)
    names = [str(limit) for limit in FIXED]
    on_benchmark = compare_scores(found["benchmark"], CONTRASTS, UNITS, name="lift: limits")
    figures: dict[str, Any] = {
        "n_seeds": len(experiment.seeds),
        "n_problems": test.num_rows,
        "median limit": float(np.median(found["limits"])),
        "baseline right": float(found["baseline right"]),
        "benchmark": levels(on_benchmark),
        "contrasts": contrasts(on_benchmark),
        "fixed": {name: levels(compare_scores(found[name], (), UNITS)) for name in names},
        "transform": transform(experiment, folder),
    }
    write_json(figures, folder / "limits.json")
    write_text(page(figures, test.num_rows), folder / "limits.md")
    draw(figures, folder / "limits.png")
    print((folder / "result.md").read_text(encoding="utf-8"))
    print((folder / "limits.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
