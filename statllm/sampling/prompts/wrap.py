"""A template around the prompts of a table: texts stay texts, messages stay messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.sampling.prompts.templates import PromptTemplate


def with_prompt(
    prompts: pa.Table, template: PromptTemplate, fields: Sequence[Mapping[str, str]]
) -> pa.Table:
    """Return the table with prompt filled in the template, and original_prompt and template.

    Parameters
    ----------
    prompts : pyarrow.Table
        prompt_id and prompt.
    template : PromptTemplate
        With ``{prompt}``.
    fields : sequence of mapping
        What else it fills, per row.

    Raises
    ------
    InputError
        Names the prompt that is null, or doesn't end with the user's message.
    """
    given = Generations(prompts)
    for name in ("original_prompt", "template"):
        if name in given:
            raise InputError(f"column '{name}' is already there: the prompts were filled in before")
    column = given.column("prompt")
    filled = [
        _filled(template, prompt, row, prompt_id)
        for prompt_id, prompt, row in zip(given.prompt_ids, column.to_pylist(), fields, strict=True)
    ]
    columns: dict[str, Any] = {
        "prompt": pa.array(filled, column.type),
        "original_prompt": column,
        "template": pa.array([template.stamp] * len(filled), pa.string()),
    }
    return given.with_columns(columns).table


def _filled(
    template: PromptTemplate, prompt: Any, fields: Mapping[str, str], prompt_id: str
) -> Any:
    if isinstance(prompt, str):
        return template.text({**fields, "prompt": prompt})
    if not isinstance(prompt, list):
        raise InputError(f"the prompt of prompt_id '{prompt_id}' is null")
    if not prompt or prompt[-1]["role"] != "user":
        raise InputError(
            f"the prompt of prompt_id '{prompt_id}' doesn't end with the user's message"
        )
    made = {
        message["role"]: message["content"]
        for message in template.messages({**fields, "prompt": prompt[-1]["content"]})
    }
    earlier, last = [dict(message) for message in prompt[:-1]], dict(prompt[-1])
    last["content"] = made["user"]
    if "system" in made:
        if earlier and earlier[0]["role"] == "system":
            earlier[0]["content"] += f"\n\n{made['system']}"
        else:
            earlier.insert(0, {"role": "system", "content": made["system"]})
    return [*earlier, last]
