"""The progress line of sampling; shown on a terminal only."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class SamplingProgress:
    """Counts finished sequences and tokens per second on standard error."""

    def __init__(self, sequences: int, shown: bool) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("sampling"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("sequences, {task.fields[rate]:,.0f} tokens/s"),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._bar.add_task("", total=sequences, rate=0.0)
        self._tokens = 0
        self._start = time.perf_counter()

    def __enter__(self) -> SamplingProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, tokens: int, finished: int) -> None:
        """Take note of new tokens and of newly finished sequences."""
        self._tokens += tokens
        rate = self._tokens / max(time.perf_counter() - self._start, 1e-9)
        self._bar.update(self._task, advance=finished, rate=rate)

    def skip(self, sequences: int) -> None:
        """Take note of sequences that needn't be sampled: from an earlier run, or not needed."""
        self._bar.update(self._task, advance=sequences)
