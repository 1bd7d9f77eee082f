"""Sampling on an engine: every worker opens the model once, and draws for its batches."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from statllm.engines.models import (
    FineSource,
    ModelEngineSettings,
    ModelWork,
    check_backend,
    model_content,
)
from statllm.engines.run import OnPart, run
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.sampling.progress import SamplingProgress
from statllm.sampling.sampler import check_prompts, draw_rows, open_backend
from statllm.sampling.settings import ANSWER_SETTINGS, CALL_SETTINGS, SamplingSettings
from statllm.sampling.stopping import check_scoring
from statllm.scoring import ScoringSettings

if TYPE_CHECKING:
    from statllm.sampling.backend import Backend

#: What says how a table is cut into shards, which parts and batches do instead.
_SHARDS = {"shard_size"}


@dataclass(frozen=True)
class SampleWork(ModelWork["tuple[Backend, str]"]):
    """`statllm.sampling.sample` of a batch of prompts."""

    source: str
    content: str
    settings: SamplingSettings
    scoring: ScoringSettings | None
    outputs: tuple[str, ...] = ("samples",)

    def decides(self) -> Mapping[str, Any]:
        """Return the model's content and the settings."""
        scoring = self.scoring
        return {
            "model": self.content,
            "settings": self.settings.model_dump(mode="json", exclude=CALL_SETTINGS | _SHARDS),
            "scoring": scoring and scoring.model_dump(mode="json", include=ANSWER_SETTINGS),
        }

    def open(self, closing: ExitStack) -> tuple[Backend, str]:
        """Open the backend; return it with the model's label."""
        backend, _, label = open_backend(self.source, self.settings)
        closing.callback(backend.close)
        return backend, label

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Sample a batch; the counts are its tokens and prompts."""
        backend, label = self.model
        prompts = check_prompts(table, self.scoring)
        encoded = backend.encode(prompts["prompt_id"].to_pylist(), prompts["prompt"].to_pylist())
        with SamplingProgress(prompts.num_rows * self.settings.n, shown=False) as line:
            # nothing is ever missing: that is for servers, which aren't for engines
            samples, _ = draw_rows(backend, label, prompts, encoded, self.scoring, line)
        tokens = sum(sum(row) for row in samples["n_tokens"].to_pylist())
        return {"samples": samples}, {"tokens": tokens}


@dataclass(frozen=True)
class FileSamples:
    """What `sample_file` has written.

    Attributes
    ----------
    n_prompts, n_tokens : int
    """

    n_prompts: int
    n_tokens: int


def sample_file(
    model: str | Path,
    source: Source,
    output: Path,
    sampling: SamplingSettings | None = None,
    scoring: ScoringSettings | None = None,
    settings: EngineSettings | None = None,
    on_part: OnPart = lambda done, of: None,
) -> FileSamples:
    """Sample the prompts of a table that may be larger than memory.

    In float32 with transformers, texts, token ids and decisions are those of
    `statllm.sampling.sample`, row for row; recorded log-probabilities may differ from those in
    their last digits, as between any two batches there. They are functions of the source and of
    `part_rows` and `batch_rows`, so that neither the engine nor the number of workers changes
    a byte. A batch is what the model is given at a time; `sampling.shard_size` isn't used.

    Parameters
    ----------
    model : path or hub name
    source : Source
        One row per prompt.
    output : Path
        A ``.parquet`` file, or a folder of such files (a name without suffix).
    sampling : SamplingSettings, optional
        With backend transformers or vllm, see `statllm.engines.models.check_backend`.
    scoring : ScoringSettings, optional
        With `sampling.stop`: how answers are read.
    settings : EngineSettings, optional
        Defaults are those of `statllm.engines.models.ModelEngineSettings`.
    on_part : callable
        Told how many parts are done, of how many.

    Raises
    ------
    InputError
        As `statllm.engines.run` and `statllm.sampling.sample`; if the backend isn't for an engine.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow.parquet as pq
    >>> from statllm.lab import model_path, problems
    >>> folder = Path(tempfile.mkdtemp())
    >>> pq.write_table(problems("test", 3, 0), folder / "prompts.parquet")
    >>> sample_file(model_path(), Source(folder / "prompts.parquet"), folder / "samples.parquet",
    ...             SamplingSettings(n=2, max_new_tokens=80)).n_prompts
    3
    """
    sampling = sampling or SamplingSettings()
    reading = (scoring or ScoringSettings()) if sampling.stop else None
    if reading:
        check_scoring(reading)
    chosen = ModelEngineSettings.of(settings)
    check_backend(sampling, chosen)
    work = SampleWork(str(model), model_content(model, sampling), sampling, reading)
    counts = run(FineSource.of(source), work, {"samples": output}, chosen, on_part=on_part)
    return FileSamples(counts["rows"], counts["tokens"])
