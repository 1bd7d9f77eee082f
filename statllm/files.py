"""Files that are either complete or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def _temporary_name(path: Path) -> Path:
    """A hidden sibling: the rename must not cross file systems.

    Its name says who writes it, so that what a killed process left is known and removed.
    """
    for leftover, host, process in list(_leftovers(path)):
        if host == _host() and not _alive(process):
            _remove(leftover)
    return path.with_name(f".{path.name}.{_host()}_{os.getpid()}_{uuid.uuid4().hex[:8]}.tmp")


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", platform.node())


def _leftovers(path: Path) -> Iterator[tuple[Path, str, int]]:
    """Temporary siblings of a path, with the host and the process that write or wrote them."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.([A-Za-z0-9-]*)_(\d+)_[0-9a-f]{{8}}\.tmp")
    for name in os.listdir(path.parent):
        found = pattern.fullmatch(name)
        if found:
            yield path.with_name(name), found[1], int(found[2])


def sweep_leftovers(path: Path) -> None:
    """Remove what any process left of a file or folder; nobody may be writing it now."""
    if path.parent.is_dir():
        for leftover, _, _ in list(_leftovers(path)):
            _remove(leftover)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _remove(leftover: Path) -> None:
    if leftover.is_dir():
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        leftover.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file or folder entry to disk, so that a rename never outlives its content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` on success and vanishes on failure.

    Parameters
    ----------
    path : str or Path
        The file to write; its folder is made if it is missing.

    Raises
    ------
    InputError
        If the folder can't be made or `path` is a folder.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "numbers.txt"
    >>> with atomic(target) as temporary:
    ...     _ = temporary.write_text("1 2 3")
    >>> target.read_text()
    '1 2 3'
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, a file was expected")
    _make_parent(path)
    temporary = _temporary_name(path)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Like `atomic`, for a folder that replaces an older one as a whole.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "model"
    >>> with atomic_folder(target) as temporary:
    ...     _ = (temporary / "config.json").write_text("{}")
    >>> sorted(p.name for p in target.iterdir())
    ['config.json']
    """
    path = Path(path)
    _make_parent(path)
    temporary = _temporary_name(path)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        _sync(temporary)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
        _sync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def link_folder(source: Path, target: Path) -> None:
    """Let a folder's files be those of another, without copying them where links will do.

    Neither is changed through the other: we write files anew and rename them.
    """

    def linked(file: str, name: str) -> None:
        try:
            os.link(file, name)
        except OSError:  # a file system without links
            shutil.copyfile(file, name)

    with atomic_folder(target) as folder:
        shutil.copytree(source, folder, copy_function=linked, dirs_exist_ok=True)


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def sweep_temporary(folder: str | Path) -> None:
    """Remove what a killed process left behind under a temporary name in `folder`."""
    for leftover in Path(folder).glob(".*.tmp"):
        _remove(leftover)


def write_parquet(table: pa.Table, path: str | Path) -> None:
    """Write an Arrow table; the bytes depend on the table alone."""
    import pyarrow.parquet as pq

    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_parquet(path: str | Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file.

    Raises
    ------
    InputError
        If the file is missing, empty, truncated or not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = existing_file(path)
    try:
        return pq.read_table(path, columns=columns)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise InputError(f"{path} is not a complete Parquet file: {reason}") from error


def existing_file(path: str | Path) -> Path:
    """Return `path` as a non-empty file.

    Raises
    ------
    InputError
        If it is missing, a folder, or of zero bytes.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        raise InputError(f"{path} is a folder, a file was expected")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")
    return path


def read_yaml(path: str | Path, what: str) -> dict[str, Any]:
    """Read a mapping from YAML.

    Parameters
    ----------
    path : str or Path
    what : str
        What the file should be, for the error: "a recipe".

    Raises
    ------
    InputError
        If the file is missing, empty, not YAML, or holds no mapping, or a key occurs twice.
    """
    import yaml

    class UniqueKeys(yaml.SafeLoader):
        """Refuses a key that occurs twice, of which the last one would win in silence."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            seen: set[str] = set()
            for key in keys:
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise yaml.YAMLError(f"key '{key.value}' occurs twice (line {line})")
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    path = existing_file(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not {what}: a mapping of keys was expected")
    return content


def write_text(text: str, path: str | Path) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(value: Any, path: str | Path) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes."""
    write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", path)


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        If it is missing, empty or not JSON (the line is named).
    """
    path = existing_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def sha256(path: str | Path) -> str:
    """Digest of a file's bytes, or of a folder's names and contents in sorted order.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a").write_text("x")
    >>> sha256(folder) == sha256(folder)
    True
    """
    path = Path(path)
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(sha256(file).encode() + b"\n")
    return digest.hexdigest()
