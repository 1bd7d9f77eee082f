"""Prompts with a limit on the number of words (LIFT)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.sampling.prompts.templates import PromptTemplate
from statllm.sampling.prompts.wrap import with_prompt
from statllm.scoring.words import count_words, is_limit

#: The scales of the paper's test outside of the training distribution, 1 first.
SCALES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


def shortest(texts: Any) -> list[int]:
    """Return the words of the shortest text of each row: the limit in AlpacaEval-LI.

    Parameters
    ----------
    texts : pyarrow column of strings or of lists of strings, or nested sequences
        The answers of other models to the plain prompt.

    Raises
    ------
    InputError
        If a row has no text, or its shortest text has no word; the row is named.

    Examples
    --------
    >>> shortest([["It's blue.", "Blue, I think."], ["Because."]])
    [3, 1]
    """
    rows = texts.to_pylist() if hasattr(texts, "to_pylist") else texts
    return [count_words(shortest_texts(value, row)[0]) for row, value in enumerate(rows)]


def shortest_texts(texts: Any, row: int) -> list[str]:
    """Return those of a row's texts (or its only one) that have the fewest words.

    Raises
    ------
    InputError
        As `shortest` does.
    """
    given = [texts] if isinstance(texts, str) else texts
    if not isinstance(given, Sequence) or not given or not all(isinstance(t, str) for t in given):
        raise InputError(f"row {row}: texts to count the words of were expected")
    words = [count_words(text) for text in given]
    fewest = min(words)
    if fewest == 0:
        raise InputError(f"row {row}: the shortest text has no words, so it sets no limit")
    return [text for text, n in zip(given, words, strict=True) if n == fewest]


def length_prompts(
    prompts: pa.Table,
    limits: int | Sequence[int] | pa.ChunkedArray,
    template: PromptTemplate,
    scales: Sequence[float] = (1.0,),
) -> pa.Table:
    """Ask each prompt with a limit on the words of the response.

    Parameters
    ----------
    prompts : pyarrow.Table
        prompt_id and prompt.
    limits : int, or a sequence of int with one per prompt
        Words.
    template : PromptTemplate
        For length.
    scales : sequence of float
        Each prompt is asked once for each, with floor(scale x limit) words, and at least 1. (How
        the paper rounds isn't known.)

    Returns
    -------
    pyarrow.Table
        The rows of the first scale, then those of the next, with prompt replaced, and
        original_prompt, template, max_words, limit (before scaling) and scale. With several
        scales, prompt_id ends with ``@scale``, and original_prompt_id is as it was.

    Raises
    ------
    InputError
        If a limit isn't a whole number from 1 (its row is named), a scale isn't positive or occurs
        twice, or a prompt is null.

    Examples
    --------
    >>> from statllm.sampling.prompts import load_template
    >>> plain = pa.table({"prompt_id": ["a"], "prompt": ["Why?"]})
    >>> asked = length_prompts(plain, [70], load_template("lift_words"), scales=(1, 0.9))
    >>> asked["prompt_id"].to_pylist(), asked["max_words"].to_pylist()
    (['a@1', 'a@0.9'], [70, 63])
    >>> print(asked["prompt"][1])
    Answer the following instruction using 63 words or less.
    <BLANKLINE>
    Why?
    """
    if template.task != "length":
        raise InputError(f"prompt template '{template.name}' is for {template.task}, not length")
    _check_scales(scales)
    given = Generations(prompts)
    words = _limits(limits, given.n_prompts)
    return pa.concat_tables(
        [_scaled(given, words, template, scale, len(scales) > 1) for scale in scales]
    )


def _scaled(
    given: Generations, limits: list[int], template: PromptTemplate, scale: float, several: bool
) -> pa.Table:
    # The decimal that was written: 0.7 x 10 is 7, not 6.999… and so 6.
    exact = Fraction(repr(float(scale)))
    words = [max(1, int(exact * limit)) for limit in limits]
    if not all(map(is_limit, words)):
        raise InputError(f"a limit times the scale {scale:g} is no number of 64 bits")
    table = with_prompt(given.table, template, [{"max_words": str(n)} for n in words])
    columns: dict[str, Any] = {
        "max_words": pa.array(words, pa.int64()),
        "limit": pa.array(limits, pa.int64()),
        "scale": pa.array([float(scale)] * len(words), pa.float64()),
    }
    if several:
        columns["prompt_id"] = pa.array([f"{name}@{scale:g}" for name in given.prompt_ids])
        columns["original_prompt_id"] = pa.array(given.prompt_ids, pa.string())
    return Generations(table).with_columns(columns).table


def _limits(limits: int | Sequence[int] | pa.ChunkedArray, n: int) -> list[int]:
    if isinstance(limits, int):
        limits = [limits] * n
    values = limits.to_pylist() if hasattr(limits, "to_pylist") else list(limits)
    if len(values) != n:
        raise InputError(f"one limit per prompt was expected, not {len(values)} for {n} prompts")
    for row, value in enumerate(values):
        if not is_limit(value):
            raise InputError(f"row {row}: the limit is {value!r}, not a whole number from 1")
    return [int(value) for value in values]


def _check_scales(scales: Sequence[float]) -> None:
    if not scales:
        raise InputError("there must be at least one scale")
    for scale in scales:
        if not 0 < scale < float("inf"):
            raise InputError(f"a scale must be positive, not {scale}")
    names = [f"{scale:g}" for scale in scales]
    if len(set(names)) < len(names):
        raise InputError(f"scales must differ: {', '.join(names)}")
