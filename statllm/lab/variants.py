"""The lab's problems in other words, with other names, and with more steps."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from statllm.errors import InputError
from statllm.lab import world
from statllm.lab.world import MAX_NUMBER, MAX_VALUE, Operation, Problem, Split, apply, split_of

if TYPE_CHECKING:
    import pyarrow as pa

#: Names that no text of the lab has.
NEW_NAMES = ("Hugo", "Lena", "Oskar", "Ruth", "Otto", "Vera", "Igor", "Nora")


def reworded(problem: Problem, seed: int = 0) -> Problem:
    """Return the same numbers and operations in other words: names, objects, verbs, question.

    Examples
    --------
    >>> one = next(world.generate("test", seed=0))
    >>> other = reworded(one)
    >>> other.text != one.text, (other.start, other.steps) == (one.start, one.steps)
    (True, True)
    """
    rng = random.Random(f"reworded-{seed}-{problem.problem_id}")
    while True:
        text = world._word(problem.start, problem.steps, rng)
        if text != problem.text:
            return _with_text(problem, text)


def renamed(problem: Problem, seed: int = 0) -> Problem:
    """Return the problem with people of `NEW_NAMES`, and nothing else changed.

    Examples
    --------
    >>> renamed(next(world.generate("test", seed=0))).text
    'Ruth starts with 27 plums. First Ruth gives 11 to Vera. Then the number triples. ...'
    """
    rng = random.Random(f"renamed-{seed}-{problem.problem_id}")
    old = [name for name in world._NAMES if name in problem.text.replace(".", " ").split()]
    new = dict(zip(old, rng.sample(NEW_NAMES, len(old)), strict=True))
    words = [
        new.get(word.rstrip("."), word.rstrip(".")) + "." * word.endswith(".")
        for word in problem.text.split(" ")
    ]
    return _with_text(problem, " ".join(words))


def longer(n_steps: int, split: Split = "test", seed: int = 0) -> Iterator[Problem]:
    """Yield problems of more steps than the lab's two or three, for ever; no chain is repeated.

    The first event opens with "First", the last with "Finally", those between with "Then".

    Parameters
    ----------
    n_steps : int
        At least 4.
    split : {"pretrain", "train", "test"}
    seed : int

    Raises
    ------
    InputError
        If `n_steps` is below 4, or there is no such split.

    Examples
    --------
    >>> problem = next(longer(4))
    >>> len(problem.steps), problem.split, problem.answer == problem.values[-1]
    (4, 'test', True)
    """
    if n_steps < 4:
        raise InputError(f"n_steps must be at least 4, got {n_steps}: the lab has shorter ones")
    if split not in world._SPLITS:
        raise InputError(f"unknown split {split!r}: choose pretrain, train or test")
    rng = random.Random(f"longer-{n_steps}-{split}-{seed}")
    seen: set[tuple[int, tuple[tuple[Operation, int], ...]]] = set()
    while True:
        start, steps, values = _chain(n_steps, rng)
        if split_of(start, steps) != split or (start, steps) in seen:
            continue
        seen.add((start, steps))
        problem = Problem("", "", start, steps, values, values[-1])
        yield _with_text(problem, _text(start, steps, rng), f"{split}-{n_steps}-steps")


def as_table(problems: Iterable[Problem]) -> pa.Table:
    """Return problems as `statllm.lab.problems` does: ``prompt_id``, ``prompt``, ``reference``.

    Examples
    --------
    >>> as_table([next(longer(4))]).column_names
    ['prompt_id', 'prompt', 'reference']
    """
    import pyarrow as pa

    rows = list(problems)
    return pa.table(
        {
            "prompt_id": pa.array([row.problem_id for row in rows], pa.string()),
            "prompt": pa.array([row.prompt for row in rows], pa.string()),
            "reference": pa.array([str(row.answer) for row in rows], pa.string()),
        }
    )


def _chain(
    n_steps: int, rng: random.Random
) -> tuple[int, tuple[tuple[Operation, int], ...], tuple[int, ...]]:
    """A start and steps whose results all lie in 0..MAX_VALUE; each is drawn until it does."""
    start = rng.randint(2, MAX_NUMBER)
    steps: list[tuple[Operation, int]] = []
    values = [start]
    while len(steps) < n_steps:
        operation: Operation = rng.choices(("+", "-", "*"), (5, 5, 1))[0]
        n = rng.choice((2, 3)) if operation == "*" else rng.randint(2, MAX_NUMBER)
        value = apply(values[-1], operation, n)
        if 0 <= value <= MAX_VALUE:
            steps.append((operation, n))
            values.append(value)
    return start, tuple(steps), tuple(values[1:])


def _text(start: int, steps: tuple[tuple[Operation, int], ...], rng: random.Random) -> str:
    name, friend = rng.sample(world._NAMES, 2)
    things = rng.choice(world._OBJECTS)
    sentences = [rng.choice(world._OPENINGS).format(name=name, things=things, start=start)]
    orders = ["First", *["Then"] * (len(steps) - 2), "Finally"]
    for order, (operation, n) in zip(orders, steps, strict=True):
        event = world._TIMES[n] if operation == "*" else rng.choice(world._EVENTS[operation])
        sentences.append(f"{order} {event}".format(name=name, friend=friend, things=things, n=n))
    sentences.append(rng.choice(world._QUESTIONS).format(name=name, things=things))
    return " ".join(sentences)


def _with_text(problem: Problem, text: str, prefix: str = "") -> Problem:
    """The problem in another wording; its id stays, so that both are paired, unless it had none."""
    from dataclasses import replace
    from hashlib import sha256

    name = problem.problem_id or f"{prefix}-{sha256(text.encode()).hexdigest()[:16]}"
    return replace(problem, problem_id=name, text=text)
