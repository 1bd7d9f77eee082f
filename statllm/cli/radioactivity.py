"""`statllm watermark radioactivity`: was a model trained on watermarked text?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from statllm.cli.common import console, table_of
from statllm.errors import InputError
from statllm.results import format_p

if TYPE_CHECKING:
    import pyarrow as pa

    from statllm.estimators.contamination.contexts import Contexts
    from statllm.estimators.contamination.radioactivity import Radioactivity, Reading
    from statllm.ragged import Ragged
    from statllm.scoring.watermarks import Configuration

_ROWS = 1000  # of a batch


def radioactivity(
    model: Annotated[str, typer.Argument(help="A model folder, a hub name, or lab.")],
    texts: Annotated[
        Path,
        typer.Argument(
            metavar="TEXTS", help="What the model reads: Parquet, a folder of it, or JSONL."
        ),
    ],
    key_file: Annotated[
        Path,
        typer.Option(help="YAML list of entries: name, scheme, key, and options of the scheme."),
    ],
    trained_on: Annotated[
        Path | None,
        typer.Option(
            help="The watermarked text that it may be trained on: only its contexts count."
        ),
    ] = None,
    configuration: Annotated[
        str | None, typer.Option(help="One of the keys by its name; default: each of them.")
    ] = None,
    scheme: Annotated[str | None, typer.Option(help="Of the entries that name none.")] = None,
    tokens: Annotated[
        str | None, typer.Option(help="Column of token ids; default token_ids without --text.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Column of texts, read by the model's tokenizer.")
    ] = None,
    generated: Annotated[
        bool,
        typer.Option("--generated", help="Closed model: TEXTS are its own words; it isn't loaded."),
    ] = False,
    prompts: Annotated[
        str | None,
        typer.Option(help="With --generated: column of what the model was given, if anything."),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0: the most probable token is scored. Above: a draw.")
    ] = 0.0,
    window: Annotated[int, typer.Option(min=2, help="Most tokens that it reads at once.")] = 1024,
    test: Annotated[
        Literal["sum", "log", "optimal", "weighted", "trgof"],
        typer.Option(help="As of watermark detect."),
    ] = "sum",
    seen: Annotated[
        Literal["seed", "pair"],
        typer.Option(help="What may not have been before the model's eyes to count."),
    ] = "seed",
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="One row per key: Parquet, JSONL or CSV."),
    ] = None,
) -> None:
    """Test whether a model was trained on text that is watermarked under a key.

    The model reads TEXTS, best such as it may be trained on, and its next tokens are scored under
    the key in the context of the text; what stands in the text before it doesn't count. Several
    keys: Holm's adjustment.

    Examples:

        statllm watermark radioactivity models/suspect marked.parquet --key-file keys.yaml \
--trained-on marked.parquet --text text

        statllm watermark radioactivity models/suspect answers.jsonl --key-file keys.yaml \
