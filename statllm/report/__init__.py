"""One self-contained HTML page about a run, several side by side, or a table of scores."""

from statllm.report.page import write_report
from statllm.report.uncertainty.page import write_uncertainty_report

__all__ = ["write_report", "write_uncertainty_report"]
