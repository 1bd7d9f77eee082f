"""A teacher's solutions that a student learns from: right ones, whole, few per problem."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ledger import KEPT, count_reasons
from statllm.ragged import BoolArray

#: Why a sample is dropped; the first that holds, in this order.
CHAIN_REASONS = {
    "missing": "there is no text",
    "cut": "it ran into the length limit (finish_reason)",
    "no_verdict": "nobody knows whether it is right",
    "wrong": "its answer is wrong",
    "too_short": "it has fewer tokens than asked for",
    "repeated": "an earlier sample of the problem has the same text",
    "not_chosen": "the problem has enough others",
    "over_budget": "the tokens of the examples before it fill the budget",
}


class ChainSettings(BaseModel):
    """Rejection sampling of solutions for SFT."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_prompt: int | None = Field(1, ge=1, description="At most so many of a problem; None: all.")
    choose: Literal["random", "longest", "shortest"] = Field(
        "random", description="Which of a problem's right solutions; ties are drawn."
    )
    right: bool = Field(
        True, description="Keep only right ones. False keeps any, the control of verification."
    )
    min_tokens: int | None = Field(None, ge=1, description="Of a solution; needs n_tokens.")
    budget: int | None = Field(
        None, ge=1, description="Tokens of all examples together, drawn at random; needs n_tokens."
    )
    seed: int = Field(0, ge=0, description="Decides what is drawn.")


@dataclass(frozen=True, eq=False)
class Chains:
    """Examples for SFT, and what became of every sample.

    Attributes
    ----------
    examples : pyarrow.Table
        ``prompt_id, prompt, response, weight, rule, model``, as `statllm train` (kind sft) reads
        them. Texts, not token ids: the student may have another tokenizer.
    ledger : pyarrow.Table
        A row per sample: ``prompt_id, sample, kept, reason, rule, n_tokens``; `reason` is "kept" or
        a key of `CHAIN_REASONS`.
    """

    examples: pa.Table
    ledger: pa.Table

    def counts(self) -> dict[str, int]:
        """Return samples by reason, "kept" first, then by falling count; they add up."""
        return count_reasons(self.ledger["reason"])

    def write(self, examples: str | Path, ledger: str | Path | None = None) -> None:
        """Write the tables by suffix; the ledger first."""
        from statllm._formats import write_table

        if ledger is not None:
            write_table(self.ledger, ledger)
        write_table(self.examples, examples)


def keep_chains(generations: Generations, settings: ChainSettings | None = None) -> Chains:
    """Keep a teacher's right solutions as examples for SFT.

    Parameters
    ----------
    generations : Generations
        Scored: ``prompt``, ``response``, ``correct`` (unless `settings.right` is False), and, where
        known, ``finish_reason``, ``n_tokens``, ``model``.
    settings : ChainSettings, optional

    Returns
    -------
    Chains

    Raises
    ------
    InputError
        If a column that is needed is missing, the prompt of an example is null, or a budget is
        given and an example's n_tokens is null.

    Examples
    --------
    >>> scored = Generations(pa.table({
    ...     "prompt_id": ["a", "b"], "prompt": ["2 + 2?", "3 + 3?"],
    ...     "response": [["So 4. #### 4", "#### 5"], ["#### 7", "#### 8"]],
    ...     "correct": [[True, False], [False, False]],
    ... }))
    >>> made = keep_chains(scored)
    >>> made.examples["response"].to_pylist(), made.counts()
    (['So 4. #### 4'], {'kept': 1, 'wrong': 3})
    """
    settings = settings or ChainSettings()
    needed = ["prompt", "response", *(["correct"] if settings.right else [])]
    if settings.min_tokens is not None or settings.budget is not None:
        needed.append("n_tokens")
    for name in needed:
        if name not in generations:
            raise InputError(f"column '{name}' is missing: chains are kept from scored samples")
    rng = np.random.default_rng(settings.seed)
    columns = [
        generations.column(name).to_pylist() if name in generations else None
        for name in ("response", "finish_reason", "correct", "n_tokens")
    ]
    rows: list[dict[str, Any]] = []
    for place, name in enumerate(generations.prompt_ids):
        own = [None if column is None else column[place] for column in columns]
        rows += _of_problem(name, place, own, settings, rng)
    if settings.budget is not None:
        _spend(rows, settings.budget, rng)
    return Chains(_examples(generations, [row for row in rows if row["kept"]]), _ledger(rows))


