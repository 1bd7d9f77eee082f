"""Works that hold a model: opened once per process, and small parts to go on from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
from pydantic import Field

from statllm._formats import keep_and_rename
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Part, Source
from statllm.errors import InputError
from statllm.sampling.settings import SamplingSettings

Model = TypeVar("Model")

_READ = 20_000  # rows at a time where only prompt_id is looked at


class ModelEngineSettings(EngineSettings):
    """Where and in which pieces a model works on a table.

    A row costs a model far more than it costs anything else, so that parts are small. Row groups
    that are larger than a part are cut.

    Examples
    --------
    >>> ModelEngineSettings(engine="local", workers=2).part_rows
    256
    """

    workers: int | None = Field(
        default=None,
        ge=1,
        description="Processes (local) or actors (Ray). Each holds the model and computes with "
        "one processor. Default: one; with --gpus as many as there are GPUs for.",
    )
    part_rows: int = Field(
        default=256, ge=1, description="Rows of a part, from which a killed run goes on."
    )
    batch_rows: int = Field(
        default=256, ge=1, description="Most rows that the model is given at a time."
    )

    @classmethod
    def of(cls, settings: EngineSettings | None) -> ModelEngineSettings:
        """Return what was set in `settings`, with the defaults for models.

        Raises
        ------
        InputError
            If GPUs are asked for where there are no actors that get them.
        """
        given = {} if settings is None else settings.model_dump(exclude_unset=True)
        found = cls(**given)
        if found.gpus and found.engine != "ray":
            raise InputError("--gpus has no effect without --engine ray")
        if found.workers is None and not found.gpus:
            return found.model_copy(update={"workers": 1})
        return found


class ModelWork(ABC, Generic[Model]):
    """A work whose model is opened where the first batch is worked on, and closed in the end.

    The model computes on one thread, however many workers there are: the number of threads may
    change its rounding.
    """

    @abstractmethod
    def open(self, closing: ExitStack) -> Model:
        """Return the model; what must be given back in the end goes on `closing`."""

    @cached_property
    def model(self) -> Model:
        """The model, opened."""
        import torch

        with ExitStack() as closing:
            closing.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
            model = self.open(closing)
            self.__dict__["_closing"] = closing.pop_all()
        return model

    def close(self) -> None:
        """Give back what the model holds; another batch would open it again."""
        self.__dict__.pop("model", None)
        closing: ExitStack | None = self.__dict__.pop("_closing", None)
        if closing is not None:
            closing.close()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the model, which every process opens for itself."""
        return {k: v for k, v in self.__dict__.items() if k not in ("model", "_closing")}


@dataclass(frozen=True)
class Piece(Part):
    """Consecutive rows of a part, from its row number `skip` on."""

    skip: int


@dataclass(frozen=True)
class FineSource(Source):
    """A source whose parts have at most as many rows as asked for, whatever its row groups.

    To read a piece of a row group is to read the group up to there. Beside a model's work that is
    little, up to some ten thousand rows in a group.
    """

    @classmethod
    def of(cls, source: Source) -> FineSource:
        """Return the same source, finely cut."""
        return cls(source.path, source.columns, source.where)

    def parts(self, rows: int) -> list[Part]:
        """Cut into parts of `rows` rows; row groups that are smaller are put together.

        Raises
        ------
        InputError
            As `Source.parts`.
        """
        return [
            Piece(part.path, part.groups, min(rows, part.rows - skip), part.first + skip, skip)
            for part in super().parts(rows)
            for skip in range(0, part.rows, rows)
        ]

    def batches(
        self, part: Part, rows: int, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """Read a part, as `Source.batches`."""
        assert isinstance(part, Piece)
        whole = Part(part.path, part.groups, part.rows, part.first - part.skip)
        if columns is not None:
            columns = [*(self.columns.get(name, name) for name in columns), *self.where]
        end = part.first + part.rows
        # as the file has it: what `where` leaves out has a number, too
        for first, table in Source(self.path).batches(whole, rows, columns):
            if first >= end:
                return
            start = max(first, part.first)
            cut = table.slice(start - first, end - start)
            cut = keep_and_rename(cut, self.columns, self.where)
            if cut.num_rows:
                yield start, cut

    def fingerprint(self, part: Part) -> str:
        """Digest of the part's file, row groups and rows."""
        return f"{super().fingerprint(part)} {part.first} {part.rows}"

    def check_unique(self, parts: Sequence[Part], rows: int) -> None:
        """Refuse a prompt_id that occurs twice; row groups are read once."""
        plain = Source(self.path, self.columns, self.where)
        plain.check_unique(plain.parts(_READ), _READ)


def check_backend(sampling: SamplingSettings, settings: ModelEngineSettings) -> None:
    """Refuse a backend that workers can't share, before any of them starts.

    **openai.** A server is one place: its limits (`concurrency`, `requests_per_minute`), the
    journal of answers that have been paid for and the list of those that are missing belong to
    one caller. Workers would multiply the limits and divide the lists.

    **vllm.** An engine takes all GPUs that it sees. Ray shows each actor its own `gpus`, so that
    there is one engine per actor; inside an actor vLLM puts its tensor- and pipeline-parallel
    processes on the actor's own GPUs, which therefore must be as many.

    Raises
    ------
    InputError
        Says why.
    """
    if sampling.backend == "openai":
        raise InputError(
            "backend openai isn't for an engine: a server's limits, its answers and the list of "
            "those that are missing belong to one caller; leave out --engine"
        )
    if sampling.backend != "vllm":
        return
    if settings.engine != "ray" and settings.workers != 1:
        raise InputError(
            "with backend vllm, --engine local has one worker: several engines would take the "
            "same GPUs; --engine ray gives each actor its own (--gpus)"
        )
    from statllm.sampling.vllm_backend import engine_arguments

    given = engine_arguments(sampling.engine)
    width = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size"):
        size = given.get(name, 1)
        width *= size if isinstance(size, int) else 1
    if settings.engine == "ray" and width > max(settings.gpus, 1):
        raise InputError(f"vLLM's engine is spread over {width} GPUs: it needs --gpus {width}")


def model_content(model: str | Path, sampling: SamplingSettings) -> str:
    """Return what identifies a model and its adapter; of a model on the hub, its name."""
    from statllm.adapters import adapted_digest
    from statllm.models import is_local, model_digest

    digest = model_digest(model) if is_local(model) else str(model)
    return adapted_digest(digest, sampling.adapter)
