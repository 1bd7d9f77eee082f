"""What judges wrote, kept on disk: no question is put to a judge twice.

One SQLite file per judge, holding digests of what was asked and the compressed texts.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from statllm.scoring.blob_cache import BlobCache


class TextCache(BlobCache):
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
        super().__init__(path, "judge cache", "texts", "text")

    def get(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """Return the texts that are there."""
        return {key: self._unpacked(packed) for key, packed in self._blobs(keys)}

    def put(self, texts: dict[bytes, str]) -> None:
        """Keep texts; a key that is there keeps the text that it has."""
        self._put_blobs(
            (key, zlib.compress(text.encode("utf-8", "surrogatepass")))
            for key, text in texts.items()
        )

    def _unpacked(self, packed: bytes) -> str:
        try:
            return zlib.decompress(packed).decode("utf-8", "surrogatepass")
        except (zlib.error, UnicodeDecodeError) as error:
            raise self._damaged("an entry doesn't match its checksum") from error
