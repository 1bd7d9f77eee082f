"""Prompts with placeholders, a version and a digest, read from YAML files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from statllm.errors import InputError

Task = Literal[
    "few_shot", "thoughts", "length", "solution", "rubric", "back_translation", "contrast",
    "reformat",
]  # fmt: skip
Messages: TypeAlias = list[dict[str, str]]

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

# What each task fills in, and the delimiters that its parser knows.
_FILLED: dict[str, set[str]] = {
    "few_shot": {"examples", "n_examples", "next_number"},
    "thoughts": {"prompt"},
    "length": {"prompt", "max_words"},
    "solution": {"prompt"},
    "rubric": {"document"},
    "back_translation": {"document"},
    "contrast": {"prompt", "response"},
    "reformat": {"prompt", "response"},
}
_NEEDED: dict[str, set[str]] = {**_FILLED, "few_shot": {"examples"}}
_DELIMITERS: dict[str, set[str]] = {
    "few_shot": {"begin", "end"},
    "thoughts": {"thought", "response"},
    "length": set(),
    "solution": set(),
    "rubric": set(),
    "back_translation": {"question", "reference_answer"},
    "contrast": {"request", "response"},
    "reformat": set(),
}


@dataclass(frozen=True)
class PromptTemplate:
    r"""A prompt to be filled, and the delimiters by which its answer is read.

    Attributes
    ----------
    name : str
    version : int
        Grows with every change of what `digest` covers.
    task : str
        few_shot, thoughts, length, solution, rubric, back_translation, contrast or reformat.
        It says which placeholders there are: ``{examples}``, ``{n_examples}``, ``{next_number}``;
        ``{prompt}``; ``{prompt}`` and ``{max_words}``; ``{prompt}``; ``{document}`` for both that
        are about documents; ``{prompt}`` and ``{response}`` for both that are about a response.
    source : str
        The paper, and how the wording relates to it.
    user : str
        The user's message, or the whole prompt of a model that completes text.
    system : str
        May be empty.
    example : str
        Of few_shot: how one example is shown, with ``{example}`` and possibly ``{number}``.
    examples : int
        Of few_shot: how many there are by default.
    delimiters : mapping
        Of few_shot: ``begin`` and ``end`` of a question; without ``begin`` there is one, at the
        start. Of thoughts: ``response`` and possibly ``thought``, which come before the parts. Of
        back_translation: ``question`` and ``reference_answer``; without them the answer is JSON.
        Of contrast: ``request`` and ``response``.

    Raises
    ------
    InputError
        Names the template and what is wrong with it.

    Examples
    --------
    >>> short = PromptTemplate("brief", 1, "length", "", "{prompt}\n{max_words} words at most.")
    >>> short.messages({"prompt": "Why {x}?", "max_words": "9"})
    [{'role': 'user', 'content': 'Why {x}?\n9 words at most.'}]
    """

    name: str
    version: int
    task: Task
    source: str
    user: str
    system: str = ""
    example: str = ""
    examples: int = 0
    delimiters: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"prompt template '{self.name}'"
        if self.task not in get_args(Task):
            raise InputError(f"{where}: task must be one of {', '.join(get_args(Task))}")
        if type(self.version) is not int or self.version < 1:
            raise InputError(f"{where}: version must be a whole number from 1, not {self.version}")
        missing = _NEEDED[self.task] - self.placeholders
        unknown = self.placeholders - _FILLED[self.task]
        if missing or unknown:
            known = ", ".join(sorted(_FILLED[self.task]))
            names = ", ".join(sorted(missing or unknown))
            verb = "lacks" if missing else "has"
            raise InputError(f"{where}: {self.task} fills {known}; the text {verb} {names}")
        self._check_example(where)
        self._check_delimiters(where)

    def _check_example(self, where: str) -> None:
        shown = set(_PLACEHOLDER.findall(self.example))
        if self.task == "few_shot":
            if "example" not in shown or not shown <= {"example", "number"}:
                raise InputError(f"{where}: example needs {{example}}, and may have {{number}}")
            if type(self.examples) is not int or self.examples < 1:
                raise InputError(f"{where}: examples must be a whole number from 1")
        elif self.example or self.examples:
            raise InputError(f"{where}: example and examples belong to few_shot")

    def _check_delimiters(self, where: str) -> None:
        if not isinstance(self.delimiters, Mapping):
            raise InputError(f"{where}: delimiters must be a mapping of names to texts")
        for name, text in self.delimiters.items():
            if name not in _DELIMITERS[self.task]:
                raise InputError(f"{where}: {self.task} has no delimiter '{name}'")
            if not isinstance(text, str) or not text:
                raise InputError(f"{where}: delimiter '{name}' must be text")
        both = self.task == "back_translation" and len(self.delimiters) == 1
        alone = self.task == "few_shot" and "begin" in self.delimiters
        if both or (alone and "end" not in self.delimiters):
            raise InputError(f"{where}: the other delimiter is missing")
        needed = {"thoughts": ("response",), "contrast": ("request", "response")}
        for name in needed.get(self.task, ()):
            if name not in self.delimiters:
                raise InputError(f"{where}: delimiter '{name}' is missing")

    @property
    def placeholders(self) -> set[str]:
        """Names in braces, of both messages."""
        return set(_PLACEHOLDER.findall(self.system + self.user))

    @property
    def stamp(self) -> str:
        """``name@version``, for tables."""
        return f"{self.name}@{self.version}"

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the prompt and how its answer is read; not of `source`."""
        parts = [self.task, self.user, self.system, self.example, self.examples]
        text = json.dumps([*parts, sorted(self.delimiters.items())], ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def fill(self, text: str, fields: Mapping[str, str]) -> str:
        """Fill all placeholders at once: one inside of what is filled in stays what it is."""
        return _PLACEHOLDER.sub(lambda match: fields[match[1]], text)

    def messages(self, fields: Mapping[str, str]) -> Messages:
        """Return the messages; without a system's text there is one only.

        White space around the template's texts is cut off, that of what is filled in isn't.
        """
        texts = [("system", self.system), ("user", self.user)]
        return [
            {"role": role, "content": self.fill(text.strip(), fields)}
            for role, text in texts
            if text
        ]

    def text(self, fields: Mapping[str, str]) -> str:
        """Return the prompt as one text, for models that complete text."""
        return "\n\n".join(message["content"] for message in self.messages(fields))


def template_names(task: Task | None = None) -> list[str]:
    """Return the names of the templates that come with the package.

    Examples
    --------
    >>> template_names("thoughts")
    ['tpo_generic', 'tpo_generic_system', 'tpo_specific']
    """
    folder = files("statllm.sampling.prompts") / "templates"
    names = sorted(f.name[: -len(".yaml")] for f in folder.iterdir() if f.name.endswith(".yaml"))
    return [name for name in names if task is None or load_template(name).task == task]


@cache
def load_template(name: str | Path, task: Task | None = None) -> PromptTemplate:
    """Return a template by its name, or from a YAML file.

    Parameters
    ----------
    name : str or Path
        A name that ends in .yaml is a file's.
    task : str, optional
        What the template must be for.

    Raises
    ------
    InputError
        If there is no such template, the file isn't one, or it is for another task; the message
        names it.

    Examples
    --------
    >>> template = load_template("lift_words")
    >>> template.stamp, sorted(template.placeholders)
    ('lift_words@1', ['max_words', 'prompt'])
    """
    if isinstance(name, Path) or name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"prompt template {path} doesn't exist")
        text = path.read_text(encoding="utf-8")
    elif name in (known := template_names()):
        file = files("statllm.sampling.prompts") / "templates" / f"{name}.yaml"
        text = file.read_text(encoding="utf-8")
    else:
        raise InputError(f"prompt template '{name}' is none of {', '.join(known)}")
    template = _parsed(name, text)
    if task is not None and template.task != task:
        fit = ", ".join(template_names(task))
        raise InputError(f"prompt template '{name}' is for {template.task}; for {task}: {fit}")
    return template


def _parsed(name: str | Path, text: str) -> PromptTemplate:
    import yaml

    try:
        content: Any = yaml.safe_load(text)
        if not isinstance(content, dict):
            raise InputError(f"prompt template {name} is not a mapping")
        return PromptTemplate(**content)
    except (yaml.YAMLError, TypeError) as error:
        raise InputError(f"prompt template {name}: {error}") from error
