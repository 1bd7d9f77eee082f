"""Which criteria a response meets, as a reward."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring.criteria.columns import BOOL, TEXT, WHOLE, typed

_FINDINGS = {"text_id": TEXT, "text_place": WHOLE, "criterion": TEXT, "met": BOOL, "reason": TEXT}

PassRule = Literal["mean", "min"]
NotApplicable = Literal["leave out", "met"]

#: Means of votes differ from the verdict of one by rounding only.
_ALL = 1 - 1e-9


def criteria_rewards(
    generations: Generations,
    findings: pa.Table,
    rule: PassRule = "mean",
    column: str = "reward",
    *,
    not_applicable: NotApplicable = "leave out",
) -> Generations:
    """Turn findings on responses into pass vectors and rewards.

    Parameters
    ----------
    generations : Generations
        With ``response``; response j to a prompt is the text with ``text_id`` = ``prompt_id`` and
        ``text_place`` = j.
    findings : pyarrow.Table
        Of `statllm.scoring.criteria.read_answers`, of one strategy and granularity. Several votes
        are averaged over those that can be read.
    rule : {"mean", "min"}
        The reward is the mean, or the least, of the criteria that count.
    column : str
        Name of the reward.
    not_applicable : {"leave out", "met"}
        Whether a criterion that doesn't apply counts. "met": a response that gives no occasion
        to violate anything has the full reward; with "leave out" it has none.

    Returns
    -------
    Generations
        With ``criteria`` (per response a value per criterion: 1 met, 0 violated, between with
        several votes, null where it doesn't apply or isn't read), ``criteria_names``,
        ``criteria_n_unread`` (per response: criteria of which no vote can be read), ``reward``
        (null where a criterion is unread, none counts, or the response wasn't asked about), and
        ``correct`` (every criterion that counts is met; null as the reward). So ``select rip``
        goes by the reward, ``select irpo`` by ``correct``.

    Raises
    ------
    InputError
        If there is no response, findings are of several strategies or granularities, or are about
        a response that isn't there.

    Examples
    --------
    >>> g = Generations(pa.table({"prompt_id": ["p"], "response": [["x is None", "x == None"]]}))
    >>> found = pa.table({
    ...     "text_id": ["p", "p"], "text_place": [0, 1], "vote": [0, 0], "reason": ["", ""],
    ...     "criterion": ["tests/None test"] * 2, "met": [True, False],
    ... })
    >>> criteria_rewards(g, found).column("reward").to_pylist()
    [[1.0, 0.0]]
    """
    if rule not in ("mean", "min"):
        raise InputError(f"rule must be mean or min, not '{rule}'")
    if not_applicable not in ("leave out", "met"):
        raise InputError(f"not_applicable must be 'leave out' or 'met', not '{not_applicable}'")
    lengths = dict(
        zip(
            generations.prompt_ids,
            map(len, generations.column("response").to_pylist()),
            strict=True,
        )
    )
    for name in ("strategy", "granularity"):
        if name in findings.column_names and len(findings[name].unique()) > 1:
            raise InputError(f"the findings are of several values of '{name}'; keep one of them")
    votes: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    names: dict[str, None] = {}
    for row in typed(findings, _FINDINGS, "findings").to_pylist():
        place = (str(row["text_id"]), int(row["text_place"] or 0))
        if place[1] >= lengths.get(place[0], 0):
            raise InputError(f"there is no response {place[1]} of prompt_id '{place[0]}'")
        names.setdefault(row["criterion"])
        read = votes[place][row["criterion"]]
        if row["met"] is not None:
            read.append(float(row["met"]))
        elif row["reason"] == "not_applicable":
            read.append(np.nan)
    columns: dict[str, list[list[object]]] = defaultdict(list)
    for prompt_id, length in lengths.items():
        rows = [
            _row(votes.get((prompt_id, place)), list(names), rule, not_applicable == "met")
            for place in range(length)
        ]
        for name, values in zip(
            ("criteria", "criteria_n_unread", column, "correct"),
            zip(*rows, strict=True) if rows else ((),) * 4,
            strict=True,
        ):
            columns[name].append(list(values))
    kinds = {
        "criteria": pa.list_(pa.list_(pa.float64())),
        "criteria_n_unread": pa.list_(pa.int64()),
        column: pa.list_(pa.float64()),
        "correct": pa.list_(pa.bool_()),
    }
    made = {name: pa.array(values, kinds[name]) for name, values in columns.items()}
    listed = pa.array([list(names)] * len(generations), pa.list_(pa.string()))
    return generations.with_columns({**made, "criteria_names": listed})


def _row(
    votes: dict[str, list[float]] | None, names: list[str], rule: PassRule, all_count: bool
) -> tuple[list[float | None], int, float | None, bool | None]:
    """Pass vector, unread criteria, reward, whether all are met."""
    if votes is None:
        return [None] * len(names), len(names), None, None
    vector: list[float | None] = []
    unread = 0
    for name in names:
        given = votes.get(name)
        if given is None:
            vector.append(None)  # another prompt's criterion
            continue
        known = [vote for vote in given if not np.isnan(vote)]
        unread += not given
        # as many say that it applies as say that it doesn't: it does
        vector.append(float(np.mean(known)) if 2 * len(known) >= max(1, len(given)) else None)
    applies = [value for value in vector if value is not None]
    if all_count:
        applies += [1.0] * (len(votes) - len(applies) - unread)
    if unread or not applies:
        return vector, unread, None, None
    reward = float(np.mean(applies)) if rule == "mean" else min(applies)
    return vector, unread, reward, min(applies) >= _ALL
