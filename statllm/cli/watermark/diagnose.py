"""`statllm watermark diagnose`: why a watermark that should be there isn't found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.cli.common import console, table_of
from statllm.cli.watermark.options import (
    Corpus,
    KeyFile,
    SchemeName,
    Text,
    Tokenizer,
    Tokens,
    document_column,
    log_probabilities_of,
    one_of,
    tokenizer_of,
)
from statllm.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from statllm.ragged import Ragged


def diagnose(
    corpus: Corpus,
    key_file: KeyFile,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Findings: Parquet or JSONL.")
    ] = None,
    configuration: Annotated[
        str | None,
        typer.Option(
            help="The entry that the texts should carry; not needed where it is alone. Other "
            "entries are tried as wrong keys."
        ),
    ] = None,
    scheme: SchemeName = None,
    tokens: Tokens = None,
    text: Text = None,
    tokenizer: Tokenizer = None,
    try_keys: Annotated[
        Path | None, typer.Option(help="A second key file, of keys that may have been used.")
    ] = None,
    try_tokenizer: Annotated[
        list[str] | None,
        typer.Option(help="Another tokenizer that may be the model's; may be repeated."),
    ] = None,
    try_vocabulary: Annotated[
        list[int] | None,
        typer.Option(min=2, help="A size that the model's logits may have; may be repeated."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Column of the prompts: token ids, or texts with --text.")
    ] = None,
    special_token: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            help="Id of a token that the generator may have had before a text, or that may have "
            "been put into it; may be repeated. Those of --tokenizer are known.",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Unmarked texts of the same model to such prompts, in the same columns."),
    ] = None,
    log_probabilities: Annotated[
        str | None, typer.Option(help="Column of lists of log p of the tokens, nats.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where the texts were generated: cuda or cpu.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Probability that anything is named in text without a mark.")
    ] = 0.01,
    limit: Annotated[int, typer.Option(min=1, help="Rows that are read.")] = 200,
) -> None:
    """Name the mistake that hides a watermark in texts that should carry it.

    A wrong key, wrong settings, a wrong tokenizer or vocabulary size, a prompt glued on or
    missing, special tokens too many or too few, lists that a GPU drew, or too little text: each is
    a test or a fact, adjusted together (Holm).

    Examples:

        statllm watermark diagnose marked.parquet --key-file keys.yaml

        statllm watermark diagnose marked.jsonl --key-file keys.yaml --configuration ours \
--text response --prompt prompt --tokenizer models/a --try-tokenizer models/b
    """
    from statllm._formats import check_output, write_table
    from statllm.models import load_tokenizer
    from statllm.results import format_p
    from statllm.scoring.watermarks import diagnose as examine
    from statllm.scoring.watermarks import documents_of, read_configurations

    check_output(output, (".parquet", ".jsonl"))
    if device not in (None, "cuda", "cpu"):
        raise InputError(f"--device must be cuda or cpu, not {device}")
    if try_tokenizer and text is None:
        raise InputError("--try-tokenizer has no effect without --text")
    deployed = one_of(key_file, scheme, configuration)
    others = [*read_configurations(key_file, scheme)]
    others += read_configurations(try_keys, scheme) if try_keys else []
    column = document_column(tokens, text, tokenizer)
    tokenizer = tokenizer_of(tokenizer)
    loaded = None if tokenizer is None else load_tokenizer(tokenizer)
    tried = {name: tokenizer_of(name) or name for name in try_tokenizer or []}
    table = _first_rows(corpus, limit)
    documents = documents_of(table, column, loaded)
    rereadings, sizes = {}, list(try_vocabulary or [])
    if text is not None and "token_ids" in table.column_names:
        ids = documents_of(table, "token_ids").tokens
        if len(ids) == len(documents.tokens):
            rereadings["of column token_ids"] = ids
    for name, folder in tried.items():
        rereadings[name] = documents_of(table, column, load_tokenizer(folder)).tokens
    for name in (*([tokenizer] if tokenizer else []), *tried.values()):
        sizes += _vocabulary_sizes(name)
    found = examine(
        documents.tokens,
        deployed,
        others=others,
        rereadings=rereadings,
        vocabularies=sizes,
        special_tokens=[*(special_token or []), *(loaded.all_special_ids if loaded else [])],
        prompts=None if prompt is None else _prompts(table, prompt, loaded, documents.rows),
        reference=None
        if reference is None
        else documents_of(_first_rows(reference, limit), column, loaded).tokens,
        log_probabilities=None
        if log_probabilities is None
        else log_probabilities_of(table, corpus, log_probabilities),
        device=device,
        alpha=alpha,
    )
    if output is not None:
        import pyarrow as pa

        write_table(pa.Table.from_pandas(found.to_frame(), preserve_index=False), output)
    rows = [
        (
            each.mistake,
            "yes" if each.found else "no",
            "a fact" if each.log_p != each.log_p else format_p(each.log_p).removeprefix("= "),
            ""
            if each.log_p != each.log_p
            else format_p(each.log_p_adjusted).removeprefix("= "),
            each.evidence,
        )
        for each in found.findings
    ]  # fmt: skip
    title = f"'{deployed.name}' in {corpus}, {len(documents.tokens)} texts"
    columns = ("mistake", "found", "p", "adjusted (Holm)", "best evidence")
    out = console()
    out.print(table_of(title, columns, rows, wrap=("best evidence",)))
    out.print(f"{found.summary()}\n{found.advice}")


def _first_rows(path: Path, limit: int) -> pa.Table:
    """The first rows of a table; of Parquet no more than these are read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from statllm._formats import parquet_files, read_rows

    if not (path.is_dir() or path.suffix.lower() == ".parquet"):
        return read_rows(path).slice(0, limit)
    found: list[pa.RecordBatch] = []
    for file in parquet_files(path):
        try:
            for batch in pq.ParquetFile(file).iter_batches(limit):
                found.append(batch)
                if sum(each.num_rows for each in found) >= limit:
                    return pa.Table.from_batches(found).slice(0, limit)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file} can't be read: {error}") from error
    if not found:
        raise InputError(f"{path} holds no row")
    return pa.Table.from_batches(found)


def _prompts(table: pa.Table, column: str, tokenizer: Any, rows: Any) -> Ragged:
    """The prompt's tokens of each document."""
    from statllm.ragged import Ragged
    from statllm.scoring.watermarks import documents_of

    prompts = documents_of(table, column, tokenizer)
    if prompts.samples is not None:
        raise InputError(f"column '{column}' must hold one prompt per row")
    starts, values = prompts.tokens.offsets, prompts.tokens.values
    return Ragged.from_lists([values[starts[k] : starts[k + 1]].tolist() for k in rows], "int64")


def _vocabulary_sizes(name: str) -> list[int]:
    """Sizes that a model's logits may have: of its tokenizer, and of its configuration."""
    from statllm.files import read_json
    from statllm.models import load_tokenizer

    loaded = load_tokenizer(name)
    sizes = [int(loaded.vocab_size), len(loaded)]
    path = Path(name) / "config.json"
    if path.is_file() and isinstance(size := read_json(path).get("vocab_size"), int):
        sizes.append(size)
    return sizes
