"""Numbers of the page in words."""

from __future__ import annotations

import math

from statllm.report import words
from statllm.report.watermark.gather import PValues


def small(log_p: float) -> str:
    """Write a p- or q-value from its logarithm, without a name.

    Examples
    --------
    >>> small(math.log(0.0321)), small(-230.0)
    ('0.0321', '1.3 × 10⁻¹⁰⁰')
    """
    return words.p_value(log_p).removeprefix("p ").removeprefix("= ")


def share_marked(p: PValues, level: float) -> tuple[str, str]:
    """Write Storey's share of watermarked documents, and its interval."""
    estimate = p.share_marked()
    ends = estimate.interval(level)
    low, high = words.percent(ends.low), words.percent(ends.high)
    return words.percent(estimate.value), f"[{low}, {high}]"


def rate_text(value: float) -> str:
    """Write a small share, also far below what a percentage shows."""
    return "0" if value == 0 else f"{value:.2g}" if value >= 1e-3 else small(math.log(value))
