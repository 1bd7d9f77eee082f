"""Whether two answers mean the same."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

from statllm.errors import InputError
from statllm.scoring._columns import as_lists, flat_values, lengths_of
from statllm.scoring.canonical import canonical

if TYPE_CHECKING:
    import pyarrow as pa

Equivalence = Literal["exact", "canonical", "math-verify"]

_COMPUTING_TIME = 5.0  # seconds for one comparison
_PATIENCE = 300.0  # seconds by the clock for one, or for importing SymPy
_LONGEST = 400  # characters; longer answers are compared as text only
_INTEGER = re.compile(r"-?\d+")
_COMMAND = re.compile(r"\\[A-Za-z]+|sqrt|sin|cos|tan|log|exp|frac|pi|inf(?:ty|inity)?")
_WORD = re.compile(r"[A-Za-z]{3,}")


def equivalent(a: str | None, b: str | None, method: Equivalence = "canonical") -> bool:
    r"""Return whether two answers mean the same; None equals nothing, not even None.

    Parameters
    ----------
    a, b : str or None
    method : {"exact", "canonical", "math-verify"}
        ``"exact"``: the texts are equal, so that even an empty text is an answer.
        ``"canonical"``: their canonical forms are equal. ``"math-verify"``: also where SymPy
        finds them equal (``\frac{\sqrt{2}}{2}`` and ``1/\sqrt{2}``, sets, intervals), to six
        decimals; needs the extra ``math``. Comparisons are symmetric, are made once, run in a
        process of their own and count as unequal after 5 seconds of computing.

    Raises
    ------
    InputError
        If the method is unknown or math-verify isn't installed.

    Examples
    --------
    >>> equivalent("$1,000", "1000.0"), equivalent("1/3", "0.333"), equivalent(None, None)
    (True, False, False)
    """
    check_method(method)
    if method != "exact":
        a, b = canonical(a), canonical(b)
    if a is None or b is None:
        return False
    if a == b or method != "math-verify":
        return a == b
    return _is_mathematics(a) and _is_mathematics(b) and _compared(*sorted((a, b)))


def merge_equivalent(
    answers: pa.ChunkedArray | pa.Array, method: Equivalence = "math-verify"
) -> pa.Array:
    """Replace each answer by the representative of its equivalence class within the row.

    Equivalence isn't transitive when numbers are compared to six decimals, so classes are built
    greedily: answers in falling order of votes (ties: shorter, then alphabetical) join the
    first class whose representative, its most frequent member, they are equivalent to. The
    order of samples plays no part.

    Parameters
    ----------
    answers : list<string> column
        In canonical form.
    method : {"exact", "canonical", "math-verify"}

    Returns
    -------
    pyarrow.ListArray of string

    Examples
    --------
    >>> import pyarrow as pa
    >>> merge_equivalent(pa.array([["4", "2", "4", None]]), "canonical").to_pylist()
    [['4', '2', '4', None]]
    """
    check_method(method)
    if method != "math-verify":
        return as_lists(flat_values(answers), lengths_of(answers))
    merged = [_merged(row, method) for row in answers.to_pylist()]
    import pyarrow as pa

    return pa.array(merged, pa.list_(pa.string()))


def _merged(row: list[str | None] | None, method: Equivalence) -> list[str | None] | None:
    counts = Counter(answer for answer in row or [] if answer is not None)
    if row is None or len(counts) < 2:
        return row
    representatives: list[str] = []
    of: dict[str | None, str] = {}
    for answer in sorted(counts, key=lambda text: (-counts[text], len(text), text)):
        same = (known for known in representatives if equivalent(answer, known, method))
        of[answer] = next(same, answer)
        if of[answer] == answer:
            representatives.append(answer)
    return [of.get(answer) for answer in row]


def check_method(method: str) -> None:
    """Raise `InputError` where the method is unknown or its package isn't there."""
    if method not in get_args(Equivalence):
        raise InputError(
            f"equivalence '{method}' is unknown; use {', '.join(get_args(Equivalence))}"
        )
    if method == "math-verify" and importlib.util.find_spec("math_verify") is None:
        raise InputError(
            "equivalence 'math-verify' needs the package math-verify: pip install 'statllm[math]'"
        )


def _is_mathematics(text: str) -> bool:
    """Whether SymPy may read it; it would take "pairs" and "paris" for equal products."""
    return len(text) <= _LONGEST and not _WORD.search(_COMMAND.sub(" ", text))


@lru_cache(maxsize=1 << 18)
def _compared(a: str, b: str) -> bool:
    if _INTEGER.fullmatch(a) and _INTEGER.fullmatch(b):
        return False  # their canonical forms differ
    return _WORKER.ask(a, b)


class _Worker:
    """The comparing process: started at first use, and again when it ended over a question."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0  # a forked child must not share its parent's pipes
        self._lock = threading.Lock()

    def ask(self, a: str, b: str) -> bool:
        """Whether a and b are equal; False when there's no answer in time."""
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                self.close()
            if self._process is None or self._owner != os.getpid():
                self._start()
            return self._exchange(json.dumps([a, b, _COMPUTING_TIME])) == "true"

    def _start(self) -> None:
        self._owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "statllm.scoring._math_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        if self._exchange(None) != "ready":
            raise RuntimeError("the process that runs math-verify could not be started")

    def _exchange(self, question: str | None) -> str:
        """Send a line, if any, and read one; empty where the process ended instead."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        clock = threading.Timer(_PATIENCE, process.kill)
        clock.start()
        try:
            if question is not None:
                process.stdin.write(question + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            clock.cancel()
        if not line:
            self.close()
        return line.strip()

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
            self._process = None


_WORKER = _Worker()
atexit.register(_WORKER.close)
