"""A pool of the lab's problems of which a known share is spoilt, as pools off the web are."""

from __future__ import annotations

import random
import re
from itertools import islice
from typing import TYPE_CHECKING

from statllm.errors import InputError
from statllm.lab.world import Problem, Split, generate

if TYPE_CHECKING:
    import pyarrow as pa

#: What a prompt of a pool can be.
KINDS = ("clean", "number", "cut", "mixed")


def corrupted_pool(n: int, share: float = 0.5, split: Split = "train", seed: int = 0) -> pa.Table:
    """Return problems of which a share can't be answered, or not surely.

    ``number``: one number is missing from the text. ``cut``: the text ends within the last event,
    before its number, and the question is gone. ``mixed``: the events of a second problem stand
    between those of the first. The reference stays the answer of the problem as it was before:
    whoever asks means that one, and a response can only guess it.

    Parameters
    ----------
    n : int
        Number of rows.
    share : float
        Of spoilt prompts; as many of each of the three kinds, up to one.
    split : {"pretrain", "train", "test"}
    seed : int

    Returns
    -------
    pyarrow.Table
        ``prompt_id``, ``prompt``, ``reference`` and ``kind`` (one of `KINDS`), all strings, in
        random order.

    Raises
    ------
    InputError
        If `n` is below 1 or `share` isn't between 0 and 1.

    Examples
    --------
    >>> pool = corrupted_pool(6, share=0.5, split="test")
    >>> sorted(pool["kind"].to_pylist())
    ['clean', 'clean', 'clean', 'cut', 'mixed', 'number']
    """
    import pyarrow as pa

    if n < 1:
        raise InputError(f"n must be at least 1, got {n}")
    if not 0 <= share <= 1:
        raise InputError(f"share must lie between 0 and 1, got {share}")
    rng = random.Random(f"pool-{split}-{seed}")
    spoilt = round(share * n)
    kinds = [KINDS[1 + i % 3] for i in range(spoilt)] + ["clean"] * (n - spoilt)
    rng.shuffle(kinds)
    # The second half only lends its events to the first.
    drawn = list(islice(generate(split, seed), 2 * n))
    rows = [
        (f"{kind}-{problem.problem_id}", spoil(problem, kind, other, rng), problem.answer, kind)
        for problem, other, kind in zip(drawn[:n], drawn[n:], kinds, strict=True)
    ]
    columns = ("prompt_id", "prompt", "reference", "kind")
    return pa.table(
        {
            name: pa.array([str(row[i]) for row in rows], pa.string())
            for i, name in enumerate(columns)
        }
    )


def spoil(problem: Problem, kind: str, other: Problem, rng: random.Random) -> str:
    """Return the prompt of a problem spoilt in a named way; `other` is mixed into it.

    Raises
    ------
    InputError
        If the kind is none of `KINDS`.

    Examples
    --------
    >>> one, two = islice(generate("test", seed=0), 2)
    >>> one.text
    'Ida starts with 27 plums. First Ida gives 11 to Leo. Then the number triples. ...'
    >>> spoil(one, "cut", two, random.Random(0))
    'Q: Ida starts with 27 plums. First Ida gives 11 to Leo. Then the number\\nA:\\n'
    """
    if kind == "clean":
        return problem.prompt
    if kind == "number":
        gap = rng.choice(list(re.finditer(r"\d+ ", problem.text)))
        text = problem.text[: gap.start()] + problem.text[gap.end() :]
    elif kind == "cut":
        before, event = _sentences(problem)[:-2], _sentences(problem)[-2]
        shortened = re.split(r" (?=\d|doubles|triples)", event)[0]
        text = " ".join([*before, shortened])
    elif kind == "mixed":
        *own, question = _sentences(problem)
        *foreign, _ = _sentences(other)
        text = " ".join([*_alternating(own, foreign), question])
    else:
        raise InputError(f"kind {kind!r} is unknown; kinds: {', '.join(KINDS)}")
    return f"Q: {text}\nA:\n"


def _sentences(problem: Problem) -> list[str]:
    return re.split(r"(?<=[.?]) ", problem.text)


def _alternating(a: list[str], b: list[str]) -> list[str]:
    """One of `a`, one of `b`, and so on; then the rest of the longer one."""
    both = [sentence for pair in zip(a, b, strict=False) for sentence in pair]
    shorter = min(len(a), len(b))
    return both + a[shorter:] + b[shorter:]
