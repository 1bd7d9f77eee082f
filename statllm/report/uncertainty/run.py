"""The ranking of a run's uncertainty metrics, for the run's own page."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from statllm.errors import InputError
from statllm.report.artefacts import RunData
from statllm.report.uncertainty.panels import RankRow, picture_start, rank_rows
from statllm.report.uncertainty.ranking import prepare_ranking
from statllm.report.uncertainty.scores import read_answers, score_columns
from statllm.scoring.metrics import METRICS

_LEVEL = 0.95


@dataclass(frozen=True)
class RunRanking:
    """Scores of the prompts that an iteration was trained on, before it was."""

    iteration: int
    rows: list[RankRow]
    axis: str


def run_ranking(data: RunData) -> RunRanking | None:
    """Rank the scores of the last iteration; None unless metrics and verdicts were computed."""
    table = data.table("scores", data.last, "majority_answer_correct")
    if table is None or not set(METRICS) & set(table.column_names):
        return None
    names = score_columns(table.column_names)
    columns = {
        name: table[name].cast(pa.float64()).to_numpy()
        for name in ("majority_answer_correct", *(name.removeprefix("-") for name in names))
    }
    right = columns.pop("majority_answer_correct")
    try:
        ranks = prepare_ranking(read_answers(columns, right))
    except InputError:  # all right, or all wrong
        return None
    axis = f"{picture_start(ranks, _LEVEL):g}"
    return RunRanking(data.last, rank_rows(ranks, _LEVEL), axis)
