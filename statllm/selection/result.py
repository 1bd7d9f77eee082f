"""What a selection rule returns: the pairs, and a ledger of what became of every prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from statllm._formats import write_table
from statllm.ledger import KEPT, count_reasons, with_dropped
from statllm.ragged import BoolArray
from statllm.selection._pairing import Pairs
from statllm.selection._samples import Samples


@dataclass(frozen=True, eq=False)
class Selection:
    """Preference pairs and their ledger.

    Attributes
    ----------
    pairs : pyarrow.Table
        One row per pair, columns as in `statllm.pairs.PAIR_COLUMNS`.
    ledger : pyarrow.Table
        One row per input prompt, in its order: ``prompt_id, kept, reason, n_pairs, rule,
        iteration`` and the numbers that decided.
    thresholds : mapping
        The bounds that were applied, quantiles turned into numbers.
    """

    pairs: pa.Table
    ledger: pa.Table
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Return prompts by reason, "kept" first, then by falling count; they add up."""
        return count_reasons(self.ledger["reason"])

    def summary(self) -> str:
        """Return one line: kept prompts, pairs, and why prompts were dropped."""
        counts = self.counts()
        return with_dropped(
            f"{counts[KEPT]} of {self.ledger.num_rows} prompts kept, {self.pairs.num_rows} pairs",
            counts,
        )

    def write(self, pairs: str | Path, ledger: str | Path | None = None) -> None:
        """Write the tables, by suffix Parquet, JSONL or CSV.

        The ledger comes first: pairs without one can't be explained.
        """
        if ledger is not None:
            write_table(self.ledger, ledger)
        write_table(self.pairs, pairs)


class Reasons:
    """Why each prompt is dropped: the first reason given for it stays."""

    def __init__(self, n_prompts: int) -> None:
        self._codes = np.zeros(n_prompts, dtype=np.int32)
        self._names = [KEPT]

    @property
    def kept(self) -> BoolArray:
        """Prompts without a reason to be dropped."""
        kept: BoolArray = self._codes == 0
        return kept

    def drop(self, reason: str, where: BoolArray) -> None:
        """Give a reason to the prompts of `where` that have none."""
        self._names.append(reason)
        self._codes[where & self.kept] = len(self._names) - 1

    def decide_anew(self, where: BoolArray) -> None:
        """Take back the reasons of some prompts."""
        self._codes[where] = 0

    def to_arrow(self) -> pa.Array:
        """Return the reasons as strings."""
        return pa.array(self._names, pa.string()).take(pa.array(self._codes))


def build_ledger(
    samples: Samples, rule: str, reasons: Reasons, pairs: Pairs, numbers: Mapping[str, Any]
) -> pa.Table:
    """Return the ledger; a NaN among the numbers becomes null."""
    given = samples.generations
    n = samples.n_prompts
    has_iteration = "iteration" in given
    return pa.table(
        {
            "prompt_id": given.column("prompt_id"),
            "kept": pa.array(reasons.kept),
            "reason": reasons.to_arrow(),
            "n_pairs": pa.array(pairs.per_prompt(n), pa.int32()),
            "rule": pa.array([rule] * n, pa.string()),
            "iteration": given.column("iteration").cast(pa.int32())
            if has_iteration
            else pa.nulls(n, pa.int32()),
            **{name: pa.array(values, from_pandas=True) for name, values in numbers.items()},
        }
    )
