"""ScPO in the lab: accuracy of its arms, and what votes know about correctness.

`python studies/scpo/study.py` trains the arms of lab.yaml, a semi-supervised one and one with
written problems with five seeds, and writes result.md, result.json, result.png (differences of
accuracy) and votes.md, votes.json (votes against correctness, accuracy of the pairs). `--quick`
does it all with two seeds on few problems.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.estimators.resampling import bootstrap_ratio
from statllm.estimators.selective import auroc
from statllm.experiment import Comparison, Experiment, run_study
from statllm.experiment.report import markdown_table
from statllm.experiment.run import open_run
from statllm.files import read_parquet, write_json, write_parquet, write_text
from statllm.generations import Generations
from statllm.lab import problems
from statllm.lab.chains import read_chain
from statllm.lab.prompt_writer import asked, plain
from statllm.selection import ScpoSettings, scpo

HERE = Path(__file__).parent
POOL = 2000  # problems of the semi-supervised arm, of which each seed draws some
THRESHOLDS = (0.1, 0.25, 0.375, 0.5, 0.625, 0.7)
VOTERS = (2, 4, 8)
WRITER = HERE.parent / "rip" / "model" / "writer"  # goes on with lists of questions
Row = dict[str, Any]


def semi_supervised(experiment: Experiment, folder: Path) -> Experiment:
    """Add an arm whose problems have a reference every other time, and its comparison."""
    pool = problems("train", POOL, 0)
    known = [reference if i % 2 else None for i, reference in enumerate(
        pool["reference"].to_pylist()
    )]  # fmt: skip
    place = pool.column_names.index("reference")
    path = folder / "half.parquet"
    write_parquet(pool.set_column(place, "reference", pa.array(known, pa.string())), path)
    arm = {
        "problems": {"source": str(path.resolve())},
        "selection": {"settings": {"labels": "use"}},
    }
    comparison = Comparison(
        arm="semi-supervised", against="scpo", claim="labels for half of the problems help"
    )
    return experiment.model_copy(
        update={
            "arms": {**experiment.arms, "semi-supervised": arm},
            "comparisons": (*experiment.comparisons, comparison),
        }
    )


def with_new_problems(experiment: Experiment) -> Experiment:
    """Add an arm that trains on problems written after its own, as many again, and comparisons."""
    arm = {
        "new_problems": {
            "model": str(WRITER),
            "count": experiment.base["problems"]["n"],
            "template": "completion",
            "chat": False,
            "form": asked("{question}"),
            "sampling": {"temperature": 1.0, "top_p": 0.95, "max_new_tokens": 80},
        }
    }
    claims = {
        "scpo": "problems written after the first ones help",
        "more problems": "as much as real ones do",
    }
    comparisons = [
        Comparison(arm="new problems", against=other, claim=claim)
        for other, claim in claims.items()
    ]
    return experiment.model_copy(
        update={
            "arms": {**experiment.arms, "new problems": arm},
            "comparisons": (*experiment.comparisons, *comparisons),
        }
    )


def more_arms(experiment: Experiment, folder: Path) -> Experiment:
    """Add the arms that need files."""
    return with_new_problems(semi_supervised(experiment, folder))


def written_problems(experiment: Experiment, folder: Path) -> list[Row]:
    """What was written, by what is wrong with it, and what of it ScPO trains on."""
    groups: dict[str, list[tuple[str, bool]]] = {}
    for seed in experiment.seeds:
        run = open_run(folder, "new problems", seed)
        table = read_parquet(run.path(1, "problems.parquet"))
        ledger = read_parquet(run.path(1, "ledger.parquet"))
        kept = dict(zip(ledger["prompt_id"].to_pylist(), ledger["kept"].to_pylist(), strict=True))
        for name, prompt, new in zip(
            *(table[column].to_pylist() for column in ("prompt_id", "prompt", "written")),
            strict=True,
        ):
            fault = read_chain(plain(prompt)).fault if new else None
            group = f"written, {fault or 'without a fault'}" if new else "the recipe's own"
            groups.setdefault(group, []).append((name, kept[name]))
    n = len(experiment.seeds)
    return [
        {
            "problems": group,
            "per seed": f"{len(rows) / n:.0f}",
            "kept by votes": shown([k for _, k in rows], np.ones(len(rows)), [r for r, _ in rows]),
        }
        for group, rows in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def first(experiment: Experiment, folder: Path, arm: str, name: str) -> list[Any]:
    """Return a file of each seed's first iteration."""
    return [read_parquet(open_run(folder, arm, seed).path(1, name)) for seed in experiment.seeds]


def shown(above: Any, below: Any, prompts: list[str], sign: str = "") -> str:
    """Return sum(above) / sum(below) with its interval; all of a prompt is one cluster."""
    above, below = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    if not below.any():
        return "-"
    found = bootstrap_ratio(above, below, prompts, resamples=1999, method="percentile")
    return f"{found.value:{sign}.3f} {found.interval(0.95):{sign}.3f}"


def votes_of(answers: list[str | None]) -> list[int]:
    """How many of the samples give each one's answer; 0 for one without an answer.

    Examples
    --------
    >>> votes_of(["A", "B", "A", None])
    [2, 1, 2, 0]
    """
    counts = Counter(answer for answer in answers if answer is not None)
    return [0 if answer is None else counts[answer] for answer in answers]


def ordering(scores: list[float], right: list[bool]) -> tuple[int, int, int]:
    """Count the pairs of a right and a wrong sample: the right one scores higher, equal, lower.

    Examples
    --------
    >>> ordering([2, 1, 2, 1], [True, False, False, True])
    (1, 2, 1)
    """
    good = np.array([s for s, r in zip(scores, right, strict=True) if r], dtype=float)
    bad = np.array([s for s, r in zip(scores, right, strict=True) if not r], dtype=float)
    gaps = good[:, None] - bad[None, :]
    return int((gaps > 0).sum()), int((gaps == 0).sum()), int((gaps < 0).sum())


