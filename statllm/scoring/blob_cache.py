"""Values by key in one SQLite file, whole or absent."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from statllm.errors import InputError

_ASKED = 500  # keys in one query; SQLite's oldest limit is 999
_WAIT = 60.0  # seconds to wait for another process that writes


class BlobCache:
    """What a model gave, as bytes by key; its subclasses say what the bytes are.

    Several processes may read and write at once. What is written is whole or absent, also after
    a kill.

    Parameters
    ----------
    path : Path
        The SQLite file; its folder is made where it is missing.
    what : str
        What messages call the file.
    table, column : str
        Where the values lie.

    Raises
    ------
    InputError
        Here and in the methods, if the file can't be used or is damaged.
    """

    def __init__(self, path: str | Path, what: str, table: str, column: str) -> None:
        self.path, self._what, self._table, self._column = Path(path), what, table, column
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{what} {self.path} can't be made: {error.strerror}") from error
        with self._connection() as connection:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {table} (key BLOB PRIMARY KEY, {column} BLOB NOT NULL)"
            )

    def __len__(self) -> int:
        with self._connection() as connection:
            return int(connection.execute(f"SELECT count(*) FROM {self._table}").fetchone()[0])

    def _blobs(self, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Give the entries that are there."""
        with self._connection() as connection:
            for start in range(0, len(keys), _ASKED):
                asked = keys[start : start + _ASKED]
                marks = ",".join("?" * len(asked))
                query = f"SELECT key, {self._column} FROM {self._table} WHERE key IN ({marks})"
                yield from connection.execute(query, list(asked))

    def _put_blobs(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep entries; a key that is there keeps the value that it has."""
        with self._connection() as connection:
            connection.executemany(f"INSERT OR IGNORE INTO {self._table} VALUES (?, ?)", entries)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One transaction; what SQLite says becomes a sentence about the file."""
        try:
            with closing(sqlite3.connect(self.path, timeout=_WAIT)) as connection, connection:
                yield connection
        except sqlite3.OperationalError as error:  # locked, read-only, disk full
            raise InputError(f"{self._what} {self.path} can't be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, reason: str) -> InputError:
        return InputError(
            f"{self._what} {self.path} is damaged ({reason}); delete it, and it is made anew"
        )
