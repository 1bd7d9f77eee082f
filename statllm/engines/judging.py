"""Judging on an engine: every worker opens the judge once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.engines.job import Job
from statllm.engines.models import (
    FineSource,
    ModelEngineSettings,
    ModelWork,
    check_backend,
    model_content,
)
from statllm.engines.run import OnPart, check_targets, parts_folder, put_together, work_through
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.sampling.judge_model import BackendJudge, open_judge
from statllm.sampling.settings import CALL_SETTINGS, SamplingSettings
from statllm.scoring.judges import JudgeSettings, SwapAudit, YesNoJudge, audit_swaps, judge
from statllm.scoring.judges._steps import template_of
from statllm.scoring.judges.criteria import read_criteria
from statllm.scoring.judges.judging import both_orders
from statllm.scoring.judges.verdicts import VerdictSummary

_VALUE, _REASON = "value: ", "reason: "


@dataclass(frozen=True)
class JudgeWork(ModelWork["BackendJudge | YesNoJudge"]):
    """`statllm.scoring.judges.judge` of a batch."""

    source: str
    content: str
    settings: JudgeSettings
    sampling: SamplingSettings
    column: str
    batch_tokens: int
    cache: Path | None
    outputs: tuple[str, ...] = ("judged", "verdicts")

    def decides(self) -> Mapping[str, Any]:
        """Return the judge's content, the settings, and what the files they name say."""
        settings = self.settings
        criteria = None if settings.criteria is None else read_criteria(settings.criteria)
        return {
            "model": self.content,
            "settings": settings.model_dump(mode="json"),
            "sampling": self.sampling.model_dump(mode="json", exclude=CALL_SETTINGS),
            "template": repr(template_of(settings)),
            "criteria": criteria and list(criteria.items()),
            "column": self.column,
            "batch_tokens": self.batch_tokens,
        }

    def open(self, closing: ExitStack) -> BackendJudge | YesNoJudge:
        """Open the judge."""
        if self.settings.kind == "yes-no":
            dtype, device = self.sampling.dtype, self.sampling.device
            return YesNoJudge.load(self.source, dtype, device, self.batch_tokens)
        opened = open_judge(self.source, self.sampling)
        closing.callback(opened.close)
        return opened

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Judge a batch; counts are verdicts by value and by reason, and responses left out."""
        found = judge(
            Generations(table), self.model, self.settings, cache=self.cache, column=self.column
        )
        counts = {"left out": found.n_left_out}
        if found.summary is not None:
            counts |= {f"{_VALUE}{value!r}": n for value, n in found.summary.values.items()}
            counts |= {f"{_REASON}{reason}": n for reason, n in found.summary.reasons.items()}
        return {"judged": found.generations.table, "verdicts": _texts(found.verdicts)}, counts


def _texts(verdicts: pa.Table) -> pa.Table:
    """Verdicts with columns of text where a batch without any has columns of nothing."""
    schema = pa.schema(
        [field.with_type(pa.string()) if pa.types.is_null(field.type) else field
         for field in verdicts.schema]
    )  # fmt: skip
    return verdicts.cast(schema)


@dataclass(frozen=True)
class FileJudged:
    """What `judge_file` has written, in numbers.

    Attributes
    ----------
    n_prompts : int
    n_left_out : int
        Responses that weren't judged: null, or without the part to judge.
    summary : VerdictSummary or None
    audit : SwapAudit or None
        As in `statllm.scoring.judges.Judged`.
    """

    n_prompts: int
    n_left_out: int
    summary: VerdictSummary | None = None
    audit: SwapAudit | None = None


def judge_file(
    model: str | Path,
    source: Source,
    output: Path,
    verdicts: Path | None = None,
    judging: JudgeSettings | None = None,
    sampling: SamplingSettings | None = None,
    *,
    column: str = "reward",
    batch_tokens: int = 16384,
    cache: Path | None = None,
    settings: EngineSettings | None = None,
    on_part: OnPart = lambda done, of: None,
) -> FileJudged:
    """Let a judge assess all responses of a table that may be larger than memory.

    Rows and verdicts are those of `statllm.scoring.judges.judge`, which assesses each prompt by
    itself; yes-no's log-probabilities but for rounding, which goes with the batch. The audit of
    position bias is that of the whole table: it takes 24 bytes for each pair of responses.

    Parameters
    ----------
    model : path or hub name
    source : Source
        One row per prompt.
    output, verdicts : Path
        ``.parquet`` files, or folders of such files (names without suffix).
    judging : JudgeSettings, optional
    sampling : SamplingSettings, optional
        How the judge writes; default greedy, 1024 tokens at most.
    column : str
        Name of the rewards.
    batch_tokens : int
        yes-no: tokens of a batch, padding included.
    cache : Path, optional
        Folder of what judges have said, which all workers share.
    settings : EngineSettings, optional
        Defaults are those of `statllm.engines.models.ModelEngineSettings`.
    on_part : callable
        Told how many parts are done, of how many.

    Raises
    ------
    InputError
        As `statllm.engines.run` and `statllm.scoring.judges.judge`; if the backend isn't for an
        engine.

    Examples
    --------
    >>> judge_file("models/judge", Source(Path("samples.parquet")), Path("judged"),
    ...            settings=EngineSettings(engine="ray", gpus=1))  # doctest: +SKIP
    """
    judging = judging or JudgeSettings()
    sampling = sampling or SamplingSettings(temperature=0.0, max_new_tokens=1024)
    chosen = ModelEngineSettings.of(settings)
    check_backend(sampling, chosen)
    if judging.kind == "yes-no" and sampling.backend != "transformers":
        raise InputError("kind yes-no reads probabilities, which needs backend transformers")
    content = model_content(model, sampling)
    work = JudgeWork(str(model), content, judging, sampling, column, batch_tokens, cache)
    outputs = {"judged": output} if verdicts is None else {"judged": output, "verdicts": verdicts}
    check_targets(source, output, verdicts)
    folder = parts_folder(work, outputs)
    job, counts = work_through(FineSource.of(source), work, folder, chosen, on_part)
    found = FileJudged(
        counts["rows"],
        counts["left out"],
        None if judging.kind == "yes-no" else _summary(counts),
        _audit(job) if judging.kind == "pairwise" else None,
    )
    put_together(job, outputs)
    return found


def _summary(counts: Mapping[str, int]) -> VerdictSummary:
    """All parts' verdicts by value and by reason."""
    values = {
        float(name.removeprefix(_VALUE)): count
        for name, count in counts.items()
        if name.startswith(_VALUE)
    }
    reasons = {
        name.removeprefix(_REASON): count
        for name, count in counts.items()
        if name.startswith(_REASON)
    }
    read, failed = sum(values.values()), sum(reasons.values())
    return VerdictSummary(
        read + failed, read, failed, dict(sorted(reasons.items())), dict(sorted(values.items()))
    )


def _audit(job: Job) -> SwapAudit:
    """Position bias over all parts, from their verdicts; a prompt's pairs are a cluster."""
    pieces = []
    n_prompts = 0
    for file in job.files("verdicts"):
        table = file.read(["prompt_id", "first", "second", "vote", "verdict"], use_threads=False)
        ids = table["prompt_id"].combine_chunks().dictionary_encode()
        prompt = ids.indices.to_numpy().astype(np.int64) + n_prompts
        n_prompts += len(ids.dictionary)
        first, second, vote, verdict = (table[n].to_numpy() for n in table.column_names[1:])
        pieces.append(both_orders(prompt, first, second, vote, verdict.astype(np.float64)))
    forward, backward, row = (np.concatenate(each) for each in zip(*pieces, strict=True))
    return audit_swaps(forward, backward, row)
