"""A small world of English word problems whose answers are exact.

A problem is a chain: a start, then two or three operations. Its *canonical form* is that chain
(the numbers and the structure); names, objects and verbs are only its wording. The split of a
problem is a hash of the canonical form, so no chain of one split occurs in another one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from statllm.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Split = Literal["pretrain", "train", "test"]
Operation = Literal["+", "-", "*"]

OPERATIONS: tuple[Operation, ...] = ("+", "-", "*")
MAX_NUMBER = 60  # largest number a text mentions
MAX_VALUE = 60  # largest result of a step

# Shares of the canonical forms, in tenths: the hash modulo 10 picks one.
_SPLITS: tuple[Split, ...] = ("pretrain",) * 6 + ("train",) * 2 + ("test",) * 2

_NAMES = [
    "Ada",
    "Ben",
    "Carla",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Henry",
    "Ida",
    "Jonas",
    "Kate",
    "Leo",
    "Mia",
    "Noah",
    "Olga",
    "Paul",
    "Rosa",
    "Sam",
    "Tina",
    "Victor",
    "Wendy",
    "Yusuf",
    "Zoe",
    "Amir",
]
_OBJECTS = [
    "apples",
    "pears",
    "plums",
    "lemons",
    "cookies",
    "marbles",
    "stamps",
    "coins",
    "cards",
    "books",
    "pencils",
    "shells",
    "stones",
    "buttons",
    "beads",
    "stickers",
    "balls",
    "flowers",
    "eggs",
    "candles",
]
_OPENINGS = (
    "{name} has {start} {things}.",
    "{name} starts with {start} {things}.",
    "{name} owns {start} {things}.",
)
_PACKED_OPENINGS = (
    "{name} has {start} bags with {n} {things} each.",
    "{name} opens {start} boxes with {n} {things} each.",
    "{name} fills {start} jars with {n} {things} each.",
)
_EVENTS: dict[Operation, tuple[str, ...]] = {
    "+": (
        "{name} finds {n} more.",
        "{name} buys {n} more.",
        "{name} wins {n} {things}.",
        "{name} gets {n} from {friend}.",
        "{friend} brings {n} more.",
    ),
    "-": (
        "{name} gives {n} to {friend}.",
        "{name} loses {n} of them.",
        "{name} sells {n} {things}.",
        "{name} drops {n} of them.",
        "{friend} takes {n} away.",
    ),
}
_TIMES = {2: "the number doubles.", 3: "the number triples."}
_QUESTIONS = (
    "How many {things} are there now?",
    "How many {things} does {name} have in the end?",
)
_ORDER = ("First", "Then", "Finally")  # opens the sentence of each step, and its statement

# How many ways `careful_solution` and `hasty_solution` have to word a problem.
N_CAREFUL_STYLES = 2
N_HASTY_STYLES = 4


@dataclass(frozen=True)
class Problem:
    """A word problem, its chain of operations and its results.

    Attributes
    ----------
    problem_id : str
        The split and a hash of the text.
    text : str
        The problem in English.
    start : int
        The first number of the chain.
    steps : tuple of (operation, int)
        What is done to it, in order; an operation is ``"+"``, ``"-"`` or ``"*"``.
    values : tuple of int
        The result of each step, all in 0..60.
    answer : int
        The last of the values.
    """

    problem_id: str
    text: str
    start: int
    steps: tuple[tuple[Operation, int], ...]
    values: tuple[int, ...]
    answer: int

    @property
    def prompt(self) -> str:
        """The text as the lab model reads it; a response begins right after the newline."""
        return f"Q: {self.text}\nA:\n"

    @property
    def split(self) -> Split:
        """The split that the canonical form belongs to."""
        return split_of(self.start, self.steps)


def apply(value: int, operation: Operation, n: int) -> int:
    """Carry out one operation.

    Examples
    --------
    >>> apply(12, "-", 5)
    7
    """
    if operation == "+":
        return value + n
    return value - n if operation == "-" else value * n


def split_of(start: int, steps: tuple[tuple[Operation, int], ...]) -> Split:
    """Return the split of a canonical form: SHA-256 of the chain, the same on any machine.

    Examples
    --------
    >>> split_of(12, (("+", 7), ("-", 5)))
    'pretrain'
    """
    chain = str(start) + "".join(f"{operation}{n}" for operation, n in steps)
    return _SPLITS[int.from_bytes(hashlib.sha256(chain.encode()).digest()[:8]) % len(_SPLITS)]


def careful_solution(problem: Problem, style: int = 0) -> str:
    """Return a chain of thought with one arithmetic statement per step.

    Parameters
    ----------
    problem : Problem
    style : int
        Which of the `N_CAREFUL_STYLES` wordings.

    Examples
    --------
    >>> careful_solution(next(generate("test", seed=0)))
    'First 27 - 11 = 16. Then 16 * 3 = 48. #### 48'
    """
    statements = []
    value = problem.start
    for order, (operation, n), result in zip(_ORDER, problem.steps, problem.values, strict=False):
        statements.append(f"{order} {value} {operation} {n} = {result}.")
        value = result
    opening = ("", "Step by step: ")[style]
    return f"{opening}{' '.join(statements)} #### {problem.answer}"


def hasty_solution(problem: Problem, style: int = 0) -> str:
    """Return a solution that jumps: all operations at once, or only the answer.

    Parameters
    ----------
    problem : Problem
    style : int
        Which of the `N_HASTY_STYLES` wordings.

    Examples
    --------
    >>> hasty_solution(next(generate("test", seed=0)), style=1)
    'That makes 48. #### 48'
    """
    expression = str(problem.start)
    for i, (operation, n) in enumerate(problem.steps):
        if operation == "*" and i > 0:
            expression = f"( {expression} )"
        expression = f"{expression} {operation} {n}"
    answer = problem.answer
    opening = ("", f"That makes {answer}. ", f"In one go: {expression} = {answer}. ", "Easy. ")
    return f"{opening[style]}#### {answer}"


def slip(problem: Problem, rng: random.Random) -> Problem:
    """Return the problem with one step miscalculated, and what follows from the wrong value.

    Examples
    --------
    >>> problem = next(generate("test", seed=0))
    >>> slip(problem, random.Random(0)).values == problem.values
    False
    """
    while True:
        wrong = rng.randrange(len(problem.steps))
        values: list[int] = []
        value = problem.start
        for i, (operation, n) in enumerate(problem.steps):
            value = apply(value, operation, n)
            if i == wrong:
                value += rng.choice((-10, -2, -1, 1, 2, 10))
            values.append(value)
        if all(0 <= value <= MAX_VALUE for value in values):
            return replace(problem, values=tuple(values), answer=values[-1])


def generate(split: Split, seed: int = 0) -> Iterator[Problem]:
    """Yield problems of one split for ever; a canonical form is never repeated.

    Parameters
    ----------
    split : {"pretrain", "train", "test"}
    seed : int
        Another seed gives other problems of the same split (with some in common by chance).

    Raises
    ------
    InputError
        If there is no such split.

    Examples
    --------
    >>> next(generate("test", seed=0)).text
    'Ida starts with 27 plums. First Ida gives 11 to Leo. Then the number triples. ...'
    """
    if split not in _SPLITS:
        raise InputError(f"unknown split {split!r}: choose pretrain, train or test")
    rng = random.Random(f"{split}-{seed}")  # a string seeds through SHA-512, not hash()
    seen = set()
    while True:
        start, steps = _chain(rng)
        if split_of(start, steps) != split or (start, steps) in seen:
            continue
        seen.add((start, steps))
        values = [start]
        for operation, n in steps:
            values.append(apply(values[-1], operation, n))
        text = _word(start, steps, rng)
        identity = hashlib.sha256(text.encode()).hexdigest()[:16]
        yield Problem(f"{split}-{identity}", text, start, steps, tuple(values[1:]), values[-1])


def problems(split: Split, n: int, seed: int = 0) -> pa.Table:
    """Return the first `n` problems of a split as a table.

    Parameters
    ----------
    split : {"pretrain", "train", "test"}
    n : int
        Number of rows; a smaller `n` gives the first rows of a larger one.
    seed : int

    Returns
    -------
    pyarrow.Table
        Columns ``prompt_id``, ``prompt`` and ``reference`` (the answer), all strings.

    Examples
    --------
    >>> problems("train", 3).column_names
    ['prompt_id', 'prompt', 'reference']
    """
    import pyarrow as pa

    rows = [problem for problem, _ in zip(generate(split, seed), range(n), strict=False)]
    return pa.table(
        {
            "prompt_id": pa.array([row.problem_id for row in rows], pa.string()),
            "prompt": pa.array([row.prompt for row in rows], pa.string()),
            "reference": pa.array([str(row.answer) for row in rows], pa.string()),
        }
    )


def _chain(rng: random.Random) -> tuple[int, tuple[tuple[Operation, int], ...]]:
    """Draw a start and two or three operations whose results all lie in 0..MAX_VALUE."""
    n_steps = rng.choice((2, 3))
    packed = rng.random() < 0.25  # "4 bags with 6 pears each"
    while True:
        start = rng.randint(2, 9) if packed else rng.randint(2, MAX_NUMBER)
        steps: list[tuple[Operation, int]] = [("*", rng.randint(2, 9))] if packed else []
        while len(steps) < n_steps:
            operation: Operation = rng.choices(("+", "-", "*"), (5, 5, 1))[0]
            steps.append(
                (operation, rng.choice((2, 3)) if operation == "*" else rng.randint(2, MAX_NUMBER))
            )
        value, fits = start, True
        for operation, n in steps:
            value = apply(value, operation, n)
            fits = fits and 0 <= value <= MAX_VALUE
        if fits:
            return start, tuple(steps)


def _word(start: int, steps: tuple[tuple[Operation, int], ...], rng: random.Random) -> str:
    """Put a chain into English: an opening, a sentence for each step, a question."""
    name, friend = rng.sample(_NAMES, 2)
    things = rng.choice(_OBJECTS)
    packed = steps[0][0] == "*"  # the opening then holds the first step
    opening = rng.choice(_PACKED_OPENINGS if packed else _OPENINGS)
    sentences = [opening.format(name=name, things=things, start=start, n=steps[0][1])]
    for order, (operation, n) in list(zip(_ORDER, steps, strict=False))[packed:]:
        event = _TIMES[n] if operation == "*" else rng.choice(_EVENTS[operation])
        sentences.append(f"{order} {event}".format(name=name, friend=friend, things=things, n=n))
    sentences.append(rng.choice(_QUESTIONS).format(name=name, things=things))
    return " ".join(sentences)
