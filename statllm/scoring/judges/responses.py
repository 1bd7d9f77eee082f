"""What a judge gets to see of a generation table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.generations import Generations, list_lengths

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shown:
    """Prompts as text, and of each prompt's responses the parts that are judged.

    Attributes
    ----------
    prompt_ids, prompts : list of str
    references : list of str, or None
        Without the column; a null in it is an empty text.
    texts : list of list of str
        Without the responses that are left out.
    places : list of ndarray of int64
        Where in the prompt's row each text is from.
    lengths : ndarray of int64
        All responses of each prompt.
    """

    prompt_ids: list[str]
    prompts: list[str]
    references: list[str] | None
    texts: list[list[str]]
    places: list[IntArray]
    lengths: IntArray

    @property
    def n_left_out(self) -> IntArray:
        """Responses of each prompt that are null or lack the part to judge."""
        return self.lengths - np.array([len(row) for row in self.texts], dtype=np.int64)

    def spread(self, values: list[NDArray[np.float64]]) -> pa.Array:
        """Return a list column: a number per response, null where NaN or left out."""
        rows = []
        for length, places, row in zip(self.lengths, self.places, values, strict=True):
            full = np.full(int(length), np.nan)
            full[places] = row
            rows.append([None if np.isnan(value) else float(value) for value in full])
        return pa.array(rows, pa.list_(pa.float64()))


def shown(generations: Generations, response_part: str | None = None) -> Shown:
    """Read prompts and responses for a judge.

    Parameters
    ----------
    generations : Generations
        With ``prompt`` (text or messages) and ``response``.
    response_part : str, optional
        Only what follows its first occurrence is judged, such as the response after a thought
        (TPO, Wu et al. 2024); a response without it is left out, and so is one that ends there.

    Raises
    ------
    InputError
        If a column is missing or a prompt is null.
    """
    column = generations.column("response")
    prompts: list[str] = []
    for prompt_id, prompt in zip(
        generations.prompt_ids, generations.column("prompt").to_pylist(), strict=True
    ):
        if prompt is None:
            raise InputError(f"the prompt of prompt_id '{prompt_id}' is null")
        prompts.append(prompt_text(prompt))
    texts: list[list[str]] = []
    places: list[IntArray] = []
    for row in column.to_pylist():
        parts = [part_of(text, response_part) for text in row or ()]
        kept = [place for place, part in enumerate(parts) if part is not None]
        texts.append([part for part in parts if part is not None])
        places.append(np.array(kept, dtype=np.int64))
    references = None
    if "reference" in generations:
        references = [text or "" for text in generations.column("reference").to_pylist()]
    return Shown(generations.prompt_ids, prompts, references, texts, places, list_lengths(column))


def prompt_text(prompt: Any) -> str:
    """Return a prompt as one text; of several messages each with its role.

    Examples
    --------
    >>> prompt_text([{"role": "user", "content": "2 + 2?"}])
    '2 + 2?'
    """
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def part_of(response: str | None, marker: str | None) -> str | None:
    """Return what follows the first occurrence of the marker; None if there's nothing to judge.

    Examples
    --------
    >>> part_of("Hm, 4? <R> It is 4.", "<R>"), part_of("It is 4.", "<R>"), part_of("4", None)
    ('It is 4.', None, '4')
    """
    if response is None or marker is None:
        return response
    _, found, part = response.partition(marker)
    return part.strip() or None if found else None
