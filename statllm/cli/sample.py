"""`statllm sample`: K responses per prompt from a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import Prompt, PromptId, Reference, Where, conditions, console, mapping
from statllm.cli.settings import validated, with_settings
from statllm.sampling import SamplingSettings


@with_settings(SamplingSettings)
def sample(
    model: Annotated[str, typer.Argument(help="A model folder, a hub name, or lab.")],
    source: Annotated[str, typer.Argument(metavar="PROMPTS", help="A file, or lab:test.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many prompts.")] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    reference: Reference = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Sample responses; a killed run goes on from its last shard when started again.

    Examples:

        statllm sample lab lab:test --limit 100 --n 8 -o samples.parquet

        statllm sample ./my-model prompts.jsonl --n 16 --temperature 0.7 --top-p 0.9 -o s.parquet
    """
    from statllm._formats import check_output
    from statllm.generations import Generations
    from statllm.recipe import Problems
    from statllm.sampling import sample as run
    from statllm.stages import load_problems, resolve_model

    check_output(output, (".parquet",))
    if source.startswith("lab:"):
        problems = load_problems(Problems(source=source, n=limit))
    else:
        columns = mapping(prompt_id=prompt_id, prompt=prompt, reference=reference)
        problems = Generations.read(source, columns, conditions(where)).table.slice(0, limit)
    chosen = validated(SamplingSettings, settings or {})
    table = run(resolve_model(model), problems, chosen, out=output)
    tokens = sum(sum(row) for row in table["n_tokens"].to_pylist())
    console().print(f"{output}: {table.num_rows} prompts x {chosen.n} samples, {tokens:,} tokens")
