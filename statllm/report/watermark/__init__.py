"""The page on the watermarks that were found in a corpus."""

from statllm.report.watermark.page import write_page

__all__ = ["write_page"]
