"""`statllm prompts generate`: new questions from examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import Prompt, PromptId, Where, check_outputs, console, mapping
from statllm.cli.prompts.options import NESTED, Chat, Model, prompts_of
from statllm.cli.settings import validated, with_settings
from statllm.errors import InputError
from statllm.sampling import SamplingSettings


@with_settings(SamplingSettings)
def generate(
    model: Model,
    seeds: Annotated[str, typer.Argument(help="A file of prompts, or lab:train.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The kept questions: Parquet or JSONL.")
    ],
    count: Annotated[int, typer.Option(min=1, help="Few-shot prompts to send.")],
    variant: Annotated[
        str,
        typer.Option(
            help="self-rip, self-instruct, scpo or scpo-zebra: the paper's template, filters and "
            "sampling."
        ),
    ] = "self-rip",
    template: Annotated[str | None, typer.Option(help="A template's name, or a YAML file.")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="Seeds shown in each prompt.")] = None,
    filters: Annotated[
        str | None, typer.Option(help="self-rip, self-instruct or scpo, in place of the variant's.")
    ] = None,
    rouge_l: Annotated[
        float | None, typer.Option(help="Drop from this ROUGE-L on; 0 turns it off.")
    ] = None,
    min_words: Annotated[int | None, typer.Option(help="Drop shorter questions.")] = None,
    max_words: Annotated[int | None, typer.Option(help="Drop longer questions.")] = None,
    ban: Annotated[
        list[str] | None,
        typer.Option(help="Drop questions with this word or phrase. May be repeated."),
    ] = None,
    ban_pattern: Annotated[
        list[str] | None, typer.Option(help="… with this regular expression. May be repeated.")
    ] = None,
    unicode_words: Annotated[
        bool, typer.Option("--unicode-words", help="ROUGE-L for scripts other than ASCII, too.")
    ] = False,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="A file of prompts to differ from, too. May be repeated."),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="A row for each generated question: kept or dropped, why, nearest."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many seeds.")] = None,
    chat: Chat = True,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Generate questions like the seeds; a killed run goes on when started again.

    --n is 1 by default, and --temperature and --top-p are the variant's. All generations stay in
    OUTPUT's folder, as NAME.generations.parquet.

    Examples:

        statllm prompts generate ./my-model kept.parquet --count 1000 -o new.jsonl --ledger l.jsonl

        statllm prompts generate ./my-model train.jsonl --variant scpo --count 500 -o new.jsonl
    """
    from statllm._formats import write_table
    from statllm.sampling.prompts import VARIANTS, generate_questions, load_template
    from statllm.stages import resolve_model

    check_outputs(Path(seeds), output, ledger, NESTED)
    if variant not in VARIANTS:
        raise InputError(f"--variant must be one of {', '.join(VARIANTS)}, not '{variant}'")
    chosen = VARIANTS[variant]
    own = chosen.settings().model_dump(include={"n", "temperature", "top_p"})
    kinds = _filters(
        chosen.filters if filters is None else filters,
        rouge_l=rouge_l,
        min_words=min_words,
        max_words=max_words,
        banned_words=ban,
        banned_patterns=ban_pattern,
        words="unicode" if unicode_words else None,
    )
    columns = mapping(prompt_id=prompt_id, prompt=prompt)
    given = prompts_of(seeds, columns, where, limit)
    made = generate_questions(
        resolve_model(model),
        given,
        count,
        variant,
        validated(SamplingSettings, {**own, **(settings or {})}),
        template=None if template is None else load_template(template, "few_shot"),
        examples=examples,
        filters=kinds,
        against=_against(against or []),
        chat=chat,
        out=output.with_name(f"{output.stem}.generations.parquet"),
    )
    if ledger is not None:  # first: questions without a ledger can't be explained
        write_table(made.ledger, ledger)
    write_table(made.questions, output)
    console().print(f"{output}: {made.summary()}")


def _filters(named: Any, **given: Any) -> Any:
    """Filters, or those of a paper, with the options that were given in place of their own."""
    import dataclasses

    from statllm.sampling.prompts import FILTERS

    if isinstance(named, str) and named not in FILTERS:
        raise InputError(f"--filters must be one of {', '.join(FILTERS)}, not '{named}'")
    base = FILTERS[named] if isinstance(named, str) else named
    chosen = {key: value for key, value in given.items() if value not in (None, [])}
    if chosen.get("rouge_l") == 0:
        chosen["rouge_l"] = None
    for key in ("banned_words", "banned_patterns"):
        if key in chosen:
            chosen[key] = (*getattr(base, key), *chosen[key])
    return dataclasses.replace(base, **chosen)


def _against(files: list[Path]) -> list[tuple[str, str]]:
    from statllm.generations import Generations
    from statllm.sampling.prompts.examples import seed_texts

    return [
        pair
        for file in files
        for pair in zip(*seed_texts(Generations.read(file).table), strict=True)
    ]
