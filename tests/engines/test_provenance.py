"""Rows dropped for watermarks, a benchmark and p-values: one ledger, both engines, killed runs."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from statsmodels.stats.multitest import multipletests
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.engines.decontamination import Benchmark, LeakWork
from statllm.engines.provenance import select_provenance
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.errors import InputError
from statllm.estimators.watermark.schemes import make_scheme
from statllm.selection.decontamination import decontaminate

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray isn't installed")
N = 150
MARKED, LEAKED, SMALL = (3, 40, 77), (40, 50, 120), (50, 60, 77, 61)
ITEMS = [" ".join(f"item{i}word{j}" for j in range(20)) for i in range(4)]


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, InputError):
        return 2, str(result.exception)
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 rows: some watermarked, some with words of a benchmark, some with small p-values."""
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, 50_000, rng.integers(5, 100)).tolist() for _ in range(N)]
    scheme = make_scheme("vllm-gumbel", key=987654321)
    for row in MARKED:
        text: list[int] = []
        for _ in range(100):
            law = rng.dirichlet(np.full(200, 0.3))
            text.append(int(np.argmax(scheme.reweighted(law, np.array(text, np.int64)))))
        tokens[row] = text
    texts: list[str | None] = [
        " ".join(f"w{x}" for x in rng.integers(0, 10**6, rng.integers(13, 60))) for _ in range(N)
    ]
    for number, row in enumerate(LEAKED):
        words = ITEMS[number].upper().split()
        texts[row] = f"{texts[row]} {' '.join(words[2:16])}"
    texts[7] = None
    tokens[7] = []
    texts[8] = "too short"
    p = rng.uniform(0.2, 1, N)
    p[list(SMALL)] = [1e-6, 1e-5, 2e-5, 0.0]
    values: list[float | None] = p.tolist()
    values[7], values[9] = None, float("nan")
    table = pa.table(
        {
            "prompt_id": [f"d{i}" for i in range(N)],
            "token_ids": pa.array(tokens, pa.list_(pa.int32())),
            "text": texts,
            "p": pa.array(values, pa.float64()),
        }
    )
    made = tmp_path_factory.mktemp("provenance")
    pq.write_table(table, made / "in.parquet", row_group_size=20)
    (made / "keys.yaml").write_text("- {name: ours, scheme: vllm-gumbel, key: 987654321}\n")
    # the first item stands there twice
    bench = {"prompt_id": ["q0", "q0-again", "q1", "q2", "q3", "short"]}
    bench["question"] = [ITEMS[0], ITEMS[0], *ITEMS[1:], "few words"]
    pq.write_table(pa.table(bench), made / "bench.parquet")
    return made


def options(folder: Path) -> list[object]:
    return [
        "--key-file", folder / "keys.yaml", "--benchmark", folder / "bench.parquet",
        "--benchmark-text", "text", "--benchmark-column", "question", "--p-values", "p",
        "--workers", 1,
    ]  # fmt: skip


def test_all_reasons_in_one_ledger_that_adds_up(folder: Path, tmp_path: Path) -> None:
    out, ledger = tmp_path / "clean.parquet", tmp_path / "ledger.parquet"
    code, said = run(
        "select", "provenance", folder / "in.parquet", "-o", out, "--ledger", ledger,
        *options(folder), "--part-rows", 40, "--batch-rows", 15,
    )  # fmt: skip
    assert code == 0, said
    assert "1 of 6 items have fewer than 13 words" in said
    lines = pq.read_table(ledger).to_pylist()
    table = pq.read_table(folder / "in.parquet").to_pylist()
    gone = {*MARKED, *LEAKED, *SMALL}
    names = [row["prompt_id"] for row in pq.read_table(out).to_pylist()]
    assert names == [f"d{i}" for i in range(N) if i not in gone]
    assert [line["row"] for line in lines] == list(range(N))
    reasons = [line["reason"] for line in lines]
    # the first of several: 40 is marked and leaks, 77 is marked and called, 50 leaks and is called
    assert [i for i, why in enumerate(reasons) if why == "watermarked"] == list(MARKED)
    assert {i: why for i, why in enumerate(reasons) if why.startswith("contaminated")} == {
        50: "contaminated by q1", 120: "contaminated by q2",
    }  # fmt: skip
    called = [i for i, why in enumerate(reasons) if why.startswith("called by p at a false")]
    assert called == [60, 61]
    assert reasons[7] == "untested"
    assert reasons.count("kept") == N - len(gone) - 1
    for count in (3, 2, N - len(gone) - 1):
        assert f" {count} " in said
    assert [line["kept"] for line in lines] == [i not in gone for i in range(N)]
    # every check's numbers are there, whatever the reason
    texts = [row["text"] for row in table]
    direct = decontaminate(texts, pq.read_table(folder / "bench.parquet")["question"])
    assert [line["n_matches"] for line in lines] == direct.n_matches.tolist()
    assert tuple(line["ngram"] for line in lines) == direct.ngram
    assert [line["contaminated_by"] for line in lines if line["contaminated_by"]] == [
        "q0", "q1", "q2",
    ]  # fmt: skip
    p = np.array([np.nan if row["p"] is None else row["p"] for row in table])
    q = multipletests(np.nan_to_num(p, nan=1.0), method="fdr_bh")[1]
    q[np.isnan(p)] = np.nan
    found = np.array([np.nan if line["q[p]"] is None else line["q[p]"] for line in lines])
    np.testing.assert_allclose(found, q, rtol=1e-9)
    assert lines[3]["log_p"] < -10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean.parquet", "ledger.parquet"]


