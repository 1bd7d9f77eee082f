"""`statllm.selection.decontamination` on tables that are larger than memory."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from statllm.engines.rows import column_names, numbered
from statllm.engines.run import OnPart, check_target, join, work_through
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
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
    for path in [output, *([ledger] if ledger else [])]:
        check_target(path)
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
