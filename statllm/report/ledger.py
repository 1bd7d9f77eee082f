"""What was kept and dropped, how good the pairs are, and whether problems are held out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from statllm.report.artefacts import RunData


@dataclass(frozen=True)
class Ledger:
    """Prompts by reason; columns are (run, iteration).

    Attributes
    ----------
    columns : list of (int, int)
        Number of the run (from 0) and iteration.
    reasons : list of str
    counts : list of list of int
        One list per reason, a number per column.
    totals : list of int
        Sums over the reasons.
    inputs : list of int or None
        Prompts that were sampled, from the stage's own record.
    """

    columns: list[tuple[int, int]]
    reasons: list[str]
    counts: list[list[int]]
    totals: list[int]
    inputs: list[int | None]

    @property
    def adds_up(self) -> bool:
        """Whether every total is the number of prompts that were sampled."""
        return all(
            known in (None, total) for known, total in zip(self.inputs, self.totals, strict=True)
        )


def prepare_ledger(runs: Sequence[RunData]) -> Ledger | None:
    """Count prompts by reason, "kept" first, then by falling total; None without any ledger."""
    columns, found = [], []
    for place, data in enumerate(runs):
        for iteration in data.iterations:
            table = data.table("ledger", iteration, "reason")
            if table is not None:
                columns.append((place, iteration))
                pairs = table["reason"].value_counts().to_pylist()
                found.append({str(pair["values"]): int(pair["counts"]) for pair in pairs})
    if not columns:
        return None
    names = {name for counts in found for name in counts}
    overall = {name: sum(counts.get(name, 0) for counts in found) for name in names}
    reasons = sorted(names, key=lambda name: (name != "kept", -overall[name], name))
    return Ledger(
        columns,
        reasons,
        [[counts.get(name, 0) for counts in found] for name in reasons],
        [sum(counts.values()) for counts in found],
        [runs[place].stages.get((k, "sample"), {}).get("prompts") for place, k in columns],
    )


@dataclass(frozen=True)
class PairQuality:
    """Pairs of a (run, iteration) by whether chosen and rejected are right."""

    run: int
    iteration: int
    right_over_wrong: int
    both_right: int
    both_wrong: int
    wrong_over_right: int
    unknown: int

    @property
    def total(self) -> int:
        """All pairs."""
        return (
            self.right_over_wrong
            + self.both_right
            + self.both_wrong
            + self.wrong_over_right
            + self.unknown
        )


def prepare_pair_quality(runs: Sequence[RunData]) -> list[PairQuality]:
    """Look the verdicts of chosen and rejected samples up, where there are any."""
    found = []
    for place, data in enumerate(runs):
        for iteration in data.iterations:
            pairs = data.table("pairs", iteration, "chosen_index", "rejected_index")
            scores = data.table("scores", iteration, "correct")
            if pairs is None or scores is None:
                continue
            verdicts = dict(
                zip(scores["prompt_id"].to_pylist(), scores["correct"].to_pylist(), strict=True)
            )
            cells = np.zeros((3, 3), dtype=int)  # chosen x rejected: wrong, right, unknown
            for row in pairs.select(["prompt_id", "chosen_index", "rejected_index"]).to_pylist():
                of_prompt = verdicts.get(row["prompt_id"])
                sides = (row["chosen_index"], row["rejected_index"])
                cells[tuple(_verdict(of_prompt, index) for index in sides)] += 1
            unknown = int(cells[2].sum() + cells[:2, 2].sum())
            found.append(
                PairQuality(
                    place,
                    iteration,
                    right_over_wrong=int(cells[1, 0]),
                    both_right=int(cells[1, 1]),
                    both_wrong=int(cells[0, 0]),
                    wrong_over_right=int(cells[0, 1]),
                    unknown=unknown,
                )
            )
    return found


def _verdict(of_prompt: list[bool | None] | None, index: int | None) -> int:
    """0 wrong, 1 right, 2 unknown."""
    if of_prompt is None or index is None or of_prompt[index] is None:
        return 2
    return int(bool(of_prompt[index]))


def held_out_overlap(data: RunData) -> tuple[int, int] | None:
    """Return how many evaluated problems also occur among the training prompts, and of how many.

    Compared by text; None where prompts are missing.
    """
    evaluated = data.table("evaluation", data.last, "prompt")
    sampled = [data.table("samples", k, "prompt") for k in data.iterations]
    if evaluated is None or any(table is None for table in sampled):
        return None
    seen = {_key(p) for table in sampled if table is not None for p in table["prompt"].to_pylist()}
    problems = [_key(prompt) for prompt in evaluated["prompt"].to_pylist()]
    return sum(problem in seen for problem in problems), len(problems)


def _key(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)
