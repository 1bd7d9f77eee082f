"""Phases of a run that are done once: each leaves a record of what decided it and what it made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from statllm.files import read_json, sha256, write_json


class Phases:
    """A folder of phases; one is done if its record fits what decides it and what is there.

    Parameters
    ----------
    folder : Path
        Outputs and records (``NAME.json``) lie in it.
    say : callable
        Told of each phase, in a line.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> phases = Phases(folder, print)
    >>> def make() -> str:
    ...     _ = (folder / "sum.txt").write_text("4")
    ...     return "it is 4"
    >>> for settings in ({"a": 2}, {"a": 2}, {"a": 3}):
    ...     phases.run("sum", [], settings, ["sum.txt"], make)
    sum: it is 4
    sum: done before
    sum: it is 4
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda line: None) -> None:
        self.folder, self.say = folder, say

    def run(
        self,
        name: str,
        inputs: Sequence[str | Path],
        settings: Any,
        outputs: Sequence[str],
        make: Callable[[], str],
    ) -> None:
        """Make the outputs unless they are there and were made from exactly this.

        Parameters
        ----------
        name : str
        inputs : sequence of path
            Files and folders count by their content; a hub name stands for itself.
        settings : Any
            All else that decides the outputs; what JSON can't hold counts by its text.
        outputs : sequence of str
            Names in the folder.
        make : callable
            Makes them, and says what it did.
        """
        digests = [sha256(path) if Path(path).exists() else f"name:{path}" for path in inputs]
        key = hashlib.sha256(json.dumps([settings, digests], default=str).encode()).hexdigest()
        record = self.folder / f"{name}.json"
        if record.is_file() and all((self.folder / one).exists() for one in outputs):
            known = read_json(record)
            if known["key"] == key and known["outputs"] == self._digests(outputs):
                self.say(f"{name}: done before")
                return
        line = make()
        write_json({"key": key, "outputs": self._digests(outputs), "said": line}, record)
        self.say(f"{name}: {line}")

    def _digests(self, outputs: Sequence[str]) -> dict[str, str]:
        return {one: sha256(self.folder / one) for one in outputs}


class Plan(Phases):
    """The names of the phases that would be run, in `names`; nothing is read or made."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.names: list[str] = []

    def run(
        self,
        name: str,
        inputs: Sequence[str | Path],
        settings: Any,
        outputs: Sequence[str],
        make: Callable[[], str],
    ) -> None:
        """Note the name."""
        self.names.append(name)
