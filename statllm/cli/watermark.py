"""`statllm watermark`: find the marks of keys in a corpus, and certify how often it errs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.cli.common import console, table_of
from statllm.cli.engine import engine_settings, part_progress
from statllm.cli.settings import validated, with_settings
from statllm.engines.settings import EngineSettings
from statllm.errors import InputError
from statllm.scoring.watermarks.settings import DetectionSettings

if TYPE_CHECKING:
    from statllm.scoring.watermarks import Configuration

watermark = typer.Typer(
    no_args_is_help=True,
    help="Watermarks of language models: detect, certify, plan, locate, embed.",
)

Corpus = Annotated[
    Path, typer.Argument(metavar="CORPUS", help="Parquet, a folder of Parquet files, or JSONL.")
]
KeyFile = Annotated[
    Path,
    typer.Option(
        help="YAML list of entries: name, scheme, key, and options of the scheme. Keys are never "
        "shown."
    ),
]
SchemeName = Annotated[str | None, typer.Option("--scheme", help="Of the entries that name none.")]
Tokens = Annotated[
    str | None, typer.Option(help="Column of token ids; default token_ids without --text.")
]
Text = Annotated[str | None, typer.Option(help="Column of texts; needs --tokenizer.")]
Tokenizer = Annotated[
    str | None,
    typer.Option(help="Of the model that may have written the texts: a folder or a hub name."),
]


@watermark.command()
@with_settings(DetectionSettings, EngineSettings, skip=("gpus",))
def detect(
    corpus: Corpus,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="One row per document: Parquet, or a folder of it."),
    ],
    key_file: KeyFile,
    scheme: SchemeName = None,
    tokens: Tokens = None,
    text: Text = None,
    tokenizer: Tokenizer = None,
    fdr: Annotated[
        float, typer.Option(help="Expected share of false ones among the documents called.")
    ] = 0.01,
    settings: dict[str, Any] | None = None,
) -> None:
    """Test every document for every key, and adjust the p-values over the corpus.

    Each (seed, token) pair counts once in a document; p-values are exact, and kept as logarithms.
    A killed run goes on from its last part.

    Examples:

        statllm watermark detect corpus.parquet -o found.parquet --key-file keys.yaml

        statllm watermark detect corpus.jsonl -o found.parquet --key-file keys.yaml --text text \
--tokenizer models/qwen3

        statllm watermark detect corpus/ -o found --key-file keys.yaml --scheme vllm-gumbel \
