"""Processes on GPUs, from a driver's tool that says what a test lets it say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import pytest

from statllm.gpu_memory import GpuProcess, gpu_processes, wait_until_free


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a tool on the path that prints the lines of a file."""
    tool, said = tmp_path / "nvidia-smi", tmp_path / "said"
    tool.write_text(f'#!/bin/sh\ncat "{said}"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    said.write_text("")
    return lambda text: said.write_text(text) and None


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], process_group=0
    )
    yield process
    process.kill()
    process.wait()


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpu_processes() == []
    wait_until_free(os.getpgid(0))


def test_what_the_driver_says(driver: Callable[[str], None]) -> None:
    driver("12, 4096, /usr/bin/python, a\n13, [N/A], b\nNo running processes found\n")
    assert gpu_processes() == [
        GpuProcess(12, 4096, "/usr/bin/python, a"),
        GpuProcess(13, None, "b"),
    ]


def test_a_process_that_does_not_let_go_is_named(
    driver: Callable[[str], None], child: subprocess.Popen[bytes]
) -> None:
    driver(f"{child.pid}, 512, python\n1, 99, other\n")
    with pytest.raises(RuntimeError, match=rf"process {child.pid} \(python\) still holds 512 MiB"):
        wait_until_free(child.pid, patience=0.2)
    wait_until_free(child.pid, but=[child.pid], patience=0.2)
    wait_until_free(os.getpgid(0), patience=0.2)  # others' processes are none of ours


def test_memory_that_comes_back_is_waited_for(
    driver: Callable[[str], None], child: subprocess.Popen[bytes]
) -> None:
    driver(f"{child.pid}, 512, python\n")
    Timer(0.7, driver, [""]).start()
    wait_until_free(child.pid, patience=30.0)
    assert gpu_processes() == []
