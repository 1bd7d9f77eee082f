"""One line of progress on the error stream."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from transformers import TrainerCallback


class ProgressLine(TrainerCallback):
    """Shows the step, the loss, and for pairs the margin and accuracy.

    Parameters
    ----------
    every : int
        Steps between updates.
    shown : bool
        False shows nothing at all.
    """

    def __init__(self, every: int, shown: bool = True) -> None:
        self._every = every
        self._console = Console(stderr=True, quiet=not shown)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not shown,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def rows(self, n_input: int, drops: dict[str, int]) -> None:
        """Say how many rows are trained on, and why the others aren't."""
        kept = n_input - sum(drops.values())
        reasons = "".join(f"; {count} dropped: {reason}" for reason, count in drops.items())
        self._console.print(f"{kept} of {n_input} rows to train on{reasons}")

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Update the line."""
        if logs is None or "loss" not in logs:
            return
        step, total = state.global_step, state.max_steps
        if step % self._every == 0 or step == total:
            shown = [name for name in ("loss", "margin", "accuracy") if name in logs]
            text = "  ".join(f"{name} {logs[name]:.3f}" for name in shown)
            self._bar.update(self._task, completed=step, total=total, description=text)
