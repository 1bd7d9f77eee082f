"""Prompts that ask for a solution whose answer can be found."""

from __future__ import annotations

import pyarrow as pa

from statllm.errors import InputError
from statllm.sampling.prompts.templates import PromptTemplate
from statllm.sampling.prompts.wrap import with_prompt


def solution_prompts(prompts: pa.Table, template: PromptTemplate) -> pa.Table:
    """Ask for solutions in a template's format.

    Parameters
    ----------
    prompts : pyarrow.Table
        prompt_id and prompt. Of messages, the last one, the user's, is wrapped.
    template : PromptTemplate
        For solution.

    Returns
    -------
    pyarrow.Table
        The same rows, with prompt replaced, and original_prompt and template.

    Raises
    ------
    InputError
        Names the prompt that is null, or doesn't end with the user's message.

    Examples
    --------
    >>> from statllm.sampling.prompts import load_template
    >>> puzzles = pa.table({"prompt_id": ["a"], "prompt": ["There are 2 houses."]})
    >>> asked = solution_prompts(puzzles, load_template("scpo_zebra"))
    >>> asked["prompt"][0].as_py().endswith("There are 2 houses."), asked["template"][0].as_py()
    (True, 'scpo_zebra@1')
    """
    if template.task != "solution":
        raise InputError(f"prompt template '{template.name}' is for {template.task}, not solution")
    return with_prompt(prompts, template, [{} for _ in range(prompts.num_rows)])
