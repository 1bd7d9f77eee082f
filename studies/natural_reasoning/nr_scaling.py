"""Accuracy against the number of questions: a clean set, a raw one, and one that repeats itself."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from nr_corpus import MODELS, judged, shown
from nr_laws import draw, goodness, of_share, value_of

from statllm.estimators.comparison import mean_estimate, t_test
from statllm.estimators.multiplicity import holm
from statllm.estimators.scaling import (
    curvature,
    reported_trend,
    scaling_difference,
    scaling_fit,
)
from statllm.experiment.report import markdown_table
from statllm.files import read_parquet, write_parquet
from statllm.generations import Generations
from statllm.lab import careful_solution, problems
from statllm.lab.documents import renamed
from statllm.lab.reading import read_problem
from statllm.results import format_p
from statllm.sampling import SamplingSettings, sample
from statllm.scoring import score
from statllm.training import SFTSettings, train_sft

SETS = ("clean", "raw", "repeated")
COPIES = 4
GREEDY = SamplingSettings(n=1, temperature=0.0, max_new_tokens=60, batch_size=512)
Row = dict[str, Any]

#: Rows of the paper (accuracy, questions of the test, millions of training questions).
PUBLISHED = {
    "OpenMathInstruct-2, MMLU-Pro": ([0.3216, 0.3403, 0.3430, 0.3199], 12032, [0.5, 1, 1.5, 2.8]),
    "OpenMathInstruct-2, MATH": ([0.5083, 0.5925], 5000, [0.5, 2.8]),
    "WebInstruct, GPQA": ([0.2902, 0.2537, 0.2612], 448, [0.5, 1.5, 2.8]),
}


def taught(question: str, guess: str) -> str:
    """The teacher's response: a careful solution; to a text that it can't read, a bare guess.

    Examples
    --------
    >>> taught("How?", "7")
    '#### 7'
    """
    problem = read_problem(question).problem
    return f"#### {guess}" if problem is None else careful_solution(problem)


def examples(folder: Path, name: str, seed: int, readable: bool = False) -> list[Row]:
    """A set's examples in the order of a seed: its first n are the training set of size n.

    `readable`: only questions that the teacher can read, so that it never guesses.
    """
    kind = "raw" if name == "raw" else "clean"
    table = read_parquet(folder / kind / "questions.parquet")
    truth = judged(table, read_parquet(folder / "documents.parquet"))
    rows = [
        {"question": q, "guess": t["document_answer"], "origin": t["origin"], "source": t["source"]}
        for q, t in zip(table["question"].to_pylist(), truth, strict=True)
    ]
    for row, known in zip(rows, truth, strict=True):
        if row["origin"] == "leak" and not known["faithful"]:
            row["origin"] = "own"  # the question that was made of it repeats nothing
    if readable:
        rows = [row for row in rows if read_problem(row["question"]).problem is not None]
    order = np.random.default_rng([seed, 7]).permutation(len(rows))
    rows = [rows[i] for i in order]
    if name != "repeated":
        return rows
    rng = random.Random(f"repeated-{seed}")
    again = []
    for row in rows:
        problem = read_problem(row["question"]).problem
        again.append(row)
        for _ in range(COPIES - 1):
            text = row["question"] if problem is None else renamed(problem, rng).text
            again.append({**row, "question": text})
    return again[: len(rows)]


def place_of(folder: Path, readable: bool) -> Path:
    """Where verdicts are kept."""
    return folder / ("scaling_readable" if readable else "scaling")


def trained(
    folder: Path, name: str, seed: int, size: int, test: pa.Table, readable: bool
) -> np.ndarray:
    """Greedy verdicts on the test after training on a set's first `size` examples."""
    place = place_of(folder, readable)
    kept = place / f"{name}_{seed}_{size}.parquet"
    if kept.is_file():
        return read_parquet(kept)["correct"].to_numpy()
    rows = examples(folder, name, seed, readable)[:size]
    size = len(rows)
    data = pa.table(
        {
            "prompt_id": [f"{i}" for i in range(size)],
            "prompt": [f"Q: {row['question']}\nA:\n" for row in rows],
            "response": [taught(row["question"], row["guess"]) for row in rows],
        }
    )
    model = place / "model"
    shutil.rmtree(model, ignore_errors=True)
    settings = SFTSettings(
        learning_rate=2e-4, batch_size=8, epochs=2, lr_scheduler="cosine", seed=seed,
        checkpoint_every=None,
    )  # fmt: skip
    train_sft(MODELS / "judge", data, model, settings, progress=False)
    verdicts = verdicts_of(model, test)
    shutil.rmtree(model)
    write_parquet(pa.table({"correct": verdicts}), kept)
    return verdicts


