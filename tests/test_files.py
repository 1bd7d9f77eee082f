"""Files are whole or absent, also when the disk is full or the process is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.files import (
    atomic,
    atomic_folder,
    read_json,
    read_parquet,
    read_yaml,
    sha256,
    sweep_temporary,
    write_json,
    write_parquet,
)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for text in ("1", "2"):
        with atomic_folder(tmp_path / "model") as temporary:
            (temporary / text).write_text(text)
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["2"]
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "model") as temporary:
        raise RuntimeError
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["2"]


def test_disk_full_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A file-size limit makes write() fail just as a full disk does (EFBIG for ENOSPC)."""
    script = """
import resource, signal, sys
import pyarrow as pa
from statllm.files import write_parquet
import pyarrow.parquet
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
import numpy as np
write_parquet(pa.table({"x": np.random.default_rng(0).random(100_000)}), sys.argv[1])
"""
    target = tmp_path / "big.parquet"
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "OSError" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from statllm.files import atomic
with atomic(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    sweep_temporary(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_parquet(pa.table({"x": list(range(1000))}), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"t\.parquet is not a complete Parquet file"):
        read_parquet(path)


def test_missing_empty_and_folder_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.parquet").touch()
    for name, words in [("no.parquet", "does not exist"), ("empty.parquet", "is empty")]:
        with pytest.raises(InputError, match=f"{name} {words}"):
            read_parquet(tmp_path / name)
    with pytest.raises(InputError, match="is a folder"):
        read_parquet(tmp_path)
    (tmp_path / "bad.json").write_text('{"a": 1,\n oops}')
    with pytest.raises(InputError, match="line 2"):
        read_json(tmp_path / "bad.json")


def test_digests_depend_on_names_and_contents_alone(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_json({"b": 1, "a": 2}, tmp_path / folder / "x.json")
    assert sha256(tmp_path / "one") == sha256(tmp_path / "two")
    (tmp_path / "two" / "x.json").rename(tmp_path / "two" / "y.json")
    assert sha256(tmp_path / "one") != sha256(tmp_path / "two")


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    table = pa.table({"x": [["a"], ["b", None]]})
    write_parquet(table, tmp_path / "1.parquet")
    write_parquet(table, tmp_path / "2.parquet")
    assert sha256(tmp_path / "1.parquet") == sha256(tmp_path / "2.parquet")


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    """A process is killed while it writes; the next one to write that file clears up."""
    code = (
        "import os, signal, sys; from statllm.files import atomic, atomic_folder\n"
        "with atomic(sys.argv[1] + '/a.txt') as t, atomic_folder(sys.argv[1] + '/b') as u:\n"
        "    t.write_text('half'); (u / 'c').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert len(list(tmp_path.glob(".*.tmp"))) == 2
    with atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
        with atomic(tmp_path / "a.txt") as second:  # of a living process: it stays
            second.write_text("other")
        assert temporary.exists()
    with atomic_folder(tmp_path / "b") as folder:
        (folder / "c").write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b"]
    assert (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", r"is not YAML: key 'a' occurs twice \(line 3\)"),
        ("a:\n  - {b: 1, b: 2}\n", r"key 'b' occurs twice \(line 2\)"),
        ("a: [", "is not YAML"),
        ("- a", "is not a recipe: a mapping of keys was expected"),
    ],
)
def test_yaml_that_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        read_yaml(tmp_path / "r.yaml", "a recipe")


def test_one_key_in_two_places_and_merged_keys_are_read(tmp_path: Path) -> None:
    text = "a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}\n"
    (tmp_path / "r.yaml").write_text(text)
    found = read_yaml(tmp_path / "r.yaml", "a recipe")
    assert found == {"a": {"b": 1, "c": 2}, "d": {"b": 3, "c": 2}}
