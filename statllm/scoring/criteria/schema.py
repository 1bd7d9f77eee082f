"""A guideline as LLMCrit has it: aspects, each with its text, criteria and demonstrations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statllm.errors import InputError
from statllm.files import existing_file, write_text
from statllm.scoring.criteria.parse import Criterion, format_criteria, parse_criteria, same_name


@dataclass(frozen=True)
class Demonstration:
    """A text and the feedback it should get.

    Attributes
    ----------
    input : str
    output : str
        Repeats the heading of every criterion of its aspect, each with a verdict below it.
    """

    input: str
    output: str


@dataclass(frozen=True)
class Aspect:
    """A section of a guideline.

    Attributes
    ----------
    aspect_id : str
    aspect_guideline : str
        The section's own words, of which the criteria are made.
    criteria : tuple of Criterion
        Empty until they are derived.
    demonstrations : tuple of Demonstration
    """

    aspect_id: str
    aspect_guideline: str
    criteria: tuple[Criterion, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the line of a JSONL file."""
        return {
            "aspect_id": self.aspect_id,
            "aspect_guideline": self.aspect_guideline,
            "criteria": format_criteria(self.criteria),
            "demonstrations": [vars(one) for one in self.demonstrations],
        }


@dataclass(frozen=True)
class Guideline:
    """Aspects in order; a criterion's key is ``aspect_id/name``.

    Examples
    --------
    >>> tests = Aspect("tests", "Compare to None by is.", (Criterion("None test", "by is"),))
    >>> Guideline((tests,)).keys
    ('tests/None test',)
    """

    aspects: tuple[Aspect, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The criteria of all aspects."""
        return tuple(key_of(a, c) for a in self.aspects for c in a.criteria)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return the numbers of criteria and of demonstrations of each aspect."""
        return {a.aspect_id: (len(a.criteria), len(a.demonstrations)) for a in self.aspects}


def key_of(aspect: Aspect, criterion: Criterion) -> str:
    """Return what names a criterion in tables."""
    return f"{aspect.aspect_id}/{criterion.name}"


def read_guideline(path: str | Path) -> Guideline:
    """Read a JSONL file with one aspect a line.

    Keys are ``aspect_id`` and ``aspect_guideline`` (text), ``criteria`` (a Markdown list; left
    out or empty before criteria are derived) and ``demonstrations`` (a list of ``{input,
    output}``; may be left out). Other keys are not read.

    Raises
    ------
    InputError
        Names the line, and the key or the criterion that is wrong.
    """
    aspects: list[Aspect] = []
    for number, row in _lines(existing_file(path)):
        where = f"{path}, line {number}"
        aspect = _aspect(row, where)
        if aspect.aspect_id in {known.aspect_id for known in aspects}:
            raise InputError(f"{where}: aspect_id '{aspect.aspect_id}' occurs twice")
        aspects.append(aspect)
    if not aspects:
        raise InputError(f"{path} holds no aspect")
    guideline = Guideline(tuple(aspects))
    for key in guideline.keys:
        if guideline.keys.count(key) > 1:  # a/b has c, and a has b/c
            raise InputError(f"{path}: two criteria are called '{key}'")
    return guideline


def write_guideline(guideline: Guideline, path: str | Path) -> None:
    """Write a guideline so that `read_guideline` gives it back."""
    lines = [json.dumps(a.to_dict(), ensure_ascii=False) for a in guideline.aspects]
    write_text("\n".join(lines) + "\n", path)


def missing_headings(aspect: Aspect) -> list[tuple[int, str]]:
    """Return demonstrations, by place, and criteria whose heading isn't in their output.

    In LLMCrit's data there is none: every output names every criterion of its aspect, those that
    don't apply as well.

    Examples
    --------
    >>> demo = Demonstration("x == None", "**None test**: violated")
    >>> two = (Criterion("None test", "by is"), Criterion("Truth test", "no =="))
    >>> missing_headings(Aspect("tests", "", two, (demo,)))
    [(0, 'Truth test')]
    """
    return [
        (place, criterion.name)
        for place, demo in enumerate(aspect.demonstrations)
        for criterion in aspect.criteria
        if same_name(criterion.name) not in {same_name(line) for line in _bold(demo.output)}
    ]


def _bold(text: str) -> Iterator[str]:
    for line in text.splitlines():
        parts = line.split("**")
        if len(parts) >= 3:
            yield parts[1]


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
                json.dumps(row, ensure_ascii=False).encode("utf-8")
            except (json.JSONDecodeError, RecursionError) as error:
                raise InputError(f"{path}, line {number} is not JSON: {error}") from error
            except UnicodeEncodeError as error:
                raise InputError(f"{path}, line {number} has half of a surrogate pair") from error
            yield number, row


def _aspect(row: Any, where: str) -> Aspect:
    if not isinstance(row, dict):
        raise InputError(f"{where}: an object was expected")
    for key in ("aspect_id", "aspect_guideline"):
        if key not in row:
            raise InputError(f"{where}: key '{key}' is missing; there are {', '.join(row)}")
    name = row["aspect_id"]
    if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
        raise InputError(f"{where}: key 'aspect_id' must be text or a whole number")
    if not isinstance(row["aspect_guideline"], str):
        raise InputError(f"{where}: key 'aspect_guideline' must be text")
    markdown = row.get("criteria") or ""
    if not isinstance(markdown, str):
        raise InputError(f"{where}: key 'criteria' must be text, a Markdown list")
    criteria = parse_criteria(markdown, where=f"{where}, criteria") if markdown.strip() else ()
    demos = row.get("demonstrations") or []
    if not isinstance(demos, list):
        raise InputError(f"{where}: key 'demonstrations' must be a list")
    for place, demo in enumerate(demos):
        for key in ("input", "output"):
            if not isinstance(demo, dict) or not isinstance(demo.get(key), str):
                raise InputError(f"{where}: demonstration {place} needs the text '{key}'")
    shown = tuple(Demonstration(demo["input"], demo["output"]) for demo in demos)
    return Aspect(str(name), row["aspect_guideline"], criteria, shown)
