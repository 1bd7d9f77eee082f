"""`--engine` from the command line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.errors import InputError
from statllm.generations import Generations


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    answers = [["4", "4", "4", "5"], ["6", "7", "7", "7"], ["1", "2", "3", "4"]] * 10
    table = pa.table(
        {
            "prompt_id": [f"p{i}" for i in range(30)],
            "prompt": [f"P{i}" for i in range(30)],
            "reference": ["4", "6", "1"] * 10,
            "answer": answers,
            "response": [[f"It is {a}" for a in row] for row in answers],
        }
    )
    pq.write_table(table, tmp_path / "votes.parquet", row_group_size=7)
    return tmp_path / "votes.parquet"


def test_score_and_select_say_and_write_what_they_do_in_memory(votes: Path) -> None:
    folder, said = votes.parent, {}
    for name, options in (("memory", []), ("engine", ["--engine", "local", "--workers", "1"])):
        scores, pairs = folder / f"{name}.parquet", folder / f"{name}-pairs.parquet"
        one = CliRunner().invoke(app, ["score", str(votes), "-o", str(scores), *options])
        two = CliRunner().invoke(app, ["select", "scpo", str(scores), "-o", str(pairs), *options])
        assert one.exit_code == two.exit_code == 0, one.output + two.output
        said[name] = (one.output + two.output).replace(name, "")
        assert pq.read_table(pairs).num_rows == 20
    assert said["memory"] == said["engine"]
    for ending in (".parquet", "-pairs.parquet"):
        tables = [pq.read_table(folder / f"{name}{ending}") for name in ("memory", "engine")]
        assert tables[0].equals(tables[1])


def test_a_folder_of_scores_is_read_by_the_next_verb(votes: Path) -> None:
    options = ["--engine", "local", "--workers", "1"]
    scores, pairs = votes.parent / "scores", votes.parent / "pairs.jsonl"
    CliRunner().invoke(app, ["score", str(votes), "-o", str(scores), *options])
    assert Generations.read(scores).n_prompts == 30
    result = CliRunner().invoke(app, ["select", "scpo", str(scores), "-o", str(pairs)])
    assert result.exit_code == 0, result.output
    assert len(pairs.read_text().splitlines()) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2"], "--workers has no effect without --engine"),
        (
            ["--engine", "local", "--address", "auto"],
            "--address has no effect without --engine ray",
        ),
        (["--engine", "spark"], "--engine: Input should be 'local' or 'ray'"),
    ],
)
def test_options_that_do_nothing_are_refused(votes: Path, options: list[str], message: str) -> None:
    out = votes.parent / "s.parquet"
    result = CliRunner().invoke(app, ["score", str(votes), "-o", str(out), *options])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
