"""`statllm prompts question-set`: a recipe in, a set of questions with its ledger out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from statllm.cli.common import console, table_of


def question_set(
    recipe: Annotated[Path, typer.Argument(help="What the set is made from (YAML).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the set.")],
    model: Annotated[
        str | None, typer.Option(help="In place of the recipe's: a folder, a name, or lab.")
    ] = None,
    documents: Annotated[Path | None, typer.Option(help="In place of the recipe's file.")] = None,
) -> None:
    """Rate documents, compose questions with reference answers, drop duplicates and leaks.

    The way of NaturalReasoning in one command. A killed run goes on when started again.
    questions.parquet in OUTPUT is a source of problems for statllm run; ledger.parquet says what
    became of every document and question.

    Example:

        statllm prompts question-set studies/natural_reasoning/questions.yaml -o runs/questions
    """
    from statllm.sampling.prompts.question_set import question_set as make
    from statllm.sampling.prompts.question_set_settings import read_question_set_recipe
    from statllm.stages import resolve_model

    given = read_question_set_recipe(recipe)
    if documents is not None:
        source = given.documents.model_copy(update={"source": str(documents)})
        given = given.model_copy(update={"documents": source})
    found = make(given, output, model=None if model is None else resolve_model(model))
    rows = [*found.counts().items(), ("all rows", found.ledger.num_rows)]
    title = f"{output}/questions.parquet: {found.questions.num_rows} questions"
    console().print(table_of(title, ("reason", "documents and questions"), rows))
