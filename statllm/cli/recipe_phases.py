"""Several recipes, run one after another, the later ones on what the earlier ones made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from statllm.cli.recipe_kinds import Kind, Outline, kind_of
from statllm.errors import InputError
from statllm.files import read_yaml, write_text
from statllm.settings_file import read_settings


class PhasesRecipe(BaseModel):
    """Files of recipes beside this one, in order; a phase bears its file's name without suffix."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    phases: tuple[str, ...] = Field(min_length=1)


def phases_outline(path: Path) -> Outline:
    """Check every phase; nothing is run."""
    name, phases = _read(path)
    lines: list[str] = []
    for file, kind in phases:
        lines.append(f"{file.stem}: a {kind.name}")
        lines += [f"  {line}" for line in kind.outline(file, None).lines]
    return Outline(Path("runs") / name, lines)


def run_phases(path: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Run each phase into its own folder under `folder`; each goes on where it was stopped.

    What is run lies beside its folder, as ``PHASE.yaml``: the recipe with the places of earlier
    phases filled in (`placed`).
    """
    import yaml

    _, phases = _read(path)
    for file, kind in phases:  # a mistake in the last one is told before the first one is run
        kind.outline(file, None)
    earlier: list[str] = []
    for file, kind in phases:
        say(f"{file.stem}: a {kind.name}, into {folder / file.stem}")
        content = placed(read_yaml(file, "a recipe"), folder, earlier)
        copy = folder / f"{file.stem}.yaml"
        write_text(yaml.safe_dump(content, sort_keys=False, width=100), copy)
        kind.run(copy, folder / file.stem, None)
        earlier.append(file.stem)


def placed(content: Any, folder: Path, earlier: list[str]) -> Any:
    """Let every text that begins with an earlier phase's name and a slash point into its folder.

    Examples
    --------
    >>> recipe = {"problems": {"source": "questions/questions.parquet"}, "model": "some/questions"}
    >>> placed(recipe, Path("runs/mine"), ["questions"])
    {'problems': {'source': 'runs/mine/questions/questions.parquet'}, 'model': 'some/questions'}
    """
    if isinstance(content, dict):
        return {key: placed(value, folder, earlier) for key, value in content.items()}
    if isinstance(content, list):
        return [placed(value, folder, earlier) for value in content]
    if isinstance(content, str) and content.split("/")[0] in earlier and "/" in content:
        return str(folder / content)
    return content


def _read(path: Path) -> tuple[str, list[tuple[Path, Kind]]]:
    """The name, and each phase's file and kind."""
    recipe = read_settings(PhasesRecipe, path)
    files = [path.parent / name for name in recipe.phases]
    stem, times = Counter(file.stem for file in files).most_common(1)[0]
    if times > 1:
        raise InputError(f"{path}: two phases are called '{stem}', and would share a folder")
    kinds = [kind_of(file) for file in files]
    for file, kind in zip(files, kinds, strict=True):
        if kind.key == "phases":
            raise InputError(f"{path}: {file} is a list of phases itself")
    return recipe.name, list(zip(files, kinds, strict=True))
