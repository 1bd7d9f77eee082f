"""Parts over processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING

from statllm.engines.job import Job
from statllm.errors import InputError
from statllm.processes import die_with_parent

if TYPE_CHECKING:
    from statllm.engines.run import Outcome
    from statllm.engines.settings import EngineSettings

_job: Job | None = None


def outcomes(job: Job, settings: EngineSettings) -> Generator[Outcome]:
    """Do all parts; give their outcomes in order. One worker is this process itself."""
    workers = min(settings.workers or os.cpu_count() or 1, len(job.parts))
    if workers == 1:
        try:
            for number in range(len(job.parts)):
                yield _outcome(job, number)
        finally:
            job.close()
        return
    # fresh interpreters: a fork of threads that hold locks (Arrow's, torch's) may hang
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (job,)) as pool:
        futures: list[Future[Outcome]] = [pool.submit(_part, n) for n in range(len(job.parts))]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _begin(job: Job) -> None:
    global _job
    _job = job
    die_with_parent()
    one_thread()
    Finalize(None, job.close, exitpriority=0)


def _part(number: int) -> Outcome:
    assert _job is not None
    return _outcome(_job, number)


def _outcome(job: Job, number: int) -> Outcome:
    try:
        return job.run(number), None
    except InputError as error:
        return {}, str(error)


def one_thread() -> None:
    """Workers share the processors: each computes with one thread."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
