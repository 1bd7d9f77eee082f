"""`statllm.selection.decontamination` on tables that are larger than memory."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from statllm.engines.rows import column_names, numbered
from statllm.engines.run import OnPart, check_targets, join, work_through
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.errors import InputError
from statllm.ragged import IntArray
from statllm.selection._row_ledger import leaks_ledger
from statllm.selection._words import Normalisation, Texts, strings
from statllm.selection.decontamination import References, summary_of


@dataclass(frozen=True)
class DecontaminationWork:
    """`statllm.selection.decontamination.decontaminate` of a batch."""

    references: References
    files: tuple[tuple[str, int], ...]
    column: str
    outputs: tuple[str, ...] = ("rows", "ledger")

    def decides(self) -> Mapping[str, Any]:
        """Return the references' digest and the settings."""
        return {
            "references": self._digest,
            "files": [list(file) for file in self.files],
            "column": self.column,
            "n": self.references.n,
            "normalisation": self.references.normalisation,
        }

    @cached_property
    def _digest(self) -> str:
        return self.references.digest()

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Drop the rows of a batch that leak; the ledger numbers the batch's rows from 0."""
        found = self.references.find(strings(table[self.column], f"column '{self.column}'"))
        ids = table["prompt_id"] if "prompt_id" in table.column_names else None
        return (
            {
                "rows": table.filter(pa.array(~found.leaks)),
                "ledger": leaks_ledger(found, self.files, ids),
            },
            found.counts(),
        )


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Items that training data must not have.

    Attributes
    ----------
    names : tuple of str
        What a ledger calls each item.
    references : References
    """

    names: tuple[str, ...]
    references: References

    @classmethod
    def of(
        cls,
        files: Sequence[tuple[str, Texts, Sequence[str | None] | None]],
        n: int = 13,
        normalisation: Normalisation = "words",
    ) -> Benchmark:
        """Take the items of files: each file's name, texts, and the items' names if they have any.

        Raises
        ------
        InputError
            If no item has `n` words, so that none could be found; as
            `statllm.selection.decontamination.decontaminate`.

        Examples
        --------
        >>> Benchmark.of([("test.csv", ["What is the capital of France"], None)], n=5).names
        ('test.csv row 0',)
        """
        texts = [strings(part, f"{name}: items") for name, part, _ in files]
        names = [
            f"{name} row {row}" if ids is None or ids[row] is None else str(ids[row])
            for (name, _, ids), part in zip(files, texts, strict=True)
            for row in range(len(part))
        ]
        known = References.of(pa.chunked_array(texts, pa.large_string()), n, normalisation)
        if known.n_short == len(names):
            where = ", ".join(name for name, _, _ in files)
            raise InputError(f"{where}: no item has {n} words or more, so none could be found")
        return cls(tuple(names), known)


@dataclass(frozen=True)
class LeakWork:
    """Which item each row has a run of words of; a row may hold several texts in a list."""

    references: References
    column: str
    outputs: tuple[str, ...] = ("leaks",)

    def decides(self) -> Mapping[str, Any]:
        """Return the references' digest and the settings."""
        return {
            "references": self._digest,
            "column": self.column,
            "n": self.references.n,
            "normalisation": self.references.normalisation,
        }

    @cached_property
    def _digest(self) -> str:
        return self.references.digest()

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Compare a batch; one line per row: the item, the run, places that match, all places."""
        column = table[self.column].combine_chunks()
        rows = np.arange(table.num_rows)
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
            rows, column = np.repeat(rows, lengths), column.flatten()
        found = self.references.find(strings(column, f"column '{self.column}'"))
        leaking, lead = np.unique(rows[found.leaks], return_index=True)
        lead = np.flatnonzero(found.leaks)[lead]
        item, ngram = np.full(table.num_rows, -1), np.full(table.num_rows, None, object)
        item[leaking] = found.reference[lead]
        ngram[leaking] = [found.ngram[text] for text in lead]
        lines = {
            "item": pa.array(item, mask=item < 0),
            "ngram": pa.array(ngram, pa.string()),
            "n_matches": _total(rows, found.n_matches, table.num_rows),
            "n_ngrams": _total(rows, found.n_ngrams, table.num_rows),
        }
        return {"leaks": pa.table(lines)}, {}


def _total(rows: IntArray, counts: IntArray, n: int) -> pa.Array:
    return pa.array(np.bincount(rows, counts, n).astype(np.int64))


@dataclass(frozen=True)
class FileDecontamination:
    """What `decontaminate_file` has done.

    Attributes
    ----------
    counts : dict
        As `statllm.selection.decontamination.Decontamination.counts`.
    n, n_references, n_short_references : int
        As there.
    """

    counts: dict[str, int]
    n: int
    n_references: int
    n_short_references: int

    def summary(self) -> str:
        """Return one line of text."""
        return summary_of(self.counts, self.n, self.n_references, self.n_short_references)


def decontaminate_file(
    source: Source,
    references: Sequence[tuple[str, Texts]],
    output: Path,
    ledger: Path | None = None,
    *,
    column: str = "prompt",
    n: int = 13,
    normalisation: Normalisation = "words",
    settings: EngineSettings | None = None,
    on_part: OnPart = lambda done, of: None,
) -> FileDecontamination:
    """Drop the rows that share `n` words in a row with a reference.

    The rows are those of `statllm.selection.decontamination.decontaminate`. The references' runs
    of words are hashed once, and every worker holds them: about 40 bytes a run.

    Parameters
    ----------
    source : Source
    references : sequence of (str, texts)
        What must not leak: the name of each file, and its texts.
    output, ledger : Path
        The kept rows, and one line per row: ``.parquet`` files, or folders of such files (names
        without suffix).
    column : str
        The texts.
    n, normalisation
        As `statllm.selection.decontamination.decontaminate`.
    settings : EngineSettings, optional
    on_part : callable
        Told how many parts are done, of how many.

    Raises
    ------
    InputError
        As `statllm.engines.run` and `statllm.selection.decontamination.decontaminate`.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow.parquet as pq
    >>> folder = Path(tempfile.mkdtemp())
    >>> texts = ["So, what is the capital of France?", "Who is Ann?"]
    >>> pq.write_table(pa.table({"prompt": texts}), folder / "in.parquet")
    >>> test_set = ["What is the capital of France"]
    >>> found = decontaminate_file(
    ...     Source(folder / "in.parquet"), [("test", test_set)], folder / "clean.parquet", n=5,
    ...     settings=EngineSettings(workers=1),
    ... )
    >>> found.counts, pq.read_table(folder / "clean.parquet")["prompt"].to_pylist()
    ({'clean': 0, 'leak': 1, 'short': 1, 'empty': 0}, ['Who is Ann?'])
    """
    check_targets(source, output, ledger)
    names = column_names(source, column)
    texts = [strings(part, f"{name}: references") for name, part in references]
    files = tuple((name, len(part)) for (name, _), part in zip(references, texts, strict=True))
    known = References.of(pa.chunked_array(texts, pa.large_string()), n, normalisation)
    work = DecontaminationWork(known, files, column)
    folder = output.with_name(f"{output.name}.parts")
    unique = column == "prompt" and "prompt_id" in names
    settings = settings or EngineSettings()
    job, counts = work_through(source, work, folder, settings, on_part, unique)
    if ledger is not None:
        join(job, "ledger", ledger, numbered(_shifted))
    join(job, "rows", output, lambda table: table)
    shutil.rmtree(folder)
    reasons = {name: counts[name] for name in ("clean", "leak", "short", "empty")}
    return FileDecontamination(reasons, n, len(known.words.lengths), known.n_short)


def _shifted(ledger: pa.Table, first: int) -> pa.Table:
    """A batch's ledger with the rows' numbers in the source."""
    return ledger.set_column(0, "row", pc.add(ledger["row"], first))
