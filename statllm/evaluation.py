"""How good a model is on held-out problems, how it changed, and how sure we are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from statllm.estimators.comparison import mcnemar, mean_estimate, paired_difference
from statllm.estimators.proportions import proportion
from statllm.estimators.selective.auroc import auroc
from statllm.files import read_parquet
from statllm.generations import Generations
from statllm.results import Estimate, TestResult

if TYPE_CHECKING:
    from statllm.recipe import Evaluation
    from statllm.sampling.settings import SamplingSettings
    from statllm.sampling.thoughts import ThoughtSettings
    from statllm.scoring import ScoringSettings
    from statllm.stages import Run

#: One row per figure of a run.
METRICS = pa.schema(
    [
        ("iteration", pa.int32()),
        ("name", pa.string()),
        ("value", pa.float64()),
        ("se", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("level", pa.float64()),
        ("unit", pa.string()),
        ("n", pa.int64()),
        ("method", pa.string()),
        ("log_p_value", pa.float64()),
        ("n_discordant", pa.int64()),
        ("test", pa.string()),
    ]
)


def evaluate(
    model: str | Path,
    problems: pa.Table,
    settings: Evaluation,
    scoring: ScoringSettings,
    *,
    seed: int,
    sampling: SamplingSettings,
    work: Path,
    thoughts: ThoughtSettings | None = None,
) -> pa.Table:
    """Answer every problem once greedily and `settings.k` times by sampling.

    Parameters
    ----------
    model : str or Path
    problems : pyarrow.Table
        prompt_id, prompt and reference.
    settings, scoring
        How to sample, and how to read and compare answers.
    seed : int
        The same is used for every model, so that runs are compared on common random numbers.
    sampling : SamplingSettings
        Of which all else counts: length, stop strings, number format, backend, batches.
    work : Path
        Folder for the samples while they are incomplete; removed at the end.
    thoughts : ThoughtSettings, optional
        Ask for thoughts, and read answers from what comes after them. A text that can't be cut is
        sampled again (the greedy one at `settings.temperature`), a few times at most; then it is
        wrong.

    Returns
    -------
    pyarrow.Table
        One row per problem: prompt_id, reference, greedy_response, greedy_answer,
        greedy_correct, majority_answer, majority_correct, vote_share, vote_entropy (nats),
        n_votes, n_samples, pass_rate (share of the samples that are right). With thoughts also
        greedy_failed (the greedy text couldn't be cut), parse_failures (share of the samples that
        couldn't at the first try) and thought_tokens (mean over the samples' thoughts).
    """
    from statllm.sampling.thoughts import thought_tokens

    work.mkdir(parents=True, exist_ok=True)
    once, often = evaluation_sampling(settings, sampling, seed)

    def answers(name: str, how: SamplingSettings) -> Generations:
        out = work / f"{name}.parquet"
        return answered(model, problems, how, often, scoring, thoughts, out)

    greedy, votes = answers("greedy", once), answers("votes", often)
    table = pa.table(
        {
            "prompt_id": greedy.column("prompt_id"),
            "prompt": problems["prompt"],
            "reference": greedy.column("reference"),
            "greedy_response": _only(greedy.column("response")),
            "greedy_answer": _only(greedy.column("answer")),
            "greedy_correct": _only(greedy.column("correct")),
            "majority_answer": votes.column("majority_answer"),
            "majority_correct": votes.column("majority_answer_correct").cast(pa.bool_()),
            "vote_share": votes.column("vote_share"),
            "vote_entropy": votes.column("vote_entropy"),
            "n_votes": votes.column("n_votes"),
            "n_samples": votes.column("n_samples"),
            "pass_rate": votes.column("pass_rate"),
        }
    )
    if thoughts is not None:
        failed = pc.greater(greedy.column("first_failures"), 0)
        share = pc.divide(votes.column("first_failures").cast(pa.float64()), settings.k)
        table = table.append_column("greedy_failed", failed)
        table = table.append_column("parse_failures", share)
        table = table.append_column("thought_tokens", thought_tokens(model, votes))
    shutil.rmtree(work)
    return table


def evaluation_sampling(
    settings: Evaluation, sampling: SamplingSettings, seed: int
) -> tuple[SamplingSettings, SamplingSettings]:
    """Return how a model is asked greedily, and how for its votes."""
    common = {"seed": seed, "stop": None}
    greedy = {"n": 1, "temperature": 0.0, "top_p": 1.0}
    votes = {"n": settings.k, "temperature": settings.temperature, "top_p": settings.top_p}
    return (
        sampling.model_copy(update={**common, **greedy}),
        sampling.model_copy(update={**common, **votes}),
    )


def answered(
    model: str | Path,
    problems: pa.Table,
    how: SamplingSettings,
    again: SamplingSettings,
    scoring: ScoringSettings,
    thoughts: ThoughtSettings | None,
    out: Path,
) -> Generations:
    """Sample responses to problems and score them.

    Parameters
    ----------
    model, problems, scoring, thoughts
        As in `evaluate`.
    how : SamplingSettings
    again : SamplingSettings
        How texts that can't be cut are sampled again, with thoughts.
    out : Path
        Parquet file of the samples.
    """
    from statllm.sampling import sample
    from statllm.sampling.thoughts import sample_shown, score_shown
    from statllm.scoring import score

    if thoughts is None:
        return score(Generations(sample(model, problems, how, out=out)), scoring)
    cut = sample_shown(model, problems, how, again, thoughts, out)
    return score_shown(cut, thoughts, scoring)


def _only(column: pa.ChunkedArray) -> pa.Array:
    """The one sample of each row."""
    return pa.array([row[0] for row in column.to_pylist()], type=column.type.value_type)


def evaluation_metrics(table: pa.Table) -> list[Estimate]:
    """Return the figures of one evaluation table, each with its uncertainty over problems."""
    greedy = _floats(table, "greedy_correct")
    majority = _floats(table, "majority_correct")
    k = int(np.max(table["n_samples"].to_numpy()))
    figures = [
        proportion(greedy.sum(), len(greedy)).named("greedy_accuracy", "share of problems"),
        proportion(majority.sum(), len(majority)).named(
            f"majority@{k}_accuracy", "share of problems"
        ),
        mean_estimate(_floats(table, "pass_rate")).named("sample_accuracy", "share of samples"),
        mean_estimate(_known(table, "vote_share")).named("vote_share", "share of votes"),
        mean_estimate(_known(table, "vote_entropy")).named("vote_entropy", "nats"),
    ]
    share = np.nan_to_num(_floats(table, "vote_share"), nan=0.0)  # no vote at all: least sure
    if "parse_failures" in table.column_names:
        failures, tokens = _floats(table, "parse_failures"), _known(table, "thought_tokens")
        figures += [
            mean_estimate(failures).named("parse_failures", "share of samples"),
            mean_estimate(tokens).named("thought_tokens", "tokens"),
        ]
    if 0 < majority.sum() < len(majority):
        figures.append(auroc(share, majority).named("auroc_vote_share", "probability"))
    return figures


def compare(before: pa.Table, after: pa.Table, column: str) -> tuple[Estimate, TestResult]:
    """Return the paired difference of a 0/1 column and the exact McNemar test.

    Parameters
    ----------
    before, after : pyarrow.Table
        With prompt_id and `column`; the rows that both have are compared.

    Raises
    ------
    InputError
        If no prompt_id is in both.
    """
    from statllm.errors import InputError

    place = {key: row for row, key in enumerate(before["prompt_id"].to_pylist())}
    keys = after["prompt_id"].to_pylist()
    rows = np.array([row for row, key in enumerate(keys) if key in place], dtype=np.int64)
    if len(rows) == 0:
        raise InputError("the two tables have no prompt_id in common")
    a = _floats(before, column)[[place[keys[row]] for row in rows]]
    b = _floats(after, column)[rows]
    return paired_difference(a, b), mcnemar(a.astype(bool), b.astype(bool))


def run_metrics(run: Run) -> pa.Table:
    """Return every figure of a run: each iteration's own, and its change from iteration 0."""
    tables = [read_parquet(run.path(k, "evaluation.parquet")) for k in range(run.n_iterations + 1)]
    rows: list[dict[str, Any]] = []
    for iteration, table in enumerate(tables):
        rows += [_row(iteration, figure) for figure in evaluation_metrics(table)]
        if iteration > 0:
            for column in ("greedy_correct", "majority_correct"):
                difference, test = compare(tables[0], table, column)
                name = f"{column.split('_')[0]}_gain"
                rows.append(_row(iteration, difference.named(name, "share of problems"), test))
    return pa.Table.from_pylist(rows, schema=METRICS)


def _row(iteration: int, figure: Estimate, test: TestResult | None = None) -> dict[str, Any]:
    row = {"iteration": iteration, **figure.to_dict()}
    if test is not None:
        row |= {
            "log_p_value": test.log_p_value,
            "n_discordant": test.n_effective,
            "test": test.method,
        }
    return row


def _floats(table: pa.Table, name: str) -> Any:
    """A column as float64, null as NaN; booleans as 0 and 1."""
    return table[name].cast(pa.float64()).to_numpy()


def _known(table: pa.Table, name: str) -> Any:
    """The values of a column that are there: a prompt without votes has no share."""
    values = _floats(table, name)
    return values[np.isfinite(values)]
