"""A model that goes on with a list of questions: ``python -m statllm.lab.prompt_writer --out DIR``.

It goes on from the lab's model and reads lists of questions, each list from a source of its own:
one source spoils few questions, another one many, as `statllm.lab.pool` does. Whoever reads on has
to judge from the questions so far what the source is like, so the quality of examples carries over
as far as the model has learnt it. The questions are those of the pretraining split.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statllm.errors import InputError
from statllm.lab.pool import KINDS, spoil
from statllm.lab.pretrain import Document, continue_training, course_options, train
from statllm.lab.world import generate
from statllm.models import load_model, load_tokenizer

#: A question as the pool has it, and what stands around its words there.
_BEFORE, _AFTER = "Q: ", "\nA:\n"
_POSITIONS = 512  # four examples and a new question can be longer than the lab's 256


@dataclass(frozen=True)
class Course:
    """How long and how fast the writer learns.

    Attributes
    ----------
    name : str
    steps : int
        Optimizer steps.
    lr, adam_lr : float
        Peak learning rates of Muon and AdamW.
    lists : int
        Lists per step.
    examples : int
        Questions that a list has before its last one.
    """

    name: str = "prompt-writer"
    steps: int = 350
    lr: float = 0.02
    adam_lr: float = 0.005
    lists: int = 24
    examples: int = 4


#: How a writer reads a set of examples.
IMITATION = Course("imitation", steps=30, lr=0.01, adam_lr=0.002, lists=8, examples=2)


def plain(prompt: str) -> str:
    """Return the words of a question as the lab's model is asked it.

    Examples
    --------
    >>> plain(asked("How many?"))
    'How many?'
    """
    return prompt.removeprefix(_BEFORE).removesuffix(_AFTER)


def asked(words: str) -> str:
    r"""Return a question as the lab's model is asked it.

    Examples
    --------
    >>> asked("How many?")
    'Q: How many?\nA:\n'
    """
    return f"{_BEFORE}{words}{_AFTER}"


def expected_share(spoilt: int, examples: int) -> float:
    """Return how probable it is that the next question of a list is spoilt.

    That is Laplace's rule of succession, (s + 1) / (k + 2), since any share of spoilt questions is
    as likely as another: what a writer that has learnt all there is to learn does.

    Parameters
    ----------
    spoilt, examples : int
        s of the k questions so far are spoilt.

    Examples
    --------
    >>> [round(expected_share(s, 4), 2) for s in range(5)]
    [0.17, 0.33, 0.5, 0.67, 0.83]
    """
    return (spoilt + 1) / (examples + 2)


def lists(course: Course, seed: int = 0) -> Iterator[Document]:
    """Yield lists of questions for ever, as the template ``completion`` shows them.

    The share of spoilt questions of a list is uniform between 0 and 1.

    Examples
    --------
    >>> pieces = next(lists(Course(examples=1)))
    >>> pieces[0], pieces[2], len(pieces)
    (('Question:', False), ('\\n\\nQuestion:', True), 4)
    """
    rng = random.Random(f"{course.name}-{seed}")
    problems = generate("pretrain", seed + 3)
    while True:
        share, questions = rng.random(), []
        for _ in range(course.examples + 1):
            kind = rng.choice(KINDS[1:]) if rng.random() < share else KINDS[0]
            questions.append(plain(spoil(next(problems), kind, next(problems), rng)))
        yield _listed(questions)


def teach_writing(out: Path, seed: int = 0, course: Course | None = None) -> list[float]:
    """Write the model folder, and return the loss of each step (nats per token that counts)."""
    course = course or Course()
    texts = lists(course, seed)
    losses = continue_training(out, course, texts, seed, course.lists, prepare=_lengthen)
    load_model(out, dtype="float16").save_pretrained(out)  # half the size
    return losses


def imitate(
    writer: Path, examples: Sequence[str], course: Course = IMITATION, seed: int = 0
) -> tuple[Any, Any]:
    """Return the writer and its tokenizer after reading lists of examples, drawn at random.

    The small writer hardly sees in a list what its source is like; this way it does.

    Parameters
    ----------
    writer : Path
        Of `teach_writing`.
    examples : sequence of str
        Words of questions, at least as many as a list has.
    course : Course
    seed : int
    """
    if len(examples) <= course.examples:
        raise InputError(
            f"examples must be more than {course.examples} questions, got {len(examples)}"
        )
    rng = random.Random(f"{course.name}-{seed}")

    def texts() -> Iterator[Document]:
        while True:
            yield _listed(rng.sample(examples, course.examples + 1))

    model: Any = load_model(writer)
    tokenizer: Any = load_tokenizer(writer)
    train(model, tokenizer, course, seed, course.lists, texts())
    return model, tokenizer


def _listed(questions: Sequence[str]) -> Document:
    """A list of questions as the template shows it."""
    pieces: Document = []
    for place, words in enumerate(questions):
        # The first words say that it is a list; nobody has to guess that one begins.
        pieces += [("\n\nQuestion:" if place else "Question:", place > 0), (f" {words}", True)]
    return pieces


def _lengthen(model: Any, tokenizer: Any) -> None:
    """Rotary positions go on by themselves; only the stated limit is in the way."""
    model.config.max_position_embeddings = tokenizer.model_max_length = _POSITIONS


def main() -> None:
    """Read the command line."""
    arguments = course_options(__doc__ or "", Course.steps)
    teach_writing(arguments.out, arguments.seed, Course(steps=arguments.steps))


if __name__ == "__main__":
    main()
