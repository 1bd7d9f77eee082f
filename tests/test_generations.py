"""The table: nested and long, in three formats, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statllm.errors import InputError
from statllm.generations import Generations

texts = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=8)
tables = st.lists(
    st.tuples(
        st.one_of(st.none(), texts),
        st.lists(st.tuples(st.one_of(st.none(), texts), st.floats(-9, 9)), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=5,
)


def build(rows: list[tuple[str | None, list[tuple[str | None, float]]]]) -> Generations:
    return Generations(
        pa.table(
            {
                "prompt_id": [f"p{i}" for i in range(len(rows))],
                "reference": pa.array([gold for gold, _ in rows], pa.string()),
                "answer": pa.array([[a for a, _ in s] for _, s in rows], pa.list_(pa.string())),
                "reward": [[r for _, r in samples] for _, samples in rows],
            }
        )
    )


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize("long", [False, True])
@given(rows=tables)
def test_round_trip(tmp_path_factory, suffix: str, long: bool, rows) -> None:
    generations = build(rows)
    path = tmp_path_factory.mktemp("t") / f"g.{suffix}"
    generations.write(path, long=long)
    back = Generations.read(path)
    wanted = generations.table
    for name in wanted.column_names:
        if long and name not in back:
            continue
        assert back.column(name).to_pylist() == wanted[name].to_pylist()


@given(rows=tables)
def test_pandas_long_and_nested_are_the_same_table(rows) -> None:
    generations = build(rows)
    for long in (False, True):
        back = Generations.from_frame(generations.to_frame(long=long))
        assert back.column("answer").to_pylist() == generations.column("answer").to_pylist()
        assert back.column("reward").to_pylist() == generations.column("reward").to_pylist()


def test_long_rows_need_not_be_together(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_text("prompt_id,answer,source\nb,1,x\na,070,y\nb,2,x\na,,z\n")
    g = Generations.read(path)
    assert g.prompt_ids == ["b", "a"]
    assert g.column("answer").to_pylist() == [["1", "2"], ["070", None]]
    assert g.column("source").to_pylist() == [["x", "x"], ["y", "z"]]


def test_json_lines_are_split_on_newline_only(tmp_path: Path) -> None:
    text = "one\u2028two\x85three\rfour"
    path = tmp_path / "g.jsonl"
    rows = [{"prompt_id": i, "response": [text, text]} for i in range(2)]
    path.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8")
    g = Generations.read(path)
    assert g.column("response").to_pylist() == [[text, text]] * 2


def test_answers_may_mix_numbers_and_text(tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text('{"prompt_id": 1, "answer": [4, "4", 4.5, null]}\n')
    assert Generations.read(path).column("answer").to_pylist() == [["4", "4", "4.5", None]]


def test_columns_are_renamed_and_filtered(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_text("qid,answer,prediction,task\n1,gold,x,a\n2,gold,y,b\n1,gold,z,a\n")
    g = Generations.read(
        path, {"prompt_id": "qid", "reference": "answer", "answer": "prediction"}, {"task": "a"}
    )
    assert g.table.select(["prompt_id", "reference", "answer"]).to_pylist() == [
        {"prompt_id": "1", "reference": "gold", "answer": ["x", "z"]}
    ]


def test_concat_and_take() -> None:
    g = build([("a", [("x", 1.0)]), ("b", [("y", 2.0), ("z", 3.0)])])
    assert Generations.concat([g.take([1]), g.take([0])]).prompt_ids == ["p1", "p0"]
    with pytest.raises(InputError, match="'p0' is in rows 0 and 2"):
        Generations.concat([g, g])


def refuse(columns: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Generations(pa.table(columns))


def test_what_is_refused_and_how() -> None:
    refuse({"id": ["a"]}, "column 'prompt_id' is missing; the table has id")
    refuse({"prompt_id": ["a", "b", "a"]}, "must be unique, but 'a' is in rows 0 and 2")
    refuse({"prompt_id": ["a", None]}, "column 'prompt_id' is null in row 1")
    refuse(
        {"prompt_id": ["a", "b"], "answer": [["1"], ["1", "2"]], "reward": [[1.0], [1.0]]},
        "column 'reward' has 1 values in row 1 .prompt_id 'b'. where 'answer' has 2",
    )
    refuse(
        {"prompt_id": ["a", "b"], "answer": [["1"], None]},
        "column 'answer' is null in row 1 .prompt_id 'b'.",
    )
    refuse({"prompt_id": ["a"], "reward": [["good"]]}, "column 'reward' holds")
    refuse({"prompt_id": ["a"], "answer": ["4"]}, "column 'answer' holds string")
    with pytest.raises(InputError, match="no column 'reward'; the table has prompt_id"):
        Generations(pa.table({"prompt_id": ["a"]})).column("reward")


def read(tmp_path: Path, name: str, text: str) -> Generations:
    path = tmp_path / name
    path.write_text(text)
    return Generations.read(path)


def test_files_that_are_refused_and_how(tmp_path: Path) -> None:
    good = '{"prompt_id": "a", "answer": ["1"]}\n'
    with pytest.raises(InputError, match=r"g\.jsonl line 3 is not JSON"):
        read(tmp_path, "g.jsonl", good + "\n" + '{"prompt_id": "b", "answer": ["1"')
    with pytest.raises(InputError, match=r"line 1 is not JSON: .*surrogates"):
        read(tmp_path, "g.jsonl", r'{"prompt_id": "half \ud83d", "answer": ["1"]}')
    with pytest.raises(InputError, match=r"line 2 is not an object but a list"):
        read(tmp_path, "g.jsonl", good + "[1]\n")
    with pytest.raises(InputError, match=r"line 2: column 'reward' holds a list"):
        read(tmp_path, "g.jsonl", '{"prompt_id":1,"reward":1}\n{"prompt_id":1,"reward":["x"]}\n')
    with pytest.raises(InputError, match=r"g\.jsonl is empty"):
        read(tmp_path, "g.jsonl", "")
    with pytest.raises(InputError, match="has no rows"):
        read(tmp_path, "g.csv", "prompt_id,answer\n")
    with pytest.raises(InputError, match=r"'\.txt' is not read"):
        read(tmp_path, "g.txt", "x")
    with pytest.raises(InputError, match="column 'reference' changes within prompt_id 'a'"):
        read(tmp_path, "g.csv", "prompt_id,answer,reference\na,1,1\na,1,2\n")
    with pytest.raises(InputError, match="sample 0 of prompt_id 'a' occurs twice .again in row 1"):
        read(tmp_path, "g.csv", "prompt_id,answer,sample\na,1,0\na,1,0\n")
    with pytest.raises(InputError, match="no column 'qid'; it has prompt_id, answer"):
        Generations.read(tmp_path / "g2.csv", {"prompt_id": "qid"}) if (
            (tmp_path / "g2.csv").write_text("prompt_id,answer\na,1\n")
        ) else None


def test_a_csv_file_holds_no_lists(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lists of column 'answer'"):
        build([("a", [("x", 1.0)])]).write(tmp_path / "g.csv")
    assert list(tmp_path.iterdir()) == []


def test_nan_rewards_stay_nan() -> None:
    frame = pd.DataFrame({"prompt_id": ["a", "a"], "reward": [1.0, math.nan]})
    values = Generations.from_frame(frame).ragged("reward").values
    assert math.isnan(values[1])


def test_nan_is_no_verdict_no_text_and_no_id() -> None:
    nan = math.nan
    columns = {"prompt_id": ["a", "b"], "correct": [[1.0, nan], [0.0]], "reference": [4.0, nan]}
    table = Generations(pa.table({**columns, "answer": [[1.5, nan], [2.0]]})).table
    assert table["correct"].to_pylist() == [[True, None], [False]]
    assert table["reference"].to_pylist() == ["4", None]
    assert table["answer"].to_pylist() == [["1.5", None], ["2"]]
    refuse({"prompt_id": [1.0, nan]}, "column 'prompt_id' is null in row 1")


@pytest.mark.parametrize("values", [[[1.0], [0.0, 0.5]], [[1], [0, 2]], [[], [-1]]])
def test_verdicts_are_0_or_1(values: list) -> None:
    refuse({"prompt_id": ["a", "b"], "correct": values}, "'correct' is .* in row 1, not 0, 1 or")


def test_lists_of_a_slice_and_null_lists_of_numbers() -> None:
    table = pa.table({"prompt_id": ["a", "b"], "correct": [[1, 0], [1]], "answer": [[1, 2], [3]]})
    last = Generations(table.slice(1)).table
    assert (last["correct"].to_pylist(), last["answer"].to_pylist()) == ([[True]], [["3"]])
    refuse({"prompt_id": ["a", "b"], "answer": [[1], None]}, "column 'answer' is null in row 1")
    refuse({"prompt_id": ["a", "b"], "correct": [[1], None]}, "column 'correct' is null in row 1")
