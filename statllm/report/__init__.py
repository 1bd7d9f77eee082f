"""One self-contained HTML page about a run, or several side by side."""

from statllm.report.page import write_report

__all__ = ["write_report"]
