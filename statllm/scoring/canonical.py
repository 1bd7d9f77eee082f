"""One canonical form of an answer, used alike for votes, filters and evaluation."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from statllm.scoring._columns import map_lists
from statllm.scoring._numbers import canonical_number

if TYPE_CHECKING:
    import pyarrow as pa

# Signs that mean the same.
_SAME = str.maketrans(
    {
        **dict.fromkeys("−–—‒﹣－‐‑", "-"),
        **dict.fromkeys("\u00a0\u2007\u2009\u202f\u3000", " "),
        **dict.fromkeys("“”„«»＂", '"'),
        **dict.fromkeys("‘’‚`´", "'"),
        **dict.fromkeys("∕⁄", "/"),
        **dict.fromkeys("×·⋅", "*"),
        **dict(zip("％＄，．", "%$,.", strict=True)),
        **dict(zip("０１２３４５６７８９", "0123456789", strict=True)),
        **dict(zip("½⅓⅔¼¾", (" 1/2", " 1/3", " 2/3", " 1/4", " 3/4"), strict=True)),
    }
)
# LaTeX that doesn't change the meaning, and what it becomes.
_LATEX = [
    (re.compile(r"\\(?:left|right|displaystyle|,|!|;|:|quad|qquad)(?![A-Za-z])"), ""),
    (re.compile(r"\\ |~"), " "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\frac\s?(\d)\s?(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mbox|f?boxed)\s?\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\^\s?(?:\\circ|\{\s?\\circ\s?\})|\\degree(?![A-Za-z])|°"), ""),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "*"),
    (re.compile(r"\\([%$#&_])"), r"\1"),
]
_FRACTION = re.compile(r"\\frac\{(-?[\d.,]{1,30})\}\{([\d.,]{1,30})\}")
_DELIMITED = re.compile(r"\$\$?([^$]*)\$\$?|\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)

_EXPRESSION = re.compile(r"[\\^=+<>]|^[(\[{].*\d|\d\s?[-*/:]|[-*/:]\s?\d", re.DOTALL)
# A comma before three digits would become a thousands separator: "1, 200" are two numbers.
_SPACED_OPERATOR = re.compile(r"\s*([-+*/=^:<>(){}\[\]]|,(?!\s*\d{3}(?!\d)))\s*")
_OUTER = " \t\r\n\"'*_.,;:!?"
_BRACKETS = ("()", "[]", "{}")


def canonical(answer: str | None, *, units: bool = False) -> str | None:
    r"""Return the form in which equal answers are equal strings.

    Parameters
    ----------
    answer : str or None
    units : bool
        Keep words after a number ("18 eggs"); by default they are dropped.

    Returns
    -------
    str or None
        None for None and for text that is punctuation only.

    Notes
    -----
    *Numbers* (exact arithmetic, no floats): thousands separators, currency signs, a leading
    plus, leading and trailing zeros, LaTeX fractions, scientific notation (5e3, 5*10^3), mixed
    numbers (1 1/2) and "2 million" are resolved. A number is written as a decimal where that
    ends, else as a fraction in lowest terms, so 0.5 = 1/2, and 0.333 differs from 1/3. A
    percent sign is dropped, as in the answer check of MATH (Hendrycks et al. 2021): 50% = 50,
    which differs from 0.5. Up to twelve words after a number are a unit and dropped, unless they
    change its value or are mathematics (dozen, pm, pi, x). "(5)" and "x = 5" are 5.

    *Single letters* are options and upper case: "(b)" and "B." are B.

    *Other text* is case-folded, white space is collapsed, outer punctuation goes. In an
    expression space around operators goes; with a LaTeX command, = or ^ in it, case is kept.

    Limits: 5 hours and 5 minutes are equal; 2/4 meant as a date equals 1/2; a decimal comma
    ("1,5") is text, and "1,500" is 1500; roots, sets and expressions are compared as text
    (``equivalence="math-verify"`` compares their meaning).

    Examples
    --------
    >>> [canonical(a) for a in ("$70,000", "070", "1,234.50", "-0", r"\frac{2}{4}", "18 eggs.")]
    ['70000', '70', '1234.5', '0', '0.5', '18']
    >>> canonical("(b)"), canonical("  New   York. "), canonical("...")
    ('B', 'new york', None)
    """
    if answer is None:
        return None
    # One pass can lay bare what the next one resolves; nearly always the second changes nothing.
    for _ in range(8):
        new = _one_pass(answer, units)
        if new is None or new == answer:
            return new
        answer = new
    return answer


def canonical_column(answers: pa.ChunkedArray | pa.Array, *, units: bool = False) -> pa.Array:
    """Bring every answer of a ``list<string>`` column to its canonical form.

    Each distinct string is looked at once.

    Examples
    --------
    >>> import pyarrow as pa
    >>> canonical_column(pa.array([["1,000", "1000.0", None]])).to_pylist()
    [['1000', '1000', None]]
    """
    return map_lists(answers, lambda answer: canonical(answer, units=units), repeated=True)


def _one_pass(answer: str, units: bool) -> str | None:
    text = unicodedata.normalize("NFC", answer).translate(_SAME)
    text = " ".join(_plain(text).split())
    stripped = _strip(text)
    if not stripped:
        return None
    number = canonical_number(stripped, units)
    if number is not None:
        return number
    if len(stripped) == 1:
        return stripped.upper()
    if _EXPRESSION.search(stripped):
        stripped = _SPACED_OPERATOR.sub(r"\1", stripped)
    return stripped if any(sign in stripped for sign in "\\^=") else stripped.casefold()


def _plain(text: str) -> str:
    """Without LaTeX that doesn't change the meaning."""
    delimited = _DELIMITED.fullmatch(text.strip().rstrip("."))
    if delimited:
        text = delimited[1] or delimited[2] or delimited[3] or ""
    if "\\" not in text and "°" not in text and "~" not in text and "{,}" not in text:
        return text
    for pattern, new in _LATEX:
        text = pattern.sub(new, text)
    return _FRACTION.sub(_quotient, text)


def _quotient(match: re.Match[str]) -> str:
    r"""``\frac{1}{2}`` as 1/2, and after a digit as the rest of a mixed number."""
    after_digit = match.start() and match.string[match.start() - 1].isdigit()
    return f"{' ' if after_digit else ''}{match[1]}/{match[2]}"


def _strip(text: str) -> str:
    """Without outer punctuation and without brackets around a single thing."""
    text = _strip_punctuation(text)
    while (
        len(text) > 2 and text[0] + text[-1] in _BRACKETS and not set(text[1:-1]) & set("()[]{},")
    ):
        text = _strip_punctuation(text[1:-1])
    return text[0] if len(text) == 2 and text[1] in ")]" else text  # "b)"


def _strip_punctuation(text: str) -> str:
    """Without outer punctuation, but with the decimal point of ".5"."""
    bare = text.strip(_OUTER)
    before = text[: text.find(bare)] if bare else ""
    decimal = before.endswith(".") and not before.endswith("..") and bare[0].isdecimal()
    return f".{bare}" if decimal else bare
