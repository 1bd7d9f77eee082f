"""What kind of recipe a file is, by a key that only such files have, and how it is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from statllm.cli.common import console
from statllm.errors import InputError
from statllm.files import read_yaml


@dataclass(frozen=True)
class Outline:
    """What a recipe would do: the folder by default, and a line per phase."""

    folder: Path
    lines: list[str]


@dataclass(frozen=True)
class Kind:
    """A kind of recipe.

    Attributes
    ----------
    name, key : str
        The key is at the top of these files, and of no others.
    outline : callable
        (file, seed): check the settings, without models and data.
    run : callable
        (file, folder, seed): run it, or go on where it was stopped.
    seeded : bool
        Whether one seed decides all.
    """

    name: str
    key: str
    outline: Callable[[Path, int | None], Outline]
    run: Callable[[Path, Path, int | None], None]
    seeded: bool = False


def kind_of(path: Path) -> Kind:
    """Return what a file is.

    Raises
    ------
    InputError
        If it isn't YAML, or of no kind or several; the keys are named.
    """
    content = read_yaml(path, "a recipe")
    found = [kind for kind in KINDS if kind.key in content]
    if len(found) == 1:
        return found[0]
    if "arms" in content:
        raise InputError(f"{path} is an experiment (key 'arms'): statllm experiment runs it")
    known = ", ".join(f"{kind.key} ({kind.name})" for kind in found or KINDS)
    if found:
        raise InputError(f"{path} has keys of several kinds of recipe: {known}")
    have = ", ".join(map(str, content))
    raise InputError(
        f"{path} has none of the keys that say what a recipe is: {known}; it has {have}"
    )


def _seed(seed: int | None) -> dict[str, int]:
    return {} if seed is None else {"seed": seed}


def _loop_outline(path: Path, seed: int | None) -> Outline:
    from statllm.recipe import read_recipe
    from statllm.stages import Run

    recipe = read_recipe(path, **_seed(seed))
    folder = Path("runs") / recipe.name
    stages = groupby(Run(folder, recipe).plan(), lambda planned: planned[0])
    lines = [f"iteration {k}: {', '.join(stage for _, stage in own)}" for k, own in stages]
    return Outline(folder, lines)


def _loop(path: Path, folder: Path, seed: int | None) -> None:
    from statllm.cli.loop_progress import announce, metrics_table
    from statllm.loop import run
    from statllm.recipe import read_recipe
    from statllm.report import write_report

    recipe = read_recipe(path, **_seed(seed))
    done = run(recipe, folder, listener=announce(recipe.name))
    write_report([done], folder / "report.html")
    console().print(metrics_table(done))
    console().print(f"{folder / 'report.html'}")


def _journey_outline(path: Path, seed: int | None) -> Outline:
    from statllm.journey.recipe import read_journey_recipe
    from statllm.journey.run import journey_plan

    recipe = read_journey_recipe(path)
    return Outline(Path("runs") / recipe.name, journey_plan(recipe))


def _journey(path: Path, folder: Path, seed: int | None) -> None:
    from statllm.cli.journey import run

    run(path, folder)


def _distill_outline(path: Path, seed: int | None) -> Outline:
    from statllm.distill.recipe import read_distill_recipe
    from statllm.distill.run import distill_plan

    recipe = read_distill_recipe(path)
    return Outline(Path("runs") / recipe.name, distill_plan(recipe))


def _distill(path: Path, folder: Path, seed: int | None) -> None:
    from statllm.distill.recipe import read_distill_recipe
    from statllm.distill.run import run_distill

    out = console()
    model = run_distill(read_distill_recipe(path), folder, out.print)
    out.print(f"the last model is {model}")


def _questions_outline(path: Path, seed: int | None) -> Outline:
    from statllm.sampling.prompts.question_set_settings import read_question_set_recipe

    recipe = read_question_set_recipe(path)
    steps = ["rate"] if recipe.rubric is not None else []
    later = ("near_duplicates", "decontaminate", "similar")
    steps += ["compose", *(name for name in later if getattr(recipe, name) is not None)]
    return Outline(Path("runs") / path.stem, steps)


def _questions(path: Path, folder: Path, seed: int | None) -> None:
    from statllm.cli.prompts.question_set import question_set

    question_set(path, folder, None, None)


def _training_outline(path: Path, seed: int | None) -> Outline:
    from statllm.training_recipe import read_training_recipe

    recipe = read_training_recipe(path, _seed(seed))
    return Outline(Path(recipe.output), [f"{recipe.kind}: {recipe.model} on {recipe.data}"])


def _training(path: Path, folder: Path, seed: int | None) -> None:
    """Train once: a complete training isn't done again."""
    from statllm.cli.train import train_recipe
    from statllm.phases import Phases
    from statllm.stages import resolve_model
    from statllm.training.folder import first_process
    from statllm.training_recipe import read_training_recipe

    recipe = read_training_recipe(path, _seed(seed))
    say = console().print if first_process() else lambda line: None
    models = [resolve_model(name) for name in (recipe.model, recipe.reference) if name]
    data = [name for name in (recipe.data, recipe.eval) if name]
    decides = recipe.model_dump(exclude={"output", "curve", "launch"})
    Phases(folder.parent, say).run(
        folder.name, [*models, *data], decides, [folder.name], lambda: train_recipe(recipe, folder)
    )


def _phases_outline(path: Path, seed: int | None) -> Outline:
    from statllm.cli.recipe_phases import phases_outline

    return phases_outline(path)


def _phases(path: Path, folder: Path, seed: int | None) -> None:
    from statllm.cli.recipe_phases import run_phases

    run_phases(path, folder, console().print)


KINDS = (
    Kind("loop", "iterations", _loop_outline, _loop, seeded=True),
    Kind("journey", "search", _journey_outline, _journey),
    Kind("distillation", "teacher", _distill_outline, _distill),
    Kind("set of questions", "documents", _questions_outline, _questions),
    Kind("training", "data", _training_outline, _training, seeded=True),
    Kind("list of phases", "phases", _phases_outline, _phases),
)
