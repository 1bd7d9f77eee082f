"""Uncertainty metrics by name: what `statllm score --metrics` adds to a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.estimators.likelihood.predictive_entropy import predictive_entropy
from statllm.estimators.semantic.entropy import KINDS, semantic_entropy
from statllm.estimators.semantic.graph import (
    degree_uncertainty,
    eccentricity,
    eigenvalue_uncertainty,
    kernel_language_entropy,
)
from statllm.estimators.semantic.lexical import lexical_similarity, text_similarity
from statllm.estimators.semantic.pairwise import Pairwise
from statllm.generations import Generations
from statllm.ragged import BoolArray, FloatArray, Ragged
from statllm.scoring._columns import as_lists, flat_values


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
    """

    needs: tuple[str, ...]
    compute: Callable[[Samples], FloatArray]
    unit: str
    about: str


@dataclass(frozen=True)
class Samples:
    """The samples of a table that make up the statistics."""

    generations: Generations
    main: BoolArray

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


def _token_nll(samples: Samples) -> FloatArray:
    tokens = samples.numbers("n_tokens").values
    rows = samples.numbers("logprob")
    rates = np.divide(rows.values, tokens, out=np.full(len(tokens), np.nan), where=tokens > 0)
    return -rows.with_values(rates).mean()


def _semantic(kind: str, samples: Samples) -> FloatArray:
    chosen = KINDS[kind]
    needed: dict[str, Any] = {}
    if chosen.needs_logprobs:
        needed["logprobs"] = samples.numbers("logprob")
    if chosen.per_token:
        needed["n_tokens"] = samples.numbers("n_tokens")
    if chosen.needs_texts:
        needed["texts"] = samples.lists("response")
    return semantic_entropy(samples.lists("answer"), kind=kind, **needed).value


def _semantic_needs(kind: str) -> tuple[str, ...]:
    chosen = KINDS[kind]
    optional = {
        "logprob": chosen.needs_logprobs,
        "n_tokens": chosen.per_token,
        "response": chosen.needs_texts,
    }
    return ("answer", *(name for name, needed in optional.items() if needed))


#: The metrics; an entry added here is known to `score`, recipes and the command line.
METRICS: Mapping[str, Metric] = {
    "predictive_entropy": Metric(
        ("logprob",),
        lambda s: predictive_entropy(s.numbers("logprob")).entropy,
        "nats",
        "mean of -log p(response)",
    ),
    "token_nll": Metric(
        ("logprob", "n_tokens"), _token_nll, "nats per token", "the same per token of each response"
    ),
    "lexical_dissimilarity": Metric(
        ("response",),
        lambda s: 1 - lexical_similarity(s.lists("response")),
        "share",
        "1 - mean ROUGE-L of pairs of responses",
    ),
    "degree": Metric(
        ("response",),
        lambda s: degree_uncertainty(s.overlap).value,
        "share",
        "mean dissimilarity of pairs of responses, by words in common (Jaccard)",
    ),
    "eigenvalue": Metric(
        ("response",),
        lambda s: eigenvalue_uncertainty(s.overlap),
        "sets",
        "EigV, a smooth number of sets, by words in common",
    ),
    "eccentricity": Metric(
        ("response",), lambda s: eccentricity(s.overlap), "", "Ecc, by words in common"
    ),
    "kernel_language_entropy": Metric(
        ("response",),
        lambda s: kernel_language_entropy(s.overlap),
        "",
        "heat kernel entropy by words in common, 0 for equal responses to 1",
    ),
    **{
        f"semantic_entropy_{kind}": Metric(
            _semantic_needs(kind),
            partial(_semantic, kind),
            "nats",
            f"the published variant '{kind}', answers as clusters",
        )
        for kind in KINDS
    },
}


def metric_columns(
    generations: Generations, main: BoolArray, names: Sequence[str]
) -> dict[str, pa.Array]:
    """Return one column per metric.

    Parameters
    ----------
    generations : Generations
        With answers in the form that votes.
    main : ndarray of bool
        Which samples count, flat.
    names : sequence of str
        Of `METRICS`; ``"all"`` stands for those whose columns are there.

    Raises
    ------
    InputError
        If a name is unknown, or the table lacks a column that the metric needs.
    """
    samples = Samples(generations, main)
    chosen: list[str] = []
    for name in names:
        if name == "all":
            chosen += [n for n, m in METRICS.items() if all(c in generations for c in m.needs)]
            continue
        if name not in METRICS:
            raise InputError(f"metric '{name}' is unknown; metrics: all, {', '.join(METRICS)}")
        for column in METRICS[name].needs:
            if column not in generations:
                raise InputError(f"metric '{name}' needs the column '{column}'")
        chosen.append(name)
    return {
        name: pa.array(np.asarray(METRICS[name].compute(samples), np.float64), from_pandas=True)
        for name in dict.fromkeys(chosen)
    }
