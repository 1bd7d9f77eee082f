"""What judges wrote, kept on disk: no question is put to a judge twice.

One SQLite file per judge, holding digests of what was asked and the compressed texts.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from statllm.errors import InputError

_ASKED = 500  # keys in one query; SQLite's oldest limit is 999
_WAIT = 60.0  # seconds to wait for another process that writes


class TextCache:
    """Texts by key.

    Several processes may read and write at once. What is written is whole or absent, also after
    a kill, and each entry has a checksum (zlib's).

    Parameters
    ----------
    path : str or Path
        The SQLite file; made where it is missing.

    Raises
    ------
    InputError
        Here and in the methods, if the file can't be used or is damaged.

    Examples
    --------
    >>> import tempfile
    >>> cache = TextCache(Path(tempfile.mkdtemp()) / "judge.sqlite")
    >>> cache.put({b"one": "A is right. [[A]]"})
    >>> cache.get([b"one", b"two"])
    {b'one': 'A is right. [[A]]'}
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"judge cache {self.path} can't be made: {error.strerror}") from error
        with self._connection() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS texts (key BLOB PRIMARY KEY, text BLOB NOT NULL)"
            )

    def __len__(self) -> int:
        with self._connection() as connection:
            return int(connection.execute("SELECT count(*) FROM texts").fetchone()[0])

    def get(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """Return the texts that are there."""
        found: dict[bytes, str] = {}
        with self._connection() as connection:
            for start in range(0, len(keys), _ASKED):
                asked = keys[start : start + _ASKED]
                marks = ",".join("?" * len(asked))
                query = f"SELECT key, text FROM texts WHERE key IN ({marks})"
                for key, packed in connection.execute(query, list(asked)):
                    found[key] = self._unpacked(packed)
        return found

    def put(self, texts: dict[bytes, str]) -> None:
        """Keep texts; a key that is there keeps the text that it has."""
        entries = [
            (key, zlib.compress(text.encode("utf-8", "surrogatepass")))
            for key, text in texts.items()
        ]
        with self._connection() as connection:
            connection.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", entries)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One transaction; what SQLite says becomes a sentence about the file."""
        try:
            with closing(sqlite3.connect(self.path, timeout=_WAIT)) as connection, connection:
                yield connection
        except sqlite3.OperationalError as error:  # locked, read-only, disk full
            raise InputError(f"judge cache {self.path} can't be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _unpacked(self, packed: bytes) -> str:
        try:
            return zlib.decompress(packed).decode("utf-8", "surrogatepass")
        except (zlib.error, UnicodeDecodeError) as error:
            raise self._damaged("an entry doesn't match its checksum") from error

    def _damaged(self, reason: str) -> InputError:
        return InputError(
            f"judge cache {self.path} is damaged ({reason}); delete it, and it is made anew"
        )
