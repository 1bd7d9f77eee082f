"""Documents that tell what a problem tells, with other sentences between, and no question.

Some are spoilt, some repeat another one under other names, and some tell a problem of the test:
what a corpus off the web has, in known shares, and with the truth beside each.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, get_args

from statllm.errors import InputError
from statllm.lab.world import _NAMES, _OBJECTS, MAX_NUMBER, MAX_VALUE, Problem, Split, generate

if TYPE_CHECKING:
    import pyarrow as pa

#: What a document can be. told: its last sentence says the total, rightly. open: it doesn't.
#: wrong: it says another total. cut: it ends within the last event. number: one is missing.
KINDS = ("told", "open", "wrong", "cut", "number")
#: Their shares in a corpus.
SHARES = (0.45, 0.2, 0.1, 0.125, 0.125)

_ASIDES = (
    "It rains all day.",
    "The sun is out.",
    "{other} is {n} years old.",
    "{other} likes to sing.",
    "The bus takes {n} minutes.",
    "{other} reads {n} pages.",
    "The shop opens at {n}.",
    "Nobody is in a hurry.",
)
_TOTAL = "That makes {answer} in all."


@dataclass(frozen=True)
class Document:
    """A text with the problem that it tells.

    Attributes
    ----------
    text : str
    kind : str
        One of `KINDS`.
    problem : Problem
        As it was before the text was spoilt.
    """

    text: str
    kind: str
    problem: Problem

    @property
    def points(self) -> dict[str, float]:
        """What an exact rater gives on the criteria of NaturalReasoning's rubric.

        Two steps are simple and three are hard; the text is complete unless something is missing
        from it, and as correct as the total that it says.
        """
        hard = len(self.problem.steps) == 3
        complete = self.kind not in ("cut", "number")
        correct = {"told": 2.0, "open": 1.0, "wrong": -1.0}.get(self.kind, 0.0)
        return {
            "completeness": 2.0 if complete else 0.0,
            "complexity": 2.0 if hard else 1.0,
            "correctness": correct,
            "reasoning": 3.0 if hard else 2.0,
        }

    @property
    def reference(self) -> str | None:
        """The answer, where the text says one, right or wrong."""
        found = re.search(r"That makes (\d+) in all\.", self.text)
        return found[1] if found else None


def tell(problem: Problem, kind: str, rng: random.Random) -> Document:
    """Tell a problem as a document of some kind.

    Parameters
    ----------
    problem : Problem
    kind : str
        One of `KINDS`.
    rng : random.Random

    Raises
    ------
    InputError
        If the kind is unknown.

    Examples
    --------
    >>> tell(next(generate("test", seed=0)), "told", random.Random(1)).text
    'Ida starts with 27 plums. First Ida gives 11 to Leo. Then the number triples. Sam is 43 ...'
    """
    if kind not in KINDS:
        raise InputError(f"kind {kind!r} is unknown; kinds: {', '.join(KINDS)}")
    *story, _ = re.split(r"(?<=[.?]) ", problem.text)
    if kind == "cut":
        story[-1] = re.split(r" (?=\d|doubles|triples)", story[-1])[0]
    elif kind == "number":
        at = rng.choice([i for i, sentence in enumerate(story) if re.search(r"\d", sentence)])
        story[at] = re.sub(r"\d+ ", "", story[at], count=1)
    elif kind in ("told", "wrong"):
        answer = problem.answer
        while kind == "wrong" and answer == problem.answer:
            answer = min(max(answer + rng.choice((-10, -2, -1, 1, 2, 10)), 0), MAX_VALUE)
        story.append(_TOTAL.format(answer=answer))
    used = set(re.findall(r"[A-Z][a-z]+", problem.text))
    others = [name for name in _NAMES if name not in used]
    for template in rng.sample(_ASIDES, rng.choice((1, 2, 2, 3))):
        aside = template.format(other=rng.choice(others), n=rng.randint(2, MAX_NUMBER))
        last = len(story) - (kind == "cut")  # what is cut off stays last
        story.insert(rng.randint(0, last), aside)
    return Document(" ".join(story), kind, problem)


def renamed(problem: Problem, rng: random.Random) -> Problem:
    """Return a problem with other names and things: the same chain in nearly the same words.

    Examples
    --------
    >>> renamed(next(generate("test", seed=0)), random.Random(0)).text
    'Olga starts with 27 pears. First Olga gives 11 to Paul. Then the number triples. ...'
    """
    text = problem.text
    people = [name for name in _NAMES if re.search(rf"\b{name}\b", text)]
    things = next(thing for thing in _OBJECTS if re.search(rf"\b{thing}\b", text))
    new = rng.sample([name for name in _NAMES if name not in people], len(people))
    changes = dict(zip(people, new, strict=True))
    changes[things] = rng.choice([thing for thing in _OBJECTS if thing != things])
    pattern = "|".join(rf"\b{word}\b" for word in changes)
    text = re.sub(pattern, lambda found: changes[found[0]], text)
    return Problem(
        problem.problem_id, text, problem.start, problem.steps, problem.values, problem.answer
    )


def documents(
    n: int,
    *,
    split: Split = "train",
    duplicates: float = 0.15,
    leaks: float = 0.05,
    leaked: int = 300,
    seed: int = 0,
) -> pa.Table:
    """Return a corpus of documents and the truth about each.

    Parameters
    ----------
    n : int
        Number of documents.
    split : {"pretrain", "train"}
        Of the problems that they tell.
    duplicates : float
        Share of documents that tell an earlier one's problem again, under other names.
    leaks : float
        Share of documents that tell, word for word, a problem of the test.
    leaked : int
        They come from its first so many problems (seed 0).
    seed : int

    Returns
    -------
    pyarrow.Table
        ``prompt_id``, ``document``, ``kind``, ``origin`` ("own", "duplicate" or "leak"),
        ``source`` (prompt_id of the document that is told again, problem_id of the test's
        problem, else null), ``chain`` (the problem's canonical form) and ``answer``.

    Raises
    ------
    InputError
        If a number is out of range.

    Examples
    --------
    >>> corpus = documents(40)
    >>> sorted(set(corpus["origin"].to_pylist()))
    ['duplicate', 'leak', 'own']
    """
    import pyarrow as pa

    if n < 1 or leaked < 1:
        raise InputError(f"n and leaked must be at least 1, got {n} and {leaked}")
    if min(duplicates, leaks) < 0 or duplicates + leaks >= 1:
        raise InputError(
            f"duplicates and leaks must be shares whose sum is below 1, got {duplicates} and "
            f"{leaks}"
        )
    if split not in get_args(Split) or split == "test":
        raise InputError(f"split must be pretrain or train, not {split!r}: the test only leaks")
    rng = random.Random(f"documents-{split}-{seed}")
    n_leaks, n_again = round(n * leaks), round(n * duplicates)
    own = [
        (problem, "own", None) for problem in islice(generate(split, seed), n - n_leaks - n_again)
    ]
    of_test = list(islice(generate("test", 0), leaked))
    rows: list[tuple[Problem, str, str | None]] = list(own)
    rows += [(p, "leak", p.problem_id) for p in rng.choices(of_test, k=n_leaks)]
    again = [rng.randrange(len(own)) for _ in range(n_again)]
    rows += [(renamed(own[i][0], rng), "duplicate", f"d{i:05d}") for i in again]
    names = [f"d{i:05d}" for i in range(len(rows))]
    told = [
        (tell(problem, "told" if origin == "leak" else _kind(rng), rng), origin, source, name)
        for (problem, origin, source), name in zip(rows, names, strict=True)
    ]
    rng.shuffle(told)
    columns = {
        "prompt_id": [name for *_, name in told],
        "document": [document.text for document, *_ in told],
        "kind": [document.kind for document, *_ in told],
        "origin": [origin for _, origin, _, _ in told],
        "source": [source for _, _, source, _ in told],
        "chain": [chain_text(document.problem) for document, *_ in told],
        "answer": [str(document.problem.answer) for document, *_ in told],
    }
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def chain_text(problem: Problem) -> str:
    """Return the canonical form as text.

    Examples
    --------
    >>> chain_text(next(generate("test", seed=0)))
    '27-11*3'
    """
    return str(problem.start) + "".join(f"{operation}{n}" for operation, n in problem.steps)


def draw_kind(rng: random.Random) -> str:
    """Draw a kind with the shares of a corpus."""
    return _kind(rng)


def _kind(rng: random.Random) -> str:
    return rng.choices(KINDS, SHARES)[0]
