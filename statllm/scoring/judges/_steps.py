"""What all kinds of judging share: questions, verdicts in tables, counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.judge_audit import SwapAudit
from statllm.generations import Generations
from statllm.scoring.judges.asking import JudgeModel, Question, ask
from statllm.scoring.judges.prompts import (
    JudgeTemplate,
    load_template,
    pointwise_prompts,
    read_verdicts,
    template_names,
)
from statllm.scoring.judges.responses import Shown
from statllm.scoring.judges.settings import JudgeSettings
from statllm.scoring.judges.verdicts import Verdicts, VerdictSummary
from statllm.scoring.judges.yes_no import YesNoJudge

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
T = TypeVar("T", bound="np.generic[Any]")


@dataclass(frozen=True, eq=False)
class Judged:
    """A judged table, and every single verdict.

    Attributes
    ----------
    generations : Generations
        With the columns that `judge` adds.
    verdicts : pyarrow.Table
        One row per verdict: ``prompt_id``; ``first`` and ``second``, or ``response`` (places in
        the prompt's row); ``vote``; ``verdict`` (by place: 1 the first is better, -1 the second, 0
        a tie; or the score; null if unreadable); ``reason`` why it is; ``text``; ``template``;
        ``judge``. Of kind yes-no: ``logprob_yes`` and ``logprob_no`` instead of text and reason.
    summary : VerdictSummary or None
        Counts of all verdicts; None for yes-no, where nothing is read.
    audit : SwapAudit or None
        Position bias and consistency, pairwise only.
    """

    generations: Generations
    verdicts: pa.Table
    summary: VerdictSummary | None = None
    audit: SwapAudit | None = None

    @property
    def n_left_out(self) -> int:
        """Responses that weren't judged: null, or without the part to judge."""
        counts: FloatArray = self.generations.column("judge_n_left_out").to_numpy()
        return int(counts.sum())


def template_of(settings: JudgeSettings) -> JudgeTemplate:
    """Return the template of the settings: by name, else from a file."""
    name = settings.template_name
    known = name in template_names() or not name.endswith((".yaml", ".yml"))
    template = load_template(name if known else Path(name))
    mode = {"criteria": "pointwise", "layers": "pointwise"}.get(settings.kind, settings.kind)
    if template.mode != mode:
        raise InputError(f"judge template '{template.name}' is {template.mode}, not {mode}")
    return template


def references_of(seen: Shown, template: JudgeTemplate) -> list[str] | None:
    """Return the references, where the template shows them.

    Raises
    ------
    InputError
        If one is missing: the judge would take an empty text for the known answer.
    """
    if "reference" not in template.placeholders or seen.references is None:
        return None
    for prompt_id, reference in zip(seen.prompt_ids, seen.references, strict=True):
        if not reference:
            raise InputError(
                f"judge template '{template.name}' shows the reference, and prompt_id "
                f"'{prompt_id}' has none"
            )
    return seen.references


def questions_of(asked: pa.Table, settings: JudgeSettings) -> list[Question]:
    """Return the messages of a table of questions, as one text where the settings say so."""
    messages = asked["messages"].to_pylist()
    if not settings.plain:
        return cast("list[Question]", messages)
    return ["\n\n".join(message["content"] for message in each) for each in messages]


def put_each(
    model: JudgeModel,
    seen: Shown,
    settings: JudgeSettings,
    cache: str | Path | None,
    extra: Mapping[str, str] | None = None,
) -> tuple[Verdicts, pa.Table]:
    """As `put`, about every response by itself; `extra` fills further placeholders."""
    template = template_of(settings)
    return put(model, template, each_response(seen, template, settings, extra), settings, cache)


def each_response(
    seen: Shown,
    template: JudgeTemplate,
    settings: JudgeSettings,
    extra: Mapping[str, str] | None = None,
) -> pa.Table:
    """Return questions about every response by itself."""
    given = {**settings.extra, **(extra or {})}
    return pointwise_prompts(
        template, seen.prompts, seen.texts, references_of(seen, template), given
    )


def put(
    model: JudgeModel,
    template: JudgeTemplate,
    asked: pa.Table,
    settings: JudgeSettings,
    cache: str | Path | None,
) -> tuple[Verdicts, pa.Table]:
    """Ask, read, and return the verdicts with their table: votes follow their question."""
    written = ask(model, questions_of(asked, settings), settings.votes, cache)
    texts = pa.array([text for row in written for text in row], pa.string())
    verdicts = read_verdicts(template, texts)
    rows = np.repeat(np.arange(asked.num_rows), settings.votes)
    table = asked.drop_columns(["messages"]).take(pa.array(rows))
    votes = np.tile(np.arange(settings.votes), asked.num_rows)
    table = table.append_column("vote", pa.array(votes, pa.int64()))
    table = table.append_column("verdict", verdicts.value)
    table = table.append_column("reason", verdicts.reason)
    return verdicts, table.append_column("text", texts)


def counts(seen: Shown, prompt: IntArray, value: FloatArray) -> dict[str, IntArray]:
    """Return per prompt: verdicts asked for, unreadable ones, responses left out."""
    n = len(seen.prompts)
    return {
        "judge_n_asked": np.bincount(prompt, minlength=n),
        "judge_n_unread": np.bincount(prompt[np.isnan(value)], minlength=n),
        "judge_n_left_out": seen.n_left_out,
    }


def votes_of(value: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return number, mean and standard error of the votes that aren't NaN, row by row."""
    n_read = (~np.isnan(value)).sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(value, axis=1) / n_read
        squares = np.nansum((value - mean[:, None]) ** 2, axis=1)
        se = np.sqrt(squares / (n_read - 1) / n_read)
    return n_read, mean, np.where(n_read > 1, se, np.nan)


def split(seen: Shown, values: NDArray[T]) -> list[NDArray[T]]:
    """Cut values of all judged responses into those of each prompt."""
    sizes = [len(texts) for texts in seen.texts]
    return list(np.split(values, np.cumsum(sizes)[:-1])) if sizes else []


def placed(table: pa.Table, seen: Shown, names: tuple[str, ...]) -> pa.Table:
    """Return verdicts with places as they are in the prompts' rows."""
    prompt = table["prompt"].to_numpy()
    for name in names:
        local = table[name].to_numpy()
        real = [int(seen.places[row][k]) for row, k in zip(prompt, local, strict=True)]
        column = pa.array(real, pa.int64())
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def named(table: pa.Table, seen: Shown, model: JudgeModel | YesNoJudge) -> pa.Table:
    """Return verdicts with prompt identifiers, and the judge's name."""
    ids = pa.array([seen.prompt_ids[row] for row in table["prompt"].to_numpy()], pa.string())
    table = table.set_column(table.column_names.index("prompt"), "prompt_id", ids)
    return table.append_column("judge", pa.array([model.name] * table.num_rows, pa.string()))
