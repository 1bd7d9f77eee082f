"""The page on the watermarks that were found in a corpus."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.files import write_text
from statllm.report import words
from statllm.report.panels import Panel, Section
from statllm.report.templates import check_packages, render
from statllm.report.watermark import plots
from statllm.report.watermark.gather import (
    PER_DECADE,
    SHORT,
    Gathered,
    OfConfiguration,
    PValues,
    gather,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from statllm.estimators.watermark.certificate import Certificate

#: Configurations that have figures; the table holds all.
_DRAWN = 4
#: Above these shares, of tokens that repeat a pair and of short documents, the page warns.
_MANY_REPEATED, _MANY_SHORT = 0.2, 0.1


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
        "warnings": _warnings(found, certificate),
        "level": words.percent(level, 0),
        "rows": [_row(each, level) for each in _ordered(found.configurations)],
        "figures": Section([panel for k, each in enumerate(drawn) for panel in _panels(each, k)]),
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


def small(log_p: float) -> str:
    """Write a p- or q-value from its logarithm, without a name.

    Examples
    --------
    >>> small(math.log(0.0321)), small(-230.0)
    ('0.0321', '1.3 × 10⁻¹⁰⁰')
    """
    return words.p_value(log_p).removeprefix("p ").removeprefix("= ")


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
        value, limits = _share(found.configurations[0].p, level)
        cards.append(
            (
                "share that is watermarked, at least",
                value,
                f"{words.percent(level, 0)} interval {limits}, Storey's estimate",
            )
        )
    return cards


def _share(p: PValues, level: float) -> tuple[str, str]:
    estimate = p.share_marked()
    ends = estimate.interval(level)
    low, high = words.percent(ends.low), words.percent(ends.high)
    return words.percent(estimate.value), f"[{low}, {high}]"


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
        "share": _share(each.p, level),
    }


def _panels(each: OfConfiguration, place: int) -> list[Panel]:
    p = each.p
    first, rest = p.bins[0] / p.n, p.n - int(p.bins[0])
    histogram = Panel(
        f"{each.name}: p-values",
        plots.plot_histogram(
            p,
            f"bins-{place}",
            f"Histogram of the p-values of {each.name}: {words.percent(first)} of documents have "
            "one of at most 0.05, by chance it would be 5 %",
        ),
        f"{words.count(p.n)} documents; {words.percent(first)} at or below 0.05, "
        f"{words.count(rest)} above.",
        ("p-value", "documents", "by chance"),
        tuple(
            (f"{k / len(p.bins):.2f} to {(k + 1) / len(p.bins):.2f}", words.count(int(n)),
             words.number(p.n / len(p.bins), 1))
            for k, n in enumerate(p.bins)
        ),
    )  # fmt: skip
    counts, decades = p.at_most, plots.tail_decades(p.n)
    level = 10.0 ** -(decades - 2)
    deep = int(counts[(decades - 2) * PER_DECADE])
    tail = Panel(
        f"{each.name}: tail",
        plots.plot_tail(
            p,
            f"tail-{place}",
            f"Share of documents with a p-value of {each.name} at or below a level, against the "
            f"level: {words.count(deep)} of {words.count(p.n)} at {small(math.log(level))}",
        ),
        f"The smallest p-value is {small(p.least)}. {words.count(deep)} documents are at or below "
        f"{small(math.log(level))}; by chance {words.number(p.n * level, 1)}.",
        ("level", "documents at or below", "by chance"),
        tuple(
            (small(-k * math.log(10)) if k else "1", words.count(int(counts[k * PER_DECADE])),
             f"{p.n * 10.0**-k:,.4g}")
            for k in range(decades + 1)
        ),
    )  # fmt: skip
    return [histogram, tail]


def _warnings(found: Gathered, certificate: Certificate | None) -> list[tuple[str, str]]:
    """What a reader should know before believing the page: (in short, the rest)."""
    out = []
    untested = found.n_documents - found.p.n
    if untested:
        out.append(
            (
                f"{words.count(untested)} of {words.count(found.n_documents)} documents were not "
                "tested:",
                "they have no token that counts, or fewer than was asked for.",
            )
        )
    for each in found.configurations:
        total = each.scored + each.repeated
        if total and each.repeated > _MANY_REPEATED * total:
            out.append(
                (
                    f"Text that repeats ({each.name}):",
                    f"{words.percent(each.repeated / total)} of its tokens repeat a (seed, token) "
                    "pair of their document and don't count. A detector that counted them would "
                    "err far more often than it says.",
                )
            )
        if each.p.n and each.short > _MANY_SHORT * each.p.n:
            out.append(
                (
                    f"Short documents ({each.name}):",
                    f"{words.count(each.short)} of {words.count(each.p.n)} have fewer than "
                    f"{SHORT} tokens that count. A watermark in them is mostly too weak to be "
                    "seen.",
                )
            )
    if certificate is None:
        out.append(
            (
                "No certificate:",
                "these p-values are valid on average over keys. How often this key accuses human "
                "documents like yours is only known by measuring it.",
            )
        )
    else:
        broken = [
            f"{alpha:g}"
            for alpha, rate in zip(certificate.alphas, certificate.rates, strict=True)
            if rate.interval(0.95).low > alpha
        ]
        if broken:
            out.append(
                (
                    "Human documents are accused too often:",
                    f"at the level {' and '.join(broken)} more often than the level says, under "
                    "the key of the certificate. Its p-values can't be taken at their word.",
                )
            )
    return out


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
                _rate(figure.value),
                f"[{_rate(ends.low)}, {_rate(ends.high)}]",
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


def _rate(value: float) -> str:
    return "0" if value == 0 else f"{value:.2g}" if value >= 1e-3 else small(math.log(value))


def _swatches() -> dict[str, Any]:
    from markupsafe import Markup

    from statllm.report.drawing import plot_line, plot_swatch

    return {
        "found": Markup(plot_swatch(plots.FOUND)),
        "chance": Markup(plot_line(plots.CHANCE)),
    }
