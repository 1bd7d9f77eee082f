"""Read a question's chain whatever its names: for a writer that doesn't keep people apart.

`statllm.lab.reading` wants the world's very sentences. A small writer mixes up who does what to
which things, and what may follow a verb, and still writes a chain that can be worked out.
"""

from __future__ import annotations

import hashlib
import re

from statllm.lab.reading import _ASKED, Reading, _match
from statllm.lab.world import (
    _EVENTS,
    _NAMES,
    _OPENINGS,
    _ORDER,
    _PACKED_OPENINGS,
    _TIMES,
    MAX_VALUE,
    Operation,
    Problem,
    apply,
)

# The verb is each sentence's second word.
_SIGNS: dict[str, Operation] = {
    template.split()[1]: sign for sign, templates in _EVENTS.items() for template in templates
}
_OWNS = {template.split()[1] for template in (*_OPENINGS, *_PACKED_OPENINGS)}


def read_chain(text: str) -> Reading:
    """Understand a question by its verbs and numbers alone.

    An opening sentence has one number, or two where things are packed ("… with 6 pears each");
    each event has a name, a verb of the world and one number, or doubles or triples; the order of
    the events is said and right; a question of the world ends it. Who and what they are about may
    change. Faults are those of `statllm.lab.reading.FAULTS`, except for ``other_name``.

    Parameters
    ----------
    text : str
        Without the lab's ``Q:`` and ``A:``.

    Examples
    --------
    >>> text = "Ida has 27 plums. First Leo takes 11 of them. Then Mia buys 3 from Leo."
    >>> read_chain(f"{text} How many pears does Ada have in the end?").problem.values
    (16, 19)
    >>> read_chain(f"{text.replace('11 ', '')} How many plums are there now?").fault
    'not_an_event'
    """
    *sentences, question = re.split(r"(?<=[.?]) ", text.strip())
    if _match(question, _ASKED) is None:
        return Reading(None, "no_question")
    numbers = _opening(sentences[0]) if sentences else None
    if numbers is None:
        return Reading(None, "no_opening")
    start, *packed = numbers
    steps: list[tuple[Operation, int]] = [("*", n) for n in packed]
    if not 2 <= len(steps) + len(sentences) - 1 <= len(_ORDER):
        return Reading(None, "steps")
    for order, sentence in zip(_ORDER[len(steps) :], sentences[1:], strict=False):
        step = _event(sentence, order)
        if step is None:
            return Reading(None, "not_an_event")
        steps.append(step)
    values = [start]
    for operation, n in steps:
        values.append(apply(values[-1], operation, n))
    if not all(0 <= value <= MAX_VALUE for value in values):
        return Reading(None, "impossible")
    identity = hashlib.sha256(text.strip().encode()).hexdigest()[:16]
    return Reading(
        Problem(f"chain-{identity}", text, start, tuple(steps), tuple(values[1:]), values[-1]), None
    )


def _opening(sentence: str) -> list[int] | None:
    """The numbers of the first sentence."""
    words, numbers = _words(sentence), _numbers(sentence)
    if len(words) < 2 or words[0] not in _NAMES or words[1] not in _OWNS:
        return None
    return numbers if len(numbers) == 1 + (words[-1] == "each") else None


def _event(sentence: str, order: str) -> tuple[Operation, int] | None:
    first, _, rest = sentence.partition(" ")
    if first != order:
        return None
    for times, said in _TIMES.items():
        if rest == said:
            return "*", times
    words, numbers = _words(rest), _numbers(rest)
    if len(words) < 2 or words[0] not in _NAMES or words[1] not in _SIGNS or len(numbers) != 1:
        return None
    return _SIGNS[words[1]], numbers[0]


def _words(sentence: str) -> list[str]:
    return sentence.removesuffix(".").split()


def _numbers(sentence: str) -> list[int]:
    return [int(found) for found in re.findall(r"\d+", sentence)]
