"""What engines do to a batch: score it, or select from it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from statllm.engines.run import OnPart, check_targets, run, work_through
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring import ScoringSettings, score
from statllm.selection import BandSettings, RipSettings, RuleSettings, select
from statllm.selection.settings import RIP_BOUNDS, ConformalSettings, IrpoSettings
from statllm.selection.tpo_settings import TpoSettings

_REASON = "reason: "
_REWRITTEN = "batches with rewritten answers"


@dataclass(frozen=True)
class ScoreWork:
    """`statllm.scoring.score` of a batch."""

    settings: ScoringSettings
    outputs: tuple[str, ...] = ("scores",)

    def decides(self) -> Mapping[str, Any]:
        """Return the settings."""
        return self.settings.model_dump(mode="json")

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Score a batch; ``answer_raw`` is there in every batch, needed or not."""
        scored = score(Generations(table), self.settings)
        out = scored.table
        rewritten = int("answer_raw" in scored)
        if "answer" in table.column_names and not rewritten:
            raw = Generations(table).column("answer")
            out = out.add_column(len(table.column_names), "answer_raw", raw)
        return {"scores": out}, {_REWRITTEN: rewritten}


@dataclass(frozen=True)
class SelectWork:
    """A selection rule on a batch."""

    rule: str
    settings: RuleSettings
    outputs: tuple[str, ...] = ("pairs", "ledger")

    def decides(self) -> Mapping[str, Any]:
        """Return the rule and its settings."""
        return {"rule": self.rule, **self.settings.model_dump(mode="json")}

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Select from a batch; counts are prompts by reason, and pairs."""
        found = select(self.rule, Generations(table), self.settings)
        counts = {_REASON + reason: count for reason, count in found.counts().items()}
        return (
            {"pairs": found.pairs, "ledger": found.ledger},
            {**counts, "pairs": found.pairs.num_rows},
        )


@dataclass(frozen=True)
class RipPool:
    """The three metrics of RIP's unfiltered pool, for its quantiles."""

    settings: RipSettings
    outputs: tuple[str, ...] = ("pool",)

    def decides(self) -> Mapping[str, Any]:
        """Return the settings."""
        return self.settings.model_dump(mode="json")

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Measure a batch."""
        ledger = select("rip", Generations(table), self.settings).ledger
        pool = ledger.filter(ledger["kept"]).select(sorted({metric for metric, _, _ in RIP_BOUNDS}))
        return {"pool": pool}, {}


def score_file(
    source: Source,
    output: Path,
    scoring: ScoringSettings | None = None,
    settings: EngineSettings | None = None,
    on_part: OnPart = lambda done, of: None,
) -> int:
    """Score a table that is larger than memory; return its number of prompts.

    The rows are those of `statllm.scoring.score`, which needs the table in memory.

    Parameters
    ----------
    source : Source
        One row per prompt.
    output : Path
        A ``.parquet`` file, or a folder of such files (a name without suffix).
    scoring : ScoringSettings, optional
    settings : EngineSettings, optional
    on_part : callable
        Told how many parts are done, of how many.

    Raises
    ------
    InputError
        As `statllm.engines.run` and `statllm.scoring.score`.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> table = pa.table({"prompt_id": ["a", "b"], "answer": [["4", "4", "5"], ["7", "7", "7"]]})
    >>> pq.write_table(table, folder / "votes.parquet")
    >>> score_file(Source(folder / "votes.parquet"), folder / "s.parquet",
    ...            settings=EngineSettings(workers=1))
    2
    >>> pq.read_table(folder / "s.parquet")["vote_share"].to_pylist()
    [0.6666666666666666, 1.0]
    """
    work = ScoreWork(scoring or ScoringSettings())

    def finish(table: pa.Table, counts: Mapping[str, int]) -> pa.Table:
        return table if counts[_REWRITTEN] or "answer_raw" in given else _without_raw(table)

    given = _columns(source)
    chosen = settings or EngineSettings()
    return run(source, work, {"scores": output}, chosen, finish, on_part)["rows"]


def _without_raw(table: pa.Table) -> pa.Table:
    return table.drop_columns("answer_raw") if "answer_raw" in table.column_names else table


def _columns(source: Source) -> set[str]:
    part = source.parts(1)[0]
    return set(pq.read_schema(part.path).names) | set(source.columns)


@dataclass(frozen=True)
class FileSelection:
    """What `select_file` has done.

    Attributes
    ----------
    n_prompts, n_pairs : int
    counts : dict
        Prompts by reason, "kept" first; they add up to `n_prompts`.
    thresholds : dict
        The bounds that were applied.
    """

    n_prompts: int
    n_pairs: int
    counts: dict[str, int]
    thresholds: dict[str, float]


def select_file(
    rule: str,
    source: Source,
    pairs: Path,
    ledger: Path | None,
    selection: RuleSettings,
    settings: EngineSettings | None = None,
    on_part: OnPart = lambda done, of: None,
) -> FileSelection:
    """Select from a table that is larger than memory, by a rule that judges each prompt alone.

    Pairs and ledger are those of `statllm.selection.select`. RIP's quantiles are exact: a first
    pass takes the pool's metrics, 24 bytes a prompt.

    Parameters
    ----------
    rule : {"scpo", "irpo", "rip", "tpo"}
    source : Source
    pairs, ledger : Path
        ``.parquet`` files, or folders of such files (names without suffix).
    selection : RuleSettings
        Of that rule.
    settings : EngineSettings, optional
    on_part : callable
        Told how many parts are done, of how many.

    Raises
    ------
    InputError
        If the rule compares prompts with each other; as `statllm.engines.run` and
        `statllm.selection.select`.
    """
    if isinstance(selection, ConformalSettings):
        raise InputError("conformal selection compares all prompts: it needs the table in memory")
    if isinstance(selection, BandSettings):
        raise InputError("band takes quantiles of all prompts: it needs the table in memory")
    if isinstance(selection, IrpoSettings) and selection.max_pairs is not None:
        raise InputError("max_pairs draws from all pairs: it needs the table in memory")
    if isinstance(selection, TpoSettings) and selection.compares_prompts:
        raise InputError(
            "tpo with rho 'auto' or a cap on failures looks at all prompts: give rho, and "
            "max_failure_share 1 or unparsed 'dropped'"
        )
    settings = settings or EngineSettings()
    check_targets(source, pairs, ledger)
    pool = pairs.with_name(f"{pairs.name}.pool")
    if isinstance(selection, RipSettings):
        selection = _with_numbers(source, selection, pool, settings, on_part)
    outputs = {"pairs": pairs} if ledger is None else {"pairs": pairs, "ledger": ledger}
    counts = run(source, SelectWork(rule, selection), outputs, settings, on_part=on_part)
    shutil.rmtree(pool, ignore_errors=True)
    reasons = {
        name.removeprefix(_REASON): count
        for name, count in counts.items()
        if name.startswith(_REASON)
    }
    kept = reasons.pop("kept", 0)
    ordered = {"kept": kept, **dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))}
    return FileSelection(counts["rows"], counts["pairs"], ordered, _thresholds(selection))


def _with_numbers(
    source: Source, selection: RipSettings, pool: Path, settings: EngineSettings, on_part: OnPart
) -> RipSettings:
    """Return the settings with every quantile turned into the number that it is."""
    quantiles = [names for names in RIP_BOUNDS if getattr(selection, names[2]) is not None]
    if not quantiles:
        return selection
    none = dict.fromkeys([name for _, *names in RIP_BOUNDS for name in names] + ["reward_sd"])
    work = RipPool(selection.model_copy(update=none))
    job, _ = work_through(source, work, pool, settings, on_part)
    changes: dict[str, float | None] = {}
    for metric, bound, quantile in quantiles:
        files = [job.file("pool", number) for number in range(len(job.parts))]
        values = np.concatenate(
            [
                pq.read_table(f, columns=[metric])[metric].to_numpy()
                for f in files
                if _has(f, metric)
            ]
        )
        changes[quantile] = None
        changes[bound] = (
            float(np.quantile(values, getattr(selection, quantile))) if len(values) else None
        )
    return selection.model_copy(update=changes)


def _has(path: Path, name: str) -> bool:
    return name in pq.read_schema(path).names


def _thresholds(selection: RuleSettings) -> dict[str, float]:
    names = ["threshold", "rho", *(bound for _, bound, _ in RIP_BOUNDS)]
    found = {name: getattr(selection, name, None) for name in names}
    return {name: float(value) for name, value in found.items() if value is not None}
