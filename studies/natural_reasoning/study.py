"""NaturalReasoning in the lab: questions from documents, self-training on them, and scaling.

`python studies/natural_reasoning/study.py` makes the questions (corpus.md), trains the arms of
lab.yaml with five seeds (result.md, result.png), measures what the self-score knows (scores.md),
and trains on more and more questions (scaling.md, scaling.png). `--quick` does it all with two
seeds on few documents.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
from nr_corpus import MODELS, judged, make, shown  # noqa: E402
from nr_corpus import page as corpus_page  # noqa: E402
from nr_scaling import page as scaling_page  # noqa: E402

from statllm.estimators.comparison import crossed_mean, mean_estimate  # noqa: E402
from statllm.estimators.selective import auroc  # noqa: E402
from statllm.experiment import Experiment, run_study  # noqa: E402
from statllm.experiment.report import markdown_table  # noqa: E402
from statllm.experiment.run import open_run  # noqa: E402
from statllm.files import read_parquet, write_json, write_text  # noqa: E402
from statllm.recipe import merge  # noqa: E402

DOCUMENTS, QUICK_DOCUMENTS = 900, 90
SIZES, QUICK_SIZES = [25, 50, 100, 200], [4, 8, 16]
Row = dict[str, Any]


def prepare(experiment: Experiment, folder: Path) -> Experiment:
    """Make the questions, and point the recipe at them and at the models."""
    few = experiment.is_quick
    n_test = experiment.base["evaluation"]["problems"]["n"]
    make(folder, QUICK_DOCUMENTS if few else DOCUMENTS, n_test)
    questions = folder / "clean" / "questions.parquet"
    n = min(experiment.base["problems"]["n"], read_parquet(questions).num_rows)
    judge = str(MODELS / "judge")
    changes = {
        "model": judge,
        "problems": {"source": str(questions.resolve()), "n": n},
        "rewards": {
            "judge": judge,
            "judging": {"template": str(HERE / "templates" / "valid.yaml")},
        },
    }
    return experiment.model_copy(update={"base": merge(experiment.base, changes)})


def answers(folder: Path) -> dict[str, str | None]:
    """The exact answer to each question; None where it has a fault."""
    table = read_parquet(folder / "clean" / "questions.parquet")
    truth = judged(table, read_parquet(folder / "documents.parquet"))
    return {row["prompt_id"]: row["answer"] for row in truth}


def knowledge(experiment: Experiment, folder: Path) -> list[Row]:
    """What the self-score knows: AUROC against the truth, and the share above 0 that is right."""
    exact, rows = answers(folder), []
    for seed in experiment.seeds:
        table = read_parquet(open_run(folder, "dpo", seed).path(1, "rewards.parquet"))
        scores: list[float] = []
        right: list[bool] = []
        prompts: list[str] = []
        for row in table.select(["prompt_id", "answer", "reward"]).to_pylist():
            answer = exact[row["prompt_id"]]
            if answer is None:
                continue
            scores += row["reward"]
            right += [given == answer for given in row["answer"]]
            prompts += [row["prompt_id"]] * len(row["answer"])
        above = np.array(scores) >= 0
        verdicts, clusters = np.array(right, float), np.array(prompts)
        both = 0 < verdicts.sum() < len(verdicts)
        rows.append(
            {
                "seed": seed,
                "samples": len(scores),
                "AUROC": shown(auroc(scores, right, clusters=prompts)) if both else "-",
                "right": shown(mean_estimate(verdicts, clusters)),
                "score from 0 on": shown(mean_estimate(above.astype(float), clusters)),
                "of these right": shown(mean_estimate(verdicts[above], clusters[above]))
                if above.sum() > 1
                else "-",
            }
        )
    return rows


def pairs_of(experiment: Experiment, folder: Path) -> list[Row]:
    """How often the chosen and the rejected side of each arm's pairs are right, over all seeds."""
    exact, rows = answers(folder), []
    for arm in experiment.arms:
        found = [
            pair
            for seed in experiment.seeds
            for pair in read_parquet(
                open_run(folder, arm, seed).path(1, "pairs.parquet")
            ).to_pylist()
        ]
        known = [pair for pair in found if exact[pair["prompt_id"]] is not None]
        prompts = np.array([pair["prompt_id"] for pair in known])
        sides = {
            side: np.array(
                [pair[f"{side}_answer"] == exact[pair["prompt_id"]] for pair in known], float
            )
            for side in ("chosen", "rejected")
        }
        rows.append(
            {
                "arm": arm,
                "pairs per seed": f"{len(found) / len(experiment.seeds):.0f}",
                **{
                    f"{side} right": shown(mean_estimate(values, prompts))
                    for side, values in sides.items()
                },
            }
        )
    return rows


def levels_by_claim(experiment: Experiment, folder: Path) -> str:
    """Greedy accuracy of every arm once more, for the page on scores."""
    rows = []
    for arm in experiment.arms:
        scores = np.stack(
            [
                read_parquet(open_run(folder, arm, seed).path(1, "evaluation.parquet"))[
                    "greedy_correct"
                ]
                .cast("float64")
                .to_numpy()
                for seed in experiment.seeds
            ]
        )
        rows.append([arm, shown(crossed_mean(scores, arm).as_share(scores.shape[1]))])
    return markdown_table(["arm", "greedy accuracy"], rows)


def main() -> None:
    """Run the study."""
    experiment, folder = run_study(HERE / "lab.yaml", __doc__, prepare)
    text, corpus = corpus_page(folder)
    write_text(text, folder / "corpus.md")
    known, sides = knowledge(experiment, folder), pairs_of(experiment, folder)
    parts = [
        "95 % intervals; what one question has under several seeds is one cluster. Questions that "
        "the exact reader can't read are left out.",
        "**What the self-score knows**",
        markdown_table(list(known[0]), [list(row.values()) for row in known]),
        "**The pairs of each arm**",
        markdown_table(list(sides[0]), [list(row.values()) for row in sides]),
        levels_by_claim(experiment, folder),
    ]
    write_text("\n\n".join(parts) + "\n", folder / "scores.md")
    few = experiment.is_quick
    n_test = experiment.base["evaluation"]["problems"]["n"]
    sizes, seeds = QUICK_SIZES if few else SIZES, list(experiment.seeds)
    scaling = {}
    for name, readable in (("scaling", False), ("scaling_readable", True)):
        text, scaling[name] = scaling_page(folder, sizes, seeds, n_test, readable)
        write_text(text, folder / f"{name}.md")
    figures = {"corpus": corpus, "scores": known, "pairs": sides, "scaling": scaling}
    write_json(figures, folder / "figures.json")
    for name in ("corpus.md", "result.md", "scores.md", "scaling.md", "scaling_readable.md"):
        print((folder / name).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
