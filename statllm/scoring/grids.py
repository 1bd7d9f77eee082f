"""Answers that are grids, as of ZebraLogic's puzzles: equal where every house is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from statllm.scoring._json import json_objects, unique_keys

_HOUSE = re.compile(r"\s*(?:house\s*)?#?(\d{1,3})\s*", re.IGNORECASE)


def grid_answer(text: str | None) -> str | None:
    r"""Return the grid that a response gives, in one form for equal ones; None without one.

    What is read is the last JSON object of the text that has a ``solution``:
    ``{"reasoning": ..., "solution": {"House 1": {"Name": ..., "Drink": ...}, ...}}``. Two grids
    are equal where each house has the same values. How attributes are called doesn't count, as
    models word that freely, nor do the order of houses and attributes, case and white space.
    Puzzles whose attributes share values (two kinds of month, say) can't be told apart so.

    A cell that is empty, null or no text or number makes the whole none: it can't be right, and
    mustn't win a vote.

    Parameters
    ----------
    text : str or None
        A response; or a reference, which may also be the solution alone, or ZebraLogic's own
        table, ``{"header": ["House", "Name", ...], "rows": [["1", "Ada", ...], ...]}``.

    Returns
    -------
    str or None
        A JSON list of the houses' values, by house.

    Examples
    --------
    >>> said = '''I see. {"reasoning": "Clue 1.", "solution": {
    ...   "House 2": {"Drink": "tea", "Name": "Bo"},
    ...   "House 1": {"Name": "Ada", "Drink": "Milk"}}}'''
    >>> grid_answer(said)
    '[["ada","milk"],["bo","tea"]]'
    >>> grid_answer('{"header": ["House", "Who"], "rows": [["1", "Ada"], ["2", "Bo"]]}')
    '[["ada"],["bo"]]'
    """
    if text is None:
        return None
    found = json_objects(text, unique_keys)
    solutions = [one["solution"] for one in found if "solution" in one]
    if not solutions and len(found) == 1 and text.strip().startswith("{"):
        solutions = found  # a reference
    houses = _houses(solutions[-1]) if solutions else None
    return None if houses is None else json.dumps(houses, ensure_ascii=False, separators=(",", ":"))


def _houses(solution: Any) -> list[list[str]] | None:
    """The values of each house, by house; None where something is missing."""
    rows: dict[int, list[str]] = {}
    for name, values in _rows(solution):
        house = _HOUSE.fullmatch(name)
        cells = [_cell(value) for value in values]
        if house is None or int(house[1]) in rows or not cells or "" in cells:
            return None
        rows[int(house[1])] = sorted(cells)
    complete = sorted(rows) == list(range(1, len(rows) + 1))
    alike = len({len(cells) for cells in rows.values()}) == 1
    return [rows[house] for house in sorted(rows)] if complete and alike else None


def _rows(solution: Any) -> list[tuple[str, list[Any]]]:
    """House and values, of either layout."""
    if not isinstance(solution, Mapping):
        return []
    if isinstance(rows := solution.get("rows"), list):
        listed = [row for row in rows if isinstance(row, list) and row]
        return [(str(row[0]), row[1:]) for row in listed] if len(listed) == len(rows) else []
    if not all(isinstance(values, Mapping) for values in solution.values()):
        return []
    return [(name, list(values.values())) for name, values in solution.items()]


def _cell(value: Any) -> str:
    """A value as it is compared; "" for none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = " ".join(str(value).split()).casefold()
    return "" if not text.strip("_-?. ") else text