--test optimal --workers 8
    """
    from statllm.engines.convert import parquet_source
    from statllm.engines.watermarks import detect_corpus
    from statllm.scoring.watermarks import read_configurations

    detection, engine = detection_settings(settings, fdr)
    configurations = read_configurations(key_file, scheme)
    column = document_column(tokens, text, tokenizer)
    with parquet_source(corpus, output) as source, part_progress() as on_part:
        found = detect_corpus(
            source,
            output,
            configurations,
            detection,
            column=column,
            tokenizer=tokenizer,
            fdr=fdr,
            settings=engine,
            on_part=on_part,
        )
    console().print(f"{output}: {found.summary()}")


@watermark.command()
def certify(
    detections: Annotated[
        Path,
        typer.Argument(
            metavar="DETECTIONS", help="What `detect` wrote of human documents, with your key."
        ),
    ],
    configuration: Annotated[
        str | None, typer.Option(help="One of the keys by its name; default: all together.")
    ] = None,
    alpha: Annotated[
        list[float] | None, typer.Option(help="Levels; may be repeated. Default .01, .001, .0001.")
    ] = None,
    extrapolate: Annotated[
        float, typer.Option(help="A level beyond the data, by a fitted Pareto tail.")
    ] = 1e-6,
) -> None:
    """Measure how often human documents are accused under the deployed key.

    Examples:

        statllm watermark detect human.parquet -o human-found.parquet --key-file keys.yaml

        statllm watermark certify human-found.parquet --alpha .01 --alpha .001
    """
    from statllm.cli.engine import Stored
    from statllm.estimators.watermark.certificate import certify as measure

    stored = Stored(detections)
    name = "log_p" if configuration is None else f"log_p[{configuration}]"
    if name not in stored:
        raise InputError(f"{detections} has no column '{name}'; is it what `detect` wrote?")
    levels = tuple(alpha) if alpha else (1e-2, 1e-3, 1e-4)
    try:
        found = measure(stored.column(name).to_numpy(), levels)
    except ValueError as error:
        raise InputError(f"{detections}: {error}") from error
    figures = list(found.rates)
    if found.tail is not None and extrapolate < min(levels):
        figures.append(found.tail.rate(extrapolate))
    out = console()
    rows = [(f.name, f"{f.value:.2e}", f"{f.interval(0.95):.1e}", f.n) for f in figures]
    columns = ("figure", "share of documents", "95 % interval", "n")
    out.print(table_of(f"{name} of human documents", columns, rows, wrap=("figure",)))
    methods = dict.fromkeys(f.interval(0.95).method for f in figures)
    out.print(f"intervals: {', '.join(methods)}")
    out.print(found.uniformity.summary())


@watermark.command()
@with_settings(EngineSettings, skip=("gpus",))
def locate(
    corpus: Corpus,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="One row per segment: Parquet, or a folder.")
    ],
    key_file: KeyFile,
    configuration: Annotated[
        str | None, typer.Option(help="One of the keys by its name; not needed where it is alone.")
    ] = None,
    scheme: SchemeName = None,
    tokens: Tokens = None,
    text: Text = None,
    tokenizer: Tokenizer = None,
    alpha: Annotated[
        float, typer.Option(help="Probability of any false segment in a document.")
    ] = 0.01,
    min_length: Annotated[int, typer.Option(min=1, help="Marks of the shortest window.")] = 32,
    delta: Annotated[
        float, typer.Option(help="Strength that the boundaries suppose, in (0, 1).")
    ] = 0.2,
    settings: dict[str, Any] | None = None,
) -> None:
    """Find watermarked segments inside documents, with confidence sets of their boundaries.

    Examples:

        statllm watermark locate mixed.parquet -o segments.parquet --key-file keys.yaml
    """
    from statllm.engines.convert import parquet_source
    from statllm.engines.segments import SegmentWork, locate_corpus

    for option, value in (("--alpha", alpha), ("--delta", delta)):
        if not 0 < value < 1:
            raise InputError(f"{option} must lie between 0 and 1, not {value}")
    chosen = _one_of(key_file, scheme, configuration)
    column = document_column(tokens, text, tokenizer)
    work = SegmentWork(chosen, column, alpha, min_length, delta, tokenizer)
    engine = validated(EngineSettings, {"engine": "local", **(settings or {})})
    with parquet_source(corpus, output) as source, part_progress() as on_part:
        counts = locate_corpus(source, output, work, engine, on_part)
    console().print(
        f"{output}: {counts['segments']} segments in {counts['marked']} of "
        f"{counts['documents']} documents"
    )


@watermark.command()
def embed(
    model: Annotated[str, typer.Argument(help="A model folder, a hub name, or lab.")],
    source: Annotated[str, typer.Argument(metavar="PROMPTS", help="A file, or lab:test.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Prompts with response and token_ids (Parquet).")
    ],
    key_file: KeyFile,
    configuration: Annotated[
        str | None, typer.Option(help="One of the keys by its name; not needed where it is alone.")
    ] = None,
    scheme: SchemeName = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many prompts.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest response.")] = 200,
    temperature: Annotated[float, typer.Option(help="Divides the logits.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of what the scheme leaves to chance.")] = 0,
) -> None:
    """Sample one watermarked response per prompt with transformers, to try a detector on.

    Serving engines write watermarks faster: `vllm serve M --watermark-config ...`.

    Examples:

        statllm watermark embed lab lab:test --limit 50 --max-new-tokens 100 -o w.parquet \
