"""Tables of pairwise verdicts, as `audit-judge` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from statllm.cli.columns import column, numbers
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.estimators.judge_audit import Verdicts

Coding = Literal["auto", "place", "response"]

_A = {"a", "ab", "model_a", "response_a", "output_a", "assistant a", "[[a]]"}
_B = {"b", "ba", "model_b", "response_b", "output_b", "assistant b", "[[b]]"}
_TIE = {"tie", "c", "[[c]]", "tie (bothbad)", "both", "equal"}
_FIRST, _SECOND = {"first"}, {"second"}


@dataclass(frozen=True)
class Columns:
    """Names of a file's columns; None where there's none.

    Attributes
    ----------
    pair, order, verdict, human, length_a, length_b, own, cluster, judge : str or None
        As the options of `audit-judge`.
    """

    pair: str | None = None
    order: str | None = None
    verdict: str = "verdict"
    human: str | None = None
    length_a: str | None = None
    length_b: str | None = None
    own: str | None = None
    cluster: str | None = None
    judge: str | None = None


def verdicts_of(
    table: Any, source: Path, names: Columns, coding: Coding, responses: Path | None
) -> dict[str, tuple[Verdicts, Any]]:
    """Return the verdicts of each judge, and the mean verdict of the others on each row's pair.

    Without `pair` and `order` the table is one that ``statllm judge --verdicts`` has written.

    Raises
    ------
    InputError
        If a column is missing, or a value can't be understood: its row is named.
    """
    import numpy as np

    from statllm.estimators.judge_audit import Verdicts

    if (names.length_a is None) != (names.length_b is None):
        raise InputError("--length-a and --length-b belong together")
    lengths: list[Any] = [None, None]
    if names.pair is None and names.order is None:
        pair, a_first, cluster, places = _own_table(table, source)
        coding = "place" if coding == "auto" else coding
        if responses is not None:
            lengths = _lengths(responses, *places)
    elif names.pair is None or names.order is None:
        raise InputError("--pair and --order belong together")
    elif responses is not None:
        raise InputError("--responses is for verdicts of `statllm judge`: --length-a, --length-b")
    else:
        pair = np.array(_text(table, source, names.pair), dtype=str)
        a_first = _orders(table, source, names.order)
        cluster = None
    if names.cluster is not None:
        cluster = np.array(_text(table, source, names.cluster), dtype=str)
    if names.length_a is not None and names.length_b is not None:
        lengths = [numbers(table, source, name) for name in (names.length_a, names.length_b)]
    values, by_place = _verdicts(table, source, names.verdict, coding)
    place = values if by_place else np.where(a_first, values, -values)
    human = own = None
    if names.human is not None:
        human = _verdicts(table, source, names.human, "response")[0]
    if names.own is not None:
        own = np.nan_to_num(_verdicts(table, source, names.own, "response")[0])
    judges = np.full(len(pair), "", dtype=object)
    if names.judge is not None:
        judges = np.array(_text(table, source, names.judge), dtype=object)
    try:
        every = Verdicts.of(
            pair, a_first, place, cluster=cluster, human=human, length_a=lengths[0],
            length_b=lengths[1], own=own,
        )  # fmt: skip
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error
    return {
        judge: (every.rows(judges == judge), _others(pair, every.preferred, judges, judge))
        for judge in dict.fromkeys(judges.tolist())
    }


def _own_table(table: Any, source: Path) -> tuple[Any, Any, Any, tuple[Any, Any, Any]]:
    """Pairs, orders, clusters of what `statllm judge` writes, and both responses' places."""
    import numpy as np

    missing = [name for name in ("prompt_id", "first", "second") if name not in table.column_names]
    if missing:
        raise InputError(
            f"{source} has no column '{missing[0]}', so it isn't a table of pairwise verdicts of "
            "`statllm judge`; name its columns with --pair and --order"
        )
    prompt = np.array(_text(table, source, "prompt_id"), dtype=str)
    first, second = (numbers(table, source, name).astype(np.int64) for name in ("first", "second"))
    a, b = np.minimum(first, second), np.maximum(first, second)
    pair = np.array([f"{p} {i} {j}" for p, i, j in zip(prompt, a, b, strict=True)], dtype=str)
    return pair, first == a, prompt, (prompt, a, b)


