"""Where a run's problems and models come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations

if TYPE_CHECKING:
    from statllm.recipe import Problems, Recipe


def resolve_model(name: str) -> str:
    """Return the folder of the built-in model for 'lab', any other name as it is."""
    if name != "lab":
        return name
    from statllm.lab import model_path

    return str(model_path())


def load_problems(source: Problems) -> pa.Table:
    """Read prompts; `n` of them are drawn with the source's seed, in the file's order.

    Raises
    ------
    InputError
        If there are fewer than `n`.
    """
    if source.source.startswith("lab:"):
        from statllm.lab import problems

        split: Any = source.source.removeprefix("lab:")  # an unknown one is refused there
        return problems(split, source.n or 1000, source.seed)
    table = Generations.read(source.source, source.columns).table
    if source.n is None or source.n == table.num_rows:
        return table
    if source.n > table.num_rows:
        raise InputError(
            f"{source.source} has {table.num_rows} problems, {source.n} were asked for"
        )
    rng = np.random.default_rng(source.seed)
    return table.take(np.sort(rng.choice(table.num_rows, source.n, replace=False)))


def problem_file(problems: Problems) -> dict[str, str | Path]:
    """Return the file that decides the problems; for the lab's it is the code that makes them."""
    if not problems.source.startswith("lab:"):
        return {"problems": problems.source}
    from statllm.lab import world

    return {"problems": world.__file__}


def check_sources(recipe: Recipe) -> None:
    """Refuse missing files of problems before the first stage: the last is read hours later.

    Raises
    ------
    InputError
        Names the key and the file.
    """
    named = {"evaluation.problems": recipe.evaluation.problems}
    for number in range(1, len(recipe.iterations) + 1):
        settings = recipe.iteration(number)
        named[f"iterations[{number}].problems"] = settings.problems
        if settings.choice is not None:
            named[f"iterations[{number}].choice.problems"] = settings.choice.problems
    for key, problems in named.items():
        if not (problems.source.startswith("lab:") or Path(problems.source).exists()):
            raise InputError(f"{key}: there is no file {problems.source}")
