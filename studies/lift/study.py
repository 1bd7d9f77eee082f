"""LIFT on the lab's problems: does a limit on words change how long the answer is?

`python studies/lift/study.py` trains the arms of lab.yaml with five seeds, asks every model the
test problems with limits, and writes result.md, result.json, result.png (the plain test),
limits.md, limits.json, limits.png (the test with limits) and scaled.md, scaled.json, scaled.png
(limits times 1, .9, ... .1). `--quick` does it all with two seeds on few problems.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the study's other files, also where this one is imported

import lift_scaled_limits  # noqa: E402
from lift_answers import (  # noqa: E402
    FIXED,
    FloatArray,
    answered,
    benchmark,
    limited,
    scored,
    solution_words,
)
from lift_pages import contrasts, draw, levels, page  # noqa: E402

from statllm.experiment import Experiment, compare_scores, run_study  # noqa: E402
from statllm.experiment.run import open_run  # noqa: E402
from statllm.files import read_parquet, write_json, write_text  # noqa: E402
from statllm.lab import model_path, problems  # noqa: E402
from statllm.sampling.prompts import SCALES  # noqa: E402
from statllm.selection.lift import lift  # noqa: E402

START = "start"
UNITS = {
    "violations": "share of answers", "wins": "share of problems", "right": "share of answers",
    "words": "words",
}  # fmt: skip
CONTRASTS = (
    ("lift", START), ("lift", "plain"), ("lift", "limits only"), ("plain", START),
    ("lift", "rdpo .01"), ("lift", "rdpo .1"), ("rdpo .01", "plain"), ("rdpo .1", "plain"),
    ("lift", "random lift"),
)  # fmt: skip

Models = dict[str, list[str | Path]]
#: Arm, seed, set of prompts, measure.
Answers = dict[str, list[dict[str, dict[str, FloatArray]]]]


def models_of(experiment: Experiment, folder: Path) -> Models:
    """The model of every arm and seed; the start is one for all seeds."""
    found: Models = {START: [model_path()]}
    for arm in experiment.arms:
        found[arm] = [open_run(folder, arm, seed).path(1, "model") for seed in experiment.seeds]
    return found


def stacked(
    found: Answers, which: str, baseline: FloatArray | None = None
) -> dict[str, dict[str, FloatArray]]:
    """Scores of one set of prompts: {measure: {arm: (seeds, problems)}}."""
    scores: dict[str, dict[str, FloatArray]] = {}
    for arm, seeds in found.items():
        rows = [scored(each[which], baseline) for each in seeds]
        for name in rows[0]:
            scores.setdefault(name, {})[arm] = np.stack([row[name] for row in rows])
    return scores


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


def main() -> None:
    """Run the study."""
    experiment, folder = run_study(HERE / "lab.yaml", __doc__)
    held_out = experiment.recipe("plain", experiment.seeds[0]).evaluation.problems
    test = problems("test", held_out.n or 300, held_out.seed)
    few = test.slice(0, test.num_rows // 3)  # for the tests that ask each problem many times
    with_limits, right = benchmark(test)
    solutions = solution_words(few.num_rows, held_out.seed)
    sets = {
        "benchmark": with_limits,
        **{str(limit): limited(few, limit) for limit in FIXED},
        "scaled": limited(few, solutions, SCALES),
    }
    found: Answers = {}
    for arm, paths in models_of(experiment, folder).items():
        found[arm] = [answered(path, sets) for path in paths]
        print(f"asked with limits: {arm}", flush=True)
    on_benchmark = compare_scores(
        stacked(found, "benchmark", right), CONTRASTS, UNITS, name="lift: limits"
    )
    figures: dict[str, Any] = {
        "n_seeds": len(experiment.seeds),
        "n_problems": test.num_rows,
        "n_repeated": few.num_rows,
        "median limit": float(np.median(with_limits["max_words"].to_numpy())),
        "baseline right": float(right.mean()),
        "benchmark": levels(on_benchmark),
        "contrasts": contrasts(on_benchmark),
        "fixed": {str(k): levels(compare_scores(stacked(found, str(k)), (), UNITS)) for k in FIXED},
        "transform": transform(experiment, folder),
    }
    write_json(figures, folder / "limits.json")
    write_text(page(figures), folder / "limits.md")
    draw(figures, folder / "limits.png")
    by_scale = lift_scaled_limits.figures(
        {arm: [each["scaled"] for each in seeds] for arm, seeds in found.items()}, solutions
    )
    write_json(by_scale, folder / "scaled.json")
    write_text(
        lift_scaled_limits.page(by_scale, len(experiment.seeds), few.num_rows),
        folder / "scaled.md",
    )
    lift_scaled_limits.draw(by_scale, folder / "scaled.png")
    for name in ("result", "limits", "scaled"):
        print((folder / f"{name}.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
