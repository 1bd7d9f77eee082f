"""One line of progress on the error stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from transformers import Trainer


class ProgressLine:
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

    def say_rows(self, n_input: int, drops: dict[str, int]) -> None:
        """Say how many rows are trained on, and why the others aren't."""
        kept = n_input - sum(drops.values())
        reasons = "".join(f"; {count} dropped: {reason}" for reason, count in drops.items())
        self._console.print(f"{kept} of {n_input} rows to train on{reasons}", highlight=False)

    @contextmanager
    def of(self, trainer: Trainer) -> Iterator[None]:
        """Follow a trainer."""
        from transformers import TrainerCallback

        every = self._every
        bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=self._console.quiet,
        )
        task = bar.add_task("", total=None)

        class Update(TrainerCallback):
            def on_log(
                self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any
            ) -> None:
                step, total = state.global_step, state.max_steps
                if "loss" in logs and (step % every == 0 or step == total):
                    shown = [name for name in ("loss", "margin", "accuracy") if name in logs]
                    text = "  ".join(f"{name} {logs[name]:.3f}" for name in shown)
                    bar.update(task, completed=step, total=total, description=text)

        trainer.add_callback(Update())
        with bar:
            yield
