"""Two models for NaturalReasoning in the lab: ``python -m statllm.lab.author KIND --out DIR``.

Both go on from the lab's model, on problems of the pretraining split. The *author* rates documents
and composes a question with a reference answer from each. The *judge* keeps solving problems as the
lab's model does, and says besides whether a solution is valid: it has seen verdicts on the lab's
model's own samples. Both are imperfect, so that what filters and duplicates do to a set of
questions, and self-scores to pairs, can be measured against the truth.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from statllm.errors import InputError
from statllm.files import atomic_folder
from statllm.lab import model_path
from statllm.lab.documents import draw_kind, tell
from statllm.lab.pretrain import BATCH, LESSONS, Document, documents, train
from statllm.lab.world import generate, problems

#: What a model is asked; templates of prompts and of a judge say the same.
RATE = "Document: {document}\nRating:"
COMPOSE = "Document: {document}\nWrite:"
CHECK = "{prompt}{response}\nValid?"
YES, NO = "yes", "no"

_COPIED = (10, 24)  # words of a copying drill


@dataclass(frozen=True)
class Course:
    """How long and how fast a mixture of tasks is learned.

    Attributes
    ----------
    name : str
    steps : int
        Optimizer steps of 64 texts.
    lr, adam_lr : float
        As in `statllm.lab.pretrain.Lesson`.
    copy, compose, rate, check : float
        Shares of the tasks; the rest solves problems as the lab's model does.
    """

    name: str
    steps: int
    lr: float = 0.02
    adam_lr: float = 0.01
    copy: float = 0.0
    compose: float = 0.0
    rate: float = 0.0
    check: float = 0.0


#: The lessons of each model. Composing is mostly copying, which drills teach faster than documents.
COURSES = {
    "author": (
        Course("copies", 400, copy=1.0),
        Course("questions", 300, compose=0.85, rate=0.15),
    ),
    "judge": (Course("checks", 200, lr=0.01, adam_lr=0.003, check=0.5),),
}


def composed(question: str, reference: str | None) -> str:
    """Return a question and its reference answer as the author writes them.

    Examples
    --------
    >>> composed("How many?", "3")
    'Question: How many? Reference answer: 3'
    """
    return f"Question: {question} Reference answer: {reference or ''}".rstrip()


def tasks(course: Course, seed: int = 0, checks: Sequence[Document] = ()) -> Iterator[Document]:
    """Yield the texts of a course for ever; the second piece of each is to be learned.

    Parameters
    ----------
    course : Course
    seed : int
    checks : sequence of Document
        From `own_checks`; needed where the course has a share of them.

    Examples
    --------
    >>> asked, answer = next(tasks(Course("questions", 1, compose=1.0)))
    >>> asked[0].startswith("Document: "), answer[0].startswith("Question: "), answer[1]
    (True, True, True)
    """
    rng = random.Random(f"{course.name}-{seed}")
    solving, stories = documents(LESSONS[-1], seed), generate("pretrain", seed + 1)
    words = _words(seed)
    shares = {
        "copy": course.copy,
        "compose": course.compose,
        "rate": course.rate,
        "check": course.check,
        "solve": 1 - course.copy - course.compose - course.rate - course.check,
    }
    if course.check and not checks:
        raise InputError(f"course '{course.name}' has checks, but none were given")
    while True:
        task = rng.choices(list(shares), list(shares.values()))[0]
        if task == "solve":
            yield next(solving)
        elif task == "copy":
            text = " ".join(rng.choices(words, k=rng.randint(*_COPIED)))
            yield [(f"Document: {text}\nWrite:", False), (f"Question: {text}", True)]
        elif task == "check":
            yield rng.choice(checks)
        else:
            document = tell(next(stories), draw_kind(rng), rng)
            if task == "rate":
                points = {name: _short(value) for name, value in document.points.items()}
                yield [(RATE.format(document=document.text), False), (json.dumps(points), True)]
            else:
                answer = composed(document.problem.text, document.reference)
                yield [(COMPOSE.format(document=document.text), False), (answer, True)]


def teach(
    kind: str,
    out: Path,
    seed: int = 0,
    courses: Sequence[Course] = (),
    start: Path | None = None,
) -> list[float]:
    """Train one of `COURSES` from the lab's model, save it, and return the losses.

    Parameters
    ----------
    kind : {"author", "judge"}
    out : Path
        Folder of the new model; its weights are kept in float16, half the size.
    seed : int
        Of the texts.
    courses : sequence of Course, optional
        In place of the kind's.
    start : Path, optional
        Folder of the model to go on from, in place of the lab's.

    Returns
    -------
    list of float
        Loss of each step, nats per token that is to be learned.
    """
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(model_path())
    model = LlamaForCausalLM.from_pretrained(start or model_path(), dtype="float32")
    began = time.perf_counter()
    losses = []
    chosen = courses or COURSES[kind]
    checks = own_checks(seed=seed) if any(course.check for course in chosen) else []
    for course in chosen:
        stream = tasks(course, seed, checks)
        losses += train(model, tokenizer, course, batch_size=BATCH, stream=stream)
    print(f"{len(losses)} steps in {time.perf_counter() - began:.0f} s")
    with atomic_folder(out) as folder:
        model.half().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return losses


def own_checks(n_problems: int = 1500, samples: int = 4, seed: int = 0) -> list[Document]:
    """Samples of the lab's model and whether they are right; as many right ones as wrong ones."""
    from statllm.generations import Generations
    from statllm.sampling import SamplingSettings, sample
    from statllm.scoring import score

    settings = SamplingSettings(n=samples, max_new_tokens=80, batch_size=512, seed=seed)
    asked = problems("pretrain", n_problems, seed + 2)
    made = score(Generations(sample(model_path(), asked, settings, progress=False)))
    found: dict[bool, list[Document]] = {True: [], False: []}
    for prompt, texts, verdicts in zip(
        made.column("prompt").to_pylist(),
        made.column("response").to_pylist(),
        made.column("correct").to_pylist(),
        strict=True,
    ):
        for text, right in zip(texts, verdicts, strict=True):
            valid = bool(right)
            asked_of = CHECK.format(prompt=prompt, response=text)
            found[valid].append([(asked_of, False), (YES if valid else NO, True)])
    fewer = min(map(len, found.values()))
    return found[True][:fewer] + found[False][:fewer]


def _words(seed: int) -> list[str]:
    """Words of problems, as often as they occur in them."""
    stories = generate("pretrain", seed)
    return [word for _ in range(400) for word in next(stories).text.split()]


def _short(value: float) -> float | int:
    return int(value) if value == int(value) else value


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=sorted(COURSES))
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=0, help="of the texts")
    parser.add_argument("--steps", type=float, default=1.0, help="a factor on all numbers of steps")
    arguments = parser.parse_args()
    courses = [
        replace(course, steps=max(1, round(course.steps * arguments.steps)))
        for course in COURSES[arguments.kind]
    ]
    teach(arguments.kind, arguments.out, arguments.seed, courses)


if __name__ == "__main__":
    main()
