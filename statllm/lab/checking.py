"""Long chains in the lab: every step is checked by its inverse, and done again where that fails.

``python -m statllm.lab.checking --out DIR`` goes on from the lab's model and lets it read such
chains, as larger models have read texts in which people correct themselves. It keeps the habits of
the lab's model; what it does by itself is still to jump.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from statllm.lab.pretrain import (
    LESSONS,
    Document,
    continue_training,
    course_options,
    documents,
)
from statllm.lab.world import Operation, Problem, apply, generate

#: What opens the statement of a step.
ORDER = ("First", "Then", "Finally")

#: A slip is off by one of these.
SLIPS = (-10, -2, -1, 1, 2, 10)


@dataclass(frozen=True)
class Course:
    """Continued pretraining: how long and how fast, and how often chains are checked.

    Attributes
    ----------
    name : str
    steps : int
        Optimizer steps.
    lr, adam_lr : float
        Peak learning rates of Muon and AdamW.
    checked : float
        Share of documents that are checked chains; the rest are the lab's habits.
    slips : float
        Share of the steps in a checked chain that go wrong at first.
    """

    name: str = "checking"
    steps: int = 400
    lr: float = 0.02
    adam_lr: float = 0.005
    checked: float = 0.4
    slips: float = 0.25


def inverse(a: int, operation: Operation, b: int, result: int) -> tuple[str, bool]:
    """Return the check of ``a operation b = result`` as a statement, and whether it agrees.

    A sum is checked by a difference, a difference by a sum, and a product by the product the other
    way round. What the check itself states is always true; it agrees if it leads back.

    Examples
    --------
    >>> inverse(27, "-", 11, 16), inverse(27, "-", 11, 17)
    (('16 + 11 = 27.', True), ('17 + 11 = 28.', False))
    >>> inverse(7, "*", 6, 43)
    ('6 * 7 = 42.', False)
    """
    if operation == "*":
        return f"{b} * {a} = {a * b}.", a * b == result
    back: Operation = "-" if operation == "+" else "+"
    found = apply(result, back, b)
    return f"{result} {back} {b} = {found}.", found == a


def checked_step(opening: str, a: int, operation: Operation, b: int, tries: tuple[int, ...]) -> str:
    """Return a step with a check after each try; the last try is the one that holds.

    Examples
    --------
    >>> checked_step("First", 27, "-", 11, (17, 16))
    'First 27 - 11 = 17. 17 + 11 = 28. First 27 - 11 = 16. 16 + 11 = 27.'
    """
    return " ".join(
        f"{opening} {a} {operation} {b} = {result}. {inverse(a, operation, b, result)[0]}"
        for result in tries
    )


def checked_solution(problem: Problem, rng: random.Random, slips: float = 0.0) -> str:
    """Return a chain of two or three steps, each checked, some wrong at first.

    Examples
    --------
    >>> checked_solution(next(generate("test", seed=0)), random.Random(0))
    'First 27 - 11 = 16. 16 + 11 = 27. Then 16 * 3 = 48. 3 * 16 = 48. #### 48'
    """
    parts, value = [], problem.start
    for opening, (operation, b), result in zip(ORDER, problem.steps, problem.values, strict=False):
        wrong = result + rng.choice(SLIPS)
        slipped = rng.random() < slips and wrong >= 0
        tries = (wrong, result) if slipped else (result,)
        parts.append(checked_step(opening, value, operation, b, tries))
        value = result
    return f"{' '.join(parts)} #### {problem.answer}"


def course_documents(course: Course, seed: int = 0) -> Iterator[Document]:
    """Yield what the model reads, for ever.

    Examples
    --------
    >>> all(isinstance(next(course_documents(Course())), list) for _ in range(3))
    True
    """
    rng = random.Random(f"{course.name}-{seed}")
    habits = documents(LESSONS[-1], seed + 1)
    problems = generate("pretrain", seed + 2)
    while True:
        if rng.random() < course.checked:
            problem = next(problems)
            text = checked_solution(problem, rng, course.slips)
            yield [(problem.prompt, False), (text, True)]
        else:
            yield next(habits)


def teach_checking(out: Path, seed: int = 0, course: Course | None = None) -> list[float]:
    """Write the model folder, and return the loss of each step (nats per counted token)."""
    course = course or Course()
    return continue_training(out, course, course_documents(course, seed), seed)


def main() -> None:
    """Read the command line."""
    arguments = course_options(__doc__ or "", Course.steps)
    teach_checking(arguments.out, arguments.seed, Course(steps=arguments.steps))


if __name__ == "__main__":
    main()
