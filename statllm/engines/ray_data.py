"""Parts over Ray Data: on one machine or a cluster whose nodes see the same files."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from statllm.engines.job import Job
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.engines.run import Outcome
    from statllm.engines.settings import EngineSettings


class _Actor:
    """Holds the job, and with it what its work has loaded, for all parts that come here."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {
                "part": row["item"],
                "counts": json.dumps(self.job.run(row["item"])),
                "error": "",
            }
        except InputError as error:
            return {"part": row["item"], "counts": "{}", "error": str(error)}


def outcomes(job: Job, settings: EngineSettings) -> Iterator[Outcome]:
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
        if settings.address is None:
            options = {"num_cpus": settings.workers, "include_dashboard": False}
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        resources: Callable[[], dict[str, float]] = ray.cluster_resources
        size = settings.workers or int(resources().get("CPU", 1))
        size = min(size, len(job.parts))
        numbers = ray.data.from_items(
            list(range(len(job.parts))), override_num_blocks=len(job.parts)
        )
        actor: Any = _Actor
        done = numbers.map(
            actor,
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(size=size),
            num_cpus=1,
            num_gpus=settings.gpus or None,
        )
        for row in done.iter_rows():
            yield json.loads(row["counts"]), row["error"] or None
    finally:
        if started:
            ray.shutdown()
