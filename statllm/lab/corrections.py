"""Sums with errors that are noticed and done again: what a model reads before it learns journeys.

``python -m statllm.lab.corrections --out DIR`` goes on from the lab's model. Larger ones have read
texts in which people correct themselves; the lab's model has not, and its small vocabulary lacks
the very words, so it gets them as tokens. Only bare sums are corrected here, never a step of a word
problem: to do that in a solution is what journeys have to teach.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statllm.lab.pretrain import (
    LESSONS,
    Document,
    continue_training,
    course_options,
    documents,
)
from statllm.lab.world import MAX_NUMBER, MAX_VALUE, OPERATIONS, apply

#: A slip is off by one of these.
SLIPS = (-10, -2, -1, 1, 2, 10)

#: Tokens that the lab's vocabulary gets: the words of reflections and of `statllm.lab.steps`.
WORDS = (
    " Wait,", " Back.", " is not", " is not next.", " is not the answer.", " this is no step.",
    " that is wrong.",
)  # fmt: skip


@dataclass(frozen=True)
class Course:
    """Continued pretraining.

    Attributes
    ----------
    name : str
    steps : int
        Optimizer steps.
    lr, adam_lr : float
        Peak learning rates of Muon and AdamW.
    drills : float
        Share of documents that are sums with corrections; the rest are the lab's habits.
    slips : float
        Share of sums that go wrong at first.
    """

    name: str = "corrections"
    steps: int = 200
    lr: float = 0.02
    adam_lr: float = 0.005
    drills: float = 0.4
    slips: float = 0.3


def corrected(a: int, operation: str, b: int, wrong: int) -> str:
    """Return what follows a false sum: that it isn't so, and the way back.

    Examples
    --------
    >>> corrected(27, "-", 11, 15)
    'Wait, 27 - 11 is not 15. Back.'
    """
    return f"Wait, {a} {operation} {b} is not {wrong}. Back."


def drill(rng: random.Random, slips: float, n: int = 6) -> Document:
    """Return sums in a row; a false result isn't to be learned, but what follows it is.

    Examples
    --------
    >>> text = "".join(piece for piece, _ in drill(random.Random(3), slips=1.0, n=1))
    >>> text
    'Sums: 34 + 10 = 43. Wait, 34 + 10 is not 43. Back. 34 + 10 = 44.'
    """
    pieces: Document = [("Sums:", False)]
    done = 0
    while done < n:
        operation = rng.choices(OPERATIONS, (4, 4, 1))[0]
        a = rng.randint(0, MAX_VALUE)
        b = rng.randint(2, 9 if operation == "*" else MAX_NUMBER)
        result, slip = apply(a, operation, b), rng.choice(SLIPS)
        if not (0 <= result <= MAX_VALUE and 0 <= result + slip <= MAX_VALUE):
            continue
        # The operands count too: a sum that begins after a true one says that nothing was wrong.
        pieces.append((f" {a} {operation} {b} =", True))
        if rng.random() < slips:
            pieces.append((f" {result + slip}.", False))
            pieces.append((f" {corrected(a, operation, b, result + slip)}", True))
            pieces.append((f" {a} {operation} {b} =", True))
        pieces.append((f" {result}.", True))
        done += 1
    return pieces


def course_documents(course: Course, seed: int = 0) -> Iterator[Document]:
    """Yield what the model reads, for ever.

    Examples
    --------
    >>> all(isinstance(next(course_documents(Course())), list) for _ in range(3))
    True
    """
    rng = random.Random(f"{course.name}-{seed}")
    habits = documents(LESSONS[-1], seed + 1)
    while True:
        yield drill(rng, course.slips) if rng.random() < course.drills else next(habits)


def add_words(model: Any, tokenizer: Any, seed: int = 0) -> None:
    """Give a model and its tokenizer `WORDS`, in place; their embeddings are drawn by the seed.

    Examples
    --------
    >>> from statllm.lab import model_path
    >>> from statllm.models import load_model, load_tokenizer
    >>> model, tokenizer = load_model(model_path()), load_tokenizer(model_path())
    >>> add_words(model, tokenizer)
    >>> tokenizer.tokenize(" 2 + 2 = 5. Wait, 2 + 2 is not 5. Back.")[-5:]
    ['Ġ2', ' is not', 'Ġ5', '.', ' Back.']
    """
    import torch
    from tokenizers import AddedToken

    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in WORDS])
    torch.manual_seed(seed)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)


def teach_corrections(out: Path, seed: int = 0, course: Course | None = None) -> list[float]:
    """Write the model folder, and return the loss of each step (nats per counted token)."""
    course = course or Course()

    def prepare(model: Any, tokenizer: Any) -> None:
        add_words(model, tokenizer, seed)

    documents_read = course_documents(course, seed)
    return continue_training(out, course, documents_read, seed, prepare=prepare)


def main() -> None:
    """Read the command line."""
    arguments = course_options(__doc__ or "", Course.steps)
    teach_corrections(arguments.out, arguments.seed, Course(steps=arguments.steps))


if __name__ == "__main__":
    main()
