"""An experiment as YAML: a recipe, what each arm changes in it, the seeds, the comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from statllm.errors import InputError
from statllm.files import read_yaml
from statllm.recipe import Recipe, make_recipe, merge

#: Stands for the model that an arm starts from.
START = "start"

#: Columns of an evaluation that can be compared, and what they are.
MEASURES = {
    "greedy_correct": "share of problems",
    "majority_correct": "share of problems",
    "pass_rate": "share of samples",
    "vote_share": "share of votes",
    "vote_entropy": "nats",
    "parse_failures": "share of samples",
    "thought_tokens": "tokens",
}
_OF_THOUGHTS = ("parse_failures", "thought_tokens")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Comparison(_Part):
    """Is one arm better than another?"""

    arm: str
    against: str = Field(description=f"Another arm, or '{START}': the model before training.")
    iteration: int | None = Field(None, ge=1, description="Of the arm; default: its last one.")
    against_iteration: int | None = Field(None, ge=1, description="Of the other one.")
    claim: str = Field("", description="What the paper says, in words.")

    @property
    def name(self) -> str:
        """What is compared, in words."""
        return f"{_at(self.arm, self.iteration)} - {_at(self.against, self.against_iteration)}"


class Experiment(_Part):
    """Arms of one recipe.

    Every arm is trained once per seed. A seed decides sampling, selection and training of a run
    and, unless `same_problems`, which training problems are drawn; the held-out problems are the
    same for all. Arms of one seed share what they have in common: the start, its samples.
    """

    name: str
    seeds: Annotated[tuple[int, ...], Field(min_length=2)] = Field(
        (0, 1, 2, 3, 4), description="Of the runs of each arm; at least 2, or there's no error."
    )
    same_problems: bool = Field(
        False,
        description="Train on the same problems whatever the seed, so that only sampling "
        "and training vary.",
    )
    base: dict[str, Any] = Field(
        description="A recipe. `{seed}` in the training problems' source stands for the seed: "
        "problems that were made for each seed."
    )
    arms: Annotated[dict[str, dict[str, Any]], Field(min_length=1)] = Field(
        description="Name: keys of the recipe that it changes."
    )
    comparisons: Annotated[tuple[Comparison, ...], Field(min_length=1)]
    measures: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("greedy_correct", "majority_correct"),
        description="Columns of the evaluation; the first is the one that decides.",
    )
    level: float = Field(0.95, gt=0, lt=1)
    quick: dict[str, Any] = Field(
        default_factory=dict, description="Keys of this file that `--quick` replaces."
    )

    _is_quick: bool = PrivateAttr(False)

    @property
    def is_quick(self) -> bool:
        """Whether this was read as the short run, however many seeds there are."""
        return self._is_quick

    @model_validator(mode="after")
    def _arms_are_known(self) -> Self:
        for comparison in self.comparisons:
            for arm in (comparison.arm, comparison.against):
                if arm not in self.arms and not (arm == START and arm == comparison.against):
                    raise ValueError(f"comparison with '{arm}': arms are {', '.join(self.arms)}")
        if START in self.arms:
            raise ValueError(f"no arm can be called '{START}': it is the model before training")
        for arm in self.arms:
            if not arm or arm.startswith(".") or "/" in arm or "\0" in arm:
                raise ValueError(f"arm '{arm}' can't be the name of a folder")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed occurs twice")
        for measure in self.measures:
            if measure not in MEASURES:
                raise ValueError(f"measure '{measure}' is unknown; known: {', '.join(MEASURES)}")
        return self

    def recipe(self, arm: str, seed: int) -> Recipe:
        """Return the recipe of one run.

        Raises
        ------
        InputError
            Names the arm and the key that is wrong.
        """
        content = merge(self.base, self.arms[arm])
        content = {"name": arm, **content, "seed": seed}
        problems = content.get("problems")
        if not self.same_problems and isinstance(problems, dict):
            content["problems"] = {**problems, "seed": problems.get("seed", 0) + seed}
            if isinstance(source := problems.get("source"), str):
                content["problems"]["source"] = source.replace("{seed}", str(seed))
            if isinstance(content.get("choice"), dict):
                content["choice"] = _reseeded(content["choice"], seed, 0)
            content["iterations"] = [
                _reseeded(override, seed) for override in content.get("iterations", [])
            ]
        return make_recipe(content, f"arm '{arm}'")


def read_experiment(path: str | Path, *, quick: bool = False, **overrides: Any) -> Experiment:
    """Read an experiment from YAML and check every arm's recipe.

    Parameters
    ----------
    path : str or Path
    quick : bool
        Merge the file's part `quick`: fewer seeds and problems, to see that everything runs.
    **overrides
        Top-level keys that replace the file's.

    Raises
    ------
    InputError
        If the file isn't YAML, a key is unknown, missing or has a wrong value, or an arm isn't a
        recipe: the key is named.
    """
    content = read_yaml(path, "an experiment")
    if quick:
        changes = content.get("quick") or {}
        if not isinstance(changes, dict):
            raise InputError(f"{path}: quick is {changes!r}: a mapping of keys was expected")
        content = merge(content, changes)
    content.update(overrides)
    try:
        experiment = TypeAdapter(Experiment).validate_python(content)
        for arm in experiment.arms:
            _check_measures(experiment, arm, experiment.recipe(arm, experiment.seeds[0]))
        _check_iterations(experiment)
    except ValidationError as error:
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {f'{key}: ' if key else ''}{message}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    experiment._is_quick = quick
    return experiment


def _reseeded(part: Any, seed: int, default: int | None = None) -> Any:
    """A part that draws its own problems draws others for every seed, too.

    Without a `default` only where it has a seed: an iteration's problems may be a whole file.
    """
    problems = part.get("problems") if isinstance(part, dict) else None
    own = problems.get("seed", default) if isinstance(problems, dict) else None
    if not isinstance(problems, dict) or not isinstance(own, int):
        return part
    return {**part, "problems": {**problems, "seed": own + seed}}


def _check_measures(experiment: Experiment, arm: str, recipe: Recipe) -> None:
    for measure in experiment.measures:
        if measure in _OF_THOUGHTS and recipe.thoughts is None:
            raise InputError(f"measure '{measure}' needs thoughts, which arm '{arm}' hasn't")


def _check_iterations(experiment: Experiment) -> None:
    for comparison in experiment.comparisons:
        for arm, iteration in (
            (comparison.arm, comparison.iteration),
            (comparison.against, comparison.against_iteration),
        ):
            if iteration is None:
                continue
            if arm == START:
                raise InputError(f"'{START}' has no iterations")
            there = len(experiment.recipe(arm, experiment.seeds[0]).iterations)
            if iteration > there:
                raise InputError(f"arm '{arm}' has {there} iterations, not {iteration}")


def _at(arm: str, iteration: int | None) -> str:
    return arm if iteration is None else f"{arm} (iteration {iteration})"
