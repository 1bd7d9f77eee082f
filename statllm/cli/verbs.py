"""Groups of verbs."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class Verbs(TyperGroup):
    """A group that says what its verbs do in whole sentences, where click cuts them."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the verbs."""
        for verb in self.commands.values():
            verb.short_help = (verb.help or "").partition("\n\n")[0]
        super().format_commands(ctx, formatter)
