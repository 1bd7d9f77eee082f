"""The questions in a generated text, by the delimiters of the template that asked for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from statllm.generations import Generations
from statllm.sampling.prompts.templates import PromptTemplate

# Why a generation, or a part of it, is no question.
QUESTION_FAILURES = {
    "missing": "the generation is null",
    "no_question": "nothing stands where the question was expected",
    "truncated": "the longest allowed response ended before the question did",
    "unclosed": "a question begins, but its closing delimiter is missing",
}


@dataclass(frozen=True)
class Question:
    """A question, or why there is none.

    Attributes
    ----------
    prompt_id : str
        Of the few-shot prompt.
    sample : int
        Its sample.
    place : int or None
        Number of the question within the text; None where the text has none at all.
    text : str or None
    failure : str or None
        A key of `QUESTION_FAILURES` where there is no text.
    """

    prompt_id: str
    sample: int
    place: int | None
    text: str | None
    failure: str | None = None

    @property
    def question_id(self) -> str:
        """``prompt_id/sample/place``, without a place where there is none."""
        name = f"{self.prompt_id}/{self.sample}"
        return name if self.place is None else f"{name}/{self.place}"


def read_questions(template: PromptTemplate, generations: pa.Table) -> list[Question]:
    """Read the questions of all generations; each generation has at least one row.

    Parameters
    ----------
    template : PromptTemplate
        The one that asked.
    generations : pyarrow.Table
        prompt_id, response and possibly finish_reason ("length" where a response was cut off).

    Examples
    --------
    >>> from statllm.sampling.prompts import load_template
    >>> texts = [["<begin>Why?</end>\\n10. <begin>How", "I can't."]]
    >>> said = pa.table({"prompt_id": ["new-0"], "response": texts})
    >>> for question in read_questions(load_template("self_rip"), said):
    ...     print(question.question_id, question.text, question.failure)
    new-0/0/0 Why? None
    new-0/0/1 None unclosed
    new-0/1 None no_question
    """
    given = Generations(generations)
    responses = given.column("response").to_pylist()
    if "finish_reason" in given:
        finishes = given.column("finish_reason").to_pylist()
    else:
        finishes = [[None] * len(row) for row in responses]
    found = []
    for name, texts, ends in zip(given.prompt_ids, responses, finishes, strict=True):
        for sample, (text, end) in enumerate(zip(texts, ends, strict=True)):
            if text is None:
                found.append(Question(name, sample, None, None, "missing"))
                continue
            parts = list(_parts(template, text, end == "length"))
            if not parts:
                found.append(Question(name, sample, None, None, "no_question"))
            for place, (part, failure) in enumerate(parts):
                found.append(Question(name, sample, place, part, failure))
    return found


def _parts(
    template: PromptTemplate, text: str, cut: bool
) -> Iterator[tuple[str | None, str | None]]:
    """Questions and failures in the order of the text."""
    begin, end = template.delimiters.get("begin"), template.delimiters.get("end")
    if begin is None:
        text = text.lstrip()
        question, closed, _ = text.partition(end) if end else (text, "", "")
        if question.strip():
            yield (None, "truncated") if cut and not closed else (question.strip(), None)
        return
    assert end is not None  # the template checked it
    pieces = text.split(begin)[1:]
    for number, piece in enumerate(pieces, start=1):
        question, closed, _ = piece.partition(end)
        if not closed:
            yield None, "truncated" if cut and number == len(pieces) else "unclosed"
        else:
            question = question.strip()
            yield (question, None) if question else (None, "no_question")
