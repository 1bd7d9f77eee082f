"""`statllm score`: one row of statistics per prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import (
    Answer,
    InputFile,
    Prompt,
    PromptId,
    Reference,
    Response,
    Reward,
    Where,
    conditions,
    console,
    estimates,
    mapping,
    table_of,
)
from statllm.cli.engine import Stored, engine_settings, part_progress
from statllm.cli.settings import validated, with_settings
from statllm.engines.settings import EngineSettings
from statllm.errors import InputError
from statllm.scoring import ScoringSettings


@with_settings(ScoringSettings, EngineSettings)
def score(
    source: InputFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Parquet, JSONL; with --engine also a folder.")
    ],
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    response: Response = None,
    answer: Answer = None,
    reference: Reference = None,
    reward: Reward = None,
    where: Where = None,
    alone: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Add logprob_alone, of each response without its prompt, by the model that "
            "sampled: what `select band --quality ifd` needs.",
        ),
    ] = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Extract answers, verify them, and write vote and reward statistics, one row per prompt.

    Examples:

        statllm score samples.parquet -o scores.parquet

        statllm score log.csv -o s.parquet --prompt-id qid --response text --reference gold

        statllm score votes.parquet -o s.parquet --where task=gsm --entropy plugin

        statllm score samples.parquet -o scores.parquet --metrics all

        statllm score samples.parquet -o s.parquet --metrics all --nli models/deberta-mnli

        statllm score samples.parquet -o s.parquet --metrics eigenscore --embedder models/minilm

        statllm score samples.parquet -o scores.parquet --alone ./my-model

        statllm score huge.parquet -o scores --engine local --workers 8
    """
    from statllm._formats import check_output
    from statllm.generations import Generations
    from statllm.scoring import score as run

    scoring, engine = engine_settings(settings or {}, ScoringSettings)
    columns = mapping(
        prompt_id=prompt_id,
        prompt=prompt,
        response=response,
        answer=answer,
        reference=reference,
        reward=reward,
    )
    scored: Any
    if engine is None:
        check_output(output)
        scored = run(Generations.read(source, columns, conditions(where)), **scoring)
        if alone is not None:
            scored = _with_alone(scored, alone)
        scored.write(output)
    elif alone is not None:
        raise InputError("--alone and --engine exclude each other")
    else:
        from statllm.engines import Source, score_file

        with part_progress() as on_part:
            given = Source(source, columns, conditions(where))
            score_file(given, output, validated(ScoringSettings, scoring), engine, on_part)
        scored = Stored(output)
    out = console()
    out.print(estimates(f"{output}: {scored.n_prompts} prompts", _figures(scored)))
    if "stop_rule" in scored:
        from statllm.sampling.stopping import bias_note

        out.print(f"sampling stopped by rule: {bias_note('few')}")
    if scoring.get("metrics") and "majority_answer_correct" in scored:
        ranking = _ranking(scored)
        if ranking is not None:
            out.print(ranking)


def _with_alone(scored: Any, name: str) -> Any:
    from statllm.models import load_model, load_tokenizer
    from statllm.scoring.alone import with_logprob_alone
    from statllm.stages import resolve_model

    folder = resolve_model(name)
    return with_logprob_alone(scored, load_model(folder), load_tokenizer(folder))


def _figures(scored: Any) -> list[Any]:
    """Data-set figures of the columns that are there; the prompt is the sampling unit."""
    import numpy as np

    from statllm.estimators.comparison import mean_estimate
    from statllm.estimators.selective.auroc import auroc

    names = {
        "vote_share": "share of votes",
        "vote_entropy": "nats",
        "majority_correct": "share of prompts",
        "majority_answer_correct": "share of prompts",
        "pass_rate": "share of samples",
        "reward_mean": "reward",
        "reward_var": "reward squared",
        "reward_gap": "reward",
    }
    figures = []
    for name, unit in names.items():
        if name not in scored:
            continue
        values = _numbers(scored, name)
        values = values[np.isfinite(values)]
        if len(values):
            figures.append(mean_estimate(values).named(f"mean {name}", unit))
    if "majority_answer_correct" in scored:
        share = np.nan_to_num(_numbers(scored, "vote_share"), nan=0.0)
        right = _numbers(scored, "majority_answer_correct")
        known = np.isfinite(right)
        label = right[known] > 0.5
        if 0 < label.sum() < len(label):
            figures.append(auroc(share[known], label).named("AUROC of vote_share", "probability"))
    return figures


_WIDE = 110


def _ranking(scored: Any) -> Any:
    """How well each score tells right majority answers from wrong ones; None if all are alike."""
    from statllm.report.uncertainty.ranking import rank
    from statllm.report.uncertainty.scores import read_answers, score_columns

    names = score_columns(scored.column_names)
    right = _numbers(scored, "majority_answer_correct")
    try:
        answers = read_answers({name: _numbers(scored, name.lstrip("-")) for name in names}, right)
    except InputError:  # all right or all wrong, or no score has two values
        return None
    rows = [
        (each.score.name, *(f"{f.value:.2f} {f.interval(0.95):.2f}" for f in figures), str(each.n))
        for each in rank(answers)
        for figures in [(each.auroc, each.aurc, each.prr)]
    ]
    columns: tuple[str, ...] = ("uncertainty", "AUROC", "AURC (risk)", "PRR", "n")
    title = "is the majority answer right? 95 % intervals over prompts"
    if len({row[-1] for row in rows}) == 1:  # all have the same prompts: room for the names
        title += f", n = {rows[0][-1]}"
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    if console().width < _WIDE:  # names before PRR; the report has everything
        at = columns.index("PRR")
        columns, rows = columns[:at] + columns[at + 1 :], [row[:at] + row[at + 1 :] for row in rows]
    return table_of(title, columns, rows, wrap=("uncertainty",))


def _numbers(scored: Any, name: str) -> Any:
    import pyarrow as pa

    return scored.column(name).cast(pa.float64()).to_numpy()
