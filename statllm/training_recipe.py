"""A training as YAML: model, data, output, and settings, of which a paper's can be named."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from statllm.errors import InputError
from statllm.files import read_yaml
from statllm.launch import Launch
from statllm.training import PreferenceSettings, SFTSettings

_Kind = TypeVar("_Kind", bound=BaseModel)


class TrainingRecipe(BaseModel):
    """One training.

    Examples
    --------
    >>> recipe = TrainingRecipe(
    ...     model="lab", data="pairs.parquet", output="better", preset="irpo-gsm8k",
    ...     training={"learning_rate": 3e-4},
    ... )
    >>> settings = recipe.settings()
    >>> settings.loss, settings.beta, settings.learning_rate, settings.batch_size
    ('irpo', 0.1, 0.0003, 16)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["preference", "sft"] = Field(
        "preference", description="Pairs, or examples with a prompt and a response."
    )
    model: str = Field(description="A model folder, a hub name, or lab.")
    data: str = Field(description="The pairs, or the examples: Parquet, JSONL.")
    output: str = Field(description="Folder of the new model.")
    reference: str | None = Field(None, description="Of preferences; default: the model.")
    eval: str | None = Field(
        None, description="Held-out pairs, evaluated at the end and every `eval_every` steps."
    )
    curve: str | None = Field(None, description="Where the training curve goes (Parquet).")
    preset: str | None = Field(
        None, description="A paper's settings, which `training` overrides key by key."
    )
    iteration: int = Field(1, ge=1, description="Of the preset.")
    training: dict[str, Any] = Field(default_factory=dict)
    launch: Launch = None

    def settings(self) -> PreferenceSettings | SFTSettings:
        """Return the settings of the training.

        Raises
        ------
        InputError
            Names the key that is wrong.
        """
        if self.kind == "sft":
            for name in ("preset", "reference", "eval"):
                if getattr(self, name) is not None:
                    raise InputError(f"{name} is of preference training, not of sft")
            return _validated(SFTSettings, self.training, "training.")
        base = {} if self.preset is None else preset_settings(self.preset, self.iteration)
        return _validated(PreferenceSettings, {**base, **self.training}, "training.")


def preset_settings(name: str, iteration: int = 1) -> dict[str, Any]:
    """Return how a paper trains, as keys of `PreferenceSettings`.

    What a paper doesn't state keeps our default; where it names several learning rates, that is
    the first.

    Examples
    --------
    >>> preset_settings("scpo-gsm8k")["epochs"], preset_settings("irpo-arc")["max_steps"]
    (10, 4000)
    """
    from statllm.selection import preset

    stated = preset(name, iteration).training
    found = {
        "loss": stated.loss,
        "beta": stated.beta,
        "alpha": stated.alpha,
        "learning_rate": next(iter(stated.learning_rate), None),
        "batch_size": stated.batch_size,
        "epochs": stated.epochs,
        "max_steps": stated.max_steps,
    }
    return {key: value for key, value in found.items() if value is not None}


def read_training_recipe(
    path: str | Path, changes: Mapping[str, Any] | None = None
) -> TrainingRecipe:
    """Read a recipe; paths in it are relative to where the command runs.

    Parameters
    ----------
    path : str or Path
    changes : mapping, optional
        Settings of the training that replace the file's.

    Raises
    ------
    InputError
        If the file isn't YAML, or a key is unknown, missing or has a wrong value.
    """
    content = read_yaml(path, "a recipe")
    training = content.get("training") or {}
    if not isinstance(training, dict):
        raise InputError(f"{path}: training: a mapping of settings was expected")
    try:
        recipe = _validated(
            TrainingRecipe, {**content, "training": {**training, **(changes or {})}}, ""
        )
        recipe.settings()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return recipe


def _validated(kind: type[_Kind], content: Mapping[str, Any], where: str) -> _Kind:
    try:
        return kind.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            like = get_close_matches(str(first["loc"][-1]), kind.model_fields, 1)
            message = "there is no such key" + "".join(f"; did you mean {name}?" for name in like)
        key = where + ".".join(map(str, first["loc"]))
        raise InputError(f"{key.rstrip('.')}: {message}") from error
