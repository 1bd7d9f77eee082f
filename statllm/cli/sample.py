"""`statllm sample`: K responses per prompt from a model, or as many as decide its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import Prompt, PromptId, Reference, Where, conditions, console, mapping
from statllm.cli.settings import validated, with_settings
from statllm.errors import InputError
from statllm.sampling import SamplingSettings
from statllm.scoring.answers import AnswerRule
from statllm.scoring.equivalence import Equivalence

_AS_SCORE = "With --stop, as `statllm score` has it: "


@with_settings(SamplingSettings)
def sample(
    model: Annotated[
        str, typer.Argument(help="A model folder, a hub name, a server's name for it, or lab.")
    ],
    source: Annotated[str, typer.Argument(metavar="PROMPTS", help="A file, or lab:test.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many prompts.")] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    reference: Reference = None,
    where: Where = None,
    rule: Annotated[
        AnswerRule | None, typer.Option(help=f"{_AS_SCORE}how the answer is found.")
    ] = None,
    equivalence: Annotated[
        Equivalence | None, typer.Option(help=f"{_AS_SCORE}when two answers are equal.")
    ] = None,
    units: Annotated[
        bool | None, typer.Option("--units/--no-units", help=f"{_AS_SCORE}keep units.")
    ] = None,
    null_answers: Annotated[
        list[str] | None, typer.Option(help=f"{_AS_SCORE}they don't vote. May be repeated.")
    ] = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Sample responses; a killed run goes on from its last shard when started again.

    With --stop, a prompt is sampled until its answers decide, --n times at most.

    With --backend openai, a server is asked. If it fails some samples, OUTPUT isn't written,
    OUTPUT.failures.jsonl lists them, and the same command asks for these only.

    Examples:

        statllm sample lab lab:test --limit 100 --n 8 -o samples.parquet

        statllm sample ./my-model prompts.jsonl --n 16 --temperature 0.7 --top-p 0.9 -o s.parquet

        statllm sample lab lab:test --limit 100 --n 40 --stop anytime --alpha 0.05 -o s.parquet

        statllm sample lab lab:test --backend openai --server http://127.0.0.1:8000/v1 -o s.parquet
    """
    from statllm._formats import check_output
    from statllm.generations import Generations
    from statllm.recipe import Problems
    from statllm.sampling import sample as run
    from statllm.sampling.failures import failures_file
    from statllm.sampling.stopping import stopping_summary
    from statllm.scoring import ScoringSettings
    from statllm.stages import load_problems, resolve_model

    check_output(output, (".parquet",))
    chosen = validated(SamplingSettings, settings or {})
    answers = {
        name: value
        for name, value in (
            ("rule", rule),
            ("equivalence", equivalence),
            ("units", units),
            ("null_answers", null_answers),
        )
        if value  # an option that isn't given is None or an empty list
    }
    if answers and not chosen.stop:
        raise InputError(f"--{next(iter(answers)).replace('_', '-')} has no effect without --stop")
    if source.startswith("lab:"):
        problems = load_problems(Problems(source=source, n=limit))
    else:
        columns = mapping(prompt_id=prompt_id, prompt=prompt, reference=reference)
        problems = Generations.read(source, columns, conditions(where)).table.slice(0, limit)
    scoring = validated(ScoringSettings, answers)
    table = run(resolve_model(model), problems, chosen, out=output, scoring=scoring)
    tokens = sum(n or 0 for row in table["n_tokens"].to_pylist() for n in row)
    most = "up to " if chosen.stop else ""
    out = console()
    out.print(f"{output}: {table.num_rows} prompts x {most}{chosen.n} samples, {tokens:,} tokens")
    if table.num_rows < problems.num_rows:
        missing = problems.num_rows - table.num_rows
        out.print(f"{missing} prompts are missing, see {failures_file(output)}")
    if chosen.server and chosen.temperature > 0 and _all_alike(table["response"].to_pylist()):
        out.print("the samples of every prompt are all alike: does the server draw them?")
    if chosen.stop:
        for line in stopping_summary(table, chosen):
            out.print(line)


def _all_alike(responses: list[list[str]]) -> bool:
    """Whether several samples of many prompts never differ, as from a server that is greedy."""
    several = [row for row in responses if len(row) > 1]
    return len(several) >= 10 and all(len(set(row)) == 1 for row in several)
