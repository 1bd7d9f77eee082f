"""Parts over Ray Data: on one machine or a cluster whose nodes see the same files."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from statllm.engines.job import Job
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.engines.run import Outcome
    from statllm.engines.settings import EngineSettings


class _Actor:
    """Holds the job, and with it what its work has loaded, for all parts that come here."""

    def __init__(self, job: Job, folder: str) -> None:
        self.job = job
        os.chdir(folder)  # a cluster's processes start anywhere; relative names are the driver's

    def __del__(self) -> None:
        self.job.close()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {
                "part": row["item"],
                "counts": json.dumps(self.job.run(row["item"])),
                "error": "",
            }
        except InputError as error:
            return {"part": row["item"], "counts": "{}", "error": str(error)}


def outcomes(job: Job, settings: EngineSettings) -> Generator[Outcome]:
    """Do all parts; give their outcomes as they come."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError("engine ray needs Ray: pip install 'ray[data]'") from error
    started = not ray.is_initialized()
    if started:
        options: dict[str, Any] = {"address": settings.address}
        if settings.address is None:  # one of its own, whatever else runs here
            options = {
                "address": "local",
                "num_cpus": settings.workers,
                "include_dashboard": False,
            }
        else:
            _check_listens(settings.address)
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except ConnectionError as error:
            raise InputError(
                f"--address {settings.address}: no Ray cluster answers there"
            ) from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        resources: Callable[[], dict[str, float]] = ray.cluster_resources
        most = n_actors(resources(), settings.gpus)
        size = min(settings.workers or most, len(job.parts))
        numbers = ray.data.from_items(
            list(range(len(job.parts))), override_num_blocks=len(job.parts)
        )
        actor: Any = _Actor
        done = numbers.map(
            actor,
            fn_constructor_args=(job, os.getcwd()),
            compute=ray.data.ActorPoolStrategy(size=size),
            num_cpus=1,
            num_gpus=settings.gpus or None,
        )
        for row in done.iter_rows():
            yield json.loads(row["counts"]), row["error"] or None
    finally:
        if started:
            ray.shutdown()


def _check_listens(address: str) -> None:
    """Refuse host:port where nothing listens: Ray would try for minutes.

    Raises
    ------
    InputError
        Names the address.
    """
    host, colon, port = address.rpartition(":")
    if not colon or "://" in address or not port.isdigit():
        return  # "auto", or a scheme that Ray knows
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise InputError(f"--address {address}: no Ray cluster answers there") from error


def n_actors(resources: dict[str, float], gpus: float) -> int:
    """As many actors as there are processors, or GPUs, for.

    Raises
    ------
    InputError
        If there are GPUs for none, which Ray would wait for.
    """
    found = resources.get("GPU", 0.0)
    if gpus == 0:
        return max(int(resources.get("CPU", 1)), 1)
    if found < gpus:
        raise InputError(f"--gpus {gpus:g}: Ray has {found:g} GPUs here")
    return int(found / gpus)
