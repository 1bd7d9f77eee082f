"""Self-RIP: questions written from examples, which examples make good ones, and training on them.

A writer (`statllm.lab.prompt_writer`) reads a set of examples and goes on with lists of four of
them. The sets: all prompts, those that a rule keeps, or as many at random. What is written is read
back exactly, and the lab's model trains on it as in the main study.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rip_shares import Share, artefact, plain, share

from statllm.experiment import Experiment, analyse, read_experiment, run_experiment
from statllm.experiment.report import markdown_table, write_result
from statllm.experiment.run import open_run
from statllm.files import read_parquet, write_json, write_parquet, write_text
from statllm.lab.chains import read_chain
from statllm.lab.prompt_writer import IMITATION, Course, asked, expected_share, imitate
from statllm.lab.prompt_writer import plain as words
from statllm.ledger import KEPT
from statllm.recipe import merge
from statllm.sampling import SamplingSettings
from statllm.sampling.prompts import generate_questions, load_template

HERE = Path(__file__).parent
WRITER = HERE / "model" / "writer"
#: Whose kept prompts are the examples: arms of the main study.
EXAMPLES = {
    "all": "all",
    "random": "random subset",
    "rip": "rip",
    "turned": "rip turned",
}
SPARE = 1.5  # times as many questions are asked for as are needed


def examples_of(folder: Path, arm: str, seed: int) -> pa.Table:
    """The prompts that an arm of the main study keeps, without what the lab puts around them."""
    ledger = read_parquet(open_run(folder, arm, seed).path(1, "ledger.parquet"))
    kept = set(ledger.filter(ledger["kept"])["prompt_id"].to_pylist())
    pool = read_parquet(folder / "pool.parquet")
    rows = [row for row in pool.to_pylist() if row["prompt_id"] in kept]
    return pa.table(
        {
            "prompt_id": [row["prompt_id"] for row in rows],
            "prompt": [words(row["prompt"]) for row in rows],
            "kind": [row["kind"] for row in rows],
        }
    )


def write_questions(
    examples: pa.Table, n: int, seed: int, course: Course | None = IMITATION
) -> tuple[pa.Table, float]:
    """Let the writer go on with examples until there are `n` questions, and read them.

    It has first read the examples (`imitate`); without a course it sees four of them only.

    Returns
    -------
    pyarrow.Table, float
        prompt_id, prompt, reference (null where the question has a fault), fault (null where it
        has none), shown (spoilt ones among its examples); and the share of what was written that
        the paper's filters dropped.
    """
    texts = examples["prompt"].to_pylist()
    made = generate_questions(
        str(WRITER) if course is None else imitate(WRITER, texts, course, seed),
        examples,
        round(SPARE * n),
        "self-rip",
        SamplingSettings(n=1, temperature=0.8, top_p=0.95, max_new_tokens=80, seed=seed),
        template=load_template("completion"),
        chat=False,
        progress=False,
    )
    spoilt = {
        name: kind != "clean"
        for name, kind in zip(
            examples["prompt_id"].to_pylist(), examples["kind"].to_pylist(), strict=True
        )
    }
    rows = made.questions.slice(0, n).to_pylist()
    readings = [read_chain(row["prompt"]) for row in rows]
    table = pa.table(
        {
            "prompt_id": [row["prompt_id"] for row in rows],
            "prompt": [asked(row["prompt"]) for row in rows],
            "reference": pa.array(
                [None if r.problem is None else str(r.problem.answer) for r in readings],
                pa.string(),
            ),
            "fault": pa.array([r.fault for r in readings], pa.string()),
            "shown": [sum(spoilt[name] for name in row["example_ids"]) for row in rows],
        }
    )
    return table, 1 - made.counts()[KEPT] / made.ledger.num_rows


def write_all(main: Experiment, folder: Path, n: int, course: Course) -> dict[str, Any]:
    """Write the questions of every seed and set of examples, and say what they are like."""
    rows: dict[str, Any] = {}
    for name, arm in EXAMPLES.items():
        shown, written, alike = [], [], []
        for seed in main.seeds:
            examples = examples_of(folder, arm, seed)
            table, similar = write_questions(examples, n, seed, course)
            write_parquet(table, folder / "written" / str(seed) / f"{name}.parquet")
            shown.append(examples)
            written.append(table)
            alike.append(similar)
            print(f"questions from '{name}', seed {seed}: {table.num_rows}", flush=True)
        rows[name] = summary(shown, written) | {"dropped by the filters": float(np.mean(alike))}
    return rows


def summary(shown: list[pa.Table], written: list[pa.Table]) -> dict[str, Any]:
    """Shares of spoilt ones among examples and among what was written from them, over all seeds."""
    ids, spoilt = [], []
    for table in shown:
        ids += table["prompt_id"].to_pylist()
        spoilt += [kind != "clean" for kind in table["kind"].to_pylist()]
    faults = [fault for table in written for fault in table["fault"].to_pylist()]
    # Each question has few-shot examples of its own: given the sets, questions are independent.
    own = [str(place) for place in range(len(faults))]
    ones = np.ones(len(faults))
    impossible = np.array([fault == "impossible" for fault in faults])
    faulty = np.array([fault is not None for fault in faults])
    return {
        "examples per seed": len(ids) / len(shown),
        "spoilt among examples": share(spoilt, np.ones(len(spoilt)), ids),
        "fewest questions of a seed": min(table.num_rows for table in written),
        "unreadable among written": share(faulty & ~impossible, ones, own),
        "impossible among written": share(impossible, ones, own),
    }


def by_examples(folder: Path, seed: int, n: int) -> list[list[Any]]:
    """How many questions are spoilt after so many spoilt examples, if the writer sees only these.

    The prompts of the whole pool are the examples.
    """
    table, _ = write_questions(examples_of(folder, "all", seed), n, seed, course=None)
    shown, faults = table["shown"].to_numpy(), table["fault"].to_pylist()
    unreadable = np.array([fault not in (None, "impossible") for fault in faults])
    own = table["prompt_id"].to_pylist()
    return [
        [
            s,
            int((shown == s).sum()),
            f"{expected_share(s, Course.examples):.3f}",
            share(unreadable & (shown == s), shown == s, own),
        ]
        for s in range(Course.examples + 1)
    ]


def filtered(experiment: Experiment, folder: Path) -> list[list[Any]]:
    """What each arm's filter keeps of what was written."""
    rows: list[list[Any]] = []
    for arm in experiment.arms:
        ledgers = artefact(experiment, folder, arm, "ledger.parquet")
        samples = artefact(experiment, folder, arm, "samples.parquet")
        kept = np.concatenate([ledger["kept"].to_numpy().astype(bool) for ledger in ledgers])
        faulty: list[bool] = []
        for ledger, table in zip(ledgers, samples, strict=True):
            fault = dict(
                zip(table["prompt_id"].to_pylist(), table["fault"].to_pylist(), strict=True)
            )
            faulty += [fault[name] is not None for name in ledger["prompt_id"].to_pylist()]
        own = [str(place) for place in range(len(faulty))]
        spoilt = share(kept & np.array(faulty), kept, own)
        rows.append([arm, f"{kept.sum() / len(ledgers):.0f}", spoilt])
    return rows


