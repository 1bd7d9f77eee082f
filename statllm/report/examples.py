"""Examples for the page, drawn by a seed: pairs, and answers before and after."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from statllm.report import words
from statllm.report.artefacts import RunData

#: How many problems of each kind are shown, by (right before, right after).
_SHOWN: Mapping[tuple[bool, bool], int] = {
    (False, True): 2,
    (True, False): 1,
    (False, False): 1,
    (True, True): 0,
}

KINDS: Mapping[tuple[bool, bool], str] = {
    (False, True): "became right",
    (True, False): "became wrong",
    (False, False): "stayed wrong",
    (True, True): "stayed right",
}


@dataclass(frozen=True)
class PairExample:
    """A preference pair as text."""

    iteration: int
    prompt: str
    chosen: str
    rejected: str
    chosen_note: str
    rejected_note: str
    weight: float


@dataclass(frozen=True)
class AnswerExample:
    """A held-out problem with the greedy responses of the first and the last model."""

    kind: str
    prompt: str
    reference: str
    before: str
    after: str
    before_right: bool
    after_right: bool


def prepare_pairs(data: RunData, per_iteration: int = 2) -> list[PairExample]:
    """Draw pairs of every iteration; the draw depends on the seed and the prompts' names only."""
    found = []
    for iteration in data.iterations:
        table = data.table("pairs", iteration, "prompt", "chosen", "rejected", "weight")
        if table is None:
            continue
        keys = [
            f"{name}/{chosen}/{rejected}"
            for name, chosen, rejected in zip(
                *(table[c].to_pylist() for c in ("prompt_id", "chosen", "rejected")), strict=True
            )
        ]
        for row in table.take(_drawn(keys, per_iteration, data, iteration)).to_pylist():
            found.append(
                PairExample(
                    iteration,
                    text_of(row["prompt"]),
                    text_of(row["chosen"]),
                    text_of(row["rejected"]),
                    _pair_note(row, "chosen"),
                    _pair_note(row, "rejected"),
                    row["weight"],
                )
            )
    return found


def prepare_answers(data: RunData) -> tuple[dict[str, int], list[AnswerExample]] | None:
    """Count problems by what became of them, and draw some of each kind.

    Returns
    -------
    (counts, examples) or None
        None where a table, or a column of it, is missing.
    """
    needed = ("prompt_id", "prompt", "greedy_response", "greedy_correct")
    first = data.table("evaluation", 0, *needed)
    last = data.table("evaluation", data.last, *needed)
    if first is None or last is None:
        return None
    before = {row["prompt_id"]: row for row in first.to_pylist()}
    rows = [
        (before[row["prompt_id"]], row) for row in last.to_pylist() if row["prompt_id"] in before
    ]
    counts, examples = {}, []
    for kind, name in KINDS.items():
        of_kind = [
            pair for pair in rows if tuple(bool(row["greedy_correct"]) for row in pair) == kind
        ]
        counts[name] = len(of_kind)
        keys = [row["prompt_id"] for row, _ in of_kind]
        for place in _drawn(keys, _SHOWN[kind], data, 0):
            old, new = of_kind[place]
            examples.append(
                AnswerExample(
                    name,
                    text_of(new["prompt"]),
                    text_of(new.get("reference") or ""),
                    text_of(old["greedy_response"]),
                    text_of(new["greedy_response"]),
                    *kind,
                )
            )
    return counts, examples


def text_of(text: Any) -> str:
    """Return a prompt, response or list of messages as text that is safe to look at and not long.

    Examples
    --------
    >>> text_of([{"role": "user", "content": "1 + 1 ="}])
    'user: 1 + 1 ='
    """
    if text is None:
        return "[no text]"
    if not isinstance(text, str):
        text = "\n\n".join(f"{part['role']}: {part['content']}" for part in text)
    return words.shortened(words.visible(text.strip("\n")))


def _pair_note(row: Mapping[str, Any], side: str) -> str:
    """Answer, votes and reward of one side of a pair, as far as they are known."""
    parts = []
    if f"{side}_answer" in row:
        answer = row[f"{side}_answer"]
        parts.append("no answer" if answer is None else f"answer {text_of(answer)}")
    if row.get(f"{side}_votes") is not None:
        of = "" if row.get("n_votes") is None else f" of {row['n_votes']}"
        parts.append(f"{row[f'{side}_votes']}{of} votes")
    if row.get(f"{side}_reward") is not None:
        parts.append(f"reward {row[f'{side}_reward']:.3g}")
    return ", ".join(parts)


def _drawn(keys: list[str], n: int, data: RunData, salt: int) -> list[int]:
    """Return the places of `n` keys drawn by a hash, so that the rows' order doesn't matter."""
    seed = f"{data.run.recipe.seed}/{salt}/"

    def rank(place: int) -> bytes:
        return hashlib.blake2b((seed + keys[place]).encode(), digest_size=8).digest()

    return sorted(range(len(keys)), key=rank)[:n]
