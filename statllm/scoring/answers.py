"""The final answer of a response, found by a named rule; text is read, never executed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, get_args

from statllm.errors import InputError
from statllm.scoring._columns import map_lists
from statllm.scoring.grids import grid_answer

if TYPE_CHECKING:
    import pyarrow as pa

AnswerRule = Literal["auto", "hash", "boxed", "final", "option", "number", "grid", "text", "none"]

# Every repetition below is bounded, possessive, or followed by what it can't match itself, so
# that a search takes time linear in the text, whatever the text is.
_HASH = re.compile(r"####[ \t]{0,20}([^\n#][^\n]{0,400})")
_BRACE = re.compile(r"\\(?:boxed|fbox)\s{0,5}\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed[ \t]{1,5}([^\s{}$\\]{1,40})")
_PHRASE = re.compile(
    r"""\b(?:answers?|(?:correct|right|best)[ ](?:option|choice))
        (?:[ ]to[ ][^\n.:?!]{1,80}?(?=[ ](?:is|are|was)\b))?        # "the answer to this is"
        ["'*_`]{0,3} \s{0,3} (?: (?:is|are|was)\b | [:=] ) [*_:=\s]{0,8}
      | \bfinal[ ]answer [*_`#]{0,3} [ \t]{0,5} \n [*_\s]{0,8}      # a heading of its own
    """,
    re.IGNORECASE | re.VERBOSE,
)
_BRACKETED = re.compile(r"\s{0,3}\(([A-J])\)(?!\w)")
_QUOTED = re.compile(r'"((?:[^"\\\n]|\\[^\n]){1,400}+)"')  # a JSON string
_SENTENCE_END = re.compile(
    r"""(?<![A-Z]) [.!?] ["')*$\]]{0,3} \s{1,20} (?=[A-Z])          # not after an initial
      | ,? \s (?:because|since|as|which)\b
    """,
    re.VERBOSE,
)
_NUMBER = re.compile(
    r"""(?<![\w.])
        (?:(?<![)\]])[-+−–])? [$€£¥₹]? (?:(?<=[$€£¥₹])[-−–])?       # -$5 and $-5
        (?: (?<!/)\d++/\d++(?![\d/])                                # a fraction, but not a date
          | \d{1,3}(?:,\d{3}(?!\d))++(?:\.\d++)?
          | \d++(?:\.\d++)?(?:[eE][-+]?\d{1,4}(?!\w))?
          | \.\d++ ) %?
    """,
    re.VERBOSE,
)
# A heading such as "#### 2. Add them" or "#### Step 2" is not an answer.
_STARTS_WITH_NUMBER = re.compile(r"(?!\d{1,3}[.):]\s)[-+−–($€£¥₹\s]{0,4}\.?\d")
_OPTION_PHRASE = re.compile(
    r"""(?: (?i:\banswers?)["'*_`]{0,3} (?:\s{1,3}(?:is|are|was)\b | \s{0,3}[:=])
            [\s*_:"'`$]{0,8} (?i:(?:option|choice)\s{1,3})?
            (?:\\(?:boxed|text|textbf|mathrm)\{|[({\[*]){0,4}
            (?P<letter>[A-J](?=\s|$) | [A-Ja-j](?=[)\]}.:,"'*`$]))
            (?!\s{1,3}(?!because|since|as\b|and\b|with\b|is\b|-)[a-z])  # "the answer is A rabbit"
          | (?i:\b(?:option|choice))\s{1,3}[(*]{0,3}(?P<named>[A-J])[)*]{0,3}\s{1,3}
            is\s{1,3}(?:the\s{1,3})?(?:correct|right|best|true) )
    """,
    re.VERBOSE,
)
_OPTION_ALONE = re.compile(r"[^\w]{0,6}([A-J])[^\w]{0,6}")
_OPTION_FIRST = re.compile(r"[\s*_\"'`]{0,6}([A-J])[).:]\**\s")
_OPTION_IN_BRACKETS = re.compile(r"[(\[{]\s?([A-J])\s?[)\]}]")

_LONGEST = 400  # characters; a longer "answer" is prose


def extract(text: str | None, rule: AnswerRule = "auto") -> str | None:
    r"""Return the final answer of a response, as written, or None.

    Parameters
    ----------
    text : str or None
    rule : str
        =========  ==========================================================================
        hash       what follows the last ``####`` on its line (GSM8K)
        boxed      the last ``\boxed{...}``, braces balanced (MATH)
        final      what follows the last "answer is", "answer:", "Final answer:", "correct option
                   is" to the end of the sentence or line; also the value of a JSON key
                   ``"answer"``; of "(B) 42 apples" the letter
        option     a letter A to J: after "answer is", alone, at the start, or last in brackets
        number     the last number: thousands separators, decimals, currency, percent, p/q
        grid       the whole table of a logic puzzle's JSON (`statllm.scoring.grids`)
        text       the whole text
        none       nothing is looked for
        auto       the last in the text of boxed, final and ``#### number``; a text that is just
                   a letter; else the last number
        =========  ==========================================================================

    Returns
    -------
    str or None
        None where the rule finds nothing. `statllm.scoring.canonical` makes answers comparable.

    Raises
    ------
    InputError
        If the rule is unknown.

    Notes
    -----
    The last occurrence counts, since a chain of thought ends with its conclusion; a model that
    runs on into a next question needs a stop string.

    Examples
    --------
    >>> extract("9 + 9 = 18 eggs.\n#### 18")
    '18'
    >>> extract(r"So the result is $\boxed{\frac{1}{2}}$.")
    '\\frac{1}{2}'
    >>> extract("The answer is $1,234.50. I hope it is correct."), extract("Answer: (B)", "option")
    ('$1,234.50', 'B')
    """
    if rule not in _RULES:
        raise InputError(f"answer rule '{rule}' is unknown; rules: {', '.join(_RULES)}")
    return None if text is None else _RULES[rule](text)


def extract_column(responses: pa.ChunkedArray | pa.Array, rule: AnswerRule = "auto") -> pa.Array:
    """Extract the answer of every response of a ``list<string>`` column.

    Returns
    -------
    pyarrow.ListArray of string
        Rows and lengths as in `responses`; null where nothing was found.

    Examples
    --------
    >>> import pyarrow as pa
    >>> extract_column(pa.array([["#### 4", "no idea"], []]), "hash").to_pylist()
    [['4', None], []]
    """
    if rule not in _RULES:
        raise InputError(f"answer rule '{rule}' is unknown; rules: {', '.join(_RULES)}")
    return map_lists(responses, _RULES[rule])


def extract_reference(text: str | None) -> str | None:
    r"""Return a gold answer: what its last ``####`` or ``\boxed`` marks, else the whole text.

    Data sets store either the answer itself or a solution that ends in a marked one.

    Examples
    --------
    >>> extract_reference("Add them: 2 + 2 = 4\n#### 4"), extract_reference("Paris")
    ('4', 'Paris')
    """
    if text is None:
        return None
    found = max(_boxed_at(text), _hash_at(text), key=lambda hit: hit[0])
    if found[1] is None and text.lstrip().startswith("{"):
        return grid_answer(text) or text
    return found[1] if found[1] is not None else text


# ---- the rules: each returns what it found and where --------------------------------------------

_Hit = tuple[int, str | None]
_MISS: _Hit = (-1, None)


def _hash_at(text: str, numbers_only: bool = False) -> _Hit:
    if "####" not in text:
        return _MISS
    hit = _MISS
    for match in _HASH.finditer(text):
        piece = _trim(match[1])
        if piece and (not numbers_only or _STARTS_WITH_NUMBER.match(piece)):
            hit = match.start(), piece
    return hit


def _boxed_at(text: str) -> _Hit:
    """One pass with a stack of open braces, so that nesting and missing braces cost nothing."""
    if "\\boxed" not in text and "\\fbox" not in text:
        return _MISS
    hit = _MISS
    open_braces: list[tuple[int, int]] = []  # where it opened (-1: no box), where content starts
    for match in _BRACE.finditer(text):
        token = match[0]
        if token.endswith("{") and token != "\\{":
            open_braces.append((-1 if token == "{" else match.start(), match.end()))
        elif token == "}" and open_braces:
            start, inside = open_braces.pop()
            if start > hit[0] and text[inside : match.start()].strip():
                hit = start, text[inside : match.start()].strip()
    if hit is _MISS:
        bare = _BARE_BOX.search(text)
        return (bare.start(), bare[1].rstrip(".,;")) if bare else _MISS
    return hit


def _final_at(text: str) -> _Hit:
    hit = _MISS
    lower = text.lower()
    if not any(word in lower for word in ("answer", "option", "choice")):
        return hit  # much faster than the search
    for match in _PHRASE.finditer(text):
        start = match.end()
        quoted = _QUOTED.match(text, start)
        piece = _trim(quoted[1].replace('\\"', '"')) if quoted else _sentence(text, start)
        if piece:
            hit = match.start(), piece
    return hit


def _sentence(text: str, start: int) -> str | None:
    """What follows `start` up to the end of the sentence or line."""
    line = text[start : start + _LONGEST + 1].split("\n", 1)[0]
    if len(line) > _LONGEST:
        return None
    option = _BRACKETED.match(line)
    if option:  # "(B) 42 apples"
        return option[1]
    end = _SENTENCE_END.search(line)
    return _trim(line[: end.start()] if end else line)


def _trim(piece: str) -> str | None:
    """Take off what surrounds an answer: space, emphasis, quotes, the full stop."""
    piece = piece.strip().strip("*_`\"' \t").rstrip(".,;: ")
    if "{" not in piece:
        piece = piece.rstrip("}] ,")  # the end of a JSON object
    return piece.strip("*_`\"' \t") or None


def _option(text: str) -> str | None:
    letters = [m["letter"] or m["named"] for m in _OPTION_PHRASE.finditer(text)]
    if letters:
        return str(letters[-1]).upper()
    alone = _OPTION_ALONE.fullmatch(text.strip()) or _OPTION_FIRST.match(text)
    if alone:
        return alone[1]
    brackets = _OPTION_IN_BRACKETS.findall(text)
    return brackets[-1] if brackets else None


def _number(text: str) -> str | None:
    # The last number of a long text is nearly always near its end: look there first.
    for start in (max(0, len(text) - 500), 0):
        found = None
        for found in _NUMBER.finditer(text, start):  # noqa: B007 - the last one is wanted
            pass
        if found and (found.start() > start or start == 0):
            return found[0]
    return None


def _auto(text: str) -> str | None:
    position, piece = max(_boxed_at(text), _final_at(text), key=lambda hit: hit[0])
    hashed, number = _hash_at(text, numbers_only=True)
    if max(position, hashed) >= 0:
        return number if hashed > position else piece
    alone = _OPTION_ALONE.fullmatch(text.strip()) if len(text) < 20 else None
    return alone[1] if alone else _number(text)


_RULES: Mapping[str, Callable[[str], str | None]] = {
    "auto": _auto,
    "hash": lambda text: _hash_at(text)[1],
    "boxed": lambda text: _boxed_at(text)[1],
    "final": lambda text: _final_at(text)[1],
    "option": _option,
    "number": _number,
    "grid": grid_answer,
    "text": lambda text: text.strip() or None,
    "none": lambda text: None,
}
assert tuple(_RULES) == get_args(AnswerRule)