def _of_problem(
    name: str, place: int, columns: list[Any], settings: ChainSettings, rng: np.random.Generator
) -> list[dict[str, Any]]:
    responses, ends, verdicts, tokens = columns
    n = len(responses or [])
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for sample in range(n):
        text = responses[sample]
        length = None if tokens is None else tokens[sample]
        reason = KEPT
        if not text or not text.strip():
            reason = "missing"
        elif ends is not None and ends[sample] == "length":
            reason = "cut"
        elif settings.right and verdicts[sample] is None:
            reason = "no_verdict"
        elif settings.right and not verdicts[sample]:
            reason = "wrong"
        elif settings.min_tokens is not None and (length or 0) < settings.min_tokens:
            reason = "too_short"
        elif text in seen:
            reason = "repeated"
        else:
            seen.add(text)
        rows.append(
            {
                "prompt_id": name, "place": place, "sample": sample, "kept": reason == KEPT,
                "reason": reason, "n_tokens": length, "text": text,
            }
        )  # fmt: skip
    _choose([row for row in rows if row["kept"]], settings, rng)
    return rows


def _choose(rows: list[dict[str, Any]], settings: ChainSettings, rng: np.random.Generator) -> None:
    """Mark those beyond `per_prompt` as not chosen."""
    order = rng.permutation(len(rows))
    if settings.per_prompt is None or len(rows) <= settings.per_prompt:
        return
    if settings.choose != "random":
        sign = -1 if settings.choose == "longest" else 1
        lengths = [sign * (row["n_tokens"] or len(row["text"])) for row in rows]
        order = np.array(sorted(order, key=lambda i: lengths[i]))
    for i in order[settings.per_prompt :]:
        rows[i].update(kept=False, reason="not_chosen")


def _spend(rows: list[dict[str, Any]], budget: int, rng: np.random.Generator) -> None:
    """Keep rows in random order until the next one would exceed the budget."""
    kept = [row for row in rows if row["kept"]]
    for row in kept:
        if row["n_tokens"] is None:
            raise InputError(
                f"column 'n_tokens' is null in sample {row['sample']} of prompt_id "
                f"'{row['prompt_id']}': a budget counts them"
            )
    order = rng.permutation(len(kept))
    spent = np.cumsum([kept[i]["n_tokens"] for i in order])
    over: BoolArray = spent > budget
    for i in order[over]:
        kept[i].update(kept=False, reason="over_budget")


def _examples(generations: Generations, rows: list[dict[str, Any]]) -> pa.Table:
    places = pa.array([row["place"] for row in rows], pa.int64())
    table = generations.table
    n = len(rows)
    for row in rows:
        if not table["prompt"][row["place"]].is_valid:
            raise InputError(f"the prompt of prompt_id '{row['prompt_id']}' is null")
    model = table["model"].take(places) if "model" in table.column_names else pa.nulls(n)
    return pa.table(
        {
            "prompt_id": table["prompt_id"].take(places),
            "prompt": table["prompt"].take(places),
            "response": pa.array([row["text"] for row in rows], pa.string()),
            "weight": pa.array(np.ones(n)),
            "rule": pa.array(["chains"] * n, pa.string()),
            "model": model.cast(pa.string()),
        }
    )


def _ledger(rows: list[dict[str, Any]]) -> pa.Table:
    schema = pa.schema(
        {
            "prompt_id": pa.string(), "sample": pa.int32(), "kept": pa.bool_(),
            "reason": pa.string(), "rule": pa.string(), "n_tokens": pa.int64(),
        }
    )  # fmt: skip
    shown = [{**{name: row.get(name) for name in schema.names}, "rule": "chains"} for row in rows]
    return pa.Table.from_pylist(shown, schema)
