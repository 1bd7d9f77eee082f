"""Documents, the questions that the author makes of them, and the truth about both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.proportions import proportion
from statllm.estimators.questions import (
    cluster_diversity,
    compare_questions,
    question_difficulty,
    reference_buckets,
    spherical_kmeans,
)
from statllm.experiment.report import markdown_table
from statllm.files import read_parquet, write_parquet
from statllm.lab import problems
from statllm.lab.documents import documents
from statllm.lab.reading import read_problem
from statllm.results import Estimate, format_p
from statllm.sampling.prompts.question_set import question_set
from statllm.sampling.prompts.question_set_settings import (
    QuestionSetRecipe,
    read_question_set_recipe,
)
from statllm.selection import decontaminate, near_duplicates
from statllm.selection.word_vectors import word_vectors

HERE = Path(__file__).parent
MODELS = HERE / "model"
TOPICS = 30
Row = dict[str, Any]


def recipe_of(folder: Path) -> QuestionSetRecipe:
    """The lab's recipe with its files filled in."""
    given = read_question_set_recipe(HERE / "questions-lab.yaml")
    leaks = given.decontaminate
    assert leaks is not None
    return given.model_copy(
        update={
            "model": str(MODELS / "author"),
            "rubric": str(HERE / "templates" / "rubric.yaml"),
            "template": str(HERE / "templates" / "question.yaml"),
            "documents": given.documents.model_copy(
                update={"source": str(folder / "documents.parquet")}
            ),
            "decontaminate": leaks.model_copy(update={"against": (str(folder / "test.parquet"),)}),
        }
    )


def make(folder: Path, n: int, n_test: int) -> None:
    """Write documents, the test's questions, and two sets: `clean` and `raw`.

    The raw set has a question of every document, without rating, duplicates and leaks and all.
    """
    write_parquet(documents(n, leaked=n_test), folder / "documents.parquet")
    test = problems("test", n_test)
    texts = [text.removeprefix("Q: ").removesuffix("\nA:\n") for text in test["prompt"].to_pylist()]
    write_parquet(
        test.set_column(1, "prompt", pa.array(texts, pa.string())), folder / "test.parquet"
    )
    clean = recipe_of(folder)
    none = {"rubric": None, "gate": None, "near_duplicates": None, "decontaminate": None}
    raw = clean.model_copy(update=none)
    for name, recipe in (("clean", clean), ("raw", raw)):
        print(
            f"{name}: {question_set(recipe, folder / name, progress=False).summary()}", flush=True
        )


def judged(questions: pa.Table, corpus: pa.Table) -> list[Row]:
    """What is true of each question.

    ``fault`` of the text (None: a problem of the world), ``answer``; ``faithful``: the chain is the
    document's; ``reference``: none, right or wrong (of a question with a fault: wrong).
    """
    by_id = {row["prompt_id"]: row for row in corpus.to_pylist()}
    rows = []
    for question in questions.to_pylist():
        document = by_id[question["document_id"]]
        read = read_problem(question["question"])
        answer = None if read.problem is None else str(read.problem.answer)
        chain = None if read.problem is None else chain_of(read.problem)
        told = question["reference"]
        rows.append(
            {
                "prompt_id": question["prompt_id"],
                "kind": document["kind"],
                "origin": document["origin"],
                "source": document["source"],
                "document_answer": document["answer"],
                "fault": read.fault,
                "answer": answer,
                "faithful": chain == document["chain"],
                "reference": "none" if told is None else "right" if told == answer else "wrong",
            }
        )
    return rows


def chain_of(problem: Any) -> str:
    """The canonical form as the corpus writes it."""
    return str(problem.start) + "".join(f"{operation}{n}" for operation, n in problem.steps)


def share(found: Sequence[bool], name: str) -> Estimate:
    """A share with Wilson's interval."""
    return proportion(float(sum(found)), len(found), name=name)


def shown(estimate: Estimate, digits: int = 3) -> str:
    """Value and 95 % interval."""
    if not estimate.n:
        return "-"
    interval = estimate.interval(0.95)
    return f"{estimate.value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def yields(folder: Path) -> tuple[list[Row], dict[str, list[Row]]]:
    """How many questions of each set are what they should be."""
    corpus = read_parquet(folder / "documents.parquet")
    truths = {
        name: judged(read_parquet(folder / name / "questions.parquet"), corpus)
        for name in ("raw", "clean")
    }
    rows = []
    for name, truth in truths.items():
        told = [row["reference"] == "right" for row in truth if row["reference"] != "none"]
        rows.append(
            {
                "set": name,
                "questions": len(truth),
                "readable": shown(share([row["fault"] is None for row in truth], "readable")),
                "faithful": shown(share([row["faithful"] for row in truth], "faithful")),
                "with a reference": shown(
                    share([row["reference"] != "none" for row in truth], "given")
                ),
                "of these right": shown(share(told, "right")),
                "leaks": shown(share([row["origin"] == "leak" for row in truth], "leaks")),
                "told again": shown(
                    share([row["origin"] == "duplicate" for row in truth], "again")
                ),
            }
        )
    return rows, truths


