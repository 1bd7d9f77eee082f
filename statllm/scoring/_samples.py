"""A metric, and the samples that it is computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.estimators.semantic import (
    Pairwise,
    cosine_similarity,
    nli_relation,
    nli_similarity,
    semantic_clusters,
    semantic_entropy,
    text_similarity,
)
from statllm.estimators.semantic.clusters import ClusterMethod
from statllm.estimators.semantic.entropy import KINDS
from statllm.generations import Generations
from statllm.ragged import BoolArray, FloatArray, Ragged
from statllm.scoring._columns import as_lists, flat_values
from statllm.scoring.embeddings import embed
from statllm.scoring.nli import nli_logits
from statllm.scoring.settings import ScoringSettings


@dataclass(frozen=True)
class Metric:
    """One score per prompt; larger means less certain.

    Attributes
    ----------
    needs : tuple of str
        Columns of the scored table.
    compute : callable
        From the samples to an array of length n_prompts.
    unit, about : str
    model : str
        The setting that names the model it needs: ``"nli"``, ``"embedder"``, or none.
    """

    needs: tuple[str, ...]
    compute: Callable[[Samples], FloatArray]
    unit: str
    about: str
    model: str = ""


@dataclass(frozen=True)
class Samples:
    """The samples of a table that make up the statistics, and what models say of them."""

    generations: Generations
    main: BoolArray
    settings: ScoringSettings

    @cached_property
    def lengths(self) -> Any:
        """Samples per prompt."""
        return Ragged.from_lengths(self.main, self.generations.n_samples).keep(self.main).lengths

    def lists(self, name: str) -> pa.Array:
        """Return a per-sample column as lists."""
        flat = flat_values(self.generations.column(name)).filter(pa.array(self.main))
        return as_lists(flat, self.lengths)

    def numbers(self, name: str) -> Ragged:
        """Return a per-sample column of numbers."""
        values = flat_values(self.generations.column(name)).filter(pa.array(self.main))
        array = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return Ragged.from_lengths(array, self.lengths)

    @cached_property
    def overlap(self) -> Pairwise:
        """Share of words in common of each pair of a prompt's responses."""
        return text_similarity(self.lists("response"), "jaccard")

    @cached_property
    def nli(self) -> Pairwise:
        """Logits of contradiction, neutral and entailment of each pair of responses."""
        settings = self.settings
        assert settings.nli is not None  # the caller has checked what the metric needs
        questions = None
        if settings.nli_question is not None:
            column = self.generations.column(settings.nli_question)
            if not pa.types.is_string(column.type):
                raise InputError(f"nli_question: column '{settings.nli_question}' must be text")
            questions = column.to_pylist()
        return nli_logits(
            self.lists("response"),
            settings.nli,
            questions=questions,
            classes=settings.nli_classes or None,
            cache=settings.model_cache,
            batch_tokens=settings.batch_tokens,
            long_texts=settings.long_texts,
        )

    @cached_property
    def entailment(self) -> Pairwise:
        """Probability that one response entails the other."""
        return nli_similarity(self.nli, "entailment", logits=True)

    @cached_property
    def agreement(self) -> Pairwise:
        """p(entailment) + p(neutral) / 2."""
        return nli_similarity(self.nli, "graded", logits=True)

    def nli_clusters(self, rule: str = "strict", method: ClusterMethod = "components") -> Ragged:
        """Clusters of responses that entail each other."""
        return semantic_clusters(nli_relation(self.nli, rule), method)

    @cached_property
    def vectors(self) -> Any:
        """Embeddings of the responses, a row each."""
        settings = self.settings
        assert settings.embedder is not None
        return embed(
            self.lists("response"),
            settings.embedder,
            cache=settings.model_cache,
            batch_tokens=settings.batch_tokens,
            long_texts=settings.long_texts,
        )

    @cached_property
    def cosines(self) -> Pairwise:
        """Cosine of the embeddings of each pair of responses."""
        return cosine_similarity(self.vectors, self.lengths)

    @cached_property
    def alikeness(self) -> Pairwise:
        """The same from 0: directions that oppose each other have as little in common."""
        return self.cosines.with_values(np.maximum(self.cosines.values, 0.0))

    def embedding_clusters(self) -> Ragged:
        """Clusters of responses whose embeddings are near each other."""
        return semantic_clusters(self.cosines, threshold=self.settings.embedding_threshold)


def semantic_variant(
    kind: str, samples: Samples, clusters: Callable[[Samples], Any] | None = None
) -> FloatArray:
    """A published variant, on the answers as clusters or on clusters of meaning."""
    chosen = KINDS[kind]
    needed: dict[str, Any] = {}
    if chosen.needs_logprobs:
        needed["logprobs"] = samples.numbers("logprob")
    if chosen.per_token:
        needed["n_tokens"] = samples.numbers("n_tokens")
    if chosen.needs_texts:
        needed["texts"] = samples.lists("response")
    labels = samples.lists("answer") if clusters is None else clusters(samples)
    return semantic_entropy(labels, kind=kind, **needed).value


def variant_needs(kind: str, labels: str = "answer") -> tuple[str, ...]:
    chosen = KINDS[kind]
    optional = {
        "logprob": chosen.needs_logprobs,
        "n_tokens": chosen.per_token,
        "response": chosen.needs_texts,
    }
    extra = (name for name, needed in optional.items() if needed and name != labels)
    return (labels, *extra)
