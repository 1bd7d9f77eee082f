"""What a run folder holds for the report; what it lacks is named, never guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from statllm.files import read_json, read_parquet
from statllm.report.uncertainty.scores import CONFIDENCES, UNCERTAINTIES

if TYPE_CHECKING:
    import pyarrow as pa

    from statllm.stages import Run

#: The columns that the report reads; token ids and the like stay on the disk.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "samples": ("prompt_id", "prompt"),
    "scores": ("prompt_id", "correct", "majority_answer_correct", *CONFIDENCES, *UNCERTAINTIES),
    "ledger": ("prompt_id", "kept", "reason", "n_pairs"),
    "pairs": (
        "prompt_id", "prompt", "chosen", "rejected", "weight", "chosen_index", "rejected_index",
        "chosen_answer", "rejected_answer", "chosen_votes", "rejected_votes", "n_votes",
        "chosen_reward", "rejected_reward",
    ),
    "training": ("loss", "margin", "accuracy", "logp_chosen", "logp_rejected"),
    "evaluation": (
        "prompt_id", "prompt", "reference", "greedy_response", "greedy_answer",
        "greedy_correct", "majority_correct", "vote_share", "vote_entropy", "n_samples",
    ),
}  # fmt: skip

#: Columns that some rules have no use for.
_OPTIONAL = {
    "chosen_votes", "rejected_votes", "n_votes", "chosen_answer", "rejected_answer",
    "chosen_reward", "rejected_reward", "correct", "reference", "majority_answer_correct",
    *(CONFIDENCES.keys() | UNCERTAINTIES.keys()) - {"vote_share", "vote_entropy"},
}  # fmt: skip


@dataclass(frozen=True)
class RunData:
    """One run, read: tables by iteration, and the names of what isn't there.

    Attributes
    ----------
    run : Run
    label : str
        What the page calls the run; unique among the runs of the page.
    metrics : list of dict
        Rows of metrics.parquet.
    manifest : dict
    stages : dict
        ``(iteration, stage) -> what the stage counted``.
    tables : dict
        ``(artefact, iteration) -> table``, for example ``("ledger", 1)``.
    missing : list of str
        Paths inside the run folder, and columns, that the page would have shown.
    """

    run: Run
    label: str
    metrics: list[dict[str, Any]] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)
    stages: dict[tuple[int, str], dict[str, int]] = field(default_factory=dict)
    tables: dict[tuple[str, int], pa.Table] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def iterations(self) -> range:
        """The trained iterations, from 1."""
        return range(1, self.run.n_iterations + 1)

    @property
    def last(self) -> int:
        """The last iteration."""
        return int(self.run.n_iterations)

    def table(self, artefact: str, iteration: int, *columns: str) -> pa.Table | None:
        """Return a table, or None if it, or one of the columns, is missing."""
        table = self.tables.get((artefact, iteration))
        if table is None or not set(columns) <= set(table.column_names):
            return None
        return table

    def figure(self, name: str, iteration: int) -> dict[str, Any] | None:
        """Return the row of metrics.parquet with that name (or its beginning, to the '@')."""
        for row in self.metrics:
            if row["iteration"] == iteration and row["name"].split("@")[0] == name:
                return row
        return None


def read_runs(runs: Sequence[Run]) -> list[RunData]:
    """Read what the report shows of each run.

    Raises
    ------
    InputError
        If a file is there but can't be read.
    """
    return [_read(run, label) for run, label in zip(runs, _labels(runs), strict=True)]


def _labels(runs: Sequence[Run]) -> list[str]:
    """The recipes' names; where two runs share one, their numbers tell them apart."""
    names = [run.recipe.name for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({place})"
        for place, name in enumerate(names, 1)
    ]


def _read(run: Run, label: str) -> RunData:
    data = RunData(run, label)
    metrics, manifest = run.folder / "metrics.parquet", run.folder / "manifest.json"
    if metrics.exists():
        data.metrics.extend(read_parquet(metrics).to_pylist())
    else:
        data.missing.append("metrics.parquet")
    if manifest.exists():
        data.manifest.update(read_json(manifest))
    else:
        data.missing.append("manifest.json")
    for iteration, stage in run.plan():
        record = run.record(iteration, stage)
        counts = data.manifest.get("counts", {}).get(f"iteration_{iteration}/{stage}")
        if counts is not None:
            data.stages[iteration, stage] = counts
        elif record.exists():
            data.stages[iteration, stage] = read_json(record)["counts"]
        else:
            data.missing.append(f"iteration_{iteration}/{record.name}")
    for iteration in range(run.n_iterations + 1):
        for artefact in _COLUMNS if iteration else ("evaluation",):
            _read_table(data, artefact, iteration)
    return data


def _read_table(data: RunData, artefact: str, iteration: int) -> None:
    """Read the columns that are there; note the others."""
    import pyarrow.parquet as pq

    name = f"iteration_{iteration}/{artefact}.parquet"
    path = data.run.folder / name
    if not path.exists():
        data.missing.append(name)
        return
    read_parquet(path, columns=[])  # says what is wrong with a damaged file
    there = set(pq.read_schema(path).names)
    wanted = _COLUMNS[artefact]
    data.tables[artefact, iteration] = read_parquet(path, [c for c in wanted if c in there])
    lacking = [column for column in wanted if column not in there | _OPTIONAL]
    data.missing.extend(f"{name}, column {column}" for column in lacking)
