"""What models of meaning said about texts, kept on disk: no text is put through a model twice.

One SQLite file per model and settings. It holds digests of texts and numbers, no texts.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.files import sha256
from statllm.scoring.blob_cache import BlobCache

Rows = NDArray[np.float32]
IntArray = NDArray[np.int64]

_FORMAT = 1  # of the file; another number makes another file
_SECONDS_KEPT = 1.0  # work that a killed run may lose

# What decides a model's numbers: configuration, weights, tokenizer. Not the model card.
_MODEL_FILES = (".json", ".safetensors", ".txt", ".model")


def default_cache_folder() -> Path:
    """Where the cache is unless told otherwise: ``statllm/models`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "statllm" / "models"


def model_fingerprint(folder: str | Path, settings: Mapping[str, Any]) -> str:
    """Digest of a model folder's configuration, weights and tokenizer, and of `settings`.

    Parameters
    ----------
    folder : str or Path
        Its own files count, not those of its sub-folders, and of these only what a model reads:
        a changed model card changes nothing.
    settings : mapping
        What else changes the numbers, as JSON values.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "config.json").write_text("{}")
    >>> before = model_fingerprint(folder, {"pooling": "mean"})
    >>> _ = (folder / "README.md").write_text("A model.")
    >>> before == model_fingerprint(folder, {"pooling": "mean"})
    True
    >>> before == model_fingerprint(folder, {"pooling": "cls"})
    False
    """
    digest = hashlib.sha256(json.dumps([_FORMAT, dict(settings)], sort_keys=True).encode())
    for file in sorted(Path(folder).iterdir()):
        if file.is_file() and file.suffix in _MODEL_FILES:
            state = file.stat()
            content = _content(file.resolve(), state.st_size, state.st_mtime_ns)
            digest.update(file.name.encode() + b"\0" + content.encode() + b"\n")
    return digest.hexdigest()


@lru_cache(maxsize=1024)
def _content(file: Path, size: int, changed: int) -> str:
    """Digest of a file of this size and time of change: gigabytes are read once, not per batch."""
    return sha256(file)


def text_key(*texts: str) -> bytes:
    """Digest of a text, or of an ordered pair of them.

    Examples
    --------
    >>> text_key("a", "b") == text_key("a", "b")
    True
    >>> len({text_key("a", "b"), text_key("b", "a"), text_key("ab"), text_key("ab", "")})
    4
    """
    digest = hashlib.blake2b(digest_size=20)
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.digest()


class ModelCache(BlobCache):
    """The numbers that one model gave, with one setting, to texts.

    Several processes may read and write at once. What is written is whole or absent, also after
    a kill, and each entry has a checksum.

    Parameters
    ----------
    path : str or Path
        The SQLite file; made where it is missing.
    about : mapping, optional
        What a person wants to know of the file: kept in its table ``about``, read by nobody.

    Raises
    ------
    InputError
        Here and in the methods, if the file can't be used or is damaged.

    Examples
    --------
    >>> import tempfile
    >>> cache = ModelCache(Path(tempfile.mkdtemp()) / "scores.sqlite")
    >>> cache.put([text_key("yes")], np.array([[0.25, 0.5]]))
    >>> found = cache.get([text_key("yes"), text_key("no")])
    >>> len(found), found[text_key("yes")]
    (1, array([0.25, 0.5 ], dtype=float32))
    """

    def __init__(self, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
        new = not Path(path).exists()  # an older one may be read-only
        super().__init__(path, "model cache", "scores", "value")
        if not new:
            return
        with self._connection() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value)")
            connection.executemany(
                "INSERT OR IGNORE INTO about VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in (about or {}).items()],
            )

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Rows]:
        """Return the rows that are there."""
        return {key: self._unpacked(value) for key, value in self._blobs(keys)}

    def put(self, keys: Sequence[bytes], rows: NDArray[Any]) -> None:
        """Keep one row of numbers per key; a key that is there keeps the row that it has."""
        self._put_blobs((key, _packed(row)) for key, row in zip(keys, rows, strict=True))

    def _unpacked(self, value: bytes) -> Rows:
        numbers, check = value[:-4], value[-4:]
        if len(value) % 4 or _checksum(numbers) != check:
            raise self._damaged("an entry doesn't match its checksum")
        return np.frombuffer(numbers, dtype="<f4").astype(np.float32, copy=False)


def _packed(row: NDArray[Any]) -> bytes:
    numbers = np.ascontiguousarray(row, dtype="<f4").tobytes()
    return numbers + _checksum(numbers)


def _checksum(numbers: bytes) -> bytes:
    return zlib.crc32(numbers).to_bytes(4, "big")


def remembered(
    cache: ModelCache,
    keys: Sequence[bytes],
    compute: Callable[[IntArray], Iterable[tuple[IntArray, Rows]]],
) -> Rows:
    """Return one row per key: from the cache, else computed and put there.

    Parameters
    ----------
    cache : ModelCache
    keys : sequence of bytes
        All different.
    compute : callable
        Gets the places of the keys that are missing; yields some of these places and their rows,
        again and again. What was yielded a second or more before a kill is kept.

    Returns
    -------
    ndarray of float32, shape (n_keys, n_numbers)
        (0, 0) without keys.
    """
    found = cache.get(keys)
    missing = np.array([i for i, key in enumerate(keys) if key not in found], dtype=np.int64)
    if len(missing):
        waiting: list[tuple[list[bytes], Rows]] = []

        def keep() -> None:
            if waiting:
                names = [key for batch, _ in waiting for key in batch]
                cache.put(names, np.concatenate([rows for _, rows in waiting]))
                waiting.clear()

        last = time.monotonic()
        try:
            for places, rows in compute(missing):
                batch = [keys[place] for place in places]
                waiting.append((batch, rows))
                found.update(zip(batch, rows, strict=True))
                if time.monotonic() - last > _SECONDS_KEPT:
                    keep()
                    last = time.monotonic()
        finally:
            keep()
    return np.stack([found[key] for key in keys]) if keys else np.empty((0, 0), np.float32)


def open_cache(cache: str | Path | None, folder: Path, settings: dict[str, Any]) -> ModelCache:
    """Return the cache of a model with these settings.

    Parameters
    ----------
    cache : str or Path, optional
        Folder of the caches of all models; default `default_cache_folder`.
    folder : Path
        Of the model.
    settings : dict
        What changes the numbers; ``"kind"`` is the beginning of the file's name.
    """
    digest = model_fingerprint(folder, settings)
    name = f"{settings['kind']}-{folder.resolve().name}-{digest[:24]}.sqlite"
    root = default_cache_folder() if cache is None else Path(cache).expanduser()
    about = {"model": str(folder.resolve()), "fingerprint": digest, **settings}
    return ModelCache(root / name, about)
