"""The whole way from documents to a set of questions: rate, compose, deduplicate, decontaminate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.files import write_json, write_parquet, write_text
from statllm.generations import Generations
from statllm.ledger import KEPT, count_reasons, with_dropped
from statllm.sampling.prompts.back_translation import Gate, back_translate
from statllm.sampling.prompts.question_set_settings import (
    LeakSettings,
    QuestionSetRecipe,
    SimilarSettings,
)
from statllm.sampling.prompts.templates import load_template

if TYPE_CHECKING:
    from statllm.sampling.prompts._sampled import Model

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class QuestionSet:
    """A set of questions and what became of every document.

    Attributes
    ----------
    questions : pyarrow.Table
        prompt_id, prompt (wrapped), reference, question (its text alone), document_id, template,
        author (the model), and total (points of the rating) where documents were rated.
    ledger : pyarrow.Table
        The ledger of `back_translate`, with the reasons of the later steps: ``near_duplicate``
        (and duplicate_of, jaccard), ``leak`` (leak_file, leak_row, ngram), ``empty`` (no word),
        ``not_similar`` (similarity).
    n_documents : int
    """

    questions: pa.Table
    ledger: pa.Table
    n_documents: int

    def counts(self) -> dict[str, int]:
        """Return rows of the ledger by reason, "kept" first; they add up."""
        return count_reasons(self.ledger["reason"])

    def summary(self) -> str:
        """Return one line."""
        counts = self.counts()
        return with_dropped(f"{self.n_documents} documents, {counts[KEPT]} questions", counts)


def question_set(
    recipe: QuestionSetRecipe,
    folder: str | Path,
    *,
    model: Model | None = None,
    progress: bool = True,
) -> QuestionSet:
    """Make a set of questions in a folder.

    Parameters
    ----------
    recipe : QuestionSetRecipe
    folder : str or Path
        Gets ``questions.parquet`` (a source of problems for `statllm run`), ``ledger.parquet``,
        ``counts.json``, ``recipe.yaml``, and the generated texts, from which a killed run goes on.
    model : path, hub name, or (model, tokenizer), optional
        In place of the recipe's.
    progress : bool

    Raises
    ------
    InputError
        If a file or a column of it is missing, or no question is left.
    """
    import yaml

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source = recipe.documents
    documents = Generations.read(source.source).table
    if source.n is not None:
        documents = documents.slice(0, source.n)
    gate = None if recipe.gate is None else _gate(recipe)
    for file, column in _compared_with(recipe):
        _texts(file, column)  # what is wrong with it is said before the long part
    made = back_translate(
        _resolved(recipe.model) if model is None else model,
        documents,
        recipe.sampling,
        template=load_template(recipe.template, "back_translation"),
        rubric=None if recipe.rubric is None else load_template(recipe.rubric, "rubric"),
        gate=gate,
        column=source.column,
        chat=recipe.chat,
        out=folder / "questions.generations.parquet",
        progress=progress,
    )
    rows = _later_steps(recipe, made.questions, made.ledger)
    total = {row["question_id"]: row["total"] for row in made.ledger.to_pylist()}
    ledger = _with_reasons(made.ledger, rows)
    left = [rows[name]["reason"] == KEPT for name in made.questions["prompt_id"].to_pylist()]
    kept = made.questions.filter(pa.array(left, pa.bool_()))
    write_parquet(ledger, folder / "ledger.parquet")  # first: it explains the questions
    if kept.num_rows == 0:
        raise InputError(
            f"no question is left: {QuestionSet(kept, ledger, made.n_documents).summary()}"
        )
    texts = kept["prompt"].to_pylist()
    table = kept.set_column(
        kept.column_names.index("prompt"),
        "prompt",
        pa.array([recipe.wrap.replace("{prompt}", text) for text in texts], pa.string()),
    ).append_column("question", pa.array(texts, pa.string()))
    # `model` is a column of samples: the questions' own is that of who wrote them.
    table = table.rename_columns(
        ["author" if name == "model" else name for name in table.column_names]
    )
    if recipe.rubric is not None:
        points = [total[name] for name in table["prompt_id"].to_pylist()]
        table = table.append_column("total", pa.array(points, pa.float64()))
    found = QuestionSet(table, ledger, made.n_documents)
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, width=100)
    write_text(text, folder / "recipe.yaml")
    write_json({"documents": found.n_documents, "rows": found.counts()}, folder / "counts.json")
    write_parquet(table, folder / "questions.parquet")
    return found


def _gate(recipe: QuestionSetRecipe) -> Gate:
    assert recipe.gate is not None
    given = recipe.gate
    if given.minimum is None:
        return Gate(total=given.total, answer_correctness=given.answer_correctness)
    return Gate(given.minimum, given.total, given.answer_correctness)


def _compared_with(recipe: QuestionSetRecipe) -> list[tuple[str, str]]:
    """Other files of questions, each with its column."""
    leaks, near = recipe.decontaminate, recipe.similar
    files = [] if leaks is None else [(file, leaks.column) for file in leaks.against]
    return files if near is None else [*files, (near.to, near.column)]


def _resolved(name: str) -> str:
    if name != "lab":
        return name
    from statllm.lab import model_path

    return str(model_path())


def _later_steps(
    recipe: QuestionSetRecipe, questions: pa.Table, ledger: pa.Table
) -> dict[str, Row]:
    """What becomes of each composed question, by its id; a step sees what the last one kept."""
    ids: list[str] = questions["prompt_id"].to_pylist()
    rows: dict[str, Row] = {name: {"reason": KEPT} for name in ids}
    points = dict(zip(ledger["question_id"].to_pylist(), ledger["total"].to_pylist(), strict=True))
    if recipe.near_duplicates is not None and ids:
        from statllm.selection import near_duplicates

        rated = recipe.rubric is not None
        best = np.array([points[name] or 0.0 for name in ids]) if rated else None
        found = near_duplicates(
            questions["prompt"], score=best, **recipe.near_duplicates.model_dump()
        )
        for i, reason in enumerate(found.reasons()):
            if reason != KEPT:
                of = int(found.duplicate_of[i])
                rows[ids[i]] = {
                    "reason": reason,
                    "duplicate_of": ids[of] if of >= 0 else None,
                    "jaccard": float(found.jaccard[i]) if of >= 0 else None,
                }
    if recipe.decontaminate is not None:
        _leaks(recipe.decontaminate, _left(questions, rows), rows)
    if recipe.similar is not None:
        _similar(recipe.similar, _left(questions, rows), rows)
    return rows


def _left(questions: pa.Table, rows: dict[str, Row]) -> pa.Table:
    stays = [rows[name]["reason"] == KEPT for name in questions["prompt_id"].to_pylist()]
    return questions.filter(pa.array(stays, pa.bool_()))


def _leaks(settings: LeakSettings, questions: pa.Table, rows: dict[str, Row]) -> None:
    from statllm.selection import decontaminate

    texts: list[str | None] = []
    place: list[tuple[str, int]] = []
    for file in settings.against:
        column = _texts(file, settings.column)
        texts += column
        place += [(file, row) for row in range(len(column))]
    found = decontaminate(
        questions["prompt"], texts, n=settings.n, normalisation=settings.normalisation
    )
    for i, name in enumerate(questions["prompt_id"].to_pylist()):
        if found.leaks[i]:
            file, row = place[int(found.reference[i])]
            rows[name] = {
                "reason": "leak", "leak_file": file, "leak_row": row, "ngram": found.ngram[i]
            }  # fmt: skip


def _similar(settings: SimilarSettings, questions: pa.Table, rows: dict[str, Row]) -> None:
    from statllm.selection.similar import similar
    from statllm.selection.word_vectors import word_vectors

    if questions.num_rows == 0:
        return
    texts = questions["prompt"].to_pylist()
    seeds = [text for text in _texts(settings.to, settings.column) if text]
    if settings.embedder is None:
        vectors: Any = word_vectors([*texts, *seeds])
    else:
        from statllm.scoring.embeddings import embed

        vectors = embed([[*texts, *seeds]], settings.embedder)
    found = similar(vectors[: len(texts)], vectors[len(texts) :], settings.k)
    for i, name in enumerate(questions["prompt_id"].to_pylist()):
        rows[name]["similarity"] = float(found.similarity[i])
        if not found.kept[i]:
            rows[name]["reason"] = "not_similar"


def _texts(file: str, column: str) -> list[str | None]:
    """A column of texts of a file; of messages, all contents together."""
    from statllm._formats import read_table

    table = read_table(file, {}, {})
    if column not in table.column_names:
        have = ", ".join(table.column_names)
        raise InputError(f"{file} has no column '{column}'; it has {have}")
    return [
        value if value is None or isinstance(value, str)
        else "\n".join(message["content"] for message in value)
        for value in table[column].to_pylist()
    ]  # fmt: skip


def _with_reasons(ledger: pa.Table, rows: dict[str, Row]) -> pa.Table:
    """The ledger with what the later steps decided."""
    names = ledger["question_id"].to_pylist()
    found = [rows.get(name, {}) if name is not None else {} for name in names]
    reasons = [
        given if row.get("reason", KEPT) == KEPT else row["reason"]
        for row, given in zip(found, ledger["reason"].to_pylist(), strict=True)
    ]
    changed = ledger.set_column(
        ledger.column_names.index("reason"), "reason", pa.array(reasons, pa.string())
    )
    changed = changed.set_column(
        changed.column_names.index("kept"), "kept", pa.array([r == KEPT for r in reasons])
    )
    kinds = {
        "duplicate_of": pa.string(), "jaccard": pa.float64(), "leak_file": pa.string(),
        "leak_row": pa.int64(), "ngram": pa.string(), "similarity": pa.float64(),
    }  # fmt: skip
    for name, kind in kinds.items():
        changed = changed.append_column(name, pa.array([row.get(name) for row in found], kind))
    return changed
