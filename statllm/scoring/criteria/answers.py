"""Answers to prompts for feedback as findings: a row per text, criterion and answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring.criteria.columns import TEXT, WHOLE, typed
from statllm.scoring.criteria.findings import read_feedback
from statllm.scoring.criteria.parse import same_name
from statllm.scoring.criteria.schema import Guideline, key_of

_NEEDED = ("prompt_id", "text_id", "text_place", "text", "asked", "response")
_TYPES = {
    "text_id": TEXT, "text_place": WHOLE, "text": TEXT, "asked": pa.list_(TEXT),
    "shown": pa.list_(TEXT),
}  # fmt: skip
_CARRIED = ("strategy", "granularity", "scope")

FINDINGS = pa.schema(
    [
        ("text_id", pa.string()),
        ("text_place", pa.int64()),
        ("strategy", pa.string()),
        ("granularity", pa.string()),
        ("scope", pa.string()),
        ("vote", pa.int64()),
        ("criterion", pa.string()),
        ("met", pa.bool_()),
        ("reason", pa.string()),
        ("quotes", pa.list_(pa.string())),
        ("in_text", pa.list_(pa.bool_())),
        ("in_example_only", pa.list_(pa.bool_())),
        ("fix", pa.string()),
    ]
)
_LEDGER = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("text_id", pa.string()),
        ("text_place", pa.int64()),
        ("vote", pa.int64()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("n_asked", pa.int64()),
        ("n_read", pa.int64()),
        ("n_missing", pa.int64()),
        ("further", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, eq=False)
class ReadAnswers:
    """What was said, and what could be read of it.

    Attributes
    ----------
    findings : pyarrow.Table
        A row per answer and criterion that it was asked about: ``text_id``, ``text_place``,
        ``strategy``, ``granularity``, ``scope``, ``vote`` (number of the answer), ``criterion``
        (its key), ``met`` (null with a ``reason``, see
        `statllm.scoring.criteria.findings.REASONS`), ``quotes``, for each of them ``in_text``
        and ``in_example_only`` (it stands in a demonstration of the prompt, but not in the
        text), ``fix``.
    ledger : pyarrow.Table
        A row per answer: how many criteria it was asked about, how many have a verdict or don't
        apply, how many headings are missing; ``further`` headings; ``kept`` unless nothing could
        be read.
    """

    findings: pa.Table
    ledger: pa.Table


def read_answers(answers: Generations, guideline: Guideline) -> ReadAnswers:
    """Read the answers to `statllm.scoring.criteria.feedback_prompts`.

    Parameters
    ----------
    answers : Generations
        The table of prompts with ``response`` added.
    guideline : Guideline
        The one that the prompts were made of.

    Raises
    ------
    InputError
        If a column is missing, a criterion isn't the guideline's, or two that were asked about
        together have one name.
    """
    missing = [name for name in _NEEDED if name not in answers]
    if missing:
        raise InputError(
            f"column '{missing[0]}' is missing: give the answers to `statllm criteria prompts` "
            "with all columns of the prompts"
        )
    table = typed(answers.table, _TYPES, "answers", optional=("shown",))
    known = {key_of(a, c): c.name for a in guideline.aspects for c in a.criteria}
    findings: list[dict[str, Any]] = []
    ledger: list[dict[str, Any]] = []
    for row in table.to_pylist():
        if row["text"] is None:
            raise InputError(f"column 'text' is null for prompt_id '{row['prompt_id']}'")
        keys = row["asked"] or []
        names = _names(keys, known, row["prompt_id"])
        place = {"text_id": str(row["text_id"]), "text_place": row["text_place"]}
        carried = {name: row.get(name) for name in _CARRIED}
        for vote, response in enumerate(row["response"]):
            found, further = read_feedback(response, list(names))
            for one in found:
                sources = quote_sources(one.quotes, row["text"], row.get("shown") or ())
                findings.append(
                    {
                        **place, **carried, "vote": vote, "criterion": names[one.criterion],
                        "met": one.met, "reason": one.reason, "quotes": list(one.quotes),
                        "in_text": [in_text for in_text, _ in sources],
                        "in_example_only": [only for _, only in sources], "fix": one.fix,
                    }
                )  # fmt: skip
            read = sum(one.met is not None or one.reason == "not_applicable" for one in found)
            reason = "" if read else "no_answer" if response is None else "nothing_read"
            ledger.append(
                {
                    "prompt_id": row["prompt_id"], **place, "vote": vote, "kept": read > 0,
                    "reason": reason, "n_asked": len(found), "n_read": read,
                    "n_missing": sum(one.reason == "missing" for one in found),
                    "further": further,
                }
            )  # fmt: skip
    return ReadAnswers(
        pa.Table.from_pylist(findings, FINDINGS), pa.Table.from_pylist(ledger, _LEDGER)
    )


def quote_sources(
    quotes: Sequence[str], text: str, examples: Sequence[str]
) -> list[tuple[bool, bool]]:
    """Where quotations are from: in the text, and in an example but not in the text.

    Spaces and line ends count alike: a model may break lines elsewhere.

    Examples
    --------
    >>> quote_sources(["x == None", "y == None", "z"], "if x  == None:", ["if y == None:"])
    [(True, False), (False, True), (False, False)]
    """
    own, others = _plain(text), [_plain(example) for example in examples]
    sources = []
    for quote in map(_plain, quotes):
        inside = bool(quote) and quote in own
        sources.append((inside, not inside and any(bool(quote) and quote in o for o in others)))
    return sources


def _plain(text: str) -> str:
    return " ".join(text.split())


def _names(keys: Sequence[str], known: Mapping[str, str], prompt_id: str) -> dict[str, str]:
    """The key of each name that was asked about."""
    names: dict[str, str] = {}
    seen: dict[str, str] = {}
    for key in keys:
        if key not in known:
            raise InputError(f"prompt_id '{prompt_id}': the guideline has no criterion '{key}'")
        name = known[key]
        if same_name(name) in seen:
            raise InputError(
                f"prompt_id '{prompt_id}': '{seen[same_name(name)]}' and '{key}' have one name; "
                "ask by aspect or by criterion"
            )
        seen[same_name(name)] = key
        names[name] = key
    return names
