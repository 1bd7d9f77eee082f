"""The sets of `statllm questions`, read and measured, and the topics of their questions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.cli.common import conditions
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.estimators.questions import (
        ClusterDiversity,
        QuestionDifficulty,
        ReferenceBuckets,
    )
    from statllm.results import Estimate


@dataclass(frozen=True, eq=False)
class QuestionSet:
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


def read_set(
    path: Path, columns: dict[str, str], where: list[str] | None, rule: str, cluster: str | None
) -> QuestionSet:
    """Return a file's set, measured; `cluster` names a column of questions that belong together."""
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
        labels = np.array(_labels(given.table, cluster))
    words = np.array([len(text.split()) for text in texts], dtype=float)
    told = (
        [str(value) for value in given.column("reference").fill_null("").to_pylist()]
        if "reference" in given
        else [""] * given.n_prompts
    )
    counts = np.array([len(text.split()) for text in told])
    difficulty = question_difficulty(*_responses(given, rule), n=given.n_prompts, clusters=labels)
    return QuestionSet(
        given.table, texts, words, difficulty, reference_buckets(counts), counts,
        "reference" in given,
    )  # fmt: skip


def _labels(table: Any, name: str) -> list[str]:
    """A column as labels. Nothing is no label: such questions needn't belong together."""
    values = table[name].to_pylist()
    if None in values:
        prompt_id = table["prompt_id"][values.index(None)].as_py()
        raise InputError(f"column '{name}' is null at prompt_id '{prompt_id}'")
    return [str(value) for value in values]


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


def topic_labels(
    sets: list[QuestionSet], topic: str | None, embedder: Path | None, topics: int, seed: int
) -> list[Any]:
    """Return the cluster of each question, the clusters being those of all sets together."""
    import numpy as np

    from statllm.estimators.questions import spherical_kmeans

    ends = np.cumsum([len(each.texts) for each in sets])[:-1]
    if topic is not None:
        for each in sets:
            if topic not in each.table.column_names:
                raise InputError(f"there is no column '{topic}' in one of the sets")
        values = [label for each in sets for label in _labels(each.table, topic)]
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


def diversity_of(codes: Any, labels: list[Any]) -> ClusterDiversity:
    """Return the diversity of one set over the topics of all."""
    import numpy as np

    from statllm.estimators.questions import cluster_diversity

    n = 1 + max(int(each.max()) for each in labels)
    return cluster_diversity(np.bincount(codes, minlength=n))


def rows_of(sets: list[QuestionSet], names: list[str], labels: list[Any]) -> Any:
    """Return a row for each question of every set."""
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
