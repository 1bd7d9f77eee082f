"""Prompts that ask for thoughts before the response, and the two parts of what comes back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.sampling.prompts.templates import PromptTemplate
from statllm.sampling.prompts.wrap import with_prompt

# Why a text has no response.
THOUGHT_FAILURES = {
    "missing": "the text is null",
    "no_marker": "the marker of the response doesn't occur",
    "empty_response": "nothing comes after the marker of the response",
    "marker_in_response": "a marker occurs again after that of the response",
}


def thought_prompts(prompts: pa.Table, template: PromptTemplate) -> pa.Table:
    """Ask for thoughts before the response (TPO).

    Parameters
    ----------
    prompts : pyarrow.Table
        prompt_id and prompt. Of messages, the last one, the user's, is wrapped, and the system's
        text of the template comes after a system's message that is there.
    template : PromptTemplate
        For thoughts.

    Returns
    -------
    pyarrow.Table
        The same rows, with prompt replaced, original_prompt as it was (for judges, who see neither
        the thought nor what asks for it) and template.

    Raises
    ------
    InputError
        Names the prompt that is null, or doesn't end with the user's message.

    Examples
    --------
    >>> from statllm.sampling.prompts import load_template
    >>> asked = thought_prompts(
    ...     pa.table({"prompt_id": ["a"], "prompt": ["Why?"]}), load_template("tpo_specific")
    ... )
    >>> asked["prompt"][0].as_py().endswith("Why?"), asked["original_prompt"][0].as_py()
    (True, 'Why?')
    """
    _check(template)
    return with_prompt(prompts, template, [{} for _ in range(prompts.num_rows)])


@dataclass(frozen=True, eq=False)
class Thoughts:
    """Texts, cut in two.

    Attributes
    ----------
    thought : pyarrow array of string
        Null where the text couldn't be cut; may be empty.
    response : pyarrow array of string
        Null likewise: a text without its marker is no response.
    failure : pyarrow array of string
        A key of `THOUGHT_FAILURES`, null where the text was cut.
    """

    thought: pa.Array
    response: pa.Array
    failure: pa.Array

    def counts(self) -> dict[str, int]:
        """Return texts by outcome; they add up."""
        return _counts(self.failure)

    def summary(self) -> str:
        """Return one line."""
        return _summary(self.counts())


def split_thoughts(template: PromptTemplate, texts: Any, strict: bool = True) -> Thoughts:
    """Cut each text at the marker of the response.

    Parameters
    ----------
    template : PromptTemplate
        The one that asked.
    texts : pyarrow array of string, or sequence of str or None
    strict : bool
        A marker after that of the response is a failure: what follows would show thoughts to the
        judge. False takes everything after the first one, as the paper's string match does.

    Returns
    -------
    Thoughts
        What comes before the thought's marker, if the template has one, belongs to the thought.

    Examples
    --------
    >>> from statllm.sampling.prompts import load_template
    >>> parts = split_thoughts(load_template("tpo_specific"), ["Draft: 4. Good. <R> It's 4.", "5"])
    >>> parts.thought.to_pylist(), parts.response.to_pylist(), parts.failure.to_pylist()
    (['Draft: 4. Good.', None], ["It's 4.", None], [None, 'no_marker'])
    """
    _check(template)
    listed = texts.to_pylist() if hasattr(texts, "to_pylist") else list(texts)
    parts = [_split(template, text, strict) for text in listed]
    columns = [pa.array([part[i] for part in parts], pa.string()) for i in range(3)]
    return Thoughts(*columns)


def with_thoughts(generations: pa.Table, template: PromptTemplate, strict: bool = True) -> pa.Table:
    """Add thought, final_response and thought_failure to a generation table, one per sample.

    response stays the whole text, which is what is trained on; final_response is what is judged.

    Examples
    --------
    >>> from statllm.sampling.prompts import load_template
    >>> said = pa.table({"prompt_id": ["a"], "response": [["Hm. <R> Yes.", "No."]]})
    >>> cut = with_thoughts(said, load_template("tpo_specific"))
    >>> cut["final_response"].to_pylist(), cut["thought_failure"].to_pylist()
    ([['Yes.', None]], [[None, 'no_marker']])
    """
    given = Generations(generations)
    responses = given.column("response").combine_chunks()
    parts = split_thoughts(template, responses.flatten(), strict)
    columns = {
        "thought": parts.thought,
        "final_response": parts.response,
        "thought_failure": parts.failure,
    }
    lengths = given.n_samples
    offsets = pa.array([0, *lengths.cumsum()], pa.int32())
    lists = {name: pa.ListArray.from_arrays(offsets, flat) for name, flat in columns.items()}
    for name in lists:
        if name in given:
            raise InputError(f"column '{name}' is already there")
    return given.with_columns(lists).table


def thought_counts(table: pa.Table) -> dict[str, int]:
    """Return samples by outcome of a table with thought_failure; they add up."""
    return _counts(table["thought_failure"].combine_chunks().flatten())


def _check(template: PromptTemplate) -> None:
    if template.task != "thoughts":
        raise InputError(f"prompt template '{template.name}' is for {template.task}, not thoughts")


def _split(
    template: PromptTemplate, text: str | None, strict: bool
) -> tuple[str | None, str | None, str | None]:
    """Thought, response and failure."""
    if text is None:
        return None, None, "missing"
    marker, opening = template.delimiters["response"], template.delimiters.get("thought")
    thought, found, response = text.partition(marker)
    if not found:
        return None, None, "no_marker"
    if not response.strip():
        return None, None, "empty_response"
    if strict and (marker in response or (opening is not None and opening in response)):
        return None, None, "marker_in_response"
    if opening is not None:
        thought = thought.replace(opening, "", 1)
    return thought.strip(), response.strip(), None


def _counts(failure: pa.Array) -> dict[str, int]:
    found = Counter("split" if reason is None else reason for reason in failure.to_pylist())
    split = found.pop("split", 0)
    return {"split": split, **dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))}


def _summary(counts: dict[str, int]) -> str:
    reasons = ", ".join(f"{n} {name}" for name, n in counts.items() if name != "split")
    total = sum(counts.values())
    return f"{counts['split']} of {total} texts split" + (f" ({reasons})" if reasons else "")
