"""The schema of the preference table: what is refused, and how it is said."""

from __future__ import annotations

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.pairs import PAIR_COLUMNS, REQUIRED_COLUMNS, check_pairs

GOOD = {
    "prompt_id": ["a", "b"],
    "prompt": ["1+1=", "2+2="],
    "chosen": ["2", "4"],
    "rejected": ["3", "5"],
    "weight": [0.5, 1.0],
}


def test_a_good_table_passes_in_canonical_order_and_types() -> None:
    columns = {**GOOD, "n_votes": [8, 8], "chosen_ids": [[1, 2], None]}
    shuffled = dict(reversed(columns.items()))
    table = check_pairs(pa.table(shuffled))
    assert table.column_names == [name for name in PAIR_COLUMNS if name in columns]
    assert all(table.schema.field(n).type == PAIR_COLUMNS[n] for n in table.column_names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"foo": [1, 2]}, r"unknown column 'foo': trl would drop it silently; known columns are"),
        ({"weight": [0.5, None]}, r"'weight' is null in row 1 \(prompt_id 'b'\)"),
        ({"weight": [float("nan"), 1.0]}, r"'weight' is NaN in row 0 \(prompt_id 'a'\)"),
        ({"weight": [1.0, -0.25]}, r"'weight' is negative in row 1 \(prompt_id 'b'\)"),
        ({"weight": [float("inf"), 1.0]}, r"'weight' is infinite in row 0"),
        ({"weight": ["0.5", "1"]}, r"'weight' holds string, double was expected"),
        ({"chosen": [1, 2]}, r"'chosen' holds int64, string was expected"),
        ({"rejected": ["3", None]}, r"'rejected' is null in row 1"),
        ({"prompt_id": [None, "b"]}, r"'prompt_id' is null in row 0"),
        ({"chosen_ids": [[0.5], [1.0]]}, r"'chosen_ids' holds list<.*double>"),
        ({"n_votes": [2**40, 1]}, r"'n_votes' holds int64, int32 was expected"),
    ],
)
def test_wrong_tables(change: dict[str, list[object]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_pairs(pa.table({**GOOD, **change}))


@pytest.mark.parametrize("name", list(REQUIRED_COLUMNS))
def test_missing_columns(name: str) -> None:
    with pytest.raises(InputError, match=f"column '{name}' is missing; required are"):
        check_pairs(pa.table(GOOD).drop_columns([name]))


def test_no_rows() -> None:
    with pytest.raises(InputError, match="no rows"):
        check_pairs(pa.table(GOOD).slice(0, 0))


def test_a_prompt_may_be_messages_and_storage_may_differ() -> None:
    messages = [[{"role": "user", "content": "1+1="}]] * 2
    columns = {**GOOD, "prompt": messages}
    table = pa.table(columns)
    large = table.set_column(0, "prompt_id", table["prompt_id"].cast(pa.large_string()))
    coded = large.set_column(2, "chosen", large["chosen"].dictionary_encode())
    checked = check_pairs(coded)
    assert checked["prompt"].to_pylist() == messages
    assert checked.schema.field("chosen").type == pa.string()
