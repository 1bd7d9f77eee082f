"""A recipe: everything that decides the outcome of a run, as YAML that can be read aloud."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from statllm.errors import InputError
from statllm.files import read_yaml
from statllm.lab.reward_settings import LabRewards
from statllm.launch import Launch
from statllm.sampling.extra import ExtraSampling
from statllm.sampling.new_problems import NewProblems
from statllm.sampling.settings import SamplingSettings
from statllm.sampling.thoughts import ThoughtSettings
from statllm.scoring.judges.settings import JudgeSettings
from statllm.scoring.settings import ScoringSettings
from statllm.selection import RULES, RuleSettings, settings_of
from statllm.selection.lift import LiftSettings
from statllm.settings_file import key_of
from statllm.training.settings import PreferenceSettings

_P = TypeVar("_P", bound=BaseModel | None)

#: Rules that look at rewards, which nothing but the part `rewards` gives.
_BY_REWARD = ("rip", "tpo", "band")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Problems(_Part):
    """Where prompts come from."""

    source: str = Field(
        description="A file with prompt_id, prompt and, where known, reference; or 'lab:train', "
        "'lab:test' for the built-in world."
    )
    n: int | None = Field(None, ge=1, description="How many; all when left out.")
    seed: int = Field(0, description="Seed of the draw, where there are more than `n`.")
    columns: dict[str, str] = Field(
        default_factory=dict, description="Our column name: the file's column name."
    )


class Evaluation(_Part):
    """What is measured on held-out problems after every iteration."""

    problems: Problems
    k: int = Field(8, ge=2, description="Samples per problem for majority@k and vote entropy.")
    temperature: float = Field(1.0, gt=0, description="Of the k samples; greedy is always run.")
    top_p: float = Field(1.0, gt=0, le=1)


class Rewards(_Part):
    """Who rewards each response: a reward model, a judge, or the lab's verifier."""

    model: str | None = Field(None, description="Folder of a reward model, or its hub name.")
    chat: bool = Field(False, description="The reward model takes text as a user's message.")
    judge: str | None = Field(None, description="A language model that judges.")
    judging: JudgeSettings = Field(JudgeSettings(), description="What it is asked.")
    lab: LabRewards | None = Field(
        None, description="The built-in world's exact verdict with noise of a known size."
    )
    sampling: SamplingSettings = Field(
        SamplingSettings(n=1, temperature=0.0),
        description="How the judge is run; dtype and device also hold for the reward model.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        named = [name for name in ("model", "judge", "lab") if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"name one of model, judge, lab, not {' and '.join(named) or 'none'}")
        return self


class Rule(_Part):
    """A selection rule with its own settings."""

    rule: str
    settings: dict[str, Any] = Field(default_factory=dict)

    def resolved(self) -> RuleSettings:
        """Return the rule's settings with its defaults filled in."""
        if self.rule not in RULES:
            raise InputError(f"selection rule '{self.rule}' is unknown; rules: {', '.join(RULES)}")
        return settings_of(self.rule, **self.settings)


class Selection(Rule):
    """Which rule turns scored samples into preference pairs."""

    as_many_as: Rule | None = Field(
        None,
        description="Of the prompts that `rule` keeps, a random part: as many as this rule would "
        "keep. The control of a rule that filters.",
    )
    lift: LiftSettings | None = Field(
        None, description="Ask the pairs again with limits on words; its seed is derived."
    )


class Choice(_Part):
    """After how many steps to stop, chosen on problems that the training doesn't see.

    A trial trains on the pairs of all other problems and keeps its weights now and then; those that
    are best on the held-out problems are the iteration's model. With `retrain`, a second training
    of that many steps, on all pairs, makes the model (IRPO).
    """

    problems: Problems = Field(
        description="Held out: pairs of prompts with the same prompt_id are left out of the trial."
    )
    every: int | Literal["epoch"] = Field(
        "epoch", description="Steps between the weights that are compared, or each epoch's."
    )
    by: Literal["greedy_correct", "majority_correct", "pass_rate", "vote_share", "reward"] = Field(
        "greedy_correct",
        description="What is compared: accuracy, greedily, of the majority of evaluation.k samples "
        "or of the single sample; the majority's share of the votes, which needs no references; "
        "the mean reward, by the recipe's rewards, if not of a pairwise judge. The chosen step's "
        "figure is optimistic.",
    )
    retrain: bool = Field(
        False, description="Train again on all pairs, held-out problems included."
    )

    @model_validator(mode="after")
    def _some_steps(self) -> Self:
        if isinstance(self.every, int) and self.every < 1:
            raise ValueError("every must be at least 1, or 'epoch'")
        return self


class Iteration(_Part):
    """The settings of one iteration."""

    problems: Problems
    new_problems: NewProblems | None
    sampling: SamplingSettings
    extra: ExtraSampling | None
    rewards: Rewards | None
    selection: Selection
    choice: Choice | None
    training: PreferenceSettings


class Recipe(_Part):
    """A run of sample -> score -> select -> train -> evaluate, iterated.

    The top-level parts hold for every iteration; an entry of `iterations` overrides single keys
    for that one, as the papers do with thresholds and temperatures.
    """

    name: str = Field(min_length=1, description="Of the run, and of its folder in runs/.")
    model: str = Field(description="A model folder, a hub name, or 'lab'.")
    seed: int = Field(0, ge=0, description="Every other seed derives from this one.")
    problems: Problems
    new_problems: NewProblems | None = Field(
        None, description="Let a model write new problems, with those of `problems` as examples."
    )
    sampling: SamplingSettings = SamplingSettings()
    extra: ExtraSampling | None = Field(
        None,
        description="More samples at another temperature, which don't vote and may be rejected.",
    )
    thoughts: ThoughtSettings | None = Field(
        None,
        description="Ask for thoughts before the response (TPO): a template's name, or a YAML "
        "file. Answers, rewards and evaluation look at the response alone; training sees both.",
    )
    scoring: ScoringSettings = ScoringSettings()
    rewards: Rewards | None = Field(
        None, description="For rules that look at rewards: who gives them."
    )
    selection: Selection
    choice: Choice | None = Field(
        None, description="Choose the number of training steps on held-out problems."
    )
    training: PreferenceSettings
    launch: Launch = None
    evaluation: Evaluation
    iterations: Annotated[list[dict[str, Any]], Field(min_length=1)]

    def iteration(self, number: int) -> Iteration:
        """Return the settings of iteration `number` (from 1) with its overrides and seeds."""
        given = self.model_dump()
        parts = {name: given[name] for name in Iteration.model_fields}
        place = f"iterations[{number}]"
        merged = merge(parts, self.iterations[number - 1])
        iteration: Iteration = _validate(TypeAdapter(Iteration), merged, place)
        if iteration.sampling.adapter is not None:
            raise InputError(
                "sampling.adapter would be applied to every iteration's new model, too: merge it "
                "into a model folder first"
            )
        place = f"{place}.selection"
        _validate_call(iteration.selection.resolved, f"{place}.settings")
        if iteration.selection.as_many_as is not None:
            _validate_call(iteration.selection.as_many_as.resolved, f"{place}.as_many_as.settings")
        return self._seeded(iteration, number)

    def _seeded(self, iteration: Iteration, number: int) -> Iteration:
        """Return the settings of iteration `number` with the seeds of its stages."""

        def seeded(part: _P, stage: str) -> _P:
            seed = {"seed": self.derived_seed(number, stage)}
            return part if part is None else part.model_copy(update=seed)

        rewards, selection = iteration.rewards, iteration.selection
        if rewards is not None:
            own = {name: seeded(getattr(rewards, name), "reward") for name in ("judging", "lab")}
            rewards = rewards.model_copy(update=own)
        settings = selection.settings
        if "seed" in RULES[selection.rule].settings.model_fields:
            settings = {**settings, "seed": self.derived_seed(number, "select")}
        chosen = {"settings": settings, "lift": seeded(selection.lift, "lift")}
        return iteration.model_copy(
            update={
                "new_problems": seeded(iteration.new_problems, "write"),
                "sampling": seeded(iteration.sampling, "sample"),
                "rewards": rewards,
                "selection": selection.model_copy(update=chosen),
                "training": seeded(iteration.training, "train"),
            }
        )

    def derived_seed(self, iteration: int, stage: str) -> int:
        """Seed of one stage: a hash, so that neighbouring recipe seeds are unrelated."""
        digest = hashlib.blake2b(f"{self.seed}/{iteration}/{stage}".encode(), digest_size=4)
        return int.from_bytes(digest.digest(), "big") >> 1


def read_recipe(path: str | Path, **overrides: Any) -> Recipe:
    """Read a recipe from YAML.

    Parameters
    ----------
    path : str or Path
    **overrides
        Top-level keys that replace the file's, for example ``seed=3``.

    Raises
    ------
    InputError
        If the file isn't YAML, or a key is unknown, missing or has a wrong value: the key is
        named with its full path.
    """
    content = read_yaml(path, "a recipe")
    return make_recipe({**content, **overrides}, str(path))


def make_recipe(content: Mapping[str, Any], source: str = "the recipe") -> Recipe:
    """Check a mapping, each iteration included, and return the recipe."""
    try:
        recipe: Recipe = _validate(TypeAdapter(Recipe), dict(content))
        for number in range(1, len(recipe.iterations) + 1):
            _check_thoughts(recipe, recipe.iteration(number))
            _check_choice(recipe.iteration(number))
            _check_rewards(recipe.iteration(number))
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    return recipe


def _check_thoughts(recipe: Recipe, iteration: Iteration) -> None:
    """Refuse what would look at thoughts; and a template that isn't there."""
    if recipe.thoughts is None:
        return
    recipe.thoughts.load()
    rewards = iteration.rewards
    for wrong, why in (
        (iteration.sampling.stop, "sampling.stop reads answers in whole texts"),
        (iteration.selection.lift, "selection.lift counts the words of whole texts"),
        (
            rewards and rewards.judging.response_part,
            "the judge gets the response alone: leave out rewards.judging.response_part",
        ),
    ):
        if wrong:
            raise InputError(f"with thoughts, {why}")


def _check_choice(iteration: Iteration) -> None:
    """Refuse a choice that lacks what it goes by, or that something else makes already."""
    choice, training = iteration.choice, iteration.training
    if choice is None:
        return
    if choice.by == "reward":
        if iteration.rewards is None:
            raise InputError("choice.by is reward: the recipe lacks rewards")
        if iteration.rewards.judge is not None and iteration.rewards.judging.kind == "pairwise":
            raise InputError(
                "choice.by is reward, but a pairwise judge rates the responses of one model among "
                "themselves: on average 0, whatever the model"
            )
    for key in ("keep_every", "keep_best", "eval_every"):
        if getattr(training, key) is not None:
            raise InputError(f"training.{key} and choice exclude each other")


def _check_rewards(iteration: Iteration) -> None:
    """Refuse a rule that would find no rewards, before anything is sampled for it."""
    selection = iteration.selection
    for rule in (selection, selection.as_many_as):
        if rule is not None and rule.rule in _BY_REWARD and iteration.rewards is None:
            raise InputError(f"selection rule '{rule.rule}' needs the part rewards")


def dump_recipe(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML."""
    import yaml

    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, width=100)
    return text


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with single keys of nested mappings replaced.

    An unknown key stays, to be refused later. A part that names another `rule` is replaced as a
    whole: the settings of one rule aren't another's.

    Examples
    --------
    >>> merge({"training": {"loss": "dpo", "beta": 0.1}}, {"training": {"beta": 0.5}})
    {'training': {'loss': 'dpo', 'beta': 0.5}}
    """
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        if both and "rule" in value and value["rule"] != merged[key].get("rule"):
            both = False
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _validate(adapter: TypeAdapter[Any], value: Any, place: str = "") -> Any:
    return _validate_call(lambda: adapter.validate_python(value), place)


def _validate_call(call: Any, place: str = "") -> Any:
    """Run a pydantic validation; its first complaint becomes one sentence."""
    try:
        return call()
    except ValidationError as error:
        # An unknown key comes first: it is what a missing one was meant to be.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = key_of([*([place] if place else []), *first["loc"]])
        if first["type"] == "extra_forbidden":
            raise InputError(f"unknown key '{key}'") from error
        if first["type"] == "missing":
            raise InputError(f"key '{key}' is missing") from error
        message = first["msg"][0].lower() + first["msg"][1:]
        raise InputError(f"key '{key}': {message}, got {first['input']!r}") from error