def _lengths(responses: Path, prompt: Any, a: Any, b: Any) -> list[Any]:
    """Characters of both responses, from the table that was judged."""
    import numpy as np

    from statllm.generations import Generations

    table = Generations.read(responses).table
    for name in ("prompt_id", "response"):
        column(table, responses, name)
    characters = {
        name: [len(text or "") for text in texts or []]
        for name, texts in zip(
            table["prompt_id"].to_pylist(), table["response"].to_pylist(), strict=True
        )
    }
    found = []
    for places in (a, b):
        values = np.full(len(prompt), np.nan)
        for row, (name, place) in enumerate(zip(prompt, places, strict=True)):
            if name not in characters or place >= len(characters[name]):
                raise InputError(
                    f"{responses} has no response {place} of prompt_id '{name}', which was judged"
                )
            values[row] = characters[name][place]
        found.append(values)
    return found


def _others(pair: Any, preferred: Any, judges: Any, judge: str) -> Any:
    """Mean verdict of all other judges on the pairs of this judge's rows; None if it's alone."""
    import numpy as np

    mine = judges == judge
    if mine.all():
        return None
    _, number = np.unique(pair, return_inverse=True)
    theirs = ~mine & ~np.isnan(preferred)
    size = int(number.max()) + 1
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(number[theirs], preferred[theirs], size) / np.bincount(
            number[theirs], minlength=size
        )
    return mean[number][mine]


def _text(table: Any, source: Path, name: str) -> list[str]:
    """A column as text without gaps."""
    values = column(table, source, name).to_pylist()
    for row, value in enumerate(values):
        if value is None:
            raise InputError(f"{source}: column '{name}' is null in row {row}")
    return [str(value) for value in values]


def _orders(table: Any, source: Path, name: str) -> Any:
    """Whether a was shown first: a, ab or true; b, ba or false."""
    import numpy as np

    found = np.zeros(table.num_rows, bool)
    for row, value in enumerate(column(table, source, name).to_pylist()):
        word = str(value).strip().lower()
        if value is True or word in _A:
            found[row] = True
        elif not (value is False or word in _B):
            raise InputError(
                f"{source}: column '{name}' is {value!r} in row {row}; it says which response was "
                "shown first: a or b"
            )
    return found


def _verdicts(table: Any, source: Path, name: str, coding: Coding) -> tuple[Any, bool]:
    """Verdicts as 1, 0, -1 and NaN, and whether they're by place rather than by response."""
    import numpy as np

    values = column(table, source, name).to_pylist()
    known = [value for value in values if value is not None and value == value]
    words = {str(value).strip().lower() for value in known}
    numeric = all(_is_number(word) for word in words)
    codes = {float(word) for word in words} if numeric else set()
    if coding == "auto":
        if numeric and 2.0 not in codes and -1.0 not in codes and codes - {0.0}:
            raise InputError(
                f"{source}: column '{name}' holds {_listed(codes)} only, which may be places or "
                "responses; --coding place or --coding response says which"
            )
        by_place = bool(words & (_FIRST | _SECOND)) or (numeric and 2.0 not in codes)
    else:
        by_place = coding == "place"
    first, second = (_FIRST, _SECOND) if by_place else (_A, _B)
    meaning = dict.fromkeys(first, 1.0) | dict.fromkeys(second, -1.0) | dict.fromkeys(_TIE, 0.0)
    meaning |= {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "-1": -1.0, "-1.0": -1.0}
    if not (codes & {-1.0}):
        meaning |= {"2": -1.0, "2.0": -1.0}
    meaning |= {"none": np.nan, "": np.nan, "nan": np.nan}
    found = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if value is None:
            continue
        word = str(value).strip().lower()
        if word not in meaning:
            wanted = "first, second" if by_place else "a, b"
            raise InputError(
                f"{source}: column '{name}' is {value!r} in row {row}; {wanted} or tie, or 1, 2 "
                "and 0, or 1, -1 and 0 were expected"
            )
        found[row] = meaning[word]
    return found, by_place


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _listed(codes: set[float]) -> str:
    return " and ".join(f"{code:g}" for code in sorted(codes))
