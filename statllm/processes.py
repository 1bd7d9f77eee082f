"""One operating-system process per stage, forked from one that has the slow imports behind it."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from statllm.errors import InputError
from statllm.gpu_memory import wait_until_free

_MESSAGE = 1 << 16  # bytes: a folder's name, a stage's last word


class StageProcesses:
    """Runs stages, each in a process of its own, whose memory the system has back at its end.

    The processes come from a *nursery*: an interpreter that has imported torch and transformers,
    which takes longer than many a stage, and forks. Where torch is built for an accelerator, whose
    drivers don't survive a fork, and outside Linux, each stage starts an interpreter anew.

    The nursery and its stages form a process group that ends with us however we end.

    Parameters
    ----------
    fork : bool, optional
        Whether stages are forks; left out, where it is safe (see `can_fork`).
    """

    def __init__(self, fork: bool | None = None) -> None:
        self._fork = can_fork() if fork is None else fork
        self._nursery: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> StageProcesses:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, folder: Path, iteration: int, stage: str, lock: int) -> None:
        """Run a stage to its end.

        Its error stream (progress bars, tracebacks) is ours; what it prints is its last word.

        Parameters
        ----------
        folder : Path
            Of the run.
        iteration, stage
            Which stage.
        lock : int
            Open file that holds the run's lock: the stage keeps it open too.

        Raises
        ------
        InputError
            If the stage refuses its input.
        RuntimeError
            If it ends in any other way but well.
        """
        if self._nursery is None:
            self._start()
        assert self._socket is not None
        code, said = 1, ""
        try:
            request = json.dumps([str(folder), str(iteration), stage]).encode()
            socket.send_fds(self._socket, [request], [lock])
            reply = self._socket.recv(_MESSAGE)
            if reply:
                code, said = json.loads(reply)
        except OSError:  # the nursery is gone
            self.close()
        except BaseException:
            self.close()
            raise
        if code == 2:
            raise InputError(said)
        if code != 0:
            raise RuntimeError(f"stage '{stage}' of iteration {iteration} ended with code {code}")
        if self._nursery is not None:  # the next stage needs what this one held
            wait_until_free(self._nursery.pid, but=[self._nursery.pid])

    def close(self) -> None:
        """End the nursery and whatever it runs."""
        if self._nursery is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._nursery.pid, signal.SIGKILL)
        self._nursery.wait()
        if self._socket is not None:
            self._socket.close()
        self._nursery = self._socket = None

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._nursery = subprocess.Popen(
                [sys.executable, "-m", "statllm.processes", str(theirs.fileno()), str(self._fork)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                process_group=0,
                preexec_fn=die_with_parent,
            )


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent dies, even by kill -9 (Linux)."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


# ---- the nursery --------------------------------------------------------------------------------


def serve(requests: socket.socket, forks: bool) -> None:
    """Run the stages that are asked for, one after the other, until nobody can ask any more."""
    if forks:
        import statllm.training.preference  # noqa: F401 - torch and transformers come with it
    while True:
        message, locks, _, _ = socket.recv_fds(requests, _MESSAGE, 1)
        if not message:
            return
        output, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            die_with_parent()
            requests.close()
            os.close(output)
            os.dup2(theirs, sys.stdout.fileno())
            _stage(json.loads(message), forks, locks)
        os.close(theirs)
        for lock in locks:
            os.close(lock)
        with os.fdopen(output, encoding="utf-8", errors="replace") as stream:
            said = stream.read().strip().splitlines()
        _, status = os.waitpid(child, 0)
        reply = [os.waitstatus_to_exitcode(status), said[-1] if said else ""]
        requests.sendall(json.dumps(reply).encode())


def _stage(arguments: list[str], forks: bool, locks: list[int]) -> NoReturn:
    """Run a stage in this process, and end it."""
    if not forks:
        for lock in locks:
            os.set_inheritable(lock, True)
        os.execv(sys.executable, [sys.executable, "-m", "statllm.stages", *arguments])
    from statllm.stages import main

    try:
        code = main(arguments)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # to take down torch and its like object by object takes seconds


def can_fork() -> bool:
    """Whether a process that has imported torch may be forked: on Linux, torch built for CPUs."""
    try:
        return sys.platform == "linux" and version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), forks=sys.argv[2] == "True")
