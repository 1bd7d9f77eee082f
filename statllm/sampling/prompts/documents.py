"""Questions composed from documents (NaturalReasoning): rate the document, then translate back."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.sampling.prompts.examples import MESSAGES
from statllm.sampling.prompts.templates import PromptTemplate
from statllm.scoring._json import json_objects, unique_keys

#: The criteria of the paper, and the least and most points of each.
CRITERIA = {
    "completeness": (0.0, 2.0),
    "complexity": (0.0, 2.0),
    "correctness": (-1.0, 2.0),
    "reasoning": (-1.0, 3.0),
}
#: Full marks.
FULL_MARKS = sum(most for _, most in CRITERIA.values())

# Why a text couldn't be read.
DOCUMENT_FAILURES = {
    "missing": "the text is null",
    "no_json": "no JSON object with one of the keys is in it",
    "several_objects": "several JSON objects with the keys are in it, and they differ",
    "missing_key": "the object lacks a key",
    "invalid_value": "a value is of the wrong type",
    "out_of_range": "points are outside of what the criterion allows",
    "no_marker": "a marker is missing, or they come in another order",
    "repeated_marker": "a marker occurs twice",
    "empty_question": "the question is empty",
}


class _Unreadable(Exception):
    """Carries the reason."""


def _refuse(reason: str) -> NoReturn:
    raise _Unreadable(reason)


def document_prompts(
    documents: pa.Table, template: PromptTemplate, column: str = "document", chat: bool = True
) -> pa.Table:
    """Ask about each document: to rate it, or to compose a question, as the template has it.

    Parameters
    ----------
    documents : pyarrow.Table
        prompt_id and `column`.
    template : PromptTemplate
        For rubric or back_translation.
    column : str
        The text.
    chat : bool
        Make messages; False makes one text, for models that complete text.

    Returns
    -------
    pyarrow.Table
        prompt_id, prompt, template; the documents don't travel along.

    Raises
    ------
    InputError
        Names the document without text.

    Examples
    --------
    >>> from statllm.sampling.prompts import load_template
    >>> documents = pa.table({"prompt_id": ["d"], "document": ["Water boils at 100 °C."]})
    >>> asked = document_prompts(documents, load_template("natural_reasoning_rubric"))
    >>> [message["role"] for message in asked["prompt"][0].as_py()]
    ['system', 'user']
    """
    if template.task not in ("rubric", "back_translation"):
        raise InputError(f"prompt template '{template.name}' is for {template.task}, not documents")
    given = Generations(documents)
    prompts: list[Any] = []
    for name, text in zip(given.prompt_ids, given.column(column).to_pylist(), strict=True):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"column '{column}' of prompt_id '{name}' has no text")
        fields = {"document": text.strip()}
        prompts.append(template.messages(fields) if chat else template.text(fields))
    return pa.table(
        {
            "prompt_id": pa.array(given.prompt_ids, pa.string()),
            "prompt": pa.array(prompts, MESSAGES if chat else pa.string()),
            "template": pa.array([template.stamp] * len(prompts), pa.string()),
        }
    )


@dataclass(frozen=True, eq=False)
class Readings:
    """What was read from n texts.

    Attributes
    ----------
    table : pyarrow.Table
        The values, all null in rows that couldn't be read, and ``failure``, a key of
        `DOCUMENT_FAILURES`, null where they could.
    """

    table: pa.Table

    def counts(self) -> dict[str, int]:
        """Return texts by outcome, "read" first; they add up."""
        failures = self.table["failure"].to_pylist()
        found = Counter("read" if reason is None else reason for reason in failures)
        read = found.pop("read", 0)
        return {"read": read, **dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))}

    def summary(self) -> str:
        """Return one line."""
        counts = self.counts()
        read = counts.pop("read")
        reasons = ", ".join(f"{count} {name}" for name, count in counts.items())
        line = f"{read} of {self.table.num_rows} texts read"
        return f"{line} ({reasons})" if reasons else line


def read_rubric(texts: Any) -> Readings:
    """Read the points that documents got.

    Returns
    -------
    Readings
        With a column per criterion and their sum, ``total``, which is computed, not read.

    Examples
    --------
    >>> points = '{"completeness": 2, "complexity": 1, "correctness": 1.5, "reasoning": 2.5}'
    >>> read = read_rubric([f"Well. {points}", '{"completeness": 3}'])
    >>> read.table["total"].to_pylist(), read.table["failure"].to_pylist()
    ([7.0, None], [None, 'missing_key'])
    """
    kinds = {**dict.fromkeys(CRITERIA, pa.float64()), "total": pa.float64()}
    return _read(texts, kinds, _points)


def read_back_translation(template: PromptTemplate, texts: Any) -> Readings:
    """Read questions and reference answers.

    Returns
    -------
    Readings
        With ``question`` and ``reference_answer``, which is null where the text gives none.

    Examples
    --------
    >>> from statllm.sampling.prompts import load_template
    >>> texts = ["Question: Why? Reference answer: So.", "Question: Who?", None]
    >>> read = read_back_translation(load_template("back_translation_marked"), texts)
    >>> read.table["reference_answer"].to_pylist(), read.table["failure"].to_pylist()
    (['So.', None, None], [None, 'no_marker', 'missing'])
    >>> read.summary()
    '1 of 3 texts read (1 missing, 1 no_marker)'
    """
    if template.task != "back_translation":
        raise InputError(
            f"prompt template '{template.name}' is for {template.task}, not back_translation"
        )
    marks = template.delimiters

    def read(text: str) -> dict[str, Any]:
        question, answer = _marked(text, marks) if marks else _question(text)
        if not question.strip():
            _refuse("empty_question")
        return {"question": question.strip(), "reference_answer": answer.strip() or None}

    return _read(texts, {"question": pa.string(), "reference_answer": pa.string()}, read)


def _read(
    texts: Any, kinds: Mapping[str, pa.DataType], read: Callable[[str], Mapping[str, Any]]
) -> Readings:
    listed: Sequence[str | None] = texts.to_pylist() if hasattr(texts, "to_pylist") else texts
    rows: list[dict[str, Any]] = []
    for text in listed:
        try:
            if text is None:
                _refuse("missing")
            rows.append({**read(text), "failure": None})
        except _Unreadable as failure:
            rows.append({"failure": str(failure)})
    schema = pa.schema({**kinds, "failure": pa.string()})
    return Readings(pa.Table.from_pylist(rows, schema=schema))


def _points(text: str) -> dict[str, float]:
    given = _object(text, CRITERIA)
    points = {}
    for name, (least, most) in CRITERIA.items():
        value = given[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            _refuse("invalid_value")
        if not least <= value <= most:
            _refuse("out_of_range")
        points[name] = float(value)
    return {**points, "total": sum(points.values())}


def _question(text: str) -> tuple[str, str]:
    given = _object(text, ("question", "reference_answer"))
    question, answer = given["question"], given["reference_answer"]
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = json.dumps(answer)  # a bare number is an answer, too
    if not isinstance(question, str) or not (answer is None or isinstance(answer, str)):
        _refuse("invalid_value")
    return question, answer or ""


def _marked(text: str, marks: Mapping[str, str]) -> tuple[str, str]:
    first, second = marks["question"], marks["reference_answer"]
    if text.count(first) > 1 or text.count(second) > 1:
        _refuse("repeated_marker")
    _, found, rest = text.partition(first)
    question, then, answer = rest.partition(second)
    if not (found and then):
        _refuse("no_marker")
    return question, answer


def _object(text: str, keys: Iterable[str]) -> dict[str, Any]:
    """The one JSON object of a text that has some of the keys; it must have them all."""
    keys = list(keys)
    found = [one for one in json_objects(text, unique_keys) if any(key in one for key in keys)]
    if not found:
        _refuse("no_json")
    if any(one != found[0] for one in found):
        _refuse("several_objects")
    if not all(key in found[0] for key in keys):
        _refuse("missing_key")
    return found[0]
