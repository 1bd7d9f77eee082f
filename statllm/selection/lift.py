"""LIFT: preference pairs asked again with a limit on words, which may turn the preference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from statllm.errors import InputError
from statllm.pairs import PAIR_COLUMNS, TOKEN_COLUMNS, check_pairs
from statllm.ragged import BoolArray, IntArray
from statllm.selection._draws import drawn, words_of
from statllm.selection.result import Reasons, Selection

_SIDES = [
    (name, name.replace("chosen", "rejected", 1))
    for name in PAIR_COLUMNS
    if name.startswith("chosen")
]


class LiftSettings(BaseModel):
    """Length-instruction fine-tuning (Yuan et al. 2024, arXiv 2406.17744)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0, description="Decides the limits, with the pair_id.")
    min_difference: int = Field(
        default=10,
        ge=1,
        description="Pairs whose responses differ by fewer words are dropped.",
    )
    margin: int = Field(
        default=10,
        ge=0,
        description="Words by which the limit that both responses keep exceeds the longer one.",
    )
    originals: bool = Field(
        default=True,
        description="Keep the pairs without a limit, too, also those that are dropped here. The "
        "paper's results speak for it.",
    )
    template: str = Field(
        default="lift_words", description="A template for length: its name, or a YAML file."
    )


def lift(pairs: pa.Table, settings: LiftSettings | None = None) -> Selection:
    """Ask each pair twice with a limit on words (Yuan et al. 2024).

    *Loose*: the limit is the longer response's words and `margin` more, so both keep it, and the
    preference stays. *Tight*: a whole number drawn evenly from the shorter response's words to one
    less than the longer one's, so that only the shorter one keeps it and is chosen; where it had
    been rejected, the labels flip.

    Parameters
    ----------
    pairs : pyarrow.Table
        Columns as in `statllm.pairs.PAIR_COLUMNS`. Without `pair_id`, pairs are named
        ``prompt_id#number``.
    settings : LiftSettings, optional

    Returns
    -------
    Selection
        Pairs: the originals (where kept), the loose ones (``pair_id@loose``), the tight ones
        (``@tight``). Prompts with a limit, and their responses, have null token ids: they were
        not sampled so. What belongs to a response changes sides with it; the weight stays.
        Ledger: one row per pair that was given, ``pair_id, prompt_id, kept, reason, n_pairs,
        rule, chosen_words, rejected_words, loose_limit, tight_limit, flipped``; `n_pairs` counts
        those with a limit. Reasons: ``no_words`` (a response is empty), ``too_alike``.

    Raises
    ------
    InputError
        If the table isn't one of pairs, a `pair_id` is null or occurs twice, a pair has a limit
        already, or the template is unknown.

    Notes
    -----
    Words are counted by `statllm.sampling.prompts.count_words`, as in the paper's benchmarks. The
    paper says that the tight limit lies between both lengths; the end points are ours, so that
    "words or less" is kept by one response and broken by the other.

    Examples
    --------
    >>> table = pa.table({
    ...     "prompt_id": ["a"], "prompt": ["Why?"], "chosen": ["word " * 30], "rejected": ["no"],
    ...     "weight": [1.0],
    ... })
    >>> made = lift(table, LiftSettings(originals=False))
    >>> made.ledger.select(["loose_limit", "flipped"]).to_pylist()
    [{'loose_limit': 40, 'flipped': True}]
    >>> [len(text.split()) for text in made.pairs["chosen"].to_pylist()]
    [30, 1]
    """
    from statllm.sampling.prompts import count_words, load_template

    settings = settings or LiftSettings()
    template = load_template(settings.template, "length")
    pairs = _named(check_pairs(pairs))
    names = pairs["pair_id"]
    chosen, rejected = (
        np.array([count_words(text) for text in pairs[side].to_pylist()], dtype=np.int64)
        for side in ("chosen", "rejected")
    )
    shorter, longer = np.minimum(chosen, rejected), np.maximum(chosen, rejected)
    reasons = Reasons(len(names))
    reasons.drop("no_words", shorter == 0)  # no limit of 0 words
    reasons.drop("too_alike", longer - shorter < settings.min_difference)
    kept = reasons.kept
    loose = longer + settings.margin
    # The modulus of a 64-bit word: its unevenness is below 1e-15.
    words = drawn(words_of(names, settings.seed), 0, np.zeros(len(names), dtype=np.int64))
    tight = shorter + (words % np.maximum(longer - shorter, 1).astype(np.uint64)).astype(np.int64)
    flipped = chosen > rejected
    made = [
        _limited(pairs, "loose", loose, np.zeros_like(flipped), kept, template),
        _limited(pairs, "tight", tight, flipped, kept, template),
    ]
    if settings.originals:
        made.insert(0, pairs)
    ledger = pa.table(
        {
            "pair_id": names,
            "prompt_id": pairs["prompt_id"],
            "kept": pa.array(kept),
            "reason": reasons.to_arrow(),
            "n_pairs": pa.array(2 * kept, pa.int32()),
            "rule": pa.array(["lift"] * len(names), pa.string()),
            "chosen_words": pa.array(chosen),
            "rejected_words": pa.array(rejected),
            "loose_limit": pa.array(loose, mask=~kept),
            "tight_limit": pa.array(tight, mask=~kept),
            "flipped": pa.array(flipped, mask=~kept),
        }
    )
    return Selection(pa.concat_tables(made), ledger)


