"""Standard output for results, which cuts nothing."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console

_UNLIMITED = 100_000


class Terminal(Console):
    """Prose is wrapped at the terminal's edge; a table that needs more goes beyond it, uncut.

    A file or a pipe has no edge (rich takes it for one of 80 columns), unless COLUMNS says so.
    """

    def __init__(self) -> None:
        super().__init__(highlight=False, emoji=False)  # a name with ':100:' stays as it is
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = _UNLIMITED

    def print(self, *objects: Any, **how: Any) -> None:
        """Print, by default without cropping."""
        super().print(*objects, **{"crop": False, **how})
