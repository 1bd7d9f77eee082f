"""`statllm questions`: how hard, how diverse and how well answered a set of questions is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from statllm.cli.common import (
    Answer,
    Prompt,
    PromptId,
    Reference,
    Response,
    Where,
    check_not_read,
    conditions,
    console,
    estimates,
    mapping,
    printable,
    table_of,
    write_json,
)
from statllm.errors import InputError
from statllm.scoring.answers import AnswerRule

if TYPE_CHECKING:
    from statllm.estimators.questions import (
        ClusterDiversity,
        QuestionDifficulty,
        ReferenceBuckets,
        SetComparison,
    )
    from statllm.results import Estimate


def questions(
    source: Annotated[
        Path,
        typer.Argument(metavar="A", help="Questions, with their responses where there are some."),
    ],
    other: Annotated[
        Path | None, typer.Argument(metavar="[B]", help="Another set, to be compared with A.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Column: questions that depend on each other (document_id, say)."),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(help="Column of topics for diversity; default: clusters of vectors."),
    ] = None,
    embedder: Annotated[
        Path | None,
        typer.Option(help="Folder of an embedding model; without one, vectors of words."),
    ] = None,
    topics: Annotated[int, typer.Option(min=2, help="Clusters of vectors.")] = 50,
    rule: Annotated[
        str, typer.Option(help=f"How answers are found: {', '.join(get_args(AnswerRule))}.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of clusters and Monte-Carlo tests.")] = 0,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="A row per question: Parquet, JSONL or CSV.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Figure: .png, .pdf or .svg.")] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    response: Response = None,
    answer: Answer = None,
    reference: Reference = None,
    where: Where = None,
) -> None:
    """Describe a set of questions, and compare two: difficulty, references, diversity.

    Difficulty by what was answered: words of responses, and where there are references or several
    samples, pass rates and vote entropies. Diversity by clusters, of both sets together.

    Examples:

        statllm questions samples.parquet -o set.json --figure set.png

        statllm questions ours.parquet theirs.parquet --cluster document_id -o compared.json
    """
    from statllm._formats import check_output, write_table
    from statllm.cli.figures import PICTURES
    from statllm.estimators.questions import compare_questions

    check_output(output, (".json",))
    check_output(table)
    check_output(figure, PICTURES)
    sources = [source] if other is None else [source, other]
    check_not_read(output, *sources)
    if not 0 < level < 1:
        raise InputError(f"--level must lie between 0 and 1, not {level}")
    if rule not in get_args(AnswerRule):
        raise InputError(f"--rule must be one of {', '.join(get_args(AnswerRule))}, not '{rule}'")
    columns = mapping(
        prompt_id=prompt_id, prompt=prompt, response=response, answer=answer, reference=reference
    )
    sets = [_read(path, columns, where, rule, cluster) for path in sources]
    labels = _labels(sets, topic, embedder, topics, seed)
    diverse = [_diversity(codes, labels) for codes in labels]
    names = [path.name for path in sources]
    if len(set(names)) < len(names):
        names = ["A", "B"]
    compared: list[SetComparison] = []
    if len(sets) == 2:
        a, b = sets
        compared = compare_questions(
            a.difficulty,
            b.difficulty,
            measures={"mean question length": (a.words, b.words, "words")},
            references=(a.references, b.references)
            if a.has_references or b.has_references
            else None,
            diversity=(diverse[0], diverse[1]),
            rng=seed,
        )
    figures = [each.figures() + found.figures() for each, found in zip(sets, diverse, strict=True)]
    if table is not None:
        write_table(_rows(sets, names, labels), table)
    if output is not None:
        write_json(
            {
                "level": level,
                "sets": [
                    {
                        "name": name,
                        "source": str(path),
                        "questions": len(each.words),
                        "figures": [figure.to_dict(level) for figure in found],
                    }
                    for name, path, each, found in zip(names, sources, sets, figures, strict=True)
                ],
                "comparison": [each.to_dict(level) for each in compared],
            },
            output,
        )
    if figure is not None:
        _draw(sets, names, labels, level, figure)
    for name, found in zip(names, figures, strict=True):
        console().print(estimates(printable(name), found, level))
    if compared:
        _print(compared, names, level)


@dataclass(frozen=True, eq=False)
class _Set:
    """One set of questions, read and measured."""

    table: Any
    texts: list[str]
    words: Any
    difficulty: QuestionDifficulty
    references: ReferenceBuckets
    reference_words: Any
    has_references: bool

    def figures(self) -> list[Estimate]:
        """Figures of lengths, difficulty and references."""
        from statllm.estimators.comparison import mean_estimate

        length = mean_estimate(
            self.words, self.difficulty.clusters, "mean question length", "words"
        )
        shares = self.references.figures() if self.has_references else []
        return [length, *self.difficulty.figures(), *shares]


def _read(
    path: Path, columns: dict[str, str], where: list[str] | None, rule: str, cluster: str | None
) -> _Set:
    import numpy as np

    from statllm.estimators.questions import question_difficulty, reference_buckets
    from statllm.generations import Generations
    from statllm.sampling.prompts.examples import first_user_text

    given = Generations.read(path, columns, conditions(where))
    if given.n_prompts < 2:
        raise InputError(f"{path} has {given.n_prompts} questions; two at least are needed")
    texts = []
    for name, value in zip(given.prompt_ids, given.column("prompt").to_pylist(), strict=True):
        text = first_user_text(value)
        if text is None or not text.strip():
            raise InputError(f"{path}: the prompt of prompt_id '{name}' has no text")
        texts.append(text)
    labels = None
    if cluster is not None:
        if cluster not in given:
            have = ", ".join(given.table.column_names)
            raise InputError(f"{path} has no column '{cluster}'; it has {have}")
        labels = np.array([str(value) for value in given.column(cluster).to_pylist()])
    words = np.array([len(text.split()) for text in texts], dtype=float)
    told = (
        [str(value) for value in given.column("reference").fill_null("").to_pylist()]
        if "reference" in given
        else [""] * given.n_prompts
    )
    counts = np.array([len(text.split()) for text in told])
    difficulty = question_difficulty(*_responses(given, rule), n=given.n_prompts, clusters=labels)
    return _Set(
        given.table, texts, words, difficulty, reference_buckets(counts), counts,
        "reference" in given,
    )  # fmt: skip


def _responses(given: Any, rule: str) -> tuple[Any, Any, Any]:
    """Words, verdicts and answers of the responses, as far as they are known."""
    from statllm.scoring import ScoringSettings
    from statllm.scoring.score import with_answers
    from statllm.selection._tables import with_verdicts

    if "response" not in given and "answer" not in given and "correct" not in given:
        return None, None, None
    lengths = None
    if "response" in given:
        lengths = [
            [None if text is None else len(text.split()) for text in row]
            for row in given.column("response").to_pylist()
        ]
        if "answer" not in given and rule != "none":
            given = with_answers(given, ScoringSettings(rule=rule))
    if "answer" in given and "correct" not in given:
        given = with_verdicts(given)
    verdicts = given.column("correct").to_pylist() if "correct" in given else None
    answers = given.column("answer") if "answer" in given else None
    return lengths, verdicts, answers


def _labels(
    sets: list[_Set], topic: str | None, embedder: Path | None, topics: int, seed: int
) -> list[Any]:
    """Cluster of each question, the clusters being those of all sets together."""
    import numpy as np

    from statllm.estimators.questions import spherical_kmeans

    ends = np.cumsum([len(each.texts) for each in sets])[:-1]
    if topic is not None:
        for each in sets:
            if topic not in each.table.column_names:
                raise InputError(f"there is no column '{topic}' in one of the sets")
        values = [str(v) for each in sets for v in each.table[topic].to_pylist()]
        codes = np.unique(np.array(values), return_inverse=True)[1]
        return list(np.split(codes, ends))
    texts = [text for each in sets for text in each.texts]
    if embedder is None:
        from statllm.selection.word_vectors import word_vectors

        vectors = word_vectors(texts, seed=seed)
    else:
        from statllm.scoring.embeddings import embed

        vectors = np.asarray(embed([texts], embedder), np.float64)
    empty = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(empty):
        raise InputError(f"question {empty[0]} (of all, from 0) has no word")
    found = spherical_kmeans(vectors, min(topics, len(texts)), rng=seed)
    return list(np.split(found, ends))


def _diversity(codes: Any, labels: list[Any]) -> ClusterDiversity:
    import numpy as np

    from statllm.estimators.questions import cluster_diversity

    n = 1 + max(int(each.max()) for each in labels)
    return cluster_diversity(np.bincount(codes, minlength=n))


def _rows(sets: list[_Set], names: list[str], labels: list[Any]) -> Any:
    import pyarrow as pa

    parts = []
    for each, name, codes in zip(sets, names, labels, strict=True):
        frame = each.difficulty.to_frame()
        parts.append(
            pa.table(
                {
                    "set": pa.array([name] * len(codes), pa.string()),
                    "prompt_id": each.table["prompt_id"].combine_chunks(),
                    "question_words": pa.array(each.words),
                    "reference_words": pa.array(each.reference_words),
                    "topic": pa.array(codes),
                    **{
                        column: pa.array(frame[column].to_numpy(), from_pandas=True)
                        for column in ("length", "pass_rate", "vote_entropy")
                    },
                }
            )
        )
    return pa.concat_tables(parts)


def _print(compared: list[SetComparison], names: list[str], level: float) -> None:
    from statllm.cli.common import interval_text
    from statllm.results import format_p

    rows = [
        (
            each.estimate.name,
            f"{each.estimate.value:+.4f}",
            interval_text(each.estimate, level),
            format_p(each.log_p_holm),
            each.estimate.unit,
        )
        for each in compared
    ]
    head = ("figure", "value", f"{100 * level:g} % interval", "p (Holm)", "unit")
    title = f"{names[1]} (B) less {names[0]} (A)"
    console().print(table_of(title, head, rows, wrap=("figure", "unit")))


def _draw(sets: list[_Set], names: list[str], labels: list[Any], level: float, path: Path) -> None:
    import numpy as np

    from statllm.cli.figures import new_picture, save_picture
    from statllm.report.drawing import style_of

    known = any(np.isfinite(each.difficulty.length).any() for each in sets)
    referenced = any(each.has_references for each in sets)
    figure, axes = new_picture(3.6 * (1 + known + referenced), 3.4, 1 + known + referenced)
    panels = list(np.atleast_1d(axes))
    n_topics = 1 + max(int(each.max()) for each in labels)
    pooled = np.bincount(np.concatenate(labels), minlength=n_topics)
    order = np.argsort(-pooled, kind="stable")
    for place, (each, name, codes) in enumerate(zip(sets, names, labels, strict=True)):
        style = style_of(place)
        panel = iter(panels)
        if known:
            length = np.sort(each.difficulty.length[np.isfinite(each.difficulty.length)])
            share = np.arange(1, len(length) + 1) / max(len(length), 1)
            next(panel).step(length, share, where="post", color=style.colour, label=name)
        if referenced:
            shares = each.references.figures()
            at = np.arange(len(shares)) + 0.18 * (place - (len(sets) - 1) / 2)
            limits = [one.interval(level) for one in shares]
            here = next(panel)
            here.vlines(at, [i.low for i in limits], [i.high for i in limits], color=style.colour)
            here.plot(at, [one.value for one in shares], style.marker, color=style.colour)
            here.set_xticks(range(len(shares)), [one.name.split(": ")[1] for one in shares])
        counts = np.bincount(codes, minlength=n_topics)[order]
        next(panel).plot(
            np.arange(1, n_topics + 1), counts / counts.sum(), style.marker, color=style.colour,
            markersize=3, label=name,
        )  # fmt: skip
    panel = iter(panels)
    if known:
        here = next(panel)
        here.set_xlabel("median length of a question's responses (words)")
        here.set_ylabel("share of questions")
    if referenced:
        here = next(panel)
        here.set_xlabel("length of the reference answer")
        here.set_ylabel(f"share of questions, {level:.0%} intervals")
    here = next(panel)
    here.set_xlabel("cluster, by falling size in all sets")
    here.set_ylabel("share of questions")
    here.legend(frameon=False, fontsize="small")
    save_picture(figure, path)