def _named(pairs: pa.Table) -> pa.Table:
    """Return the pairs with a `pair_id` that is unique, and a `rule` that isn't lift yet."""
    n = pairs.num_rows
    if "pair_id" not in pairs.column_names:
        seen: dict[str, int] = {}
        names = []
        for prompt_id in pairs["prompt_id"].to_pylist():
            seen[prompt_id] = seen.get(prompt_id, -1) + 1
            names.append(f"{prompt_id}#{seen[prompt_id]}")
        pairs = pairs.append_column("pair_id", pa.array(names, pa.string()))
    if pairs["pair_id"].null_count:
        row = pc.index(pairs["pair_id"].is_null(), True)
        raise InputError(f"column 'pair_id' is null in row {row}")
    for found in pc.value_counts(pairs["pair_id"].combine_chunks()).to_pylist():
        if found["counts"] > 1:
            raise InputError(f"pair_id '{found['values']}' occurs {found['counts']} times")
    if "rule" not in pairs.column_names:
        pairs = pairs.append_column("rule", pa.nulls(n, pa.string()))
    row = pc.index(pairs["rule"], "lift").as_py()
    if row >= 0:
        raise InputError(f"the pair of row {row} (rule 'lift') has a limit on words already")
    return pairs


def _limited(
    pairs: pa.Table, kind: str, limits: IntArray, flipped: BoolArray, kept: BoolArray, template: Any
) -> pa.Table:
    """Return the kept pairs asked with their limits, sides changed where they are flipped."""
    from statllm.sampling.prompts.wrap import with_prompt

    at = pa.array(kept)
    given, turned = pairs.filter(at), pa.array(flipped[kept])
    names = pc.binary_join_element_wise(given["pair_id"], f"@{kind}", "")
    fields: Sequence[dict[str, str]] = [{"max_words": str(limit)} for limit in limits[kept]]
    asked = pa.table({"prompt_id": names, "prompt": given["prompt"]})
    columns: dict[str, Any] = {name: given[name] for name in given.column_names}
    if given.num_rows:
        columns["prompt"] = with_prompt(asked, template, fields)["prompt"]
    columns |= {"pair_id": names, "rule": pa.array(["lift"] * given.num_rows, pa.string())}
    for one, other in _SIDES:
        if one in columns or other in columns:
            a, b = (columns.get(n, pa.nulls(given.num_rows, PAIR_COLUMNS[n])) for n in (one, other))
            columns[one], columns[other] = pc.if_else(turned, b, a), pc.if_else(turned, a, b)
    for name in TOKEN_COLUMNS:
        if name in columns:
            columns[name] = pa.nulls(given.num_rows, TOKEN_COLUMNS[name])
    return pa.table({name: columns[name] for name in pairs.column_names})
