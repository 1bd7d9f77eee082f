"""Which processes hold memory of the GPUs, as the driver's own tool says."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Collection
from dataclasses import dataclass

_QUERY = ("--query-compute-apps=pid,used_memory,process_name", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a GPU.

    Attributes
    ----------
    pid : int
    mib : int or None
        Memory that it holds, in MiB; None where the driver doesn't say.
    name : str
    """

    pid: int
    mib: int | None
    name: str


def gpu_processes() -> list[GpuProcess]:
    """Return the processes on this machine's NVIDIA GPUs; none where there is no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        said = subprocess.run([tool, *_QUERY], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if said.returncode:
        return []
    found = []
    for line in said.stdout.splitlines():
        pid, _, rest = (part.strip() for part in line.partition(","))
        used, _, name = (part.strip() for part in rest.partition(","))
        if pid.isdigit():
            found.append(GpuProcess(int(pid), int(used) if used.isdigit() else None, name))
    return found


def wait_until_free(group: int, but: Collection[int] = (), patience: float = 60.0) -> None:
    """Wait until the processes of a group hold no GPU memory.

    Parameters
    ----------
    group : int
        Of the processes that must have ended.
    but : collection of int
        Processes that may stay.
    patience : float
        Seconds; drivers take some to clear up behind a process.

    Raises
    ------
    RuntimeError
        Names the process that doesn't let go.
    """
    end = time.monotonic() + patience
    while True:
        left = [
            process
            for process in gpu_processes()
            if process.pid not in but and _group(process.pid) == group
        ]
        if not left:
            return
        if time.monotonic() > end:
            one = left[0]
            size = "memory" if one.mib is None else f"{one.mib} MiB"
            raise RuntimeError(
                f"process {one.pid} ({one.name}) still holds {size} of a GPU {patience:g} s after "
                "its stage; end it, and start the run again"
            )
        time.sleep(min(0.5, patience))


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None
