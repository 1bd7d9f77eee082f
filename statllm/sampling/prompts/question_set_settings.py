"""What a set of questions is made from, as YAML that can be read aloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from statllm.sampling.settings import SamplingSettings
from statllm.settings_file import read_settings


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Documents(_Part):
    """Where documents come from."""

    source: str = Field(description="Parquet, JSONL or CSV with prompt_id and a text per row.")
    column: str = Field("document", description="The text.")
    n: int | None = Field(None, ge=1, description="Only the first so many.")


class GateSettings(_Part):
    """Which ratings pass; see `statllm.sampling.prompts.Gate`."""

    minimum: dict[str, float] | None = Field(
        None, description="Least points by criterion; default: 0.5 of completeness, of complexity."
    )
    total: float | None = Field(None, description="Least sum of points; full marks are 9.")
    answer_correctness: float = Field(
        0.5, description="Below these points a document's reference answer is withheld."
    )


class DuplicateSettings(_Part):
    """Near-duplicates; NaturalReasoning states words and .55, the rest is ours."""

    threshold: float = Field(0.55, gt=0, le=1, description="Jaccard similarity.")
    shingle: int = Field(1, ge=1, description="Words in a row that are compared.")
    permutations: int = Field(256, ge=1)
    normalisation: Literal["words", "whitespace"] = "words"


class LeakSettings(_Part):
    """What the questions must not repeat."""

    against: tuple[str, ...] = Field(
        min_length=1, description="Files of benchmark questions: Parquet, JSONL or CSV."
    )
    column: str = Field("prompt", description="Their text.")
    n: int = Field(13, ge=1, description="Words in a row.")
    normalisation: Literal["words", "whitespace"] = "words"


class SimilarSettings(_Part):
    """Only questions near those of a file."""

    to: str = Field(description="A file of questions: Parquet, JSONL or CSV.")
    k: int = Field(15_000, ge=1, description="How many to keep.")
    column: str = Field("prompt", description="Their text.")
    embedder: str | None = Field(
        None, description="Folder of an embedding model; without one, vectors of words."
    )


class QuestionSetRecipe(_Part):
    """From documents to a set of questions.

    Examples
    --------
    >>> recipe = QuestionSetRecipe(model="lab", documents={"source": "texts.jsonl"})
    >>> recipe.near_duplicates.threshold, recipe.decontaminate is None
    (0.55, True)
    """

    model: str = Field(description="A model folder, a hub name, a server's name for it, or 'lab'.")
    documents: Documents
    rubric: str | None = Field(
        "natural_reasoning_rubric", description="Template of the rating; null rates nothing."
    )
    gate: GateSettings | None = Field(None, description="Which ratings pass; default: Gate's.")
    template: str = Field("natural_reasoning_question", description="Template of the question.")
    chat: bool = Field(True, description="Send messages; false sends one text.")
    sampling: SamplingSettings = Field(
        SamplingSettings(n=1), description="n questions of each document; it is rated once."
    )
    near_duplicates: DuplicateSettings | None = DuplicateSettings()
    decontaminate: LeakSettings | None = None
    similar: SimilarSettings | None = None
    wrap: str = Field(
        "{prompt}", description="What becomes of a question's text in the set; '{prompt}' is it."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.gate is not None and self.rubric is None:
            raise ValueError("a gate needs a rubric: without one, no document is rated")
        if "{prompt}" not in self.wrap:
            raise ValueError("wrap needs {prompt}")
        return self


def read_question_set_recipe(path: str | Path, **overrides: Any) -> QuestionSetRecipe:
    """Read a recipe of questions from YAML.

    Parameters
    ----------
    path : str or Path
    **overrides
        Top-level keys that replace the file's.

    Raises
    ------
    InputError
        If the file isn't YAML, or a key is unknown, missing or has a wrong value.
    """
    return read_settings(QuestionSetRecipe, path, **overrides)
