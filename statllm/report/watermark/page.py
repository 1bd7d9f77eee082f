"""The page on the watermarks that were found in a corpus."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.files import write_text
from statllm.report import words
from statllm.report.panels import Section
from statllm.report.templates import check_packages, render
from statllm.report.watermark import plots
from statllm.report.watermark.gather import SHORT, Gathered, OfConfiguration, gather
from statllm.report.watermark.notices import notices
from statllm.report.watermark.numbers import rate_text, share_marked, small
from statllm.report.watermark.panels import panels_of

if TYPE_CHECKING:
    import pyarrow as pa

    from statllm.estimators.watermark.certificate import Certificate

#: Configurations that have figures; the table holds all.
_DRAWN = 4


def write_page(
    detections: str | Path | pa.Table,
    path: str | Path,
    *,
    fdr: float | None = None,
    certificate: Certificate | None = None,
    most: int = 100,
    level: float = 0.95,
    title: str = "Watermark report",
) -> None:
    """Write one HTML page on the watermarks that were found in a corpus.

    Per configuration: documents called, a histogram of the p-values against chance, their tail,
    and Storey's estimate of the share of watermarked documents. It needs no other file, no network
    and no script; equal detections give equal bytes. It names configurations, and knows no key.
    Detections are read once, in batches: memory doesn't grow with them.

    Parameters
    ----------
    detections : path or pyarrow.Table
        What `statllm watermark detect` wrote: a Parquet file or a folder of such files.
    path : str or Path
        The file to write.
    fdr : float, optional
        False-discovery rate at which documents were called, for the page's words.
    certificate : Certificate, optional
        Of human documents under the deployed key (`statllm.estimators.watermark.certify`).
    most : int
        Called documents that are listed.
    level : float
        Of the intervals.
    title : str

    Raises
    ------
    InputError
        If there is no document, a column is missing, a level isn't in (0, 1), or the extra
        ``report`` (jinja2, matplotlib) is not installed.

    Examples
    --------
    >>> import pyarrow as pa
    >>> write_page(pa.table({"log_p": [0.0]}), "page.html")
    Traceback (most recent call last):
    ...
    statllm.errors.InputError: the table has no column 'n_tokens'; is it what ...
    """
    for name, value in (("fdr", fdr), ("level", level)):
        if value is not None and not 0 < value < 1:
            raise InputError(f"{name} must lie between 0 and 1, not {value:g}")
    check_packages()
    found = gather(detections, most)
    content = _content(found, fdr, certificate, level)
    write_text(render("watermark.html", {"title": title, **content}), path)


def _content(
    found: Gathered, fdr: float | None, certificate: Certificate | None, level: float
) -> dict[str, Any]:
    """Everything the template needs; text in it is not yet escaped."""
    drawn = [each for each in _ordered(found.configurations) if each.p.n][:_DRAWN]
    return {
        "summary": _summary(found, fdr),
        "cards": _cards(found, level),
        "warnings": notices(found, certificate),
        "level": words.percent(level, 0),
        "rows": [_row(each, level) for each in _ordered(found.configurations)],
        "figures": Section([panel for k, each in enumerate(drawn) for panel in panels_of(each, k)]),
        "n_not_drawn": sum(each.p.n > 0 for each in found.configurations) - len(drawn),
        "called": [
            (
                row.document,
                row.configuration,
                small(row.log_q),
                words.number(row.log_p / math.log(10), 1),
                words.count(row.n_scored),
                words.count(row.n_tokens),
            )
            for row in found.called
        ],
        "n_called": found.n_called,
        "n_configurations": len(found.configurations),
        "certificate": None if certificate is None else _certificate(certificate, level),
        "short": SHORT,
        "swatches": _swatches(),
    }


def _ordered(configurations: list[OfConfiguration]) -> list[OfConfiguration]:
    """Those that explain most documents first, then in the order of the key file."""
    return sorted(configurations, key=lambda each: -each.called)


def _summary(found: Gathered, fdr: float | None) -> list[str]:
    tested = found.p.n
    documents = "document is" if found.n_called == 1 else "documents are"
    rate = "" if fdr is None else f" at a false-discovery rate of {fdr:g} (Benjamini-Hochberg)"
    text = (
        f"{words.count(found.n_called)} {documents} called watermarked{rate}, of "
        f"{words.count(tested)} that could be tested."
    )
    if not found.n_called and tested:
        text += (
            f" The smallest p-value is {small(found.p.least)}. No finding is no proof: short or "
            "predictable text hides a watermark, and so does another key or tokenizer."
        )
    return [text]


def _cards(found: Gathered, level: float) -> list[tuple[str, str, str]]:
    """The numbers printed large: (what, number, what it is of)."""
    tested, of = found.p.n, len(found.configurations)
    share = words.percent(found.n_called / tested) if tested else "–"
    cards = [
        (
            "documents tested",
            words.count(tested),
            f"of {words.count(found.n_documents)}, with {words.count(found.n_tokens)} tokens",
        ),
        ("called watermarked", words.count(found.n_called), f"{share} of those tested"),
    ]
    if tested:
        kind = "one configuration" if of == 1 else f"times {words.in_words(of)} configurations"
        cards.append(("smallest p-value", small(found.p.least), kind))
    if of == 1 and tested:
        value, limits = share_marked(found.configurations[0].p, level)
        cards.append(
            (
                "share that is watermarked, at least",
                value,
                f"{words.percent(level, 0)} interval {limits}, Storey's estimate",
            )
        )
    return cards


def _row(each: OfConfiguration, level: float) -> dict[str, Any]:
    total = each.scored + each.repeated
    return {
        "name": each.name,
        "called": words.count(each.called),
        "tested": words.count(each.p.n),
        "least": small(each.p.least) if each.p.n else "–",
        "scored": words.count(each.scored),
        "repeated": words.percent(each.repeated / total) if total else "–",
        "short": words.count(each.short),
        "share": share_marked(each.p, level),
    }


def _certificate(certificate: Certificate, level: float) -> dict[str, Any]:
    figures = list(certificate.rates)
    if certificate.tail is not None and min(certificate.alphas) > 1e-6:
        figures.append(certificate.tail.rate(1e-6))
    rows = []
    for figure in figures:
        ends = figure.interval(level)
        rows.append(
            (
                figure.name,
                rate_text(figure.value),
                f"[{rate_text(ends.low)}, {rate_text(ends.high)}]",
                ends.method,
                words.count(figure.n),
            )
        )
    return {
        "n": words.count(certificate.n),
        "rows": rows,
        "uniformity": f"{certificate.uniformity.method}: "
        f"{words.p_value(certificate.uniformity.log_p_value)}",
    }


def _swatches() -> dict[str, Any]:
    from markupsafe import Markup

    from statllm.report.drawing import plot_line, plot_swatch

    return {
        "found": Markup(plot_swatch(plots.FOUND)),
        "chance": Markup(plot_line(plots.CHANCE)),
    }
