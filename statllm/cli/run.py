"""`statllm run`: a whole recipe, of whatever kind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from statllm.errors import InputError


def run(
    recipe: Annotated[Path | None, typer.Argument(help="YAML.", show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of all that is made; default: see below."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Replaces the recipe's seed, of a loop or a training.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only check the settings and say what would be run.")
    ] = False,
    keys: Annotated[
        bool, typer.Option("--keys", help="List what the recipe of a loop can say.")
    ] = False,
) -> None:
    """Run a recipe to its end; the same command resumes.

    A key of the file says what it is: iterations a loop of sample, score, select, train and
    evaluate; search journey learning; teacher a distillation; documents a set of questions; data
    a training; phases several such files beside it, one after another.

    Folder: runs/NAME by the recipe's name, of a set of questions by the file's; the model's of a
    training, which the recipe names.

    Examples:

        statllm run statllm/lab/recipes/scpo.yaml -o runs/scpo

        statllm run my-recipe.yaml --seed 3

        statllm run studies/distill/recipe.yaml --check

        statllm run --keys
    """
    from statllm.cli.common import console, printable
    from statllm.cli.recipe_kinds import kind_of

    if keys:
        from statllm.cli.recipe_keys import recipe_keys

        for key, default, about in recipe_keys():
            told = f"{key} [{default}]" if default else key
            console().print(printable(f"{told}  {about}"), highlight=False)
        return
    if recipe is None:
        raise InputError("name a recipe (YAML); statllm run --keys lists what it can say")
    kind = kind_of(recipe)
    if seed is not None and not kind.seeded:
        raise InputError(f"--seed: {recipe} is a {kind.name}, whose seeds stand in its parts")
    outline = kind.outline(recipe, seed)
    folder = output or outline.folder
    if check:
        out = console()
        out.print(printable(f"{recipe}: a {kind.name}, into {folder}"))
        for line in outline.lines:
            out.print(printable(f"  {line}"))
        return
    kind.run(recipe, folder, seed)
