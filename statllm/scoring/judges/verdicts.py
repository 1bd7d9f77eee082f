"""What a judge decided, read from its text by a named grammar; an unreadable text stays null."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.scoring._json import json_objects

if TYPE_CHECKING:
    import pandas as pd

PairwiseGrammar = Literal["brackets", "final_line", "json"]
ScoreGrammar = Literal["brackets", "label", "json"]

FIRST, TIE, SECOND = 1.0, 0.0, -1.0  # which of the two responses, by the place it was shown in
_OUTCOMES = {"a": FIRST, "b": SECOND, "c": TIE, "tie": TIE}

# Why a text has no verdict.
REASONS = {
    "missing": "the text is null",
    "empty": "the text is blank",
    "no_verdict": "nothing in it is a verdict of this grammar",
    "not_final": "a verdict is mentioned, not given: it neither ends the text nor has its own line",
    "contradictory": "two different verdicts are given",
    "out_of_range": "the score is outside of the scale",
    "wrong_scale": "the score is said to be out of another maximum",
    "not_applicable": "the judge says that the criterion doesn't apply",
    "invalid_value": "the JSON field holds something else",
}

_MARKS = r"[\s\"'`*_.!)]{0,9}"  # what may surround a verdict in its line
_NUMBER = r"[-+−]?\d{1,9}(?:\.\d{1,9})?"
_OUT_OF = r"(?:\s{0,3}(?:/|out\s{1,3}of)\s{0,3}(?P<top>\d{1,9}(?:\.0{1,9})?))?"
_CAPTION = r"(?:[\s\"'`*_#>-]{0,9}[A-Za-z][A-Za-z ]{0,38}(?:[:=]|\bis\b))?"

_BRACKET_VERDICT = re.compile(r"\[\[\s{0,3}(?P<value>A|B|C|tie)\s{0,3}\]\]", re.IGNORECASE)
_BRACKET_SCORE = re.compile(
    rf"\[\[\s{{0,3}}(?P<value>{_NUMBER}|N/?A){_OUT_OF}\s{{0,3}}\]\]", re.IGNORECASE
)
_LABELLED_SCORE = re.compile(
    rf"""\b(?:score|rating|grade)[\s"'`*_]{{0,5}}(?:[:=]|\bis\b)[\s"'`*_]{{0,5}}
         (?P<value>{_NUMBER}|N/A){_OUT_OF}
         (?![\w%]|[.,]\d|\s{{0,3}}[-–/]\s{{0,3}}\d|\s{{1,3}}(?:to|or)\s)   # neither range nor date
    """,
    re.IGNORECASE | re.VERBOSE,
)
_FINAL_LINE = re.compile(
    r"""(?: [\s"'`*_#>-]{0,9} (?:final\s{1,3})?
             (?:verdict|winner|answer|choice|decision|judge?ment|preference|better\sresponse)
             [\s"'`*_]{0,5} (?:[:=]|\bis\b) )?
         [\s"'`*_(\[]{0,9} (?:(?:response|answer|output|option|assistant)\s{1,3})?
         (?P<value>A|B|C|tie) [\s"'`*_.!)\]]{0,9}
    """,
    re.IGNORECASE | re.VERBOSE,
)


class _Unreadable(Exception):
    """Carries the reason."""


def _refuse(reason: str) -> NoReturn:
    raise _Unreadable(reason)


@dataclass(frozen=True)
class VerdictSummary:
    """How many texts were read, and why the others weren't.

    Attributes
    ----------
    n, n_parsed, n_failed : int
        n is the sum of the other two.
    reasons : dict of str to int
        Failures by reason (`REASONS` says what each means); they add up to `n_failed`.
    values : dict of float to int
        Verdicts by value; they add up to `n_parsed`.
    """

    n: int
    n_parsed: int
    n_failed: int
    reasons: dict[str, int]
    values: dict[float, int]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per value and per reason, with its count and share."""
        import pandas as pd

        rows = [("parsed", f"{value:g}", count) for value, count in self.values.items()]
        rows += [("failed", reason, count) for reason, count in self.reasons.items()]
        frame = pd.DataFrame(rows, columns=["outcome", "what", "n"])
        return frame.assign(share=frame["n"] / max(self.n, 1))

    def summary(self) -> str:
        """Return one line of text."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.reasons.items())
        return f"{self.n_parsed} of {self.n} verdicts read" + (f" ({reasons})" if reasons else "")


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Verdicts of n texts.

    Attributes
    ----------
    value : pyarrow array of double
        Pairwise: 1 the response shown first is better, -1 the second, 0 a tie. Pointwise: the
        score. Null where the text couldn't be read.
    reason : pyarrow array of string
        Why not; null where it could.
    """

    value: pa.Array
    reason: pa.Array

    def to_numpy(self) -> NDArray[np.float64]:
        """Return the values, NaN where the text couldn't be read."""
        return np.asarray(self.value.to_numpy(zero_copy_only=False), dtype=np.float64)

    @property
    def summary(self) -> VerdictSummary:
        """The counts."""
        return summarise(self.value.to_pylist(), self.reason.to_pylist())


def summarise(values: Sequence[float | None], reasons: Sequence[str | None]) -> VerdictSummary:
    """Count verdicts by value, and unreadable texts by reason.

    Examples
    --------
    >>> summarise([1.0, None], [None, "empty"]).summary()
    '1 of 2 verdicts read (1 empty)'
    """
    failed = Counter(reason for reason in reasons if reason is not None)
    parsed = Counter(value for value in values if value is not None)
    return VerdictSummary(
        len(values),
        parsed.total(),
        failed.total(),
        dict(sorted(failed.items())),
        dict(sorted(parsed.items())),
    )


def parse_pairwise(
    texts: Any, grammar: PairwiseGrammar = "brackets", key: str = "winner"
) -> Verdicts:
    """Read which of two responses a judge prefers.

    Parameters
    ----------
    texts : pyarrow array of string, or sequence of str or None
        What the judge wrote.
    grammar : {"brackets", "final_line", "json"}
        ``"brackets"``: [[A]], [[B]], or [[C]] or [[tie]] for a tie. ``"final_line"``: the last
        line is A, B, C or tie, with or without a caption (Verdict: B). ``"json"``: an object with
        such a value under `key`, and possibly text around it.
    key : str
        For ``"json"``.

    Returns
    -------
    Verdicts
        By the place in which a response was shown, whatever the order was.

    Raises
    ------
    InputError
        If the grammar is unknown or `texts` holds something else than text.

    Notes
    -----
    A verdict in brackets has to be *given*: it ends the last line (not in quotation marks), or
    has a line for itself (with at most a caption). Mentions before a closing verdict don't count,
    so a judge may quote its instructions. Different verdicts in the last line or on lines of their
    own contradict each other; without a closing verdict, so do different mentions.

    Examples
    --------
    >>> verdicts = parse_pairwise(["B is vague. [[A]]", "[[A]] or [[B]]", None])
    >>> verdicts.to_numpy(), verdicts.reason.to_pylist()
    (array([ 1., nan, nan]), [None, 'contradictory', 'missing'])
    >>> verdicts.summary.summary()
    '1 of 3 verdicts read (1 contradictory, 1 missing)'
    """
    readers: dict[str, Callable[[str], float]] = {
        "brackets": partial(_given, token=_BRACKET_VERDICT, value=_outcome),
        "final_line": _final_line,
        "json": partial(_json_field, key=key, value=_json_outcome),
    }
    return _parsed(texts, readers[_known(grammar, PairwiseGrammar)])


def parse_scores(
    texts: Any,
    low: float,
    high: float,
    grammar: ScoreGrammar = "label",
    key: str = "score",
    parts: Mapping[str, Sequence[float]] | None = None,
) -> Verdicts:
    """Read the score that a judge gives.

    Parameters
    ----------
    texts : pyarrow array of string, or sequence of str or None
        What the judge wrote.
    low, high : float
        Ends of the scale, both included. A score outside isn't moved into it: it is null.
    grammar : {"label", "brackets", "json"}
        ``"label"``: Score: 7, Rating: 7/10, the grade is 7 out of 10. ``"brackets"``: [[7]] or
        [[7/10]]; [[N/A]] says that a criterion doesn't apply. ``"json"``: an object with a number
        under `key`. What counts as given and as a contradiction is as for `parse_pairwise`.
    key : str
        For ``"json"``.
    parts : mapping of str to (low, high), optional
        For ``"json"``: the score is the sum of these fields, each within its own scale, as of a
        rubric with points. A field that is missing or twice different leaves none. What the judge
        itself gives as the sum, under `key`, may be left out but not be another number.

    Returns
    -------
    Verdicts

    Raises
    ------
    InputError
        If the grammar is unknown, the scale is empty or `texts` holds something else than text.

    Examples
    --------
    >>> scores = parse_scores(["Clear.\\nScore: 7/10", "Score: 11", "Score: 3/5"], 1, 10)
    >>> scores.to_numpy(), scores.reason.to_pylist()
    (array([ 7., nan, nan]), [None, 'out_of_range', 'wrong_scale'])
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"the scale must have low < high, not {low} and {high}")
    if parts is not None and grammar != "json":
        raise InputError(f"parts of a score need grammar json, not '{grammar}'")
    number = partial(_score, low=low, high=high)
    field = partial(_json_score, low=low, high=high)
    readers: dict[str, Callable[[str], float]] = {
        "label": partial(_given, token=_LABELLED_SCORE, value=number),
        "brackets": partial(_given, token=_BRACKET_SCORE, value=number),
        "json": partial(_json_sum, key=key, total=field, parts=parts)
        if parts
        else partial(_json_field, key=key, value=field),
    }
    return _parsed(texts, readers[_known(grammar, ScoreGrammar)])


def _known(grammar: str, kind: Any) -> str:
    if grammar not in get_args(kind):
        raise InputError(f"grammar must be one of {', '.join(get_args(kind))}, not '{grammar}'")
    return grammar


def _parsed(texts: Any, read: Callable[[str], float]) -> Verdicts:
    """Every text is either a value or a reason."""
    if not isinstance(texts, pa.Array | pa.ChunkedArray):
        texts = pa.array(texts, from_pandas=True)
    kind = texts.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise InputError(f"texts of a judge were expected, not {kind}")
    values: list[float | None] = []
    reasons: list[str | None] = []
    for text in texts.to_pylist():
        try:
            if text is None:
                _refuse("missing")
            if not text.strip():
                _refuse("empty")
            values.append(read(text))
            reasons.append(None)
        except _Unreadable as failure:
            values.append(None)
            reasons.append(str(failure))
    return Verdicts(pa.array(values, pa.float64()), pa.array(reasons, pa.string()))


def _given(text: str, token: re.Pattern[str], value: Callable[[re.Match[str]], float]) -> float:
    """The one verdict that is given, by the rule in the notes of `parse_pairwise`."""
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    found = [list(token.finditer(line)) for line in lines]
    mentioned = [match for matches in found for match in matches]
    if not mentioned:
        _refuse("no_verdict")
    given = [
        matches[0]
        for line, matches in zip(lines, found, strict=True)
        if len(matches) == 1 and _is_alone(line, matches[0])
    ]
    last = found[-1]
    if last and _closes(lines[-1], last[-1]):
        given += last  # all of them: "[[A]] or [[B]]" is no verdict
    elif not given:
        _refuse("contradictory" if len(_contents(mentioned)) > 1 else "not_final")
    else:
        given = mentioned
    if len(_contents(given)) > 1:
        _refuse("contradictory")
    return value(given[0])


def _closes(line: str, match: re.Match[str]) -> bool:
    """Whether a line ends with the match, and doesn't merely quote it."""
    quoted = line[: match.start()].endswith(('"', "'", "`", "“", "‘"))
    return not quoted and re.fullmatch(_MARKS, line[match.end() :]) is not None


def _is_alone(line: str, match: re.Match[str]) -> bool:
    before, after = line[: match.start()], line[match.end() :]
    return (
        re.fullmatch(rf"{_CAPTION}[\s\"'`*_(#>-]{{0,9}}", before) is not None
        and re.fullmatch(_MARKS, after) is not None
    )


def _contents(matches: Iterable[re.Match[str]]) -> set[float | str]:
    """What the matches say: C and tie are the same, and so are 7 and 7.0."""
    contents: set[float | str] = set()
    for match in matches:
        said = match["value"].lower()
        contents.add(_OUTCOMES[said] if said in _OUTCOMES else _plain_number(said))
    return contents


def _plain_number(said: str) -> float | str:
    return "n/a" if said.startswith("n") else float(said.replace("−", "-"))


def _outcome(match: re.Match[str]) -> float:
    return _OUTCOMES[match["value"].lower()]


def _score(match: re.Match[str], low: float, high: float) -> float:
    number = _plain_number(match["value"].lower())
    if isinstance(number, str):
        _refuse("not_applicable")
    if match["top"] is not None and float(match["top"]) != high:
        _refuse("wrong_scale")
    return _in_range(number, low, high)


def _in_range(number: float, low: float, high: float) -> float:
    if not low <= number <= high:
        _refuse("out_of_range")
    return number


def _final_line(text: str) -> float:
    """The verdict that is the whole last line; a captioned one elsewhere must not contradict."""
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    match = _FINAL_LINE.fullmatch(lines[-1])
    if match is None:
        _refuse("no_verdict")
    earlier = [other for line in lines[:-1] if (other := _FINAL_LINE.fullmatch(line))]
    if len(_contents([match, *earlier])) > 1:
        _refuse("contradictory")
    return _outcome(match)


def _json_field(text: str, key: str, value: Callable[[Any], float]) -> float:
    """The value under a key of the objects in a text; all that have the key must agree."""
    found = [value for pairs in json_objects(text, list) for name, value in pairs if name == key]
    if not found:
        _refuse("no_verdict")
    read = {value(one) for one in found}
    if len(read) > 1:
        _refuse("contradictory")
    return read.pop()


def _json_sum(
    text: str,
    key: str,
    total: Callable[[Any], float],
    parts: Mapping[str, Sequence[float]],
) -> float:
    """The sum of the parts; a sum that the judge states must be the same."""
    found = [
        _json_field(text, name, partial(_json_score, low=low, high=high))
        for name, (low, high) in parts.items()
    ]
    score = total(math.fsum(found))
    if any(name == key for pairs in json_objects(text, list) for name, _ in pairs):
        stated = _json_field(text, key, total)
        if abs(stated - score) > 1e-9:
            _refuse("contradictory")
    return score


def _json_outcome(value: Any) -> float:
    outcome = _OUTCOMES.get(value.strip().lower()) if isinstance(value, str) else None
    if outcome is None:
        _refuse("invalid_value")
    return outcome


def _json_score(value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        _refuse("invalid_value")  # `value != value` is NaN; math.isnan fails on huge integers
    return _in_range(float(value) if abs(value) < 1e300 else math.inf, low, high)