def answered(tables: list[Any], k: int, scores: str | None = None) -> list[Row]:
    """One row per prompt: the scores of its first k samples that have an answer, and verdicts.

    The scores are vote shares among the k, or the column that is named.
    """
    rows = []
    for table in tables:
        names = ["prompt_id", "answer", "correct", *([scores] if scores else [])]
        for row in table.select(names).to_pylist():
            answers = row["answer"][:k]
            values = row[scores][:k] if scores else [v / k for v in votes_of(answers)]
            keep = [i for i, answer in enumerate(answers) if answer is not None]
            rows.append(
                {
                    "prompt": row["prompt_id"],
                    "scores": [values[i] for i in keep],
                    "right": [bool(row["correct"][i]) for i in keep],
                }
            )
    return rows


def knowledge(name: str, rows: list[Row]) -> Row:
    """Somers' D over all samples, and the order of right and wrong samples of one prompt."""
    prompts = [row["prompt"] for row in rows]
    flat = [
        (s, r, row["prompt"])
        for row in rows
        for s, r in zip(row["scores"], row["right"], strict=True)
    ]
    scores, right, clusters = (list(column) for column in zip(*flat, strict=True))
    area = auroc(scores, right, clusters=clusters)
    limits = area.interval(0.95)
    higher, equal, lower = np.array([ordering(r["scores"], r["right"]) for r in rows]).T
    pairs = higher + equal + lower
    return {
        "score": name,
        "Somers' D, all samples": f"{2 * area.value - 1:.3f} "
        f"[{2 * limits.low - 1:.3f}, {2 * limits.high - 1:.3f}]",
        "Somers' D, within prompts": shown(higher - lower, pairs, prompts),
        "right above wrong": shown(higher, pairs, prompts),
        "equal": shown(equal, pairs, prompts),
        "right below wrong": shown(lower, pairs, prompts),
    }


def pair_quality(name: str, n_seeds: int, found: list[tuple[Row, dict[str, list[bool]]]]) -> Row:
    """Accuracy of the chosen and of the rejected responses, and their difference (margin)."""
    prompts = [pair["prompt_id"] for pair, _ in found]
    chosen, rejected = (
        np.array([bool(right[pair["prompt_id"]][pair[f"{side}_index"]]) for pair, right in found])
        for side in ("chosen", "rejected")
    )
    ones, weight = np.ones(len(found)), np.array([pair["weight"] for pair, _ in found])
    difference = chosen.astype(float) - rejected
    return {
        "pairs": name,
        "per seed": f"{len(found) / n_seeds:.0f}",
        "chosen right": shown(chosen, ones, prompts),
        "rejected right": shown(rejected, ones, prompts),
        "margin": shown(difference, ones, prompts, "+"),
        "margin, weighted": shown(weight * difference, weight, prompts, "+"),
    }


def verdicts(table: Any) -> dict[str, list[bool]]:
    """Verdicts on each prompt's responses."""
    return dict(zip(table["prompt_id"].to_pylist(), table["correct"].to_pylist(), strict=True))


def qualities(experiment: Experiment, folder: Path) -> tuple[list[Row], list[Row]]:
    """The pairs of each threshold, and those that the arms were trained on."""
    scored = first(experiment, folder, "scpo", "scores.parquet")
    right, n = [verdicts(table) for table in scored], len(experiment.seeds)
    by_threshold = []
    for threshold in THRESHOLDS:
        found = [
            (pair, known)
            for table, known, seed in zip(scored, right, experiment.seeds, strict=True)
            for pair in scpo(
                Generations(table), ScpoSettings(threshold=threshold, seed=seed)
            ).pairs.to_pylist()
        ]
        by_threshold.append(pair_quality(f"threshold {threshold:g}", n, found))
    by_arm = []
    for arm in ("scpo", "unweighted", "random pairs", "noisy rater", "gold"):
        pairs = first(experiment, folder, arm, "pairs.parquet")
        found = [
            (p, known) for table, known in zip(pairs, right, strict=True) for p in table.to_pylist()
        ]
        by_arm.append(pair_quality(arm, n, found))
    return by_threshold, by_arm


def table(rows: list[Row]) -> str:
    """A Markdown table of rows with the same keys."""
    return markdown_table(list(rows[0]), [list(row.values()) for row in rows])


def main() -> None:
    """Run the study."""
    experiment, folder = run_study(HERE / "lab.yaml", __doc__, more_arms)
    scored = first(experiment, folder, "scpo", "scores.parquet")
    rated = first(experiment, folder, "noisy rater", "rewards.parquet")
    known = [knowledge(f"votes of {k}", answered(scored, k)) for k in VOTERS]
    known.append(knowledge("noisy rater, 8", answered(rated, 8, "reward")))
    by_threshold, by_arm = qualities(experiment, folder)
    written = written_problems(experiment, folder)
    parts = [
        "Intervals: 95 %, prompts resampled or clustered (what one prompt has under several seeds "
        "is one cluster). Samples without an answer are left out.",
        "**What a score knows about correctness**",
        table(known),
        "**Pairs by threshold** (on the samples of all seeds)",
        table(by_threshold),
        "**Pairs that the arms were trained on**",
        table(by_arm),
        "**Written problems**",
        table(written),
    ]
    write_text("\n\n".join(parts) + "\n", folder / "votes.md")
    figures = {"votes": known, "thresholds": by_threshold, "arms": by_arm, "written": written}
    write_json(figures, folder / "votes.json")
    for name in ("result.md", "votes.md"):
        print((folder / name).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
