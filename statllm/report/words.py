"""Numbers and names as a reader sees them; text of others made harmless to look at."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from statllm.results import format_p

if TYPE_CHECKING:
    from markupsafe import Markup

NARROW = "\N{NARROW NO-BREAK SPACE}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

#: Invisible characters that scripts and emoji need; all others of their kind are spelled out.
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}\N{SOFT HYPHEN}"

#: Reasons of the ledger, in words.
REASONS: Mapping[str, str] = {
    "kept": "kept",
    "below_threshold": "the majority answer has too few votes",
    "no_distinct_answers": "all answers agree, so there is nothing to reject",
    "no_parsed_answer": "no response has an answer that can be read",
    "tied": "chosen and rejected would have equally many votes or equal rewards",
    "truncated": "no complete response has the answer to be chosen",
    "no_correct": "no response is right",
    "no_incorrect": "no response is wrong",
}

#: Names of metrics.parquet, in words; {k} is the number of votes.
FIGURES: Mapping[str, str] = {
    "greedy_accuracy": "Accuracy, greedy",
    "majority": "Accuracy, majority of {k}",
    "sample_accuracy": "Accuracy, single samples",
    "vote_share": "Vote share of the majority answer",
    "vote_entropy": "Vote entropy",
    "auroc_vote_share": "AUROC of the vote share",
    "greedy_gain": "Gain, greedy",
    "majority_gain": "Gain, majority",
}

_PEOPLE = {"wilson": "Wilson", "clopper-pearson": "Clopper-Pearson", "jeffreys": "Jeffreys"}

#: Units that are shown in per cent or percentage points.
_SHARES = ("share of problems", "share of samples", "share of votes", "share")


def count(n: int) -> str:
    """Write a count.

    Examples
    --------
    >>> count(1234567)
    '1,234,567'
    """
    return f"{n:,}"


def in_words(n: int) -> str:
    """Write a small count as a word.

    Examples
    --------
    >>> in_words(2), in_words(12)
    ('two', '12')
    """
    return _NUMBERS[n] if 0 <= n < len(_NUMBERS) else count(n)


def percent(share: float, digits: int = 1) -> str:
    """Write a share in per cent; only none is 0 and only all are 100.

    Examples
    --------
    >>> percent(0.517), percent(0.99999), percent(1.0)
    ('51.7\u202f%', '>99.9\u202f%', '100.0\u202f%')
    """
    if math.isnan(share):
        return "–"
    text, step = number(100 * share, digits), 10.0**-digits
    if 0 < share < 1 and float(text) in (0, 100):
        text = f"<{step:.{digits}f}" if share < 0.5 else f">{100 - step:.{digits}f}"
    return f"{text}{NARROW}%"


def number(x: float, digits: int, signed: bool = False) -> str:
    """Write a number with fixed digits, a true minus sign, and no minus zero.

    Examples
    --------
    >>> number(-0.1234, 3), number(-0.0001, 3), number(math.nan, 3)
    ('−0.123', '0.000', '–')
    """
    if not math.isfinite(x):
        return "–" if math.isnan(x) else "∞" if x > 0 else "−∞"
    text = f"{x:{'+' if signed else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def figure_name(name: str) -> str:
    """Return a metric's name in words.

    Examples
    --------
    >>> figure_name("majority@8_accuracy")
    'Accuracy, majority of 8'
    """
    stem, _, tail = name.partition("@")
    return FIGURES.get(stem, plain(name)).format(k=tail.split("_")[0] or "all")


def is_gain(name: str) -> bool:
    """Whether a metric is a change between two models rather than a model's own figure."""
    return name.endswith("_gain")


def unit(row: Mapping[str, Any]) -> str:
    """Return the unit in which `value` writes a row of metrics.parquet."""
    if row["unit"] not in _SHARES:
        return str(row["unit"])
    of = str(row["unit"]).removeprefix("share").strip()
    return "percentage points" if is_gain(row["name"]) else f"% {of}".strip()


def value(row: Mapping[str, Any], signed: bool | None = None) -> str:
    """Write the value of a row of metrics.parquet, without its unit.

    Examples
    --------
    >>> value({"name": "greedy_gain", "unit": "share of problems", "value": 0.433})
    '+43.3'
    """
    return scaled(row, float(row["value"]), is_gain(row["name"]) if signed is None else signed)


