"""`statllm sample`: K responses per prompt from a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from statllm.cli.common import Prompt, PromptId, Reference, Where, conditions, console, mapping


def sample(
    model: Annotated[str, typer.Argument(help="A model folder, a hub name, or lab.")],
    source: Annotated[str, typer.Argument(metavar="PROMPTS", help="A file, or lab:test.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet.")],
    n: Annotated[int, typer.Option("-n", help="Samples per prompt.")] = 8,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus mass.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest response, in tokens.")] = 512,
    seed: Annotated[int, typer.Option(help="Same seed, prompt_id and sample: same text.")] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Sequences at a time.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only this many prompts.")] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    reference: Reference = None,
    where: Where = None,
) -> None:
    """Sample responses; a killed run goes on from its last shard when started again.

    Examples:

        statllm sample lab lab:test --limit 100 -n 8 -o samples.parquet

        statllm sample ./my-model prompts.jsonl -n 16 --temperature 0.7 --top-p 0.9 -o s.parquet
    """
    from statllm.generations import Generations
    from statllm.recipe import Problems
    from statllm.sampling import SamplingSettings
    from statllm.sampling import sample as run
    from statllm.stages import load_problems, resolve_model

    if source.startswith("lab:"):
        problems = load_problems(Problems(source=source, n=limit))
    else:
        columns = mapping(prompt_id=prompt_id, prompt=prompt, reference=reference)
        problems = Generations.read(source, columns, conditions(where)).table.slice(0, limit)
    settings = SamplingSettings(
        n=n,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        seed=seed,
        **({} if batch_size is None else {"batch_size": batch_size}),
    )
    table = run(resolve_model(model), problems, settings, out=output)
    tokens = sum(sum(row) for row in table["n_tokens"].to_pylist())
    console().print(f"{output}: {table.num_rows} prompts x {n} samples, {tokens:,} tokens")
