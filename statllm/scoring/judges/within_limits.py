"""Answers with a limit on words against a baseline: who breaks it loses, the others are judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.estimators.comparison import mean_estimate
from statllm.estimators.winrate import length_instructed_win_rate, violation_rate
from statllm.generations import Generations
from statllm.results import Estimate
from statllm.scoring.judges._steps import Judged
from statllm.scoring.judges.asking import JudgeModel
from statllm.scoring.judges.judging import judge
from statllm.scoring.judges.settings import JudgeSettings
from statllm.scoring.words import count_words, is_limit

#: Columns that go with the answers, where they are there.
_ALONG = ("question_id", "scale", "model", "generator")


@dataclass(frozen=True, eq=False)
class WithinLimits:
    """Answers by whether they keep their limit and beat the baseline.

    Attributes
    ----------
    table : pyarrow.Table
        One row per answer: ``prompt_id``; ``sample``, its place in the row; ``outcome``, the
        judge's, 1 a win, 0 a loss, null where no verdict could be read or the limit is broken;
        ``violated``; ``n_words``, ``max_words`` and ``baseline_words``; and ``question_id``,
        ``scale`` and the model's name, where they are known. `statllm winrate` reads it.
    judged : Judged or None
        What the judge said; None if every answer breaks its limit.
    n_missing : int
        Answers that are null, which aren't in the table.
    """

    table: pa.Table
    judged: Judged | None
    n_missing: int

    @property
    def n_unread(self) -> int:
        """Answers within their limit of which no verdict could be read."""
        outcome, violated = self.table["outcome"], self.table["violated"].to_numpy()
        return int(np.sum(np.isnan(_numbers(outcome)) & ~violated))

    def figures(self) -> list[Estimate]:
        """Vlt %, Win % and mean words of the paper; answers without a verdict aren't in the wins.

        Questions are the clusters, where several limits or answers belong to one.
        """
        name = "question_id" if "question_id" in self.table.column_names else "prompt_id"
        questions = np.array(self.table[name].to_pylist())
        words, limits, outcome = (
            _numbers(self.table[name]) for name in ("n_words", "max_words", "outcome")
        )
        clusters = questions if len(np.unique(questions)) < len(questions) else None
        found = [violation_rate(words, limits, clusters=clusters)]
        known = ~np.isnan(outcome) | (words > limits)
        if known.any():
            of_known = None if clusters is None else clusters[known]
            found.append(
                length_instructed_win_rate(
                    outcome[known], words[known], limits[known], clusters=of_known
                )
            )
        return [*found, mean_estimate(words, clusters, "mean words", "words")]


def judge_within_limits(
    generations: Generations,
    model: JudgeModel,
    settings: JudgeSettings | None = None,
    *,
    original: str = "original_prompt",
    baseline: str = "baseline",
    limit: str = "max_words",
    cache: str | Path | None = None,
) -> WithinLimits:
    """Judge answers within their limit against a baseline, by the prompt without the limit.

    The rule of AlpacaEval-LI and MT-Bench-LI (Yuan et al. 2024, arXiv 2406.17744): an answer of
    more words than the limit loses, and no judge sees it; the others are compared with the
    baseline, and the judge doesn't know that there is a limit. The paper's judges see each pair
    once; here each is shown in both orders, and a tie is half a win.

    Parameters
    ----------
    generations : Generations
        With ``response``, and the columns that `statllm.sampling.prompts.length_benchmark` makes.
    model : JudgeModel
        From `statllm.sampling.judge_model.open_judge`.
    settings : JudgeSettings, optional
        Of kind pairwise, with ties as halves.
    original, baseline, limit : str
        Columns of the prompt without the limit, of the baseline's answer, and of the limit.
    cache : str or Path, optional
        As in `judge`.

    Raises
    ------
    InputError
        If a column is missing, a prompt, a limit or a baseline is null, the settings are of another
        kind, or there are no answers.
    """
    settings = JudgeSettings() if settings is None else settings
    if settings.kind != "pairwise":
        raise InputError(f"kind is {settings.kind}: a baseline to win against needs pairwise")
    if settings.ties != "half":
        raise InputError("ties must be half: an answer as good as the baseline's is half a win")
    rows = _rows(generations, original, baseline, limit)
    n_given = len(rows)
    rows = [row for row in rows if row["response"] is not None]
    if not rows:
        raise InputError("there are no answers")
    for row in rows:
        row["n_words"] = count_words(row["response"])
        row["violated"] = row["n_words"] > row["max_words"]
        row["outcome"] = None
    kept = [row for row in rows if not row["violated"]]
    judged = None
    if kept:
        seen: dict[str, list[Any]] = {
            "prompt_id": [f"{row['prompt_id']}/{row['sample']}" for row in kept],
            "prompt": [row["original"] for row in kept],
            "response": [[row["response"], row["baseline"]] for row in kept],
        }
        if "reference" in generations:
            seen["reference"] = [row["reference"] for row in kept]
        judged = judge(Generations(pa.table(seen)), model, settings, cache=cache)
        battles = judged.generations.column("judge_battles").to_pylist()
        for row, ((_, won), (lost, _)) in zip(kept, battles, strict=True):
            if won + lost:
                row["outcome"] = won / (won + lost)
    # Verdicts count the same words for all.
    baseline_words = {text: count_words(text) for text in {row["baseline"] for row in rows}}
    columns = {
        "prompt_id": pa.array([row["prompt_id"] for row in rows], pa.string()),
        "sample": pa.array([row["sample"] for row in rows], pa.int32()),
        "outcome": pa.array([row["outcome"] for row in rows], pa.float64()),
        "violated": pa.array([row["violated"] for row in rows], pa.bool_()),
        "n_words": pa.array([row["n_words"] for row in rows], pa.int64()),
        "max_words": pa.array([row["max_words"] for row in rows], pa.int64()),
        "baseline_words": pa.array([baseline_words[row["baseline"]] for row in rows], pa.int64()),
    }
    columns |= {
        name: pa.array([row[name] for row in rows]) for name in _ALONG if name in generations
    }
    return WithinLimits(pa.table(columns), judged, n_given - len(rows))


def _rows(generations: Generations, original: str, baseline: str, limit: str) -> list[Any]:
    """One row per answer; what belongs to its prompt is checked."""
    along = [name for name in (*_ALONG, "reference") if name in generations]
    columns = {
        "original": generations.column(original), "baseline": generations.column(baseline),
        "max_words": generations.column(limit), "responses": generations.column("response"),
        **{name: generations.column(name) for name in along},
    }  # fmt: skip
    found = []
    lists = zip(*(column.to_pylist() for column in columns.values()), strict=True)
    for prompt_id, values in zip(generations.prompt_ids, lists, strict=True):
        row = dict(zip(columns, values, strict=True))
        if row["original"] is None:
            raise InputError(f"'{original}' of prompt_id '{prompt_id}' is null")
        if not isinstance(row["baseline"], str):
            raise InputError(f"'{baseline}' of prompt_id '{prompt_id}' isn't a text")
        most = row["max_words"]
        if not is_limit(most):
            raise InputError(
                f"'{limit}' of prompt_id '{prompt_id}' is {most!r}, not a whole number from 1"
            )
        for sample, text in enumerate(row.pop("responses") or ()):
            found.append(
                {**row, "prompt_id": prompt_id, "sample": sample, "response": text,
                 "max_words": int(most)}
            )  # fmt: skip
    return found


def _numbers(column: pa.ChunkedArray) -> Any:
    return np.array([np.nan if v is None else v for v in column.to_pylist()], dtype=np.float64)
