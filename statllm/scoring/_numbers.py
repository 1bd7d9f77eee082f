"""Numbers as people write them, read exactly and written in one way."""

from __future__ import annotations

import re
from fractions import Fraction

_LONGEST = 200  # characters; a longer text is no number
_LONGEST_NUMBER = 60  # digits; a longer number stays text
_LARGEST_EXPONENT = 30  # 5e3 is 5000, 5e999999999 stays text

_CURRENCY = r"(?:US\$|[$€£¥₹]|(?:USD|EUR|GBP|INR|Rs\.?)\s)"
_UNSIGNED = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?)\s?{_CURRENCY}?\s?(?P<inner>[-+]?)
         (?: (?P<value>{_UNSIGNED})
             (?: [eE](?P<exponent>[-+]?\d{{1,9}})
               | \s?[*x]\s?10\s?\^\s?\{{?(?P<power>-?\d{{1,9}})\}}? )?
             (?: \s?/\s?(?P<denominator>{_UNSIGNED}) )?
           | (?P<whole>\d+)\s(?P<top>\d+)\s?/\s?(?P<bottom>\d+) )
         \s?(?:%|[€£¥₹$])?
         (?P<unit>\s?[^\d\s].*)?""",
    re.VERBOSE | re.DOTALL,
)
_ASSIGNMENT = re.compile(r"[A-Za-z]\s?=\s?(?=[-+$.\d])")

_WORD = r"[(]?[a-z][a-z.'-]*[)]?(?:\^\{?\d\}?|[²³])?"  # hours, m^2, (dollars)
_WORDS = re.compile(rf"{_WORD}(?:[\s/]{{1,2}}{_WORD}){{0,11}}")
_NO_DOTS = str.maketrans("", "", "().")
_ONE_LETTER_UNITS = frozenset("gmslhkcfvwnjat")
_POWERS_OF_TEN = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
# Words after a number that make it another number, a date, or an expression.
_NOT_UNITS = frozenset(
    """pi e i x y z sqrt sin cos tan log ln exp mod and or am pm bc ad
    hundred thousand million billion trillion dozen k bn mn half quarter third
    st nd rd th o'clock january february march april may june july august september october
    november december jan feb mar apr jun jul aug sep oct nov dec""".split()  # noqa: SIM905
)
_OUTER = " \t\r\n\"'*_.,;:!?"


def canonical_number(text: str, units: bool) -> str | None:
    """Return the canonical number, or None where the text isn't one.

    `units` keeps words after a number, so that such a text is no number.
    """
    if len(text) > _LONGEST:
        return None
    assigned = _ASSIGNMENT.match(text)
    match = _NUMBER.fullmatch(text, assigned.end() if assigned else 0)
    if match is None or (match["sign"] and match["inner"]):
        return None
    first, _, rest = (match["unit"] or "").strip(_OUTER).partition(" ")
    power = _POWERS_OF_TEN.get(first.lower(), 0)
    unit = rest if power else f"{first} {rest}".strip()
    if unit and (units or not _is_unit(unit)):
        return None
    value = _value(match)
    if value is None:
        return None
    negative = "-" in (match["sign"], match["inner"])
    return _written((-value if negative else value) * 10**power)


def _value(match: re.Match[str]) -> Fraction | None:
    """The exact number of a match; None where it is out of bounds or no number."""
    parts = [match[name] or "" for name in ("value", "denominator", "whole", "top", "bottom")]
    if max(map(len, parts)) > _LONGEST_NUMBER:
        return None
    value, denominator, whole, top, bottom = (_decimal(part) for part in parts)
    if match["whole"]:
        return whole + top / bottom if top < bottom else None
    exponent = int(match["exponent"] or match["power"] or 0)
    if abs(exponent) > _LARGEST_EXPONENT or (match["denominator"] and denominator == 0):
        return None
    value *= Fraction(10) ** exponent
    return value / denominator if match["denominator"] else value


def _decimal(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").rstrip(".") or "0")


def _written(value: Fraction) -> str:
    """A decimal where it ends, else a fraction in lowest terms."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest != 1 or places > _LONGEST_NUMBER:
        return f"{value.numerator}/{value.denominator}"
    if places == 0:
        return str(value.numerator)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def _is_unit(words: str) -> bool:
    """Whether what follows a number is a unit that can be dropped."""
    words = words.lower()
    if len(words) > 100 or not _WORDS.fullmatch(words):
        return False
    bare = [word.translate(_NO_DOTS) for word in re.split(r"[\s/]+", words)]
    first = bare[0].split("^")[0]
    return not _NOT_UNITS & set(bare) and (len(first) > 1 or first in _ONE_LETTER_UNITS)
