"""A model that works hidden and speaks after a marker, with few words or many.

What comes before the marker ``####`` is the working: careful statements, or a hasty jump. What
comes after it is the response that is shown: the answer in one of `WORDINGS`, from one word to
eight. A judge who sees the response alone can't tell careful from hasty, only right from wrong and
long from short. Some texts end without marker and response: they can't be cut in two.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from statllm.errors import InputError
from statllm.lab.world import (
    N_CAREFUL_STYLES,
    N_HASTY_STYLES,
    Problem,
    careful_solution,
    generate,
    hasty_solution,
    slip,
)

if TYPE_CHECKING:
    from statllm.lab.pretrain import Document

#: Parts the working from the response that is shown.
MARKER = "####"

#: How an answer is said.
WORDINGS = (
    "{answer}",
    "That makes {answer}.",
    "That makes {answer} in the end.",
    "There are {answer} of them now in the end.",
)

#: Share of careful workings among problems of two and of three steps, as in the lab's pretraining.
_CAREFUL = (0.35, 0.7)


def spoken_answer(problem: Problem, wording: int = 0) -> str:
    """Return the answer as it is shown.

    Examples
    --------
    >>> spoken_answer(next(generate("test", seed=0)), 2)
    'That makes 48 in the end.'
    """
    return WORDINGS[wording].format(answer=problem.answer)


def spoken_documents(
    seed: int = 0, forgets: float = 0.1, slips: float = 0.03
) -> Iterator[Document]:
    """Yield solutions to learn for ever: working, marker, and the answer in words.

    Parameters
    ----------
    seed : int
        Of the problems (split "pretrain") and how they are solved.
    forgets : float
        Share, of texts with a working, that end after it.
    slips : float
        Share of solutions with one arithmetic error.

    Raises
    ------
    InputError
        If a share isn't between 0 and 1.

    Examples
    --------
    >>> (prompt, _), (response, _) = next(spoken_documents(seed=1))
    >>> response
    'First 40 + 11 = 51. Then 51 - 15 = 36. Finally 36 - 27 = 9. #### That makes 9.'
    """
    for name, share in (("forgets", forgets), ("slips", slips)):
        if not 0 <= share <= 1:
            raise InputError(f"{name} must lie between 0 and 1, got {share}")
    rng = random.Random(f"thinker-{seed}")
    for problem in generate("pretrain", seed):
        told = slip(problem, rng) if rng.random() < slips else problem
        working = _working(told, rng)
        shown = f" {MARKER} {spoken_answer(told, rng.randrange(len(WORDINGS)))}"
        forgotten = bool(working) and rng.random() < forgets
        text = (working if forgotten else working + shown).strip()
        yield [(problem.prompt, False), (text, True)]


def teach(out: Path, steps: int = 150, batch_size: int = 32, seed: int = 0) -> list[float]:
    """Train the lab's model on `spoken_documents`, save it, and return the losses.

    Parameters
    ----------
    out : Path
        Folder of the new model.
    steps, batch_size : int
        Optimizer steps, and texts in each; 150 of 32 take a minute on one core.
    seed : int
        Of the texts.

    Returns
    -------
    list of float
        Loss of each step, nats per token that is to be learned.
    """
    from statllm.lab.pretrain import Lesson, continue_training

    lesson = Lesson("speaking", steps, lr=0.01, adam_lr=0.005, drills=0.0)
    return continue_training(out, lesson, spoken_documents(seed), seed, batch_size)


def _working(problem: Problem, rng: random.Random) -> str:
    """What stands before the marker; a hasty one may be empty."""
    if rng.random() < _CAREFUL[len(problem.steps) - 2]:
        text = careful_solution(problem, rng.randrange(N_CAREFUL_STYLES))
    else:
        text = hasty_solution(problem, rng.randrange(N_HASTY_STYLES))
    return text.partition(MARKER)[0].strip()
