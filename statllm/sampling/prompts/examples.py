"""Few-shot prompts: which seeds are shown in which new prompt, and how."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ragged import IntArray
from statllm.sampling.prompts.templates import PromptTemplate
from statllm.sampling.random import stream_keys, uniforms

#: The Arrow type of a prompt of messages.
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def few_shot_prompts(
    seeds: pa.Table,
    count: int,
    template: PromptTemplate,
    examples: int | None = None,
    seed: int = 0,
    chat: bool = True,
) -> pa.Table:
    """Ask for new questions like the seeds, each time with other examples.

    Which seeds prompt i shows, and in which order, is a function of `seed`, i and the set of
    seeds: neither `count` nor the order of the seeds' rows changes it.

    Parameters
    ----------
    seeds : pyarrow.Table
        prompt_id and prompt: text, or messages, of which the first of the user counts.
    count : int
        Number of new prompts.
    template : PromptTemplate
        For few_shot.
    examples : int, optional
        Seeds in each prompt; by default as many as the template says.
    seed : int
    chat : bool
        Make messages; False makes one text, for models that complete text.

    Returns
    -------
    pyarrow.Table
        prompt_id (``new-0``, …), prompt, example_ids (list of string), template.

    Raises
    ------
    InputError
        If there are fewer seeds than examples, or a seed has no text; the message names it.

    Examples
    --------
    >>> from statllm.sampling.prompts import load_template
    >>> seeds = pa.table({"prompt_id": ["a", "b", "c"], "prompt": ["One?", "Two?", "Three?"]})
    >>> asked = few_shot_prompts(seeds, 2, load_template("completion"), examples=2, chat=False)
    >>> asked["example_ids"].to_pylist()
    [['a', 'b'], ['c', 'a']]
    >>> print(asked["prompt"][0])
    Question: One?
    <BLANKLINE>
    Question: Two?
    <BLANKLINE>
    Question:
    """
    if template.task != "few_shot":
        raise InputError(f"prompt template '{template.name}' is for {template.task}, not few_shot")
    if count < 1:
        raise InputError(f"count must be at least 1, not {count}")
    ids, texts = seed_texts(seeds)
    k = template.examples if examples is None else examples
    if not 1 <= k <= len(ids):
        raise InputError(f"{k} examples were asked for, there are {len(ids)} seeds")
    picks = _draws(len(ids), k, count, seed).tolist()
    prompts: list[Any] = []
    for picked in picks:
        shown = "".join(
            template.fill(template.example, {"number": str(number), "example": texts[at]})
            for number, at in enumerate(picked, start=1)
        )
        fields = {"examples": shown, "n_examples": str(k), "next_number": str(k + 1)}
        prompts.append(template.messages(fields) if chat else template.text(fields))
    return pa.table(
        {
            "prompt_id": [f"new-{i}" for i in range(count)],
            "prompt": pa.array(prompts, MESSAGES if chat else pa.string()),
            "example_ids": pa.array([[ids[at] for at in row] for row in picks]),
            "template": [template.stamp] * count,
        }
    )


def seed_texts(seeds: pa.Table) -> tuple[list[str], list[str]]:
    """Return identifiers and texts, sorted by identifier.

    Raises
    ------
    InputError
        If there is no text in a row; it is named.
    """
    given = Generations(seeds)
    texts = map(first_user_text, given.column("prompt").to_pylist())
    pairs = sorted(zip(given.prompt_ids, texts, strict=True), key=lambda pair: pair[0])
    for name, text in pairs:
        if text is None or not text.strip():
            raise InputError(f"the prompt of prompt_id '{name}' has no text")
    return [name for name, _ in pairs], [str(text).strip() for _, text in pairs]


def first_user_text(prompt: Any) -> str | None:
    """Return a prompt's text, of messages the first that is the user's."""
    if isinstance(prompt, list):
        return next((m["content"] for m in prompt if m["role"] == "user"), None)
    return prompt if isinstance(prompt, str) else None


def _draws(n: int, k: int, count: int, seed: int) -> IntArray:
    """Return `k` of `n` in random order, for each of `count` prompts: shape (count, k)."""
    # The name keeps these draws apart from those of the prompts' tokens.
    keys = stream_keys(seed, [f"examples of new-{i}" for i in range(count)], np.zeros(count, int))
    picks = np.empty((count, k), dtype=np.int64)
    uniform = np.stack([uniforms(keys, place) for place in range(k)], axis=1)
    for row, numbers in enumerate(uniform.tolist()):
        moved: dict[int, int] = {}  # the first k steps of a Fisher-Yates shuffle
        for place, u in enumerate(numbers):
            other = place + int(u * (n - place))
            picks[row, place] = moved.get(other, other)
            moved[other] = moved.get(place, place)
    return picks
