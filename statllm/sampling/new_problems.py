"""New problems in a recipe: who writes them, after which examples, and how they are asked."""

from __future__ import annotations

from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.sampling.prompts.examples import first_user_text
from statllm.sampling.prompts.few_shot import VARIANTS
from statllm.sampling.prompts.templates import load_template
from statllm.sampling.settings import SamplingSettings

_QUESTION = "{question}"


class NewProblems(BaseModel):
    """Problems that a model writes after examples, drawn from the recipe's.

    Examples
    --------
    >>> new = NewProblems(count=100, variant="scpo", form="Q: {question}\\nA:")
    >>> new.drawn().temperature
    0.7
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(ge=1, description="Few-shot prompts to send.")
    model: str | None = Field(
        None, description="Who writes; left out, the model that the iteration starts from."
    )
    variant: Literal["scpo", "scpo-zebra", "self-rip", "self-instruct"] = Field(
        "scpo", description="The paper's template, filters and sampling."
    )
    template: str | None = Field(None, description="A template's name or a YAML file, instead.")
    examples: int | None = Field(None, ge=1, description="Problems shown in each prompt.")
    chat: bool = Field(
        True, description="Send messages; false sends one text, for models that complete text."
    )
    form: str | None = Field(
        None,
        description="How a question is asked, with {question}, where the recipe's prompts have a "
        "form: examples are shown without it, and new questions get it.",
    )
    use: Literal["beside", "instead"] = Field(
        "beside", description="Train on the new problems and the recipe's, or on the new alone."
    )
    sampling: dict[str, Any] = Field(
        default_factory=dict, description="Keys of sampling other than the variant's."
    )
    seed: int = Field(0, ge=0, description="Derived from the recipe's.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.form is not None and self.form.count(_QUESTION) != 1:
            raise ValueError("form needs {question}, once")
        self.drawn()
        try:
            load_template(self.template_name, "few_shot")
        except InputError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def template_name(self) -> str:
        """The template, or the variant's."""
        return self.template or VARIANTS[self.variant].template

    def drawn(self) -> SamplingSettings:
        """Return how the texts are sampled."""
        return VARIANTS[self.variant].settings(**{**self.sampling, "seed": self.seed})

    def bare(self, seeds: pa.Table) -> pa.Table:
        """Return prompt_id and the question alone of each prompt.

        Raises
        ------
        InputError
            Names the prompt that hasn't the form.
        """
        given = Generations(seeds)
        texts = list(map(first_user_text, given.column("prompt").to_pylist()))
        if self.form is not None:
            before, after = self.form.split(_QUESTION)
            for place, (name, text) in enumerate(zip(given.prompt_ids, texts, strict=True)):
                if text is None or not text.startswith(before) or not text.endswith(after):
                    raise InputError(
                        f"the prompt of prompt_id '{name}' hasn't new_problems.form {self.form!r}"
                    )
                texts[place] = text[len(before) : len(text) - len(after)]
        return pa.table({"prompt_id": given.column("prompt_id"), "prompt": pa.array(texts)})

    def asked(self, questions: pa.Table, seeds: pa.Table, iteration: int) -> pa.Table:
        """Return new questions as prompts like the seeds': text, or messages.

        Parameters
        ----------
        questions : pyarrow.Table
            Of `statllm.sampling.prompts.generate_questions`.
        seeds : pyarrow.Table
            The recipe's problems.
        iteration : int
            Becomes a part of each prompt_id, which none of the seeds has.
        """
        form, kind = self.form or _QUESTION, seeds.schema.field("prompt").type
        texts = [form.replace(_QUESTION, text) for text in questions["prompt"].to_pylist()]
        prompts: list[Any] = list(texts)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            prompts = [[{"role": "user", "content": text}] for text in texts]
        start, taken = f"written-{iteration}", set(seeds["prompt_id"].to_pylist())
        while any(name.startswith(f"{start}-") for name in taken):  # written by an earlier run
            start += "+"
        names = [f"{start}-{name}" for name in questions["prompt_id"].to_pylist()]
        return pa.table({"prompt_id": names, "prompt": pa.array(prompts, kind)})
