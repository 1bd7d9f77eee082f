"""Near-duplicates and leaks on engines: what the table in memory gives, whatever the pieces."""

from __future__ import annotations

import hashlib
import itertools
import json
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
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.engines import EngineSettings, Source
from statllm.engines.decontamination import DecontaminationWork, decontaminate_file
from statllm.engines.deduplication import ShingleWork, near_duplicates_file
from statllm.engines.rows import KeptRows
from statllm.errors import InputError
from statllm.selection import _candidates, _minhash
from statllm.selection.near_duplicates import near_duplicates

pytestmark = pytest.mark.usefixtures("one_ray")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray isn't installed")
ENGINES = ["local", pytest.param("ray", marks=needs_ray)]


def corpus(n: int, seed: int = 0) -> pa.Table:
    """Random texts; of some, copies with a few words changed; copies of all; empty ones."""
    rng = np.random.default_rng(seed)
    texts: list[str | None] = []
    for _ in range(n):
        kind = rng.random()
        words = [f"w{i}" for i in rng.integers(0, 900, rng.integers(1, 40))]
        if kind < 0.05:
            texts.append([None, "", "?!", "  "][rng.integers(4)])
            continue
        if kind < 0.45 and texts:
            words = (texts[rng.integers(len(texts))] or "a b").split()
            for _ in range(rng.integers(0, len(words) // 3 + 1)):
                words[rng.integers(len(words))] = f"w{rng.integers(900)}"
        texts.append(" ".join(words))
    return pa.table(
        {
            "prompt_id": [f"p{i}" for i in rng.permutation(n)],
            "prompt": texts,
            "good": rng.integers(0, 4, n).astype(float),
            "task": rng.choice(["a", "b", "c"], n, p=[0.6, 0.35, 0.05]),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pq.write_table(corpus(900), tmp_path / "in.parquet", row_group_size=70)
    rng = np.random.default_rng(3)
    texts = [text for text in corpus(900)["prompt"].to_pylist() if text and len(text) > 60]
    for name in ("one", "two"):
        chosen = [f"Q: {texts[i]}" for i in rng.integers(len(texts), size=15)]
        lines = [json.dumps({"question": text}) for text in [*chosen, None, "short"]]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    return tmp_path


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def verb(folder: Path, name: str) -> list[object]:
    against = [folder / f"{each}.jsonl" for each in ("one", "two", "one")]
    options: list[object] = [item for path in against for item in ("--against", path)]
    options += ["--against-column", "question", "--n", 6]
    return ["select", name, *(options if name == "decontaminate" else ["--threshold", 0.4])]


def digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


@pytest.mark.parametrize("name", ["near-duplicates", "decontaminate"])
@pytest.mark.parametrize(
    ("engine", "pieces", "options"),
    [
        ("local", {}, []),
        ("local", {"part-rows": 100, "batch-rows": 33, "workers": 2}, ["--where", "task=a"]),
        ("local", {"part-rows": 1, "batch-rows": 1000, "workers": 1}, ["--where", "task=c"]),
        pytest.param("ray", {"part-rows": 250, "batch-rows": 41}, [], marks=needs_ray),
    ],
)
def test_rows_and_ledger_are_those_of_the_table_in_memory(
    folder: Path, name: str, engine: str, pieces: dict[str, int], options: list[str]
) -> None:
    said = []
    for place, more in (
        ("memory", []),
        ("engine", ["--engine", engine, *(f"--{key}={value}" for key, value in pieces.items())]),
    ):
        out = ("-o", folder / f"{place}.parquet", "--ledger", folder / f"{place}-ledger.parquet")
        output = invoke(*verb(folder, name), folder / "in.parquet", *out, *options, *more)
        # Where lines break depends on how long the path is.
        said.append("".join(output.split()).replace(place, ""))
    assert said[0] == said[1]
    for ending in (".parquet", "-ledger.parquet"):
        tables = [pq.read_table(folder / f"{place}{ending}") for place in ("memory", "engine")]
        assert tables[0].schema.equals(tables[1].schema)
        assert tables[0].equals(tables[1])
        assert tables[0].num_rows
    ledger = tables[1]
    assert ledger["row"].to_pylist() == list(range(ledger.num_rows))
    if not options:
        assert 100 < ledger.filter(ledger["kept"]).num_rows < ledger.num_rows - 20
    assert not list(folder.glob("*.parts")) + list(folder.glob("*.sets"))


@pytest.mark.parametrize("score", [None, "good"])
@pytest.mark.parametrize("ids", [True, False])
def test_what_is_found_does_not_depend_on_pieces(
    tmp_path: Path, score: str | None, ids: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = corpus(600, seed=1)
    table = table if ids else table.drop_columns("prompt_id")
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=50)
    values = None if score is None else table[score].to_numpy()
    chosen: dict[str, Any] = {"threshold": 0.45, "shingle": 1, "permutations": 64, "seed": 7}
    expected = near_duplicates(table["prompt"], score=values, **chosen)
    digests = set()
    for rows, batch, keys, compared in ((1, 5, 100, 50), (600, 600, 1 << 22, 1 << 22)):
        monkeypatch.setattr(_candidates, "_RANGE", keys)  # several ranges of keys, several blocks
        monkeypatch.setattr(_minhash, "_GATHERED", compared)
        found = near_duplicates_file(
            Source(tmp_path / "in.parquet"),
            tmp_path / "kept",
            tmp_path / "ledger",
            score=score,
            settings=EngineSettings(workers=1, part_rows=rows, batch_rows=batch),
            **chosen,
        )
        assert found.to_frame().equals(expected.to_frame())
        assert (found.n_candidates, found.n_verified) == (
            expected.n_candidates,
            expected.n_verified,
        )
        assert found.summary() == expected.summary()
        kept, ledger = (pq.read_table(tmp_path / name) for name in ("kept", "ledger"))
        assert kept.equals(table.filter(pa.array(expected.kept)))
        assert ledger["reason"].to_pylist() == expected.reasons()
        assert ("duplicate_of_prompt_id" in ledger.column_names) == ids
        digests.add(digest(*sorted((tmp_path / "ledger").iterdir())))
    assert found.counts()["near_duplicate"] > 100


@needs_ray
@pytest.mark.parametrize("name", ["near-duplicates", "decontaminate"])
def test_ray_and_any_number_of_workers_write_the_same_bytes(folder: Path, name: str) -> None:
    digests = set()
    for place, engine, workers in (("a", "local", 1), ("b", "local", 3), ("c", "ray", 2)):
        out, ledger = folder / f"{place}.parquet", folder / f"{place}-ledger.parquet"
        options = ["--engine", engine, "--workers", workers, "--part-rows=200", "--batch-rows=30"]
        arguments = verb(folder, name)
        invoke(*arguments, folder / "in.parquet", "-o", out, "--ledger", ledger, *options)
        digests.add(digest(out, ledger))
    assert len(digests) == 1


def pair(jaccard: float, size: int, rng: np.random.Generator) -> tuple[str, str]:
    """Two texts of `size` different words with this similarity of word sets, nearly."""
    common = round(2 * size * jaccard / (1 + jaccard))
    names = [f"w{x}" for x in rng.choice(10**9, 2 * size - common, replace=False)]
    return " ".join(rng.permutation(names[:size])), " ".join(
        rng.permutation(names[size - common :])
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_planted_pairs_are_found_by_their_similarity(tmp_path: Path, engine: Any) -> None:
    """At least 95% of the pairs at .7 and above, at most 1% of those at .4 and below."""
    rng = np.random.default_rng(0)
    similarities = np.repeat([0.9, 0.7, 0.4, 0.2], 250)
    pairs = [pair(jaccard, 60, rng) for jaccard in similarities]
    table = pa.table({"text": [left for left, _ in pairs] + [right for _, right in pairs]})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=100)
    found = near_duplicates_file(
        Source(tmp_path / "in.parquet"),
        tmp_path / "kept.parquet",
        column="text",
        shingle=1,
        settings=EngineSettings(engine=engine, workers=2, part_rows=400, batch_rows=90),
    )
    of = found.duplicate_of[1000:]
    for jaccard in np.unique(similarities):
        rows = np.flatnonzero(similarities == jaccard)
        share = np.mean(of[rows] == rows)
        assert share >= 0.95 if jaccard >= 0.7 else share <= 0.01
    for row in np.flatnonzero(of >= 0):
        left, right = (set(text.split()) for text in pairs[row])
        assert found.jaccard[1000 + row] == len(left & right) / len(left | right)


@pytest.mark.parametrize("engine", ENGINES)
def test_thirteen_words_leak_and_twelve_do_not(tmp_path: Path, engine: Any) -> None:
    reference = [f"w{i}" for i in range(60)]
    texts, wanted = [], []
    for length, place in itertools.product((12, 13, 14), range(0, 45, 3)):
        texts.append(" ".join(["x", "y", *reference[place : place + length], "z"]))
        wanted.append(length >= 13)
    pq.write_table(pa.table({"prompt": texts}), tmp_path / "in.parquet", row_group_size=10)
    decontaminate_file(
        Source(tmp_path / "in.parquet"),
        [("a", ["of no use"]), ("b", ["nor this", " ".join(reference).upper()])],
        tmp_path / "clean.parquet",
        tmp_path / "ledger.parquet",
        settings=EngineSettings(engine=engine, workers=2, part_rows=10, batch_rows=4),
    )
    lines = pq.read_table(tmp_path / "ledger.parquet").to_pylist()
    assert [line["reason"] == "leak" for line in lines] == wanted
    for line, text in zip(lines, texts, strict=True):
        leak = (line["reference_file"], line["reference_row"], line["ngram"])
        expected = ("b", 1, " ".join(text.split()[2:15]))
        assert leak == (expected if line["reason"] == "leak" else (None, None, None))
    clean = pq.read_table(tmp_path / "clean.parquet")["prompt"].to_pylist()
    assert clean == [text for text, leak in zip(texts, wanted, strict=True) if not leak]


_SLOW = """
import sys, time
import statllm.engines.decontamination, statllm.engines.deduplication, statllm.engines.rows
from statllm.cli.app import app

module, name = sys.argv.pop(1).split(":")
work = getattr(sys.modules["statllm.engines." + module], name)
fast = work.__call__
work.__call__ = lambda *given: (time.sleep(0.2), fast(*given))[1]
app()
"""


@pytest.mark.parametrize(
    ("name", "work", "folder_of_parts"),
    [
        ("near-duplicates", ShingleWork, "out.parquet.sets"),
        ("near-duplicates", KeptRows, "out.parquet.parts"),
        ("decontaminate", DecontaminationWork, "out.parquet.parts"),
    ],
)
def test_a_killed_run_goes_on_from_its_last_part(
    folder: Path, name: str, work: Any, folder_of_parts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--engine", "local", "--workers=1", "--part-rows=70", "--batch-rows=70"]

    def command(place: Path) -> list[object]:
        out = ["-o", place / "out.parquet", "--ledger", place / "ledger.parquet"]
        return [*verb(folder, name), folder / "in.parquet", *out, *options]

    killed, whole = folder / "killed", folder / "whole"
    slow = f"{work.__module__.split('.')[-1]}:{work.__name__}"
    running = subprocess.Popen(
        [sys.executable, "-c", _SLOW, slow, *map(str, command(killed))], stdout=subprocess.DEVNULL
    )

    def done() -> int:
        return len(list((killed / folder_of_parts).glob("rows-*.parquet")))

    while done() < 3 and running.poll() is None:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (killed / "out.parquet").exists()
    before, batches, call = done(), [], work.__call__

    def counted(self: Any, table: pa.Table, first: int) -> Any:
        batches.append(first)
        return call(self, table, first)

    monkeypatch.setattr(work, "__call__", counted)
    invoke(*command(killed))
    assert batches == list(range(70 * before, 900, 70))  # of 13 parts those that were not done
    invoke(*command(whole))
    for file in ("out.parquet", "ledger.parquet"):
        assert digest(killed / file) == digest(whole / file)


def test_what_cannot_be_worked_on_is_refused(folder: Path) -> None:
    source, out = Source(folder / "in.parquet"), folder / "out.parquet"
    settings = EngineSettings(workers=1, part_rows=70, batch_rows=70)
    for arguments, message in (
        ({"column": "question"}, "has no column 'question'; it has prompt_id"),
        ({"column": "good"}, r"in rows 0 to 70: column 'good' must be text, not double"),
        ({"score": "task"}, "column 'task' must hold one number per row"),
        ({"score": "nope"}, "has no column 'nope'"),
        ({"threshold": 2}, "threshold must lie"),
        ({"ledger": folder / "l.jsonl"}, "an engine writes .parquet"),
    ):
        with pytest.raises(InputError, match=message):
            near_duplicates_file(source, out, settings=settings, **arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has no column 'question'"):
        decontaminate_file(source, [("a", ["b"])], out, column="question", settings=settings)
    with pytest.raises(InputError, match="a: references: row 1 is int"):
        decontaminate_file(source, [("a", ["b", 3])], out, settings=settings)  # type: ignore[list-item]
    table = pq.read_table(source.path)
    at = table.column_names.index("good")
    scores = pa.array([1.0] * 500 + [None] + [1.0] * 399)
    pq.write_table(table.set_column(at, "good", scores), folder / "nan.parquet")
    with pytest.raises(InputError, match="score is NaN in row 500"):
        near_duplicates_file(Source(folder / "nan.parquet"), out, score="good", settings=settings)
    twice = pa.table({"prompt_id": ["a", "b", "a"], "prompt": ["x", "y", "z"]})
    pq.write_table(twice, folder / "twice.parquet")
    with pytest.raises(InputError, match="'a' occurs twice"):
        near_duplicates_file(Source(folder / "twice.parquet"), out, settings=settings)
    assert not out.exists()


def test_texts_without_a_word(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": pa.array([None, "", " "])}), tmp_path / "in.parquet")
    source, settings = Source(tmp_path / "in.parquet"), EngineSettings(workers=1, batch_rows=2)
    found = near_duplicates_file(source, tmp_path / "out.parquet", settings=settings)
    assert found.counts() == {"kept": 0, "near_duplicate": 0, "empty": 3}
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
    leaks = decontaminate_file(source, [], tmp_path / "out.parquet", settings=settings)
    assert leaks.counts == {"clean": 0, "leak": 0, "short": 0, "empty": 3}
    assert pq.read_table(tmp_path / "out.parquet").equals(pq.read_table(source.path))
