"""`statllm prompts`: new questions, prompts for thoughts or limits, questions from documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import Prompt, PromptId, Response, Where, conditions, console, mapping
from statllm.cli.question_set import question_set
from statllm.cli.settings import validated, with_settings
from statllm.errors import InputError
from statllm.sampling import SamplingSettings

prompts = typer.Typer(
    name="prompts",
    help="Make prompts: new questions, formats, thoughts, length limits, worse responses.",
    no_args_is_help=True,
)

_ANY = (".parquet", ".jsonl", ".ndjson", ".csv")
_NESTED = (".parquet", ".jsonl", ".ndjson")

Model = Annotated[str, typer.Argument(help="A model folder, a hub name, or lab.")]
Chat = Annotated[
    bool,
    typer.Option(
        "--chat/--no-chat", help="Send messages, or one text for models that complete text."
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Parquet or JSONL.")]
Template = Annotated[str | None, typer.Option(help="A template's name, or a YAML file.")]


@prompts.command()
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
    template: Template = None,
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
    from statllm._formats import check_output, write_table
    from statllm.sampling.prompts import VARIANTS, generate_questions, load_template
    from statllm.stages import resolve_model

    check_output(output, _NESTED)
    check_output(ledger, _ANY)
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
    given = _prompts(seeds, columns, where, limit)
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


@prompts.command()
def thoughts(
    source: Annotated[str, typer.Argument(metavar="PROMPTS", help="A file, or lab:test.")],
    output: Output,
    template: Annotated[
        str, typer.Option(help="tpo_generic, tpo_generic_system, tpo_specific, or a YAML file.")
    ] = "tpo_generic",
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many prompts.")] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    where: Where = None,
) -> None:
    """Wrap prompts so that a model writes its thoughts before the response (TPO).

    Example:

        statllm prompts thoughts prompts.jsonl --template tpo_specific -o asked.parquet
    """
    from statllm._formats import check_output, write_table
    from statllm.sampling.prompts import load_template, thought_prompts

    check_output(output, _NESTED)
    form = load_template(template, "thoughts")
    columns = mapping(prompt_id=prompt_id, prompt=prompt)
    table = thought_prompts(_prompts(source, columns, where, limit), form)
    write_table(table, output)
    console().print(f"{output}: {table.num_rows} prompts, template {form.stamp}")


@prompts.command()
def split(
    source: Annotated[Path, typer.Argument(metavar="SAMPLES", help="Samples of such prompts.")],
    output: Output,
    template: Annotated[
        str | None, typer.Option(help="The one that asked; by default the table's own.")
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict/--no-strict", help="Whether a marker within the response is a failure."
        ),
    ] = True,
) -> None:
    """Cut samples into thought and final_response; a text without its marker is neither.

    response stays whole. Score and judge final_response: its nulls are the texts that failed.

    Example:

        statllm prompts split samples.parquet -o cut.parquet
    """
    from statllm._formats import check_output, write_table
    from statllm.generations import Generations
    from statllm.sampling.prompts import load_template, thought_counts, with_thoughts

    check_output(output, _NESTED)
    given = Generations.read(source).table
    name = template or _stamped(given, source)
    table = with_thoughts(given, load_template(name, "thoughts"), strict)
    write_table(table, output)
    counts = ", ".join(f"{count} {name}" for name, count in thought_counts(table).items())
    console().print(f"{output}: {table.num_rows} prompts; samples: {counts}")


@prompts.command()
def length(
    source: Annotated[str, typer.Argument(metavar="PROMPTS", help="A file, or lab:test.")],
    output: Output,
    words: Annotated[int | None, typer.Option(min=1, help="The limit of every prompt.")] = None,
    words_column: Annotated[
        str | None, typer.Option(help="Column with a limit per prompt.")
    ] = None,
    shortest_of: Annotated[
        str | None,
        typer.Option(help="Column of texts: the words of the shortest one are the limit."),
    ] = None,
    scale: Annotated[
        list[float] | None,
        typer.Option(help="Multiplies the limits; a row for each. May be repeated. Default: 1."),
    ] = None,
    all_scales: Annotated[
        bool, typer.Option("--all-scales", help="1, .9, .8, … .1, as in the paper's test.")
    ] = False,
    template: Annotated[str, typer.Option(help="A template's name, or a YAML file.")] = (
        "lift_words"
    ),
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many prompts.")] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    where: Where = None,
) -> None:
    """Put a limit on the words of the response before each prompt (LIFT).

    Examples:

        statllm prompts length prompts.jsonl --shortest-of answers -o limited.jsonl

        statllm prompts length prompts.jsonl --words-column max_len --all-scales -o limited.jsonl
    """
    from statllm._formats import check_output, write_table
    from statllm.cli.columns import column
    from statllm.sampling.prompts import SCALES, length_prompts, load_template, shortest

    check_output(output, _NESTED)
    if sum(one is not None for one in (words, words_column, shortest_of)) != 1:
        raise InputError("give one of --words, --words-column and --shortest-of")
    if scale and all_scales:
        raise InputError("give --scale or --all-scales, not both")
    form = load_template(template, "length")
    given = _prompts(source, mapping(prompt_id=prompt_id, prompt=prompt), where, limit)
    limits: Any = words
    if words_column is not None:
        limits = column(given, Path(source), words_column)
    elif shortest_of is not None:
        limits = shortest(column(given, Path(source), shortest_of))
    table = length_prompts(given, limits, form, SCALES if all_scales else scale or (1.0,))
    write_table(table, output)
    console().print(f"{output}: {table.num_rows} prompts, template {form.stamp}")


@prompts.command()
def solutions(
    source: Annotated[str, typer.Argument(metavar="PROMPTS", help="A file, or lab:test.")],
    output: Output,
    template: Annotated[str, typer.Option(help="A template's name, or a YAML file.")] = (
        "scpo_zebra"
    ),
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many prompts.")] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    where: Where = None,
) -> None:
    """Ask for solutions in a format whose answer can be found (ScPO's of ZebraLogic).

    Example:

        statllm prompts solutions puzzles.jsonl -o asked.parquet
    """
    from statllm._formats import check_output, write_table
    from statllm.sampling.prompts import load_template, solution_prompts

    check_output(output, _NESTED)
    form = load_template(template, "solution")
    columns = mapping(prompt_id=prompt_id, prompt=prompt)
    table = solution_prompts(_prompts(source, columns, where, limit), form)
    write_table(table, output)
    console().print(f"{output}: {table.num_rows} prompts, template {form.stamp}")


@prompts.command()
@with_settings(SamplingSettings)
def contrast(
    model: Model,
    source: Annotated[Path, typer.Argument(metavar="SAMPLES", help="Prompts with responses.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The pairs: Parquet or JSONL.")],
    template: Annotated[str, typer.Option(help="A template's name, or a YAML file.")] = (
        "self_taught_contrast"
    ),
    ledger: Annotated[
        Path | None,
        typer.Option(help="A row for each prompt and text: kept or dropped, why."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many prompts.")] = None,
    chat: Chat = True,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    response: Response = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Make a worse response to each prompt: a good one to a request much like it.

    So the Self-Taught Evaluator gets pairs whose better response is known. The first response of
    each prompt is the good one. --n, the worse responses per prompt, is 1 by default. All texts
    stay in OUTPUT's folder, as NAME.generations.parquet; a killed run goes on when started again.

    Example:

        statllm prompts contrast ./my-model samples.parquet -o pairs.parquet --ledger l.jsonl
    """
    from statllm._formats import check_output, write_table
    from statllm.sampling.prompts import contrast as run
    from statllm.sampling.prompts import load_template
    from statllm.stages import resolve_model

    check_output(output, _NESTED)
    check_output(ledger, _ANY)
    columns = mapping(prompt_id=prompt_id, prompt=prompt, response=response)
    made = run(
        resolve_model(model),
        _prompts(str(source), columns, where, limit),
        validated(SamplingSettings, {"n": 1, **(settings or {})}),
        template=load_template(template, "contrast"),
        chat=chat,
        out=output.with_name(f"{output.stem}.generations.parquet"),
    )
    if ledger is not None:  # first: pairs without a ledger can't be explained
        write_table(made.ledger, ledger)
    write_table(made.pairs, output)
    console().print(f"{output}: {made.summary()}")


@prompts.command("back-translate")
@with_settings(SamplingSettings)
def back_translate(
    model: Model,
    documents: Annotated[Path, typer.Argument(help="A file with a document per row.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The questions: Parquet or JSONL.")
    ],
    column: Annotated[str, typer.Option(help="The documents' text.")] = "document",
    template: Annotated[str, typer.Option(help="A template's name, or a YAML file.")] = (
        "natural_reasoning_question"
    ),
    rubric: Annotated[
        str, typer.Option(help="… of the rating; none asks about every document.")
    ] = ("natural_reasoning_rubric"),
    min_total: Annotated[
        float | None, typer.Option(help="Least sum of points; full marks are 9.")
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="A row for each document and question: kept or dropped, why."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many documents.")] = None,
    chat: Chat = True,
    prompt_id: PromptId = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Rate documents, and compose questions from the good ones (NaturalReasoning).

    A killed run goes on when started again. --n, the questions per document, is 1 by default. All
    generations stay in OUTPUT's folder, as NAME.ratings.parquet and NAME.generations.parquet.

    Example:

        statllm prompts back-translate ./my-model texts.jsonl -o questions.jsonl --ledger l.jsonl
    """
    from statllm._formats import check_output, write_table
    from statllm.sampling.prompts import Gate, load_template
    from statllm.sampling.prompts import back_translate as run
    from statllm.stages import resolve_model

    check_output(output, _NESTED)
    check_output(ledger, _ANY)
    rated = rubric != "none"
    if min_total is not None and not rated:
        raise InputError("--min-total has no effect with --rubric none")
    made = run(
        resolve_model(model),
        _prompts(str(documents), mapping(prompt_id=prompt_id), where, limit),
        validated(SamplingSettings, {"n": 1, **(settings or {})}),
        template=load_template(template, "back_translation"),
        rubric=load_template(rubric, "rubric") if rated else None,
        gate=Gate(total=min_total) if rated else None,
        column=column,
        chat=chat,
        out=output.with_name(f"{output.stem}.generations.parquet"),
    )
    if ledger is not None:
        write_table(made.ledger, ledger)
    write_table(made.questions, output)
    console().print(f"{output}: {made.summary()}")


prompts.command("question-set")(question_set)


@prompts.command("templates")
def templates() -> None:
    """List the templates that come with the package."""
    from statllm.sampling.prompts import load_template, template_names

    for form in map(load_template, template_names()):
        console().print(f"{form.stamp} ({form.task})\n    {form.source}", soft_wrap=True)


def _prompts(
    source: str, columns: dict[str, str], where: list[str] | None, limit: int | None
) -> Any:
    from statllm.generations import Generations
    from statllm.recipe import Problems
    from statllm.stages import load_problems

    if source.startswith("lab:"):
        return load_problems(Problems(source=source, n=limit))
    return Generations.read(source, columns, conditions(where)).table.slice(0, limit)


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


def _stamped(table: Any, source: Path) -> str:
    """The name of the one template that a table's prompts were made with."""
    from statllm.sampling.prompts import load_template

    if "template" not in table.column_names:
        raise InputError(f"{source} has no column 'template'; name it with --template")
    stamps = set(table["template"].to_pylist())
    if len(stamps) != 1:
        raise InputError(f"{source} has {len(stamps)} templates; name one with --template")
    stamp = str(stamps.pop())
    name = stamp.partition("@")[0]
    if load_template(name).stamp != stamp:
        raise InputError(
            f"{source} was made with {stamp}, which is {load_template(name).stamp} now"
        )
    return name