@pytest.mark.parametrize("check", ["keys", "benchmark", "p-values"])
def test_each_check_alone(folder: Path, tmp_path: Path, check: str) -> None:
    every = options(folder)
    given = {"keys": every[:2], "benchmark": every[2:8], "p-values": every[8:10]}[check]
    dropped = {"keys": MARKED, "benchmark": LEAKED, "p-values": sorted(SMALL)}[check]
    untested = {"keys": 1, "benchmark": 2, "p-values": 2}[check]
    out, ledger = tmp_path / "clean", tmp_path / "ledger.parquet"
    code, said = run(
        "select", "provenance", folder / "in.parquet", "-o", out, *given, "--ledger", ledger,
        "--workers", 1,
    )  # fmt: skip
    assert code == 0, said
    lines = pq.read_table(ledger).to_pylist()
    assert [line["row"] for line in lines if not line["kept"]] == list(dropped)
    assert [line["prompt_id"] for line in lines] == [f"d{i}" for i in range(N)]
    assert sum(line["reason"] == "untested" for line in lines) == untested
    assert pq.read_table(out).num_rows == N - len(dropped)


@needs_ray
@pytest.mark.slow
def test_ray_writes_the_same_bytes(folder: Path, tmp_path: Path, one_ray: None) -> None:
    digests = set()
    for engine, workers in (("local", 1), ("local", 3), ("ray", 2)):
        out, ledger = tmp_path / "clean.parquet", tmp_path / "ledger.parquet"
        code, said = run(
            "select", "provenance", folder / "in.parquet", "-o", out, "--ledger", ledger,
            *options(folder)[:-2], "--engine", engine, "--workers", workers, "--part-rows", 40,
        )  # fmt: skip
        assert code == 0, said
        digests.add(hashlib.sha256(out.read_bytes() + ledger.read_bytes()).hexdigest())
    assert len(digests) == 1


_SLOW = """
import sys, time
import statllm.engines.decontamination as module
from statllm.cli.app import app

fast = module.LeakWork.__call__
module.LeakWork.__call__ = lambda *given: (time.sleep(0.2), fast(*given))[1]
app()
"""