def interval(row: Mapping[str, Any]) -> str:
    """Write the interval of a row of metrics.parquet, without its unit.

    Examples
    --------
    >>> row = {"name": "greedy_accuracy", "unit": "share of problems", "low": .486, "high": .548}
    >>> interval(row)
    '[48.6, 54.8]'
    """
    low, high = (scaled(row, float(row[end]), is_gain(row["name"])) for end in ("low", "high"))
    return f"[{low}, {high}]"


def scaled(row: Mapping[str, Any], x: float, signed: bool = False) -> str:
    """Write a number in the unit of a row: shares times 100 with one digit, others with three."""
    if row["unit"] in _SHARES:
        return number(100 * x, 1, signed)
    return number(x, 3, signed)


def method(row: Mapping[str, Any]) -> str:
    """Return the row's method as a reader expects it: names of people in capitals.

    Examples
    --------
    >>> method({"method": "proportion; interval: wilson"})
    'proportion; interval: Wilson'
    """
    how, kind = str(row["method"]).partition("; interval: ")[0], interval_method(row)
    return f"{how}; interval: {kind}" if kind else how


def interval_method(row: Mapping[str, Any]) -> str:
    """Return the method of the row's interval alone.

    Examples
    --------
    >>> interval_method({"method": "proportion; interval: wilson"})
    'Wilson'
    """
    return interval_name(str(row["method"]).partition("; interval: ")[2])


def interval_name(kind: str) -> str:
    """Return the name of an interval, those of people in capitals.

    Examples
    --------
    >>> interval_name("clopper-pearson"), interval_name("t(9)")
    ('Clopper-Pearson', 't(9)')
    """
    return _PEOPLE.get(kind, kind)


def p_value(log_p: float | None) -> str:
    """Write a p-value from its logarithm.

    Examples
    --------
    >>> p_value(math.log(0.0321)), p_value(-230.0), p_value(0.0)
    ('p = 0.0321', 'p = 1.3 × 10⁻¹⁰⁰', 'p = 1')
    """
    if log_p is None or math.isnan(log_p):
        return "p undefined"
    if log_p == -math.inf:  # an outcome that was called impossible, or no float holds its log
        return "p < 10⁻³⁰⁰"
    text = format_p(log_p)
    mantissa, e, exponent = text.partition("e")
    if e:
        return f"p {mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return f"p {text}"


def reason(name: str) -> str:
    """Return a ledger's reason in words; an unknown one as it is written.

    Examples
    --------
    >>> reason("no_correct"), reason("too_long")
    ('no response is right', 'too long')
    """
    return REASONS.get(name, plain(name))


def plain(name: str) -> str:
    """Return an identifier as words."""
    return name.replace("_", " ")


def visible(text: str) -> str:
    r"""Spell out control characters and invisible ones, so that no text can hide or reorder.

    Control characters become their symbols (U+2400 and on), others their code points. Escaping
    for HTML is the template's work.

    Examples
    --------
    >>> visible("a\x00b\u202ec")
    'a␀b[U+202E]c'
    >>> visible("two\nlines")
    'two\nlines'
    """
    return "".join(map(_visible_character, text.replace("\r\n", "\n")))


def _visible_character(character: str) -> str:
    if character in "\n\t" or character in _JOINERS:
        return character
    kind, code = unicodedata.category(character), ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    if noncharacter or kind in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return f"[U+{code:04X}]"
    return character


def typeset(text: str) -> Markup:
    """Return text as HTML: escaped, invisible characters spelled out, exponents as <sup>.

    Examples
    --------
    >>> print(typeset("p = 1.2 × 10⁻⁹ < α"))
    p = 1.2 × 10<sup>−9</sup> &lt; α
    """
    from markupsafe import Markup, escape

    raised = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "−0123456789")
    parts = re.split("([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", visible(text))
    html = (
        f"<sup>{part.translate(raised)}</sup>" if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )
    return Markup("").join(map(Markup, html))


def breakable(name: str) -> Markup:
    """Return an identifier as HTML that may be broken after its underscores.

    Examples
    --------
    >>> print(breakable("vote_share<"))
    vote_<wbr>share&lt;
    """
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in visible(name).split("_"))


def shortened(text: str, limit: int = 2500) -> str:
    """Cut a long text in its middle, saying how much is left out.

    Examples
    --------
    >>> shortened("abcdefghij", 4)
    'ab … [6 characters left out] … ij'
    """
    if len(text) <= limit:
        return text
    half = limit // 2
    left_out = count(len(text) - 2 * half)
    return f"{text[:half]} … [{left_out} characters left out] … {text[len(text) - half :]}"
