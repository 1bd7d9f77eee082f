"""Read a word problem back from its English: the exact verifier of questions that a model wrote."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from statllm.lab.world import (
    _EVENTS,
    _NAMES,
    _OBJECTS,
    _OPENINGS,
    _ORDER,
    _PACKED_OPENINGS,
    _QUESTIONS,
    _TIMES,
    MAX_VALUE,
    Operation,
    Problem,
    apply,
)

#: Why a text isn't a problem of the world.
FAULTS = {
    "no_question": "it doesn't end with one of the world's questions",
    "no_opening": "it doesn't begin with one of the world's openings",
    "not_an_event": "a sentence between them is none of the world's events in their order",
    "other_name": "names or things change between sentences",
    "steps": "it has other than two or three steps",
    "impossible": "a result is negative or above what the world counts",
}

_GROUPS = {
    "name": f"(?P<name>{'|'.join(_NAMES)})",
    "friend": f"(?P<friend>{'|'.join(_NAMES)})",
    "things": f"(?P<things>{'|'.join(_OBJECTS)})",
    "start": r"(?P<start>\d+)",
    "n": r"(?P<n>\d+)",
}


@dataclass(frozen=True)
class Reading:
    """What a text says.

    Attributes
    ----------
    problem : Problem or None
        None where the text has a fault.
    fault : str or None
        A key of `FAULTS`.
    """

    problem: Problem | None
    fault: str | None


def read_problem(text: str) -> Reading:
    """Understand a problem from its words alone.

    Parameters
    ----------
    text : str
        Without the lab's ``Q:`` and ``A:``.

    Examples
    --------
    >>> text = "Ida has 27 plums. First Ida gives 11 to Leo. Then the number triples."
    >>> read_problem(f"{text} How many plums are there now?").problem.values
    (16, 48)
    >>> read_problem(text).fault
    'no_question'
    """
    *sentences, question = re.split(r"(?<=[.?]) ", text.strip())
    asked = _match(question, _ASKED)
    if asked is None:
        return Reading(None, "no_question")
    opening = _match(sentences[0], _OPENED) if sentences else None
    if opening is None:
        return Reading(None, "no_opening")
    name, things = opening["name"], opening["things"]
    start = int(opening["start"])
    steps: list[tuple[Operation, int]] = [("*", int(opening["n"]))] if "n" in opening else []
    said = [asked]
    for order, sentence in zip(_ORDER[len(steps) :], sentences[1:], strict=False):
        event = _event(sentence, order)
        if event is None:
            return Reading(None, "not_an_event")
        step, words = event
        steps.append(step)
        said.append(words)
    if len(sentences) - 1 > len(_ORDER) - ("n" in opening) or not 2 <= len(steps) <= 3:
        return Reading(None, "steps")
    for words in said:
        if words.get("name", name) != name or words.get("things", things) != things:
            return Reading(None, "other_name")
        if words.get("friend") == name:
            return Reading(None, "other_name")
    values = [start]
    for operation, n in steps:
        values.append(apply(values[-1], operation, n))
    if not all(0 <= value <= MAX_VALUE for value in values):
        return Reading(None, "impossible")
    identity = hashlib.sha256(text.strip().encode()).hexdigest()[:16]
    found = Problem(
        f"read-{identity}", text.strip(), start, tuple(steps), tuple(values[1:]), values[-1]
    )
    return Reading(found, None)


def _event(sentence: str, order: str) -> tuple[tuple[Operation, int], dict[str, str]] | None:
    if not sentence.startswith(f"{order} "):
        return None
    rest = sentence.removeprefix(f"{order} ")
    for times, words in _TIMES.items():
        if rest == words:
            return ("*", times), {}
    for operation, patterns in _HAPPENED.items():
        found = _match(rest, patterns)
        if found is not None:
            return (operation, int(found["n"])), found
    return None


def _match(text: str, patterns: Iterable[re.Pattern[str]]) -> dict[str, str] | None:
    for pattern in patterns:
        found = pattern.fullmatch(text)
        if found is not None:
            return found.groupdict()
    return None


def _patterns(templates: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """Regular expressions of templates: a placeholder's second occurrence repeats its first."""
    compiled = []
    for template in templates:
        seen: set[str] = set()
        pieces = []
        for piece in re.split(r"(\{[a-z]+\})", template):
            field = piece[1:-1] if piece.startswith("{") else ""
            if not field:
                pieces.append(re.escape(piece))
            elif field in seen:
                pieces.append(f"(?P={field})")
            else:
                pieces.append(_GROUPS[field])
                seen.add(field)
        compiled.append(re.compile("".join(pieces)))
    return tuple(compiled)


_ASKED = _patterns(_QUESTIONS)
_OPENED = _patterns((*_PACKED_OPENINGS, *_OPENINGS))
_HAPPENED = {operation: _patterns(templates) for operation, templates in _EVENTS.items()}
