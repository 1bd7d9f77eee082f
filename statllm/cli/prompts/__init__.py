"""`statllm prompts`: new questions, prompts for thoughts or limits, questions from documents."""

import typer

from statllm.cli.prompts.back_translate import back_translate
from statllm.cli.prompts.contrast import contrast
from statllm.cli.prompts.generate import generate
from statllm.cli.prompts.length import length
from statllm.cli.prompts.question_set import question_set
from statllm.cli.prompts.solutions import solutions
from statllm.cli.prompts.templates import templates
from statllm.cli.prompts.thoughts import split, thoughts

__all__ = ["prompts"]

prompts = typer.Typer(
    name="prompts",
    help="Make prompts: new questions, formats, thoughts, length limits, worse responses.",
    no_args_is_help=True,
)
for command in (
    generate,
    thoughts,
    split,
    length,
    solutions,
    contrast,
    back_translate,
    question_set,
    templates,
):
    prompts.command()(command)
