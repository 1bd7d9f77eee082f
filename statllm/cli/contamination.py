"""`statllm contamination`: was a model trained on these texts, or on this file?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from statllm.cli.common import console, table_of
from statllm.cli.contamination_scores import (
    Reader,
    Score,
    Texts,
    inference_features,
    membership_scores,
    read_texts,
)
from statllm.cli.engine import part_progress
from statllm.errors import InputError
from statllm.results import format_p

if TYPE_CHECKING:
    from statllm.ragged import IntArray

contamination = typer.Typer(
    no_args_is_help=True,
    help="What a model was trained on: a file in its order, single texts, a data set.",
)

Model = Annotated[str, typer.Argument(help="A model folder, a hub name, or lab.")]
Suspect = Annotated[
    Path, typer.Argument(metavar="SUSPECT", help="Texts in question: Parquet, JSONL or CSV.")
]
Reference = Annotated[
    Path, typer.Option(help="Texts like them that the model can't have been trained on.")
]
Column = Annotated[str, typer.Option("--text", help="Column of texts, in both files.")]
Seed = Annotated[int, typer.Option(min=0, help="To be chosen before looking.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Parquet, JSONL or CSV.")]

_ROUNDING = 1e-3  # nats: what the log-probability of equal shards may differ by


@contamination.command()
def exchangeability(
    model: Model,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="The data set, rows in the published order.")
    ],
    text: Column = "text",
    shards: Annotated[
        int, typer.Option(min=1, help="Runs of consecutive rows that are permuted within.")
    ] = 50,
    permutations: Annotated[int, typer.Option(min=1, help="Random orders of each.")] = 50,
    method: Annotated[
        Literal["sum", "fisher", "e-value", "t", "oren"],
        typer.Option(help="How shards are combined: exact by ranks, e-values, or a t test."),
    ] = "sum",
    separator: Annotated[str, typer.Option(help="Text after each row.")] = "\n",
    seed: Seed = 0,
    output: Output = None,
) -> None:
    """Test whether a model prefers the published order of a data set's rows.

    It needs nothing but the file: rows of which no order is special in itself, and a model that
    may have read them in this one. OUTPUT has a row per shard.

    Examples:

        statllm contamination exchangeability models/suspect boolq.jsonl --text question

        statllm contamination exchangeability models/suspect boolq.jsonl --text question \
--shards 20 --permutations 200 --method fisher -o shards.parquet
    """
    import numpy as np

    from statllm._formats import check_output
    from statllm.estimators.contamination import exchangeability_test, shard_ranks
    from statllm.scoring.ordered_rows import shard_log_p

    check_output(output)
    rows = read_texts(data, text)
    reader = Reader(model)
    after = reader.tokens([separator]).values.tolist()
    try:
        with part_progress() as progress:
            own, permuted = shard_log_p(
                reader.model,
                reader.tokens(rows.texts),
                shards,
                permutations,
                seed=seed,
                start=reader.start,
                separator=after,
                progress=progress,
            )
        test = exchangeability_test(own, permuted, method, tolerance=_ROUNDING)
    except (InputError, ValueError) as error:
        raise InputError(f"{data}: {error}") from error
    ranks = shard_ranks(own, permuted, tolerance=_ROUNDING)
    figures = [
        ("rows", len(rows)),
        ("shards", shards),
        ("orders of each", permutations),
        ("shards that rank first", int(np.sum(ranks == 1))),
        ("mean rank, 0 first and 1 last", f"{np.mean((ranks - 1) / permutations):.3f}"),
        ("mean gain of the order, nats", f"{np.mean(own - permuted.mean(axis=1)):.3f}"),
    ]
    _report("exchangeability", figures, test)
    _write(
        output,
        {
            "shard": np.arange(shards),
            "log_p": own,
            "mean_log_p_permuted": permuted.mean(axis=1),
            "rank": ranks,
        },
    )


@contamination.command()
def membership(
    model: Model,
    suspect: Suspect,
    reference: Reference,
    text: Column = "text",
    score: Annotated[Score, typer.Option(help="Larger for what looks trained on.")] = "min-k++",
    ratio: Annotated[float, typer.Option(help="Share of tokens in min-k and min-k++.")] = 0.2,
    reference_model: Annotated[
        str | None, typer.Option(help="Of --score reference: a model that never saw SUSPECT.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Column, in both files, within which documents are compared."),
    ] = None,
    length_bins: Annotated[
        int, typer.Option(min=1, help="… and by number of tokens, in so many bins.")
    ] = 1,
    fdr: Annotated[float, typer.Option(help="False discovery rate of the members named.")] = 0.05,
    seed: Seed = 0,
    output: Output = None,
) -> None:
    """Find the texts that a model was trained on, with a p-value each and one for all.

    A text's p-value is the share of REFERENCE texts of its group that score at least as high. It
    means what it says only where REFERENCE is like SUSPECT in all but this: domain, length, date.
    OUTPUT has a row per text: score, p, q, and whether it is called a member.

    Examples:

        statllm contamination membership models/suspect pages.jsonl --reference new.jsonl \
