"""Samples as generation-table rows, and the shards that a restart goes on from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from statllm._version import __version__
from statllm.errors import InputError
from statllm.files import read_parquet, sweep_temporary, write_parquet
from statllm.ragged import Ragged
from statllm.sampling.settings import ANSWER_SETTINGS, CALL_SETTINGS

if TYPE_CHECKING:
    from statllm.sampling.decode import Decoded
    from statllm.sampling.settings import SamplingSettings
    from statllm.scoring.settings import ScoringSettings

_KEY = b"statllm.sampling.key"

#: What the sampler adds to each prompt's row.
SAMPLED_COLUMNS = (
    "response", "token_ids", "token_logprobs", "token_logprobs_model", "logprob", "n_tokens",
    "finish_reason", "prompt_token_ids", "n_near_ties", "seed", "temperature", "top_p", "model",
)  # fmt: skip


def sampled_rows(
    prompts: pa.Table,
    prompt_token_ids: Sequence[Sequence[int]],
    decoded: Sequence[Decoded],
    texts: Sequence[str],
    n_samples: npt.NDArray[np.int64],
    settings: SamplingSettings,
    model: str,
) -> pa.Table:
    """Return the prompts' rows with `SAMPLED_COLUMNS`.

    Samples come prompt after prompt; prompt i has `n_samples[i]` of them. What a server didn't
    tell is null.
    """
    rows = prompts.num_rows
    ends = np.concatenate([[0], np.cumsum(n_samples)])
    told = [getattr(sample, "answer", None) for sample in decoded]  # by a server
    no_ids = [answer is not None and answer.token_ids is None for answer in told]
    no_logprobs = [answer is not None and answer.logprobs is None for answer in told]
    logprob = [
        None if unknown else sample.logprobs_model.sum(dtype=np.float64)
        for sample, unknown in zip(decoded, no_logprobs, strict=True)
    ]
    lengths = [
        len(sample.token_ids) if answer is None else answer.n_tokens
        for sample, answer in zip(decoded, told, strict=True)
    ]
    near_ties = np.array([sample.near_ties for sample in decoded], dtype=np.int32)
    reasons = [
        ("stop" if sample.stopped else "length") if answer is None else answer.finish_reason
        for sample, answer in zip(decoded, told, strict=True)
    ]
    asked = [
        ids if ids or start == end or told[start] is None else told[start].prompt_token_ids
        for ids, start, end in zip(prompt_token_ids, ends[:-1], ends[1:], strict=True)
    ]

    def per_sample(values: pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)

    def per_token(
        parts: list[npt.NDArray[Any]], kind: pa.DataType, unknown: list[bool]
    ) -> pa.Array:
        flat = pa.array(np.concatenate(parts) if parts else [], kind)
        offsets = _offsets(np.array([len(part) for part in parts], dtype=np.int32))
        mask = pa.array(unknown, pa.bool_()) if any(unknown) else None
        return per_sample(pa.ListArray.from_arrays(offsets, flat, mask=mask))

    added = [
        per_sample(pa.array(texts, pa.string())),
        per_token([sample.token_ids for sample in decoded], pa.int32(), no_ids),
        per_token([sample.logprobs for sample in decoded], pa.float32(), no_logprobs),
        per_token([sample.logprobs_model for sample in decoded], pa.float32(), no_logprobs),
        per_sample(pa.array(logprob, pa.float64())),
        per_sample(pa.array(lengths, pa.int32())),
        per_sample(pa.array(reasons, pa.string())),
        pa.array(asked, pa.list_(pa.int32())),
        pa.array(Ragged(near_ties, ends).sum().astype(np.int32)),
        pa.array(np.full(rows, settings.seed, dtype=np.int64)),
        pa.array(np.full(rows, settings.temperature)),
        pa.array(np.full(rows, settings.top_p)),
        pa.array([model] * rows, pa.string()),
    ]
    table = prompts
    for name, column in zip(SAMPLED_COLUMNS, added, strict=True):
        table = table.append_column(name, column)
    return table


def _offsets(lengths: npt.NDArray[np.int32]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def check_output(out: Path) -> None:
    """Raise `InputError` where a file can't be written: before a model is loaded, not after."""
    if out.is_dir():
        raise InputError(f"{out} is a folder, a file was expected")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {out}: {above} isn't a folder that can be written to")


