"""Criteria as Markdown lists: ``1. **Name**: what is checked``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from statllm.errors import InputError

_ITEM = re.compile(r"^\s{0,3}(?:(?P<number>\d+)[.)]|[-*•])\s+\*\*(?P<name>.+?)\*\*(?P<rest>.*)$")
_BOLD = re.compile(r"^\s{0,3}\*\*(?P<name>.+?)\*\*(?P<rest>\s*[:–—-].*)$")
_PLAIN = re.compile(r"^\s{0,3}(?P<number>\d+)[.)]\s+(?P<name>[^:*]{1,80}):(?P<rest>.*)$")
_LEAD = re.compile(r"^\s*[:–—-]*\s*")


@dataclass(frozen=True)
class Criterion:
    """One thing that a text is checked for.

    Attributes
    ----------
    name : str
        A heading, unique within its aspect.
    check : str
        What is checked, in a sentence or a few.
    """

    name: str
    check: str


def same_name(name: str) -> str:
    """Return a name without what doesn't tell names apart: case, spaces, marks at its ends.

    Examples
    --------
    >>> same_name("  Bare `Except`: "), same_name("bare except")
    ('bare except', 'bare except')
    """
    return " ".join(re.sub(r"[`*_\"']", "", name).split()).strip(" :.-–—").casefold()


def parse_criteria(
    markdown: str, *, strict: bool = True, where: str = "criteria"
) -> tuple[Criterion, ...]:
    """Read criteria from a Markdown list.

    An item begins with a number or a bullet and a name in bold; the check may go on in further
    lines, bullets below it included.

    Parameters
    ----------
    markdown : str
    strict : bool
        Of files: nothing stands before the first item, numbers are 1, 2, ..., each item has a
        check, no name is repeated. False, for a model's answer: what stands around the list is
        left out, names may lack the bold or the number, empty and repeated items are returned as
        they are.
    where : str
        Begins the message of an error.

    Returns
    -------
    tuple of Criterion

    Raises
    ------
    InputError
        If there is no item, or the list breaks a rule of `strict`; names the item.

    Examples
    --------
    >>> parse_criteria("1. **Bare except**: an except clause names\\n   what it catches.")
    (Criterion(name='Bare except', check='an except clause names what it catches.'),)
    """
    found: list[tuple[str | None, str, list[str]]] = []
    ended = False
    for line in markdown.splitlines():
        item = _item(line, strict)
        if item is not None:
            found.append(item)
            ended = False
        elif not line.strip():
            ended = True  # in an answer, text at the margin after a gap is no part of the item
        elif found and (strict or not ended or line[:1].isspace()):
            found[-1][2].append(line.strip())
        elif not found and strict:
            raise InputError(f"{where}: '{line.strip()[:60]}' stands before the first criterion")
    if not found:
        raise InputError(f"{where}: no criterion of the form '1. **Name**: check' was found")
    criteria = tuple(
        Criterion(name, " ".join(part for part in parts if part)) for _, name, parts in found
    )
    if strict:
        _check([number for number, _, _ in found], criteria, where)
    return criteria


def format_criteria(criteria: Iterable[Criterion]) -> str:
    """Return criteria as a numbered list that `parse_criteria` reads back.

    Examples
    --------
    >>> format_criteria([Criterion("Bare except", "it names what it catches.")])
    '1. **Bare except**: it names what it catches.'
    """
    return "\n".join(
        f"{number}. **{criterion.name}**: {criterion.check}"
        for number, criterion in enumerate(criteria, 1)
    )


def _item(line: str, strict: bool) -> tuple[str | None, str, list[str]] | None:
    for pattern in (_ITEM,) if strict else (_ITEM, _BOLD, _PLAIN):
        match = pattern.match(line)
        if match is not None:
            name = " ".join(match["name"].split()).strip(" :")
            rest = _LEAD.sub("", match["rest"]).strip()
            return match.groupdict().get("number"), name, [rest]
    return None


def _check(numbers: list[str | None], criteria: tuple[Criterion, ...], where: str) -> None:
    seen: set[str] = set()
    for place, (number, criterion) in enumerate(zip(numbers, criteria, strict=True), 1):
        item = f"{where}: criterion '{criterion.name}'"
        if number is not None and int(number) != place:
            raise InputError(f"{item} has number {number} in place {place}")
        if not criterion.check:
            raise InputError(f"{item} has no check")
        if same_name(criterion.name) in seen:
            raise InputError(f"{item} occurs twice")
        seen.add(same_name(criterion.name))