--key-file keys.yaml

        statllm watermark detect w.parquet -o found.parquet --key-file keys.yaml
    """
    from statllm._formats import check_output, write_table
    from statllm.cli.sample import Prompts
    from statllm.sampling.watermark import sample_watermarked
    from statllm.stages import resolve_model

    check_output(output, (".parquet", ".jsonl"))
    if not temperature > 0:
        raise InputError(f"--temperature must be above 0, not {temperature}")
    chosen = _one_of(key_file, scheme, configuration)
    table = sample_watermarked(
        resolve_model(model),
        Prompts(source, {}, {}, limit).table(),
        chosen.scheme,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
    )
    write_table(table, output)
    console().print(f"{output}: {table.num_rows} responses, marked for '{chosen.name}'")


def _one_of(key_file: Path, scheme: str | None, configuration: str | None) -> Configuration:
    """The entry of a key file that is named, or its only one."""
    from statllm.scoring.watermarks import read_configurations

    found = read_configurations(key_file, scheme)
    if configuration is None and len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise InputError(f"{key_file} has several entries; --configuration is one of {names}")
    chosen = [each for each in found if configuration in (None, each.name)]
    if not chosen:
        raise InputError(f"{key_file} has no entry '{configuration}'")
    return chosen[0]


@watermark.command()
def plan(
    samples: Annotated[
        Path | None,
        typer.Argument(
            metavar="SAMPLES",
            help="Sampled text of the model with its log-probabilities, as `statllm sample` "
            "writes it: Parquet or JSONL.",
        ),
    ] = None,
    column: Annotated[
        str, typer.Option(help="Lists of log p of the sampled tokens, nats.")
    ] = "token_logprobs",
    bound: Annotated[
        float | None,
        typer.Option(
            "--delta", help="Instead of SAMPLES: the model's largest probability is 1 - delta."
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(help="False-positive rate.")] = 1e-6,
    power: Annotated[float, typer.Option(help="Probability to find a watermarked text.")] = 0.99,
) -> None:
    """Say how many tokens a Gumbel-max watermark needs, from how sure the model is.

    Where all tokens are nearly certain, no watermark can be seen: what counts is the model, the
    temperature and the task. The figures are for texts whose tokens are like those of SAMPLES.

    Examples:

        statllm watermark plan samples.parquet --alpha 1e-6

        statllm watermark plan --delta 0.3
    """
    from statllm.estimators.watermark.chosen import ChosenLaw
    from statllm.estimators.watermark.efficiency import stein_tokens
    from statllm.estimators.watermark.power import tokens_needed

    for option, value in (("--alpha", alpha), ("--power", power)):
        if not 0 < value < 1:
            raise InputError(f"{option} must lie between 0 and 1, not {value}")
    if (samples is None) == (bound is None):
        raise InputError("give either SAMPLES or --delta")
    given: Any = bound if samples is None else _log_probabilities(samples, column)
    try:
        law = (
            ChosenLaw.least_favourable(given)
            if samples is None
            else ChosenLaw.from_log_probabilities(given)
        )
    except ValueError as error:
        raise InputError(f"{samples or '--delta'}: {error}") from error
    rows = []
    settings: list[tuple[Any, float]] = [("sum", 0.5), ("log", 0.5)]
    settings += [("optimal", delta) for delta in (0.005, 0.01, 0.05, 0.1)]
    for test, delta in settings:
        name = f"optimal, --delta {delta:g}" if test == "optimal" else test
        try:
            needed = f"{tokens_needed(law, alpha, power, test, delta):,}"
        except ValueError:
            needed = "over 4 million"
        rows.append((name, needed))
    rows.append(("no test with fewer than about", f"{stein_tokens(law, alpha):,.0f}"))
    title = f"distinct tokens for a power of {power:g} at {alpha:g}"
    console().print(table_of(title, ("test", "tokens"), rows))


def _log_probabilities(path: Path, column: str) -> Any:
    """All log-probabilities of a column of numbers in lists of any depth."""
    import numpy as np
    import pyarrow as pa

    from statllm._formats import read_rows

    table = read_rows(path)
    if column not in table.column_names:
        raise InputError(f"{path} has no column '{column}'; it has {', '.join(table.column_names)}")
    flat = table[column].combine_chunks()
    while pa.types.is_list(flat.type) or pa.types.is_large_list(flat.type):
        flat = flat.flatten()
    if not pa.types.is_floating(flat.type):
        raise InputError(f"{path}: column '{column}' must hold lists of log-probabilities")
    return np.asarray(flat.drop_null().to_numpy(zero_copy_only=False), np.float64)


def detection_settings(
    given: dict[str, Any] | None, fdr: float
) -> tuple[DetectionSettings, EngineSettings | None]:
    """Return how documents are tested, and where.

    Raises
    ------
    InputError
        If an option has a wrong value, or `fdr` isn't in (0, 1).
    """
    if not 0 < fdr < 1:
        raise InputError(f"--fdr must lie between 0 and 1, not {fdr}")
    own, engine = engine_settings({"engine": "local", **(given or {})}, DetectionSettings)
    return validated(DetectionSettings, own), engine


def document_column(tokens: str | None, text: str | None, tokenizer: str | None) -> str:
    """Return the column that holds the documents.

    Raises
    ------
    InputError
        If options contradict each other.
    """
    if text is None:
        if tokenizer is not None:
            raise InputError("--tokenizer has no effect without --text")
        return tokens or "token_ids"
    if tokens is not None:
        raise InputError("--tokens and --text exclude each other")
    if tokenizer is None:
        raise InputError("--text needs --tokenizer, that of the model that may have written it")
    return text