def test_a_killed_run_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(place: Path) -> list[object]:
        place.mkdir(exist_ok=True)
        return [
            "select", "provenance", folder / "in.parquet", "-o", place / "clean.parquet",
            "--ledger", place / "ledger.parquet", *options(folder), "--part-rows", 20,
        ]  # fmt: skip

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    running = subprocess.Popen(
        [sys.executable, "-c", _SLOW, *map(str, command(killed))], stdout=subprocess.DEVNULL
    )
    parts = killed / "clean.parquet.leaks"
    while len(list(parts.glob("leaks-*.parquet"))) < 3 and running.poll() is None:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    before = len(list(parts.glob("leaks-*.parquet")))
    batches, call = [], LeakWork.__call__

    def counted(self: Any, table: pa.Table, first: int) -> Any:
        batches.append(first)
        return call(self, table, first)

    monkeypatch.setattr(LeakWork, "__call__", counted)
    assert run(*command(killed))[0] == 0
    assert batches == list(range(20 * before, N, 20))
    assert run(*command(whole))[0] == 0
    for name in ("clean.parquet", "ledger.parquet"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert len(list(killed.iterdir())) == 2


def test_lists_of_texts_and_documents(folder: Path, tmp_path: Path) -> None:
    """A row goes whole: one of its documents is marked, or one of its texts leaks."""
    table = pq.read_table(folder / "in.parquet").to_pylist()
    rows = [[0, 3], [], [40, 1], [50], [2, 2]]
    given = pa.table(
        {
            "token_ids": [[table[i]["token_ids"] for i in row] for row in rows],
            "text": [*[[table[i]["text"] for i in row] for row in rows[:-1]], None],
        }
    )
    pq.write_table(given, tmp_path / "in.parquet")
    code, said = run(
        "select", "provenance", tmp_path / "in.parquet", "-o", tmp_path / "clean.parquet",
        "--ledger", tmp_path / "ledger.parquet", *options(folder)[:8], "--workers", 1,
    )  # fmt: skip
    assert code == 0, said
    lines = pq.read_table(tmp_path / "ledger.parquet").to_pylist()
    assert [(line["row"], line["sample"], line["reason"]) for line in lines] == [
        (0, 0, "another document of the row is watermarked"),
        (0, 1, "watermarked"),
        (2, 0, "watermarked"),
        (2, 1, "another document of the row is watermarked"),
        (3, 0, "contaminated by q1"),
        (4, 0, "kept"),
        (4, 1, "kept"),
    ]
    assert [line["contaminated_by"] for line in lines[2:4]] == ["q0", "q0"]
    # the row without documents is kept, though it has no line
    assert pq.read_table(tmp_path / "clean.parquet").num_rows == 2
    assert "all rows" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --key-file, --benchmark or --p-values"),
        (["--p-values", "nothing"], "has no column 'nothing'"),
        (["--p-values", "text"], "column 'text' holds string, not p-values"),
        (["--p-values", "high"], "'high' is 1.5 in row 21; a p-value lies between 0 and 1"),
        (["--p-values", "low"], "'low' is -0.1 in row 2"),
        (["--p-values", "p", "--fdr", 1], "--fdr must lie"),
        (["--p-values", "p", "--tokens", "token_ids"], "--tokens has no effect without --key-file"),
        (["--p-values", "p", "--test", "log"], "--test has no effect without --key-file"),
        (["--p-values", "p", "--text", "text"], "--text has no effect without --key-file"),
        (["--p-values", "p", "--benchmark-text", "text"], "no effect without --benchmark"),
        (["--benchmark", "bench.parquet"], "has no column 'prompt'"),
        (["--benchmark", "bench.parquet", "--benchmark-column", "question"], "column 'prompt'"),
        (["--benchmark", "none.csv", "--benchmark-text", "text"], "none.csv"),
        (["--benchmark", "empty.csv", "--benchmark-text", "text"], "empty.csv has no rows"),
        (["--benchmark", "short.csv", "--benchmark-text", "text"], "no item has 13 words"),
        (["--benchmark", "short.csv", "--benchmark-text", "p", "--benchmark-column", "text",
          "--n", 1], "column 'p' must be text, not double"),
        (["--benchmark", "short.csv", "--benchmark-text", "text", "--n", 0], "n must be at least"),
    ],
)  # fmt: skip
def test_what_is_refused(
    folder: Path,
    tmp_path: Path,
    arguments: list[object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = pq.read_table(folder / "in.parquet")
    high, low = np.ones(N), np.ones(N)
    high[21], low[2] = 1.5, -0.1
    table = table.append_column("high", pa.array(high)).append_column("low", pa.array(low))
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=20)
    (tmp_path / "bench.parquet").write_bytes((folder / "bench.parquet").read_bytes())
    (tmp_path / "empty.csv").write_text("text\n")
    (tmp_path / "short.csv").write_text("text\nfew words\n")
    monkeypatch.chdir(tmp_path)
    code, said = run(
        "select", "provenance", "in.parquet", "-o", "out.parquet", *arguments, "--workers", 1
    )
    assert code == 2
    assert message in said
    assert not (tmp_path / "out.parquet").exists()


def test_small_and_empty_corpora(folder: Path, tmp_path: Path) -> None:
    settings = EngineSettings(workers=1)
    out = tmp_path / "out.parquet"
    pq.write_table(pa.table({"p": pa.array([], pa.float64())}), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="has no rows"):
        select_provenance(Source(tmp_path / "none.parquet"), out, p_values="p", settings=settings)
    benchmark = Benchmark.of([("b", [None, "", "a b c", "a b c"], None)], n=3)
    assert benchmark.names == ("b row 0", "b row 1", "b row 2", "b row 3")
    one = pa.table({"prompt": ["x a b c"], "p": pa.array([None], pa.null())})
    pq.write_table(one, tmp_path / "one.parquet")
    found = select_provenance(
        Source(tmp_path / "one.parquet"),
        out,
        ledger=tmp_path / "ledger.parquet",
        benchmark=benchmark,
        p_values="p",
        settings=settings,
    )
    assert found.counts == {"kept": 0, "contaminated": 1, "called": 0, "untested": 0}
    assert (found.n_items, found.n_short_items, found.n_kept) == (4, 2, 0)
    assert pq.read_table(out).num_rows == 0
    line = pq.read_table(tmp_path / "ledger.parquet").to_pylist()[0]
    assert line["reason"] == "contaminated by b row 2"  # of equal items the first
    nulls = pa.table({"prompt": pa.array([None, ""], pa.string())})
    pq.write_table(nulls, tmp_path / "nulls.parquet")
    found = select_provenance(
        Source(tmp_path / "nulls.parquet"), out, benchmark=benchmark, settings=settings
    )
    assert found.counts == {"kept": 0, "contaminated": 0, "untested": 2}
    with pytest.raises(InputError, match="nothing to select by"):
        select_provenance(Source(tmp_path / "one.parquet"), out, settings=settings)


def test_rows_of_json_lines(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "x a b c d"}\n{"prompt": null}\n')
    (tmp_path / "b.jsonl").write_text('{"prompt": "a b c"}\n')
    code, said = run(
        "select", "provenance", tmp_path / "in.jsonl", "-o", tmp_path / "out.parquet",
        "--benchmark", tmp_path / "b.jsonl", "--n", 3, "--workers", 1,
    )  # fmt: skip
    assert code == 0, said
    assert pq.read_table(tmp_path / "out.parquet")["prompt"].to_pylist() == [None]
    assert len(list(tmp_path.iterdir())) == 3
