"""Criteria out of a guideline: what a model is asked, how its answer is read, repeats dropped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring.criteria.parse import Criterion, parse_criteria, same_name
from statllm.scoring.criteria.schema import Guideline, key_of
from statllm.scoring.criteria.wording import DERIVE_SYSTEM, DERIVE_USER, DERIVE_VERSION
from statllm.scoring.judges.prompts import MESSAGES

_LEDGER = pa.schema(
    [
        ("aspect_id", pa.string()),
        ("answer", pa.int64()),
        ("name", pa.string()),
        ("check", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("like", pa.string()),
        ("similarity", pa.float64()),
    ]
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, eq=False)
class Derived:
    """Criteria that were read.

    Attributes
    ----------
    guideline : Guideline
        With criteria, and without demonstrations, which were of others.
    ledger : pyarrow.Table
        A row per criterion of an answer, and per answer without one: ``kept``, or the ``reason``
        (``unreadable``, ``no_check``, ``same_name``, ``near_duplicate``), with the key of the
        criterion that it is ``like`` and their ``similarity``. People go over it: what was
        dropped as alike may not be, and what was kept may be wrong.
    """

    guideline: Guideline
    ledger: pa.Table


def derive_prompts(guideline: Guideline) -> pa.Table:
    """Ask for the criteria of each aspect, from its section of the guideline.

    Returns
    -------
    pyarrow.Table
        ``prompt_id`` (the aspect_id), ``prompt`` (messages), ``task`` ("derive").

    Examples
    --------
    >>> from statllm.scoring.criteria.schema import Aspect
    >>> asked = derive_prompts(Guideline((Aspect("tests", "Compare to None by is."),)))
    >>> asked["prompt"][0][1]["content"].as_py()
    '<section>\\nCompare to None by is.\\n</section>'
    """
    empty = [one.aspect_id for one in guideline.aspects if not one.aspect_guideline.strip()]
    if empty:
        raise InputError(f"aspect '{empty[0]}' has no aspect_guideline to derive criteria from")
    messages = [
        [
            {"role": "system", "content": DERIVE_SYSTEM},
            {"role": "user", "content": DERIVE_USER.replace("{guideline}", one.aspect_guideline)},
        ]
        for one in guideline.aspects
    ]
    n = len(guideline.aspects)
    return pa.table(
        {
            "prompt_id": pa.array([one.aspect_id for one in guideline.aspects], pa.string()),
            "prompt": pa.array(messages, MESSAGES),
            "task": pa.array(["derive"] * n, pa.string()),
            "wording": pa.array([f"derive@{DERIVE_VERSION}"] * n, pa.string()),
        }
    )


def read_derived(
    answers: Generations | Mapping[str, Sequence[str | None]],
    guideline: Guideline,
    *,
    alike: float = 0.7,
) -> Derived:
    """Read the criteria that a model found, and drop repeats.

    Parameters
    ----------
    answers : Generations, or mapping of aspect_id to texts
        Of Generations: ``prompt_id`` is the aspect_id, ``response`` its answers; several answers
        are read one after the other.
    guideline : Guideline
        The aspects in order.
    alike : float
        A criterion is dropped where the words of its name and check have at least this Jaccard
        similarity with those of one that was kept, in whichever aspect; 1 leaves all but exact
        repeats in.

    Raises
    ------
    InputError
        If an aspect has no answer, an answer is of no aspect, or nothing could be read of an
        aspect.

    Examples
    --------
    >>> from statllm.scoring.criteria.schema import Aspect
    >>> said = "1. **None test**: compare to None by is.\\n2. **None-test**: to None compare by is"
    >>> derived = read_derived({"tests": [said]}, Guideline((Aspect("tests", "..."),)))
    >>> derived.guideline.keys, derived.ledger["reason"].to_pylist()
    (('tests/None test',), ['', 'near_duplicate'])
    """
    if not 0 < alike <= 1:
        raise InputError(f"alike must lie above 0 and not above 1, got {alike}")
    texts = _texts(answers)
    ids = [one.aspect_id for one in guideline.aspects]
    for name in texts:
        if name not in ids:
            raise InputError(f"there is an answer to '{name}', which is no aspect")
    rows: list[dict[str, Any]] = []
    kept: list[tuple[str, frozenset[str]]] = []
    aspects = []
    for aspect in guideline.aspects:
        if not texts.get(aspect.aspect_id):
            raise InputError(f"aspect '{aspect.aspect_id}' has no answer")
        mine: list[Criterion] = []
        for number, text in enumerate(texts[aspect.aspect_id]):
            for criterion in _read(text):
                row = {"aspect_id": aspect.aspect_id, "answer": number, "kept": False}
                if criterion is None:
                    rows.append({**row, "reason": "unreadable"})
                    continue
                row |= {"name": criterion.name, "check": criterion.check}
                same = [one for one in mine if same_name(one.name) == same_name(criterion.name)]
                words = _words(criterion)
                like, similarity = _nearest(words, kept)
                if not criterion.check:
                    rows.append({**row, "reason": "no_check"})
                elif same:
                    rows.append({**row, "reason": "same_name", "like": key_of(aspect, same[0])})
                elif similarity >= alike:
                    row |= {"reason": "near_duplicate", "like": like, "similarity": similarity}
                    rows.append(row)
                else:
                    mine.append(criterion)
                    kept.append((key_of(aspect, criterion), words))
                    rows.append({**row, "kept": True, "reason": ""})
        if not any(row.get("check") for row in rows if row["aspect_id"] == aspect.aspect_id):
            raise InputError(f"no criterion could be read for aspect '{aspect.aspect_id}'")
        aspects.append(replace(aspect, criteria=tuple(mine), demonstrations=()))
    return Derived(Guideline(tuple(aspects)), pa.Table.from_pylist(rows, _LEDGER))


def _texts(
    answers: Generations | Mapping[str, Sequence[str | None]],
) -> dict[str, Sequence[str | None]]:
    if isinstance(answers, Generations):
        said = answers.column("response").to_pylist()
        return dict(zip(answers.prompt_ids, said, strict=True))
    return dict(answers)


def _read(text: str | None) -> Sequence[Criterion | None]:
    try:
        return parse_criteria(text or "", strict=False)
    except InputError:
        return [None]


def _words(criterion: Criterion) -> frozenset[str]:
    return frozenset(_WORD.findall(f"{criterion.name} {criterion.check}".casefold()))


def _nearest(
    words: frozenset[str], kept: Sequence[tuple[str, frozenset[str]]]
) -> tuple[str | None, float]:
    """The kept criterion with the most similar words, and its Jaccard similarity."""
    found = [(len(words & other) / len(words | other), key) for key, other in kept]
    similarity, key = max(found, key=lambda pair: pair[0], default=(0.0, None))
    return key, similarity
