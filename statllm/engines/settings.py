"""Settings of an engine."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Engine = Literal["local", "ray"]


class EngineSettings(BaseModel):
    """Where and in which pieces a table is worked on.

    `part_rows` and `batch_rows` decide how the output's row groups lie, and nothing else.

    Examples
    --------
    >>> EngineSettings(engine="local", workers=4).batch_rows
    20000
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Engine | None = Field(
        default=None,
        description="Work through a Parquet file, or a folder of them, in batches and constant "
        "memory: in processes of this machine, or on Ray. Default: the whole table in memory.",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        description="Processes (local) or actors (Ray). Default: one per processor.",
    )
    address: str | None = Field(
        default=None,
        description="Of a Ray cluster, which must see the same files; 'auto' for one that runs "
        "here. Default: one is started on this machine.",
    )
    gpus: float = Field(default=0, ge=0, description="GPUs that each of Ray's actors gets.")
    part_rows: int = Field(
        default=250_000, ge=1, description="Rows of a part, from which a killed run goes on."
    )
    batch_rows: int = Field(default=20_000, ge=1, description="Most rows in a process at a time.")