--generated --text response --prompts prompt
    """
    from statllm._formats import check_output, write_table
    from statllm.estimators.contamination.contexts import check_poolable
    from statllm.scoring.watermarks import read_configurations

    check_output(output)
    if prompts is not None and not generated:
        raise InputError("--prompts has no effect without --generated")
    if text is not None and tokens is not None:
        raise InputError("--tokens and --text exclude each other")
    chosen = read_configurations(key_file, scheme)
    if configuration is not None:
        chosen = [each for each in chosen if each.name == configuration]
        if not chosen:
            raise InputError(f"{key_file} has no entry '{configuration}'")
    for each in chosen:
        try:
            check_poolable(each.scheme)
        except ValueError as error:
            raise InputError(f"configuration '{each.name}': {error}") from error
    column = text or tokens or "token_ids"
    reader = _Reader(model, chosen, column, text is not None, window, temperature, seed, seen)
    with TemporaryDirectory() as scratch:
        if trained_on is not None:
            reader.learn(trained_on, Path(scratch) / "trained_on")
        for table in _batches(texts, Path(scratch) / "texts"):
            reader.read(table, texts, prompts, generated)
    _report(reader.found(test), output, write_table)


def _report(found: dict[str, Radioactivity], output: Path | None, write: Any) -> None:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from statllm.estimators.multiplicity import holm

    results = list(found.values())
    log_p = np.array([each.test.log_p_value for each in results])
    adjusted = holm(log_p)
    columns = ("key", "tokens", "other contexts", "seen", "repeated", "scored", "p", "adjusted p")
    rows = [
        (
            name,
            each.n_tokens,
            each.n_outside,
            each.n_seen,
            each.n_repeated,
            each.test.n_effective,
            format_p(each.test.log_p_value).removeprefix("= "),
            format_p(float(q)).removeprefix("= "),
        )
        for (name, each), q in zip(found.items(), adjusted, strict=True)
    ]
    console().print(table_of("radioactivity", columns, rows, wrap=("key", "other contexts")))
    if all(math.isnan(value) for value in log_p):
        console().print("nothing could be scored: no token follows a context that counts")
    if output is not None:
        frame = pd.concat([each.test.to_frame() for each in results], ignore_index=True)
        for place, name in enumerate(("n_tokens", "n_outside", "n_seen", "n_repeated")):
            frame.insert(place, name, [getattr(each, name) for each in results])
        frame.insert(0, "configuration", list(found))
        frame["log_p_adjusted"] = adjusted
        write(pa.Table.from_pandas(frame, preserve_index=False), output)
        console().print(f"{output}: {len(frame)} keys")


class _Reader:
    """Reads batches with the model, and collects the marks of each key."""

    def __init__(
        self,
        model: str,
        chosen: Sequence[Configuration],
        column: str,
        is_text: bool,
        window: int,
        temperature: float,
        seed: int,
        seen: Literal["seed", "pair"],
    ) -> None:
        from statllm.models import load_tokenizer
        from statllm.stages import resolve_model

        self.name, self.chosen, self.column = resolve_model(model), chosen, column
        self.window, self.temperature, self.seed, self.seen = window, temperature, seed, seen
        self.tokenizer = load_tokenizer(self.name) if is_text else None
        self.contexts: dict[int, Contexts] = {}
        self.readings: dict[str, list[Reading]] = {each.name: [] for each in chosen}
        self.model: Any = None
        self.n_batches = 0

    def learn(self, path: Path, beside: Path) -> None:
        """Collect the contexts of the training text, once for each length that a key needs."""
        from statllm.estimators.contamination.contexts import Contexts, check_poolable

        reaches = {check_poolable(each.scheme) for each in self.chosen}
        for table in _batches(path, beside):
            documents = self._documents(table, self.column, path)
            for reach in reaches:
                new = Contexts.of(documents, reach)
                known = self.contexts.get(reach)
                self.contexts[reach] = new if known is None else known.joined(new)

    def read(self, table: pa.Table, path: Path, prompts: str | None, generated: bool) -> None:
        """Read a batch."""
        from statllm.estimators.contamination.contexts import check_poolable
        from statllm.estimators.contamination.radioactivity import read_marks

        predicted, lengths = None, None
        if generated:
            words, lengths = self._generated(table, path, prompts)
        else:
            words, predicted = self._predicted(self._documents(table, self.column, path))
        for each in self.chosen:
            known = self.contexts.get(check_poolable(each.scheme))
            try:
                reading = read_marks(
                    each.scheme,
                    words,
                    predicted,
                    contexts=known,
                    prompt_lengths=lengths,
                    seen=self.seen,
                )
            except ValueError as error:
                raise InputError(f"{path}, configuration '{each.name}': {error}") from error
            self.readings[each.name].append(reading)
        self.n_batches += 1

    def found(self, test: Any) -> dict[str, Radioactivity]:
        """Test each key."""
        from statllm.estimators.contamination.radioactivity import radioactivity as tested

        found = {}
        for name, readings in self.readings.items():
            try:
                found[name] = tested(readings, test)
            except ValueError as error:
                raise InputError(f"configuration '{name}': {error}") from error
        return found

    def _documents(self, table: pa.Table, column: str, path: Path) -> Ragged:
        from statllm.scoring.watermarks import documents_of

        try:
            return documents_of(table, column, self.tokenizer).tokens
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def _predicted(self, texts: Ragged) -> tuple[Ragged, Any]:
        """Texts in windows, and what the model says at each place."""
        from statllm.models import load_model
        from statllm.scoring.watermarks.predictions import predicted_tokens, windows_of

        if self.model is None:
            self.model = load_model(self.name)
        longest = getattr(self.model.config, "max_position_embeddings", None) or self.window
        words = windows_of(texts, min(self.window, longest))
        seed = self.seed * 1_000_003 + self.n_batches
        return words, predicted_tokens(self.model, words, temperature=self.temperature, seed=seed)

    def _generated(self, table: pa.Table, path: Path, prompts: str | None) -> tuple[Ragged, Any]:
        """Prompts and the model's words as one row each, and the prompts' lengths."""
        import numpy as np

        from statllm.ragged import Ragged
        from statllm.scoring.watermarks import documents_of

        words = documents_of(table, self.column, self.tokenizer)
        if prompts is None:
            return words.tokens, None
        before = documents_of(table, prompts, self.tokenizer)
        if before.samples is not None:
            raise InputError(f"{path}: column '{prompts}' must hold one prompt per row")
        pieces, lengths = [], []
        for place, row in enumerate(words.rows):
            given = before.tokens.row(int(row))
            pieces.append(np.concatenate([given, words.tokens.row(place)]))
            lengths.append(len(given))
        return Ragged.from_lists(pieces, np.int64), np.array(lengths, np.int64)


def _batches(path: Path, beside: Path) -> Iterator[pa.Table]:
    """Read a corpus piece by piece."""
    from statllm.engines.convert import parquet_source

    with parquet_source(path, beside) as source:
        for part in source.parts(1 << 30):
            for _, table in source.batches(part, _ROWS):
                yield table
