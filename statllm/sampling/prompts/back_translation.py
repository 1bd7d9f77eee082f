"""From documents to questions with reference answers, and what became of every document."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from statllm.errors import InputError
from statllm.ledger import KEPT, count_reasons, with_dropped
from statllm.sampling.prompts._sampled import sampled
from statllm.sampling.prompts.documents import (
    CRITERIA,
    FULL_MARKS,
    document_prompts,
    read_back_translation,
    read_rubric,
)
from statllm.sampling.prompts.templates import PromptTemplate, load_template
from statllm.sampling.settings import SamplingSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from statllm.sampling.prompts._sampled import Model

#: What a document needs, as the paper's prompt has it: some completeness and some complexity.
MINIMUM = {"completeness": 0.5, "complexity": 0.5}


@dataclass(frozen=True)
class Gate:
    """Which documents a question is asked of.

    Attributes
    ----------
    minimum : mapping
        Least points by criterion.
    total : float, optional
        Least sum; the paper keeps documents near `FULL_MARKS`, 9. (Its threshold isn't known.)
    answer_correctness : float
        Below these points of correctness, a document's reference answer isn't used.
    """

    minimum: Mapping[str, float] = field(default_factory=lambda: dict(MINIMUM))
    total: float | None = None
    answer_correctness: float = 0.5

    def __post_init__(self) -> None:
        for name, least in self.minimum.items():
            if name not in CRITERIA:
                raise InputError(f"there is no criterion '{name}'; there are {', '.join(CRITERIA)}")
            if not least <= CRITERIA[name][1]:
                raise InputError(f"{name} has {CRITERIA[name][1]:g} points at most, not {least:g}")
        if self.total is not None and not self.total <= FULL_MARKS:
            raise InputError(f"a total has {FULL_MARKS:g} points at most, not {self.total:g}")

    def objection(self, points: Mapping[str, Any]) -> str | None:
        """Return why a document is dropped, None if it isn't.

        Examples
        --------
        >>> low = {"completeness": 0.0, "complexity": 2.0, "total": 2.0, "failure": None}
        >>> Gate().objection(low)
        'low_completeness'
        """
        if points["failure"] is not None:
            return f"rubric_{points['failure']}"
        for name, least in self.minimum.items():
            if points[name] < least:
                return f"low_{name}"
        if self.total is not None and points["total"] < self.total:
            return "low_total"
        return None


@dataclass(frozen=True, eq=False)
class BackTranslated:
    """Questions from documents.

    Attributes
    ----------
    questions : pyarrow.Table
        prompt_id (the question_id of the ledger), prompt, reference (null where there is none),
        document_id, template, model.
    ledger : pyarrow.Table
        A row per document that was dropped before a question was asked, and per sample of every
        other: document_id, sample, question_id, kept, reason, the points, and reference: "given",
        "none", or "withheld" where the document isn't correct enough.
    n_documents : int
    """

    questions: pa.Table
    ledger: pa.Table
    n_documents: int

    def counts(self) -> dict[str, int]:
        """Return rows of the ledger by reason, "kept" first, then by falling count; they add up."""
        return count_reasons(self.ledger["reason"])

    def summary(self) -> str:
        """Return one line."""
        counts = self.counts()
        n_rows = self.ledger.num_rows
        line = f"{self.n_documents} documents, {n_rows} rows, {counts[KEPT]} questions kept"
        return with_dropped(line, counts)


def back_translate(
    model: Model,
    documents: pa.Table,
    settings: SamplingSettings | None = None,
    *,
    template: PromptTemplate | None = None,
    rubric: PromptTemplate | None = None,
    gate: Gate | None = None,
    column: str = "document",
    chat: bool = True,
    out: str | Path | None = None,
    progress: bool = True,
) -> BackTranslated:
    """Rate documents, and compose questions from those that pass.

    Parameters
    ----------
    model : path, hub name, or (model, tokenizer)
    documents : pyarrow.Table
        prompt_id and `column`.
    settings : SamplingSettings, optional
        `n` questions are asked of a document that passes (by default 1); it is rated once.
    template : PromptTemplate, optional
        For back_translation; natural_reasoning_question by default.
    rubric : PromptTemplate, optional
        For rubric, natural_reasoning_rubric for example. Without one, no document is rated.
    gate : Gate, optional
        Which ratings pass.
    column : str
    chat : bool
        Send messages; False sends one text, for models that complete text.
    out : path, optional
        Parquet file of the generated questions; the ratings are in ``<out>.ratings.parquet``. A
        killed run goes on from there.
    progress : bool

    Examples
    --------
    >>> from statllm.lab import model_path
    >>> documents = pa.table({"prompt_id": ["d"], "document": ["Ada has 3 apples."]})
    >>> made = back_translate(
    ...     model_path(), documents, SamplingSettings(n=2, max_new_tokens=8),
    ...     template=load_template("back_translation_marked"), chat=False,
    ... )
    >>> made.counts()
    {'kept': 0, 'question_no_marker': 2}
    """
    template = load_template("natural_reasoning_question") if template is None else template
    settings = SamplingSettings(n=1) if settings is None else settings
    if template.task != "back_translation":
        raise InputError(f"template '{template.name}' is for {template.task}, not back_translation")
    if rubric is not None and rubric.task != "rubric":
        raise InputError(f"template '{rubric.name}' is for {rubric.task}, not rubric")
    if gate is not None and rubric is None:
        raise InputError("a gate needs a rubric: without one, no document is rated")
    gate = Gate() if gate is None else gate
    path = None if out is None else Path(out)
    asked = document_prompts(documents, template, column, chat)
    ids: list[str] = asked["prompt_id"].to_pylist()
    points: list[dict[str, Any]] = [{} for _ in ids]
    if rubric is not None:
        rated = sampled(
            model,
            document_prompts(documents, rubric, column, chat),
            settings.model_copy(update={"n": 1, "stop": None}),
            None if path is None else path.with_name(f"{path.stem}.ratings.parquet"),
            progress,
        )
        points = read_rubric(rated["response"].combine_chunks().flatten()).table.to_pylist()
    objections = [gate.objection(given) if given else None for given in points]
    passed = pa.array([objection is None for objection in objections], pa.bool_())
    samples = sampled(model, asked.filter(passed), settings, path, progress)
    read = read_back_translation(template, samples["response"].combine_chunks().flatten())
    answers = iter(read.table.to_pylist())
    numbers = iter(samples["response"].to_pylist())
    rows: list[dict[str, Any]] = []
    for name, given, objection in zip(ids, points, objections, strict=True):
        shared = {"document_id": name, **{k: v for k, v in given.items() if k != "failure"}}
        if objection is not None:
            rows.append({**shared, "kept": False, "reason": objection})
            continue
        for sample, _ in enumerate(next(numbers)):
            rows.append({**shared, **_row(name, sample, next(answers), given, gate)})
    ledger = pa.Table.from_pylist(rows, schema=_LEDGER)
    return BackTranslated(_kept(ledger, template, samples), ledger.drop_columns(_TEXTS), len(ids))


def _row(
    name: str, sample: int, answer: dict[str, Any], points: dict[str, Any], gate: Gate
) -> dict[str, Any]:
    """What became of one generated text."""
    failure, reference = answer["failure"], answer["reference_answer"]
    said = "none" if reference is None else "given"
    if reference is not None and points.get("correctness", 2.0) < gate.answer_correctness:
        said, reference = "withheld", None
    return {
        "sample": sample,
        "question_id": f"{name}/{sample}",
        "kept": failure is None,
        "reason": KEPT if failure is None else f"question_{failure}",
        "reference": said if failure is None else None,
        "question": answer["question"],
        "reference_answer": reference,
    }


def _kept(ledger: pa.Table, template: PromptTemplate, samples: pa.Table) -> pa.Table:
    kept = ledger.filter(ledger["kept"])
    model = samples["model"][0].as_py() if samples.num_rows else None
    return pa.table(
        {
            "prompt_id": kept["question_id"],
            "prompt": kept["question"],
            "reference": kept["reference_answer"],
            "document_id": kept["document_id"],
            "template": pa.array([template.stamp] * kept.num_rows, pa.string()),
            "model": pa.array([model] * kept.num_rows, pa.string()),
        }
    )


_TEXTS = ["question", "reference_answer"]
_LEDGER = pa.schema(
    {
        "document_id": pa.string(),
        "sample": pa.int32(),
        "question_id": pa.string(),
        "kept": pa.bool_(),
        "reason": pa.string(),
        **dict.fromkeys([*CRITERIA, "total"], pa.float64()),
        "reference": pa.string(),
        **dict.fromkeys(_TEXTS, pa.string()),
    }
)
