"""What the tests of the command line share."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from statllm.cli import main


@pytest.fixture
def statllm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `statllm ARGUMENTS`; returns (exit code, standard output, standard error)."""

    def run(*arguments: object, columns: int | None = 400) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["statllm", *map(str, arguments)])
        if columns is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(columns))  # at 400 no line is folded
        with pytest.raises(SystemExit) as stopped:
            main()
        out = capsys.readouterr()
        return int(stopped.value.code or 0), out.out, out.err

    return run