-o scores.parquet --group domain --length-bins 3
    """
    import numpy as np

    from statllm._formats import check_output
    from statllm.estimators.contamination import membership as p_values
    from statllm.estimators.contamination import membership_test

    check_output(output)
    if not 0 < fdr < 1:
        raise InputError(f"--fdr must lie between 0 and 1, not {fdr}")
    if not 0 < ratio <= 1:
        raise InputError(f"--ratio must be above 0 and at most 1, not {ratio}")
    if (score == "reference") != (reference_model is not None):
        raise InputError("--score reference and --reference-model need each other")
    asked, known = read_texts(suspect, text, group), read_texts(reference, text, group)
    reader = Reader(model)
    compared = None if reference_model is None else Reader(reference_model)
    scores, reference_scores = (
        membership_scores(reader, compared, each.texts, score, ratio) for each in (asked, known)
    )
    lengths, reference_lengths = (reader.tokens(each.texts).lengths for each in (asked, known))
    there, usable = ~np.isnan(scores), ~np.isnan(reference_scores)
    for path, kept in ((suspect, there), (reference, usable)):
        _some_left(path, kept)
    groups = _groups(asked, known, lengths, reference_lengths, length_bins)
    found = p_values(scores, reference_scores[usable], (groups[0], groups[1][usable]))
    try:
        test = membership_test(
            scores[there],
            reference_scores[usable],
            (groups[0][there], groups[1][usable]),
            rng=seed,
        )
    except ValueError as error:
        raise InputError(f"{suspect}, {reference}: {error}") from error
    members = found.members(fdr)
    figures: list[tuple[str, Any]] = [
        ("suspects", len(asked)),
        ("references", len(known)),
        ("groups", len(np.unique(np.concatenate(groups)))),
        ("suspects without a token", int(np.sum(~there))),
        ("suspects without a reference in their group", int(np.sum(found.n_reference == 0))),
        ("smallest p-value there can be", f"{1 / (1 + found.n_reference.max()):.3g}"),
        (f"called members at a false discovery rate of {fdr:g}", int(members.sum())),
    ]
    _report(f"membership by {score}", figures, test)
    columns: dict[str, Any] = {"row": np.arange(len(asked))}
    if len(set(groups[0].tolist())) > 1 or group is not None:
        columns["group"] = groups[0]
    columns |= {
        "n_tokens": lengths,
        "score": scores,
        "p": found.p_values,
        "q": found.q_values,
        "n_reference": found.n_reference,
        "member": members,
    }
    _write(output, columns)


@contamination.command()
def dataset_inference(
    model: Model,
    suspect: Suspect,
    reference: Reference,
    text: Column = "text",
    splits: Annotated[
        int, typer.Option(min=1, help="Halvings of the data; more than one are combined.")
    ] = 1,
    combine: Annotated[
        Literal["twice-median", "e-value"], typer.Option(help="How the splits' p-values are.")
    ] = "twice-median",
    test: Annotated[Literal["t", "permutation"], typer.Option(help="On the second halves.")] = "t",
    seed: Seed = 0,
    output: Output = None,
) -> None:
    """Test whether a model was trained on a data set, from many scores of each text.

    The scores' combination is learnt on one half of SUSPECT and REFERENCE and tested on the other.
    REFERENCE must be drawn like SUSPECT: a held-out part of the same data set, say. The seed names
    the halves: the smallest p-value of several seeds is none, --splits combines them. OUTPUT has
    one row, the test.

    Examples:

        statllm contamination dataset-inference models/suspect train.jsonl \
--reference validation.jsonl --splits 11
    """
    import numpy as np

    from statllm._formats import check_output
    from statllm.estimators.contamination import dataset_inference_splits, dataset_inference_test

    check_output(output)
    asked, known = read_texts(suspect, text), read_texts(reference, text)
    reader = Reader(model)
    features = []
    for each in (asked, known):
        values = inference_features(reader, each.texts)
        kept = ~np.isnan(values).any(axis=1)
        _some_left(each.path, kept)
        features.append(values[kept])
    try:
        if splits == 1:
            found = dataset_inference_test(features[0], features[1], seed, test).test
        else:
            found = dataset_inference_splits(features[0], features[1], splits, seed, test, combine)
    except ValueError as error:
        raise InputError(f"{suspect}, {reference}: {error}") from error
    figures = [
        ("suspects with a token", f"{len(features[0])} of {len(asked)}"),
        ("references with a token", f"{len(features[1])} of {len(known)}"),
        ("scores combined", features[0].shape[1]),
    ]
    _report("data-set inference", figures, found)
    _write(output, {name: [value] for name, value in found.to_dict().items()})


def _groups(
    asked: Texts, known: Texts, lengths: IntArray, reference_lengths: IntArray, n_bins: int
) -> tuple[Any, Any]:
    """Labels of suspects and references: their group, and their bin of length."""
    import numpy as np

    from statllm.estimators.contamination import length_bins

    bins = length_bins(lengths, reference_lengths, n_bins)
    labels = []
    for each, of in zip((asked, known), bins, strict=True):
        parts = [each.groups] if each.groups is not None else []
        if n_bins > 1:
            parts.append([f"length {b + 1}" for b in of])
        joined = [", ".join(some) for some in zip(*parts, strict=True)] or [""] * len(each)
        labels.append(np.array(joined, object))
    return labels[0], labels[1]


def _some_left(path: Path, kept: Any) -> None:
    if not kept.any():
        raise InputError(f"{path}: no text has a token that the model can predict")


def _report(title: str, figures: list[tuple[str, Any]], test: Any) -> None:
    rows = [*figures, ("p", format_p(test.log_p_value).removeprefix("= "))]
    console().print(table_of(title, ("figure", "value"), rows, wrap=("figure",)))
    console().print(test.summary())
    console().print(f"valid if {test.assumptions}")


def _write(output: Path | None, columns: dict[str, Any]) -> None:
    if output is None:
        return
    import pyarrow as pa

    from statllm._formats import write_table

    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    write_table(table, output)
    console().print(f"{output}: {table.num_rows} rows")