def verdicts_of(model: Path, test: pa.Table) -> np.ndarray:
    """Whether the greedy answer to each problem is right, 0 or 1."""
    found = score(Generations(sample(model, test, GREEDY, progress=False)))
    return np.array([float(bool(row[0])) for row in found.column("correct").to_pylist()])


def curves(
    folder: Path, sizes: list[int], seeds: list[int], n_test: int, readable: bool
) -> dict[str, np.ndarray]:
    """Scores of each set: shape (seeds, sizes, problems)."""
    test = problems("test", n_test)
    place_of(folder, readable).mkdir(exist_ok=True)
    found = {}
    for name in SETS:
        found[name] = np.array(
            [
                [trained(folder, name, seed, size, test, readable) for size in sizes]
                for seed in seeds
            ]
        )
        print(f"scaling, {name}: {found[name].mean(axis=(0, 2)).round(3)}", flush=True)
    return found


def contamination(
    folder: Path,
    scores: dict[str, np.ndarray],
    sizes: list[int],
    seeds: list[int],
    n_test: int,
    readable: bool,
) -> Row:
    """Raw less clean at the largest size, on problems that leaked into the raw set less others."""
    ids = problems("test", n_test)["prompt_id"].to_pylist()
    gaps = []
    for place, seed in enumerate(seeds):
        rows = examples(folder, "raw", seed, readable)[: sizes[-1]]
        leaked = np.isin(ids, [row["source"] for row in rows if row["origin"] == "leak"])
        gain = scores["raw"][place, -1] - scores["clean"][place, -1]
        if leaked.any() and not leaked.all():
            gaps.append(gain[leaked].mean() - gain[~leaked].mean())
    if len(gaps) < 2:
        return {"seeds": len(gaps), "gap": "-", "p": "-"}
    found = mean_estimate(gaps)
    return {"seeds": len(gaps), "gap": shown(found), "p": format_p(t_test(found).log_p_value)}


def page(
    folder: Path, sizes: list[int], seeds: list[int], n_test: int, readable: bool = False
) -> tuple[str, dict[str, Any]]:
    """Train, fit, compare: tables as Markdown and as values; a figure in the folder."""
    scores = curves(folder, sizes, seeds, n_test, readable)
    logs = {name: scaling_fit(scores[name], sizes) for name in SETS}
    powers = {name: scaling_fit(scores[name], sizes, "power") for name in SETS}
    bends = {name: curvature(scores[name], sizes) for name in SETS}
    straight = holm([t_test(bend).log_p_value for bend in bends.values()])
    drawn = powers if min(straight) < np.log(0.05) else logs
    draw(drawn, folder / f"{place_of(folder, readable).name}.png")
    means = [
        {
            "set": name,
            **{f"{n}": shown(of_share(m)) for n, m in zip(sizes, logs[name].means, strict=True)},
        }
        for name in SETS
    ]
    laws = [
        {
            "set": name,
            "gain per doubling": shown(logs[name].parameters["gain per doubling"]),
            "curvature": shown(bends[name]),
            "line, p (Holm)": format_p(float(log_p)),
            **{key: value_of(powers[name], key) for key in ("limit", "exponent")},
        }
        for name, log_p in zip(SETS, straight, strict=True)
    ]
    fits = [goodness(name, fit) for name in SETS for fit in (logs[name], powers[name])]
    differences = []
    last = f"score at {sizes[-1]} examples"
    for other in SETS[1:]:
        for parameter in ("gain per doubling", last):
            gap = scaling_difference(logs[other], logs["clean"], parameter)
            differences.append((f"clean - {other}, {parameter}", gap, t_test(gap).log_p_value))
    adjusted = holm([log_p for *_, log_p in differences])
    compared = [
        {"comparison": name, "difference": shown(gap), "p (Holm)": format_p(float(log_p))}
        for (name, gap, _), log_p in zip(differences, adjusted, strict=True)
    ]
    reported = []
    for name, (accuracy, n, size) in PUBLISHED.items():
        trend = reported_trend(accuracy, n, size)
        line = "-" if len(size) < 3 else format_p(trend.line.log_p_value)
        reported.append({"row": name, "gain per doubling": shown(trend.gain, 4), "line, p": line})
    tables = {
        "Accuracy by number of questions": means,
        "Laws": laws,
        "Goodness of fit": fits,
        "Differences": compared,
        "Leaked problems": [contamination(folder, scores, sizes, seeds, n_test, readable)],
        "Published rows (binomial errors)": reported,
    }
    parts = []
    for title, rows in tables.items():
        parts.append(f"**{title}**")
        parts.append(markdown_table(list(rows[0]), [list(row.values()) for row in rows]))
    return "\n\n".join(parts) + "\n", tables