class Shards:
    """Runs of `size` prompts, each complete in its file ``<out>.shards/shard-<number>.parquet``.

    Parameters
    ----------
    prompts : pa.Table
    out : Path or None
        The file that the shards end up in; None keeps them in memory.
    settings : SamplingSettings
    model_digest : str
        What identifies the model's content.
    scoring : ScoringSettings, optional
        How answers are read, where that decides how many samples a prompt gets.
    """

    def __init__(
        self,
        prompts: pa.Table,
        out: Path | None,
        settings: SamplingSettings,
        model_digest: str,
        scoring: ScoringSettings | None = None,
    ) -> None:
        self.prompts, self.out, self.settings = prompts, out, settings
        self.model_digest, self.scoring = model_digest, scoring
        self.folder = None
        if out is not None:
            check_output(out)
            self.folder = out.with_name(f"{out.name}.shards")
            sweep_temporary(self.folder)

    def collect(self, make: Callable[[slice], pa.Table], reused: Callable[[int], None]) -> pa.Table:
        """Make the shards that are missing, join all of them in `out`, and drop their files.

        If prompts are missing, what there is is returned; it is written only with
        `allow_failures`, and the shards' files stay for another try.

        Parameters
        ----------
        make : callable
            Gives the table of a run of prompts, without those that couldn't be sampled.
        reused : callable
            Told the number of prompts of every shard that is already there.
        """
        parts = []
        for number, rows in enumerate(self._runs()):
            if self.folder is None:
                parts.append(make(rows))
                continue
            path = self.folder / f"shard-{number:05d}.parquet"
            key = self._key(rows)
            part = _complete(path, key)
            if part is not None:
                reused(part.num_rows)
            else:
                part = make(rows)
                if part.num_rows == rows.stop - rows.start:
                    write_parquet(part.replace_schema_metadata({_KEY: key}), path)
                    part = read_parquet(path)
                    path.with_suffix(".jsonl").unlink(missing_ok=True)
            parts.append(part.replace_schema_metadata(None))
        table = pa.concat_tables(parts)
        whole = table.num_rows == self.prompts.num_rows
        if self.out is not None and (whole or self.settings.allow_failures):
            write_parquet(table, self.out)
        if self.folder is not None and whole:
            shutil.rmtree(self.folder)
        return table

    def journal(self, rows: slice) -> Path | None:
        """Return where answers of a run of prompts are kept until its shard is complete."""
        if self.folder is None:
            return None
        return self.folder / f"shard-{rows.start // self.settings.shard_size:05d}.jsonl"

    def _runs(self) -> Iterator[slice]:
        """Cut the prompts; an empty table is one empty shard."""
        size, total = self.settings.shard_size, self.prompts.num_rows
        for start in range(0, max(total, 1), size):
            yield slice(start, min(start + size, total))

    def _key(self, rows: slice) -> bytes:
        """Digest of everything that decides the shard's content."""
        part = self.prompts.slice(rows.start, rows.stop - rows.start)
        decides = {
            "settings": self.settings.model_dump(mode="json", exclude=CALL_SETTINGS),
            "scoring": self.scoring
            and self.scoring.model_dump(mode="json", include=ANSWER_SETTINGS),
            "model": self.model_digest,
            "schema": str(part.schema),
            "prompts": repr(part.to_pylist()),
            "statllm": __version__,
        }
        text = json.dumps(decides, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest().encode()


def _complete(path: Path, key: bytes) -> pa.Table | None:
    """The shard, if it is whole and was made from the same model, settings and prompts."""
    try:
        table = read_parquet(path)
    except InputError:
        return None
    return table if (table.schema.metadata or {}).get(_KEY) == key else None
