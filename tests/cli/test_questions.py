"""`statllm questions`: its figures are those of the table, its comparison that of two tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.errors import InputError

WORDS = ["cat", "dog", "sum", "proof", "cell", "tax", "wave", "verb"]


def questions(path: Path, n: int, longer: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    told = [None, "yes", "the sum of both", "one two three four five six seven eight nine ten"]
    table = pa.table(
        {
            "prompt_id": [f"q{i}" for i in range(n)],
            "prompt": [" ".join(rng.choice(WORDS, 6)) + "?" for _ in range(n)],
            "reference": pa.array([told[i % 4] if i % 4 != 1 else "7" for i in range(n)]),
            "response": [
                [
                    " ".join(["so"] * int(rng.integers(3, 9) + longer)) + f" #### {answer}"
                    for answer in rng.choice([7, 8], 3)
                ]
                for _ in range(n)
            ],
            "document_id": [f"d{i // 2}" for i in range(n)],
        }
    )
    pq.write_table(table, path)
    return path


def run(*arguments: Any) -> str:
    found = CliRunner().invoke(app, ["questions", *map(str, arguments)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    return questions(tmp_path / "a.parquet", 40, 0, 0), questions(tmp_path / "b.parquet", 60, 4, 1)


def test_one_set(both: tuple[Path, Path], tmp_path: Path) -> None:
    out, table = tmp_path / "out.json", tmp_path / "rows.parquet"
    said = run(both[0], "-o", out, "--table", table, "--topics", 5)
    assert "median response length" in said
    report = json.loads(out.read_text())
    figures = {f["name"]: f for f in report["sets"][0]["figures"]}
    given = pq.read_table(both[0]).to_pylist()
    medians = [np.median([len(t.split()) for t in row["response"]]) for row in given]
    assert figures["median response length"]["value"] == pytest.approx(np.median(medians))
    rates = [
        np.mean([t.endswith("#### " + (row["reference"] or "")) for t in row["response"]])
        for row in given
        if row["reference"] == "7"
    ]
    assert figures["reference: none"]["value"] == 0.25
    assert figures["reference: long"]["value"] == 0.25
    rows = pq.read_table(table).to_pylist()
    assert [row["prompt_id"] for row in rows] == [row["prompt_id"] for row in given]
    assert [row["length"] for row in rows] == medians
    judged = [row["pass_rate"] for row, q in zip(rows, given, strict=True) if q["reference"] == "7"]
    np.testing.assert_allclose(judged, rates)
    assert {row["topic"] for row in rows} == set(range(5))


def test_two_sets(both: tuple[Path, Path], tmp_path: Path) -> None:
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    said = run(*both, "-o", out, "--figure", picture, "--topics", 5)
    assert "* a test of all shares at once" in said
    found = {each["name"]: each for each in json.loads(out.read_text())["comparison"]}
    lengths = [
        [
            np.median([len(t.split()) for t in row["response"]])
            for row in pq.read_table(path).to_pylist()
        ]
        for path in both
    ]
    welch = stats.ttest_ind(lengths[1], lengths[0], equal_var=False)
    assert np.exp(found["mean response length"]["log_p_value"]) == pytest.approx(welch.pvalue)
    assert found["longer response in B"]["value"] > 0.9
    assert abs(found["share with a reference answer"]["value"]) < 1e-9
    assert found["effective clusters"]["log_p_holm"] > np.log(0.01)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_documents_are_clusters(both: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    run(both[0], "-o", out, "--cluster", "document_id", "--topic", "document_id")
    figures = {f["name"]: f for f in json.loads(out.read_text())["sets"][0]["figures"]}
    assert figures["mean response length"]["n"] == 20
    assert figures["same cluster"]["value"] == pytest.approx(20 * 2 / (40 * 39))


@pytest.mark.parametrize("option", ["--cluster", "--topic"])
def test_no_label_is_not_a_label(option: str, tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    table = {"prompt_id": ["a", "b", "c"], "prompt": ["x y", "z", "w v"], "of": ["d", None, "d"]}
    pq.write_table(pa.table(table), path)
    with pytest.raises(InputError, match="column 'of' is null at prompt_id 'b'"):
        run(path, option, "of")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--cluster", "nothing"), "no column 'nothing'"),
        (("--topic", "nothing"), "no column 'nothing'"),
        (("--level", "2"), "--level must lie"),
        (("--rule", "odd"), "--rule must be one of"),
        (("-o", "out.txt"), "out.txt"),
    ],
)
def test_wrong_options(both: tuple[Path, Path], options: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(both[0], *options)
