"""`statllm prompts templates`: what prompts are made with."""

from __future__ import annotations

from statllm.cli.common import console


def templates() -> None:
    """List the templates that come with the package."""
    from statllm.sampling.prompts import load_template, template_names

    for form in map(load_template, template_names()):
        console().print(f"{form.stamp} ({form.task})\n    {form.source}", soft_wrap=True)
