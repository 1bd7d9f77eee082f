"""What a rule reads from a generation table, and its pairs as a preference table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.pairs import PAIR_COLUMNS
from statllm.scoring import AnswerRule, ScoringSettings, verify
from statllm.scoring.score import with_answers
from statllm.selection._pairing import Pairs
from statllm.selection._samples import Samples


def require(generations: Generations, rule: str, *names: str) -> None:
    """Raise `InputError` where a column that the rule needs isn't there."""
    for name in names:
        if name not in generations:
            have = ", ".join(generations.table.column_names)
            raise InputError(f"{rule} needs the column '{name}'; the table has {have}")


def with_canonical_answers(generations: Generations, answer_rule: AnswerRule) -> Generations:
    """Return the table with canonical answers; a table that was scored is used as it stands."""
    if "answer" in generations and "majority_answer" in generations:
        return generations
    return with_answers(generations, ScoringSettings(rule=answer_rule))


def with_verdicts(generations: Generations) -> Generations:
    """Return the table with ``correct``, made from ``reference`` where it isn't there."""
    if "correct" in generations or "reference" not in generations:
        return generations
    return generations.with_columns({"correct": verify(generations)})


def build_pairs(samples: Samples, rule: str, pairs: Pairs, **decided: Any) -> pa.Table:
    """Return the preference table of the pairs; `decided` are further columns of it."""
    given = samples.generations
    at = pa.array(pairs.rows)
    ids = given.column("prompt_id").combine_chunks().take(at)
    columns: dict[str, Any] = {
        "prompt_id": ids,
        "prompt": given.column("prompt").take(at),
        "chosen": samples.texts(pairs.chosen),
        "rejected": samples.texts(pairs.rejected),
        "pair_id": pc.binary_join_element_wise(ids, pa.array(pairs.numbers).cast("string"), "#"),
        "rule": pa.array([rule] * len(pairs), pa.string()),
    }
    for side, indices in (("chosen", pairs.chosen), ("rejected", pairs.rejected)):
        columns[f"{side}_index"] = samples.places(indices)
        columns[f"{side}_answer"] = samples.take("answer", indices)
        columns[f"{side}_reward"] = samples.take("reward", indices)
        columns[f"{side}_finish"] = samples.take("finish_reason", indices)
        columns[f"{side}_ids"] = samples.take("token_ids", indices)
    for name, source in (
        ("prompt_ids", "prompt_token_ids"),
        ("iteration", "iteration"),
        ("model", "model"),
    ):
        columns[name] = given.column(source).take(at) if source in given else None
    columns |= decided
    return pa.table(
        {
            name: _typed(name, columns[name])
            for name in PAIR_COLUMNS
            if columns.get(name) is not None
        }
    )


def _typed(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    """Cast to the column's type; a prompt of messages stays as it is."""
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    if name == "prompt" and pa.types.is_list(array.type):
        return array
    return array.cast(PAIR_COLUMNS[name])
