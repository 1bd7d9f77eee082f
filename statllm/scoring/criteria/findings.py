"""Feedback as text, and read back: per criterion a verdict, quotations and what to change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from statllm.scoring.criteria.parse import same_name

#: Why there is no verdict of 0 or 1.
REASONS = {
    "not_applicable": "the text gives the criterion no occasion",
    "missing": "the feedback has no such heading",
    "no_verdict": "the heading isn't followed by met, violated or not applicable",
    "contradiction": "the heading occurs several times, with different verdicts",
    "no_answer": "there is no feedback",
}

Layout = Literal["list", "lines"]

_HEADING = re.compile(r"^\s*(?:#+\s*)?(?:\d+[.)]\s*|[-*•]\s+)?\*\*(?P<name>.+?)\*\*(?P<rest>.*)$")
_LEAD = re.compile(r"^[\s:>*_•–—-]*(?:verdict\s*:?\s*)?[\s*_]*", re.IGNORECASE)
_VERDICTS = (
    ("not_applicable", re.compile(r"(?:not applicable|n/a\b|does(?:n't| not) apply)", re.I)),
    ("violated", re.compile(r"(?:violat(?:ed|es|ion)|not (?:met|satisfied)|unmet|fail(?:ed|s)?)\b",
                            re.I)),
    ("met", re.compile(r"(?:met|satisf(?:ied|ies)|pass(?:ed|es)?|ok(?:ay)?)\b", re.I)),
)  # fmt: skip
_FIX = re.compile(r"\bFix\s*:\s*", re.IGNORECASE)
_FENCE = re.compile(r"```[^\n`]*\n(.*?)\n?\s*```|`([^`\n]+)`", re.DOTALL)
_QUOTED = re.compile(r"\"([^\"\n]{2,})\"|“([^”\n]{2,})”")


@dataclass(frozen=True)
class Finding:
    """What feedback says about one criterion.

    Attributes
    ----------
    criterion : str
        Its name.
    met : bool or None
    reason : str
        Why `met` is None, one of `REASONS`; else empty.
    quotes : tuple of str
        Passages that are quoted before the fix.
    fix : str
        What to change, or empty.
    """

    criterion: str
    met: bool | None
    reason: str = ""
    quotes: tuple[str, ...] = ()
    fix: str = ""


def format_findings(findings: Iterable[Finding], layout: Layout = "list") -> str:
    """Return feedback that `read_feedback` reads back.

    Parameters
    ----------
    findings : iterable of Finding
    layout : {"list", "lines"}
        Numbered headings with a bullet below each, or one line each.

    Examples
    --------
    >>> print(format_findings([Finding("None test", False, "", ("x == None",), "use is")]))
    1. **None test**
    - violated: `x == None`. Fix: use is
    """
    lines = []
    for number, finding in enumerate(findings, 1):
        verdict = {True: "met", False: "violated", None: "not applicable"}[finding.met]
        quotes = ", ".join(_marked(quote) for quote in finding.quotes)
        fix = f"Fix: {finding.fix}" if finding.fix else ""
        if layout == "list":
            said = ": ".join(part for part in (verdict, quotes) if part)
            said = ". ".join(part for part in (said, fix) if part)
            lines.append(f"{number}. **{finding.criterion}**\n- {said}")
        else:
            said = " ".join(part for part in (verdict, quotes, fix) if part)
            lines.append(f"**{finding.criterion}**: {said}")
    return "\n".join(lines)


def sections(text: str) -> list[tuple[str, str]]:
    """Split feedback at its headings in bold: (name, what stands below it).

    Examples
    --------
    >>> sections("Well.\\n**None test**: met\\n2. **Truth test**\\n- violated")
    [('None test', ': met'), ('Truth test', '\\n- violated')]
    """
    found: list[tuple[str, list[str]]] = []
    fenced = False
    for line in text.splitlines():
        match = None if fenced else _HEADING.match(line)
        if match is not None and not _is_verdict(match["name"]):
            found.append((match["name"].strip(" :"), [match["rest"]]))
        elif found:
            found[-1][1].append(line)
        if line.count("```") % 2:
            fenced = not fenced
    return [(name, "\n".join(parts)) for name, parts in found]


def _is_verdict(name: str) -> bool:
    """Whether a bold word is a verdict below a heading, and no heading itself."""
    return any(pattern.fullmatch(same_name(name)) for _, pattern in _VERDICTS)


def read_feedback(text: str | None, names: Sequence[str]) -> tuple[list[Finding], list[str]]:
    """Read what feedback says about each of these criteria.

    A heading counts whatever its case. The verdict is the first thing below it: met (satisfied,
    passed), violated (not met, fails) or not applicable; a heading that occurs several times with
    one and the same verdict is read once, with all its quotations.

    Parameters
    ----------
    text : str or None
        None: the model gave no answer.
    names : sequence of str
        Names of criteria, all different.

    Returns
    -------
    list of Finding
        One per name, in order.
    list of str
        Further headings.

    Examples
    --------
    >>> said = "1. **None test**\\n- violated: `x == None`. Fix: use is.\\n2. **Style**: met"
    >>> found, further = read_feedback(said, ["None test", "Truth test"])
    >>> found[0]
    Finding(criterion='None test', met=False, reason='', quotes=('x == None',), fix='use is')
    >>> found[1].reason, further
    ('missing', ['Style'])
    """
    if text is None:
        return [Finding(name, None, "no_answer") for name in names], []
    known = {same_name(name): name for name in names}
    read: dict[str, list[Finding]] = {name: [] for name in names}
    further = []
    for heading, body in sections(text):
        name = known.get(same_name(heading))
        if name is None:
            further.append(heading)
        else:
            read[name].append(_finding(name, body))
    return [_one(name, found) for name, found in read.items()], further


def _finding(name: str, body: str) -> Finding:
    said = _LEAD.sub("", body, count=1)
    kind = next((kind for kind, pattern in _VERDICTS if pattern.match(said)), None)
    # the word may stand in a passage that is quoted
    found = _FIX.search(_FENCE.sub(lambda quote: " " * len(quote[0]), said)) or _FIX.search(said)
    before, after = (said[: found.start()], said[found.end() :]) if found else (said, "")
    fix = " ".join(after.split())
    quotes = tuple(
        quote.strip("\n") for pair in _FENCE.findall(before) for quote in pair if quote.strip()
    )
    if not quotes:
        quotes = tuple(q.strip() for pair in _QUOTED.findall(before) for q in pair if q.strip())
    met = {"met": True, "violated": False}.get(kind or "")
    reason = "" if met is not None else (kind or "no_verdict")
    return Finding(name, met, reason, quotes, fix.removesuffix("."))


def _one(name: str, found: list[Finding]) -> Finding:
    if not found:
        return Finding(name, None, "missing")
    if len({(one.met, one.reason) for one in found}) > 1:
        return Finding(name, None, "contradiction")
    quotes = tuple(dict.fromkeys(quote for one in found for quote in one.quotes))
    fix = next((one.fix for one in found if one.fix), "")
    return Finding(name, found[0].met, found[0].reason, quotes, fix)


def _marked(quote: str) -> str:
    return f"`{quote}`" if "`" not in quote and "\n" not in quote else f"\n```\n{quote}\n```\n"