def rated(folder: Path) -> list[Row]:
    """What the author's ratings know: documents of each kind that pass the gate."""
    kinds = {
        row["prompt_id"]: row["kind"]
        for row in read_parquet(folder / "documents.parquet").to_pylist()
    }
    passed: dict[str, list[bool]] = {}
    for row in read_parquet(folder / "clean" / "ledger.parquet").to_pylist():
        kept = not row["reason"].startswith(("low_", "rubric_"))
        passed.setdefault(kinds[row["document_id"]], []).append(kept)
    return [
        {"document": kind, "documents": len(found), "pass": shown(share(found, kind))}
        for kind, found in sorted(passed.items())
    ]


def duplicates_found(folder: Path, truths: dict[str, list[Row]]) -> list[Row]:
    """Recall of planted copies and false merges, by shingle and threshold, on the raw set."""
    questions = read_parquet(folder / "raw" / "questions.parquet")
    ids = questions["document_id"].to_pylist()
    place = {name: i for i, name in enumerate(ids)}
    truth = truths["raw"]
    pairs = [
        (i, place[row["source"]])
        for i, row in enumerate(truth)
        if row["origin"] == "duplicate" and row["source"] in place
        and row["faithful"] and truth[place[row["source"]]]["faithful"]
    ]  # fmt: skip
    answers = [row["answer"] for row in truth]
    rows = []
    for threshold, shingle in ((0.55, 1), (0.7, 1), (0.85, 1), (0.55, 2), (0.7, 2), (0.55, 3)):
        found = near_duplicates(questions["question"], threshold, shingle=shingle)
        hits = [bool(found.cluster[i] == found.cluster[j]) for i, j in pairs]
        dropped = np.flatnonzero(found.duplicate_of >= 0)
        wrong = [answers[i] != answers[int(found.duplicate_of[i])] for i in dropped]
        rows.append(
            {
                "threshold": threshold,
                "words of a shingle": shingle,
                "copies found": shown(share(hits, "found")),
                "dropped": len(dropped),
                "of these with another answer": shown(share(wrong, "wrong")),
            }
        )
    return rows


def leaks_found(folder: Path, truths: dict[str, list[Row]]) -> Row:
    """Recall of planted leaks whose question is faithful, and questions flagged without one."""
    questions = read_parquet(folder / "raw" / "questions.parquet")
    test = read_parquet(folder / "test.parquet")
    found = decontaminate(questions["question"], test["prompt"])
    planted = [
        bool(leak)
        for leak, row in zip(found.leaks, truths["raw"], strict=True)
        if row["origin"] == "leak" and row["faithful"]
    ]
    others = [
        bool(leak)
        for leak, row in zip(found.leaks, truths["raw"], strict=True)
        if row["origin"] != "leak"
    ]
    return {
        "leaks": len(planted),
        "found": shown(share(planted, "found")),
        "others flagged": shown(share(others, "flagged")),
    }


def against_the_world(folder: Path) -> list[Row]:
    """The clean set against as many of the world's own problems."""
    ours = read_parquet(folder / "clean" / "questions.parquet")
    n = ours.num_rows
    world = [
        text.removeprefix("Q: ").removesuffix("\nA:\n")
        for text in problems("train", n, 99)["prompt"].to_pylist()
    ]
    texts = [*world, *ours["question"].to_pylist()]
    clusters = np.split(spherical_kmeans(word_vectors(texts), min(TOPICS, n)), [n])
    words = np.array([len(text.split()) for text in texts], float)
    told = [len((value or "").split()) for value in ours["reference"].to_pylist()]
    found = compare_questions(
        question_difficulty(n=n),
        question_difficulty(n=n),
        measures={"mean question length": (words[:n], words[n:], "words")},
        references=(reference_buckets(np.ones(n)), reference_buckets(told)),
        diversity=(
            cluster_diversity(np.bincount(clusters[0], minlength=TOPICS)),
            cluster_diversity(np.bincount(clusters[1], minlength=TOPICS)),
        ),
    )
    return [
        {
            "figure": each.estimate.name,
            "set less world": shown(each.estimate),
            "unit": each.estimate.unit,
            # A star: of all shares at once, not of this figure alone.
            "p (Holm)": format_p(each.log_p_holm) + " *" * each.of_all_shares,
        }
        for each in found
    ]


def page(folder: Path) -> tuple[str, dict[str, Any]]:
    """All tables as Markdown, and as values."""
    by_set, truths = yields(folder)
    lengths = [len(t.split()) for t in read_parquet(folder / "clean" / "questions.parquet")[
        "question"].to_pylist()]  # fmt: skip
    tables = {
        "**Questions by set** (shares with 95 % intervals)": by_set,
        "**Documents that pass the author's rating**": rated(folder),
        "**Near-duplicates on the raw set**": duplicates_found(folder, truths),
        "**Leaks of the test, 13 words in a row**": [leaks_found(folder, truths)],
        "**The clean set (B) against the world's problems (A)**": against_the_world(folder),
    }
    parts = [f"Mean question length: {shown(mean_estimate(lengths), 1)} words."]
    for title, rows in tables.items():
        parts += [title, markdown_table(list(rows[0]), [list(row.values()) for row in rows])]
    return "\n\n".join(parts) + "\n", {title.strip("*"): rows for title, rows in tables.items()}