def arms_of(main: Experiment, folder: Path) -> Experiment:
    """The experiment, with the folder in place of the default one."""
    source = HERE / "self_rip_lab.yaml"
    experiment = read_experiment(source, quick=main.is_quick, seeds=list(main.seeds))
    arms = {
        name: {
            **arm,
            "problems": {
                "source": arm["problems"]["source"].replace("runs/rip", str(folder.resolve()), 1)
            },
        }
        for name, arm in experiment.arms.items()
    }
    return experiment.model_copy(update={"arms": arms})


def self_rip(main: Experiment, folder: Path) -> None:
    """Write the questions, train on them, and leave self_rip.* and written.md in the folder."""
    experiment, own = arms_of(main, folder), folder / "self_rip"
    course = replace(IMITATION, steps=2) if main.is_quick else IMITATION
    sets = write_all(main, folder, experiment.base["problems"]["n"], course)
    fewest = min(row["fewest questions of a seed"] for row in sets.values())
    base = merge(experiment.base, {"problems": {"n": fewest}})
    experiment = experiment.model_copy(update={"base": base})
    run_experiment(
        experiment,
        own,
        isolate=False,
        listener=lambda arm, seed, k, stage, state: print(
            f"{arm}, seed {seed}, iteration {k}: {stage} {state}", flush=True
        ),
    )
    write_result(analyse(experiment, own), folder, stem="self_rip")
    seen = by_examples(folder, main.seeds[0], 2 * experiment.base["problems"]["n"])
    kept = filtered(experiment, own)
    write_json(plain({"sets": sets}), folder / "written.json")
    write_text(page(sets, seen, kept), folder / "written.md")


def page(sets: dict[str, Any], seen: list[list[Any]], kept: list[list[Any]]) -> str:
    """All tables on what was written as Markdown."""
    names = list(next(iter(sets.values())))
    rows = [[name, *(_shown(row[key]) for key in names)] for name, row in sets.items()]
    head = ["spoilt of four examples", "questions", "Laplace's rule", "unreadable"]
    parts = [
        "**Examples, and what is written from them**",
        markdown_table(["examples", *names], rows),
        "**A writer that sees four examples and has not read the others**",
        markdown_table(head, seen),
        "**What the filters keep of it**",
        markdown_table(["arm", "questions kept per seed", "spoilt among kept"], kept),
    ]
    return "\n\n".join(parts) + "\n"


def _shown(value: Share | float) -> str:
    if isinstance(value, Share):
        return str(value)
    return f"{value:.3f}" if value < 1 else f"{value:.0f}"
