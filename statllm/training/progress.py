"""One line of progress on the error stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from statllm.training.trainer import OnStep


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

    def say(self, text: str) -> None:
        """Say something."""
        self._console.print(text, highlight=False)

    def say_rows(self, n_input: int, drops: dict[str, int], what: str = "rows to train on") -> None:
        """Say how many rows are used, and why the others aren't."""
        kept = n_input - sum(drops.values())
        reasons = "".join(f"; {count} dropped: {reason}" for reason, count in drops.items())
        self._console.print(f"{kept} of {n_input} {what}{reasons}", highlight=False)

    @contextmanager
    def shown(self) -> Iterator[OnStep]:
        """Give what a trainer calls after each step."""
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

        def update(step: int, of: int, figures: Mapping[str, float]) -> None:
            if step % self._every == 0 or step == of:
                names = [name for name in ("loss", "margin", "accuracy") if name in figures]
                text = "  ".join(f"{name} {figures[name]:.3f}" for name in names)
                bar.update(task, completed=step, total=of, description=text)
            if "eval_loss" in figures:
                self.say(f"step {step}, held out: {held_out_text(figures)}")

        with bar:
            yield update


def held_out_text(figures: Mapping[str, float]) -> str:
    """Say an evaluation, with its standard errors.

    Examples
    --------
    >>> loss = {"eval_loss": 0.61, "eval_loss_se": 0.02}
    >>> held_out_text({**loss, "eval_accuracy": 0.7, "eval_accuracy_se": 0.041})
    'loss 0.610 ± 0.020, accuracy 0.700 ± 0.041'
    """
    return ", ".join(
        f"{name} {figures[f'eval_{name}']:.3f} ± {figures[f'eval_{name}_se']:.3f}"
        for name in ("loss", "margin", "accuracy")
        if f"eval_{name}" in figures
    )
