"""The cache of models: what is written is whole, what is damaged is named."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest

from statllm.errors import InputError
from statllm.files import sha256
from statllm.scoring import model_cache
from statllm.scoring.model_cache import (
    ModelCache,
    default_cache_folder,
    model_fingerprint,
    remembered,
    text_key,
)

KEYS = [text_key(str(i)) for i in range(1200)]  # more than one query
ROWS = np.random.default_rng(0).normal(size=(1200, 3)).astype(np.float32)


def halves(missing: np.ndarray):
    """Computes the rows in two batches."""
    for places in np.array_split(missing, 2):
        yield places, ROWS[places]


def never(missing: np.ndarray):
    raise AssertionError("nothing is missing")


def test_what_was_put_comes_back_bit_for_bit(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "new" / "scores.sqlite", {"model": "x"})
    cache.put(KEYS, ROWS)
    found = ModelCache(cache.path).get(KEYS)
    assert len(found) == len(cache) == 1200
    for key, row in zip(KEYS, ROWS, strict=True):
        np.testing.assert_array_equal(found[key], row)
    cache.put(KEYS[:1], np.zeros((1, 3)))  # what is there stays
    np.testing.assert_array_equal(cache.get(KEYS[:1])[KEYS[0]], ROWS[0])


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "scores.sqlite")
    cache.put(KEYS[100:], ROWS[100:])
    asked = []

    def compute(missing: np.ndarray):
        asked.extend(missing.tolist())
        yield from halves(missing)

    np.testing.assert_array_equal(remembered(cache, KEYS, compute), ROWS)
    assert asked == list(range(100))
    np.testing.assert_array_equal(remembered(cache, KEYS, never), ROWS)
    assert remembered(cache, [], never).shape == (0, 0)


def test_a_run_that_breaks_off_keeps_what_it_had(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "scores.sqlite")

    def breaks(missing: np.ndarray):
        yield missing[:700], ROWS[missing[:700]]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remembered(cache, KEYS, breaks)
    assert len(cache) == 700


def write_and_die(path: str) -> None:
    import os

    def dies(missing: np.ndarray):
        yield missing[:600], ROWS[missing[:600]]
        ModelCache(path).put(KEYS[:600], ROWS[:600])
        with sqlite3.connect(path) as connection:
            connection.execute("DELETE FROM scores")  # a transaction that is never finished
            os.kill(os.getpid(), 9)
        yield missing[600:], ROWS[600:]

    remembered(ModelCache(path), KEYS, dies)


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    process = multiprocessing.get_context("spawn").Process(target=write_and_die, args=(str(path),))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    found = ModelCache(path).get(KEYS)
    assert len(found) == 600
    np.testing.assert_array_equal(np.stack([found[key] for key in KEYS[:600]]), ROWS[:600])


def fill(path: str, start: int) -> None:
    cache = ModelCache(path)
    for i in range(start, 1200, 200):
        cache.put(KEYS[i : i + 100], ROWS[i : i + 100])
        cache.get(KEYS)


def test_several_processes_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "scores.sqlite")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fill, args=(path, start)) for start in (0, 100)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    found = ModelCache(path).get(KEYS)
    np.testing.assert_array_equal(np.stack([found[key] for key in KEYS]), ROWS)


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    ModelCache(path).put(KEYS, ROWS)
    whole = path.read_bytes()
    path.write_bytes(b"not a database at all, but text " * 40)
    with pytest.raises(InputError, match="scores.sqlite is damaged .*; delete it"):
        ModelCache(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged"):
        remembered(ModelCache(path), KEYS, never)
    number = ROWS[600].tobytes()  # one bit of one number
    at = whole.index(number)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(InputError, match="is damaged .an entry doesn't match its checksum"):
        ModelCache(path).get(KEYS)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="can't be made"):
        ModelCache(tmp_path / "file" / "scores.sqlite")
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(InputError, match="can't be used: unable to open"):
        ModelCache(tmp_path / "folder.sqlite")


def test_a_read_only_cache_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    ModelCache(path).put(KEYS, ROWS)
    path.chmod(stat.S_IRUSR)
    assert len(ModelCache(path).get(KEYS)) == 1200


def test_the_fingerprint_is_that_of_the_model(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    seen = {model_fingerprint(tmp_path, {})}
    (tmp_path / "README.md").write_text("card")
    (tmp_path / "pytorch_model.bin").write_text("never read")
    assert model_fingerprint(tmp_path, {}) in seen
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{ }")
        seen.add(model_fingerprint(tmp_path, {}))
    seen.add(model_fingerprint(tmp_path, {"pooling": "cls"}))
    assert len(seen) == 5


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "statllm" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / ".cache" / "statllm" / "models"


def test_weights_are_read_again_only_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    (tmp_path / "config.json").write_text("{}")
    read = []

    def counted(path: Path) -> str:
        read.append(path.name)
        return sha256(path)

    monkeypatch.setattr(model_cache, "sha256", counted)
    first = model_fingerprint(tmp_path, {"kind": "reward"})
    assert model_fingerprint(tmp_path, {"kind": "reward-features"}) != first
    assert model_fingerprint(tmp_path, {"kind": "reward"}) == first
    assert sorted(read) == ["config.json", "model.safetensors"]
    (tmp_path / "model.safetensors").write_bytes(b"two")
    os.utime(tmp_path / "model.safetensors", ns=(1, 1))
    assert model_fingerprint(tmp_path, {"kind": "reward"}) != first
    assert len(read) == 3
