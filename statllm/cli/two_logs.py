"""Two logs of scores and the rows of them that are meant, as `compare` and `power` read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.integrations import Paired, Scores

Column = Annotated[
    str | None,
    typer.Option(help="Metric, scorer or column; default the first that both have."),
]
Filter = Annotated[str | None, typer.Option(help="Of lm-evaluation-harness, strict-match say.")]
Cluster = Annotated[
    str | None,
    typer.Option(
        help="Items that depend on each other: a key of the document (doc.category), of the "
        "metadata, or a column."
    ),
]
Item = Annotated[str | None, typer.Option(help="A table's column that names items.")]
WhereA = Annotated[list[str] | None, typer.Option(help="The same, of A alone: model=base, say.")]
WhereB = Annotated[list[str] | None, typer.Option(help="… of B alone.")]


def read_two(
    a: Path,
    b: Path,
    column: str | None,
    where: list[dict[str, str]],
    *,
    filter: str | None,
    cluster: str | None,
    item: str | None,
) -> tuple[list[Scores], Paired]:
    """Read the scores of both logs, and pair them by item.

    Parameters
    ----------
    a, b : Path
        As `statllm.integrations.read_scores` takes them; or a run folder, of which the last
        evaluation is read, or an iteration's.
    column : str or None
        Default: the first metric of one log that the other has, too.
    where : list of dict
        Conditions for the rows of a, and of b.
    filter, cluster, item : str or None

    Raises
    ------
    InputError
        As the readers say, or if the logs can't be paired.
    """
    from statllm.integrations import pair_scores

    def read(metric: str | None) -> list[Scores]:
        return [
            _scores(path, metric, filter=filter, cluster=cluster, item=item, where=only)
            for path, only in zip((a, b), where, strict=True)
        ]

    scores = read(column)
    if column is None and scores[0].metric != scores[1].metric:
        for wanted in (scores[0].metric, scores[1].metric):
            try:
                scores = read(wanted)
                break
            except InputError:
                continue
    return scores, pair_scores(scores[0], scores[1], cluster)


def _scores(path: Path, column: str | None, **options: Any) -> Scores:
    """Read a log; of a run folder the last evaluation, of an iteration folder its own."""
    from statllm.integrations import read_scores
    from statllm.stages import Run

    if path.is_dir():
        if (path / "run.yaml").is_file():
            run = Run.open(path)
            path = run.path(run.n_iterations, "evaluation.parquet")
        elif (path / "evaluation.parquet").is_file():
            path = path / "evaluation.parquet"
    return read_scores(path, column, **options)
