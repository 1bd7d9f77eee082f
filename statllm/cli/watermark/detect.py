"""`statllm watermark detect`: every document of a corpus, for every key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.cli.common import console
from statllm.cli.engine import Stored, part_progress
from statllm.cli.settings import with_settings
from statllm.cli.watermark.options import (
    Corpus,
    KeyFile,
    SchemeName,
    Text,
    Tokenizer,
    Tokens,
    detection_settings,
    document_column,
    tokenizer_of,
)
from statllm.engines.settings import EngineSettings
from statllm.errors import InputError
from statllm.scoring.watermarks.settings import DetectionSettings

if TYPE_CHECKING:
    from statllm.estimators.watermark.certificate import Certificate


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
    report: Annotated[
        Path | None, typer.Option(help="Also write a self-contained page on them (HTML).")
    ] = None,
    human: Annotated[
        Path | None,
        typer.Option(
            help="For the page: what this verb wrote of human documents, with the same key file."
        ),
    ] = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Test every document for every key, and adjust the p-values over the corpus.

    Each (seed, token) pair counts once in a document; p-values are exact, and kept as logarithms.
    A killed run goes on from its last part.

    Examples:

        statllm watermark detect corpus.parquet -o found.parquet --key-file keys.yaml

        statllm watermark detect corpus.jsonl -o found.parquet --key-file keys.yaml --text text \
--tokenizer models/qwen3 --report found.html

        statllm watermark detect corpus/ -o found --key-file keys.yaml --scheme vllm-gumbel \
--test optimal --workers 8
    """
    from statllm.engines.convert import parquet_source
    from statllm.engines.watermarks import detect_corpus
    from statllm.scoring.watermarks import read_configurations

    detection, engine = detection_settings(settings, fdr)
    configurations = read_configurations(key_file, scheme)
    column = document_column(tokens, text, tokenizer)
    certificate = _checked_report(report, human)
    with parquet_source(corpus, output) as source, part_progress() as on_part:
        found = detect_corpus(
            source,
            output,
            configurations,
            detection,
            column=column,
            tokenizer=tokenizer_of(tokenizer),
            fdr=fdr,
            settings=engine,
            on_part=on_part,
        )
    console().print(f"{output}: {found.summary()}")
    if report is not None:
        from statllm.report.watermark import write_page

        title = f"Watermark report: {corpus.name}"
        write_page(output, report, fdr=fdr, certificate=certificate, title=title)
        console().print(str(report), soft_wrap=True)


def _checked_report(report: Path | None, human: Path | None) -> Certificate | None:
    """Refuse what can't be written or read before the corpus is; certify by `human`."""
    if report is None:
        if human is not None:
            raise InputError("--human has no effect without --report")
        return None
    from statllm._formats import check_output
    from statllm.report.templates import check_packages

    check_output(report, (".html", ".htm"))
    check_packages()
    if human is None:
        return None
    from statllm.estimators.watermark.certificate import certify

    stored = Stored(human)
    if "log_p" not in stored:
        raise InputError(f"{human} has no column 'log_p'; is it what `detect` wrote?")
    try:
        return certify(stored.column("log_p").to_numpy())
    except ValueError as error:
        raise InputError(f"{human}: {error}") from error
