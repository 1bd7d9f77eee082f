"""What a reader should know before believing the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statllm.report import words
from statllm.report.watermark.gather import SHORT, Gathered

if TYPE_CHECKING:
    from statllm.estimators.watermark.certificate import Certificate

#: Above these shares, of tokens that repeat a pair and of short documents, the page warns.
_MANY_REPEATED, _MANY_SHORT = 0.2, 0.1


def notices(found: Gathered, certificate: Certificate | None) -> list[tuple[str, str]]:
    """Return what is to be known: (in short, the rest)."""
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
