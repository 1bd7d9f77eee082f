"""Uncertainty metrics by name: what `statllm score --metrics` adds to a table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.estimators.likelihood.predictive_entropy import predictive_entropy
from statllm.estimators.semantic import (
    degree_uncertainty,
    eccentricity,
    eigenvalue_uncertainty,
    kernel_language_entropy,
    lexical_similarity,
)
from statllm.estimators.semantic.entropy import KINDS
from statllm.generations import Generations
from statllm.ragged import BoolArray, FloatArray
from statllm.scoring._samples import Metric, Samples, semantic_variant, variant_needs
from statllm.scoring.model_metrics import EMBEDDING_METRICS, NLI_METRICS
from statllm.scoring.settings import ScoringSettings


def _token_nll(samples: Samples) -> FloatArray:
    tokens = samples.numbers("n_tokens").values
    rows = samples.numbers("logprob")
    rates = np.divide(rows.values, tokens, out=np.full(len(tokens), np.nan), where=tokens > 0)
    return -rows.with_values(rates).mean()


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
            variant_needs(kind),
            partial(semantic_variant, kind),
            "nats",
            f"the published variant '{kind}', answers as clusters",
        )
        for kind in KINDS
    },
    **NLI_METRICS,
    **EMBEDDING_METRICS,
}

_MODELS = {"nli": "an NLI model", "embedder": "an embedding model"}


def metric_columns(
    generations: Generations, main: BoolArray, settings: ScoringSettings
) -> dict[str, pa.Array]:
    """Return one column per metric.

    Parameters
    ----------
    generations : Generations
        With answers in the form that votes.
    main : ndarray of bool
        Which samples count, flat.
    settings : ScoringSettings
        ``metrics`` are names of `METRICS`; ``"all"`` stands for those whose columns and models
        are there.

    Raises
    ------
    InputError
        If a name is unknown, the table lacks a column that the metric needs, a model that it
        needs isn't given, or a model is given and no metric needs it.
    """
    given = {"", *(name for name in _MODELS if getattr(settings, name))}
    chosen: dict[str, Metric] = {}
    for name in settings.metrics:
        if name == "all":
            chosen |= {
                each: metric
                for each, metric in METRICS.items()
                if metric.model in given and all(column in generations for column in metric.needs)
            }
            continue
        if name not in METRICS:
            raise InputError(f"metric '{name}' is unknown; metrics: all, {', '.join(METRICS)}")
        metric = METRICS[name]
        for column in metric.needs:
            if column not in generations:
                raise InputError(f"metric '{name}' needs the column '{column}'")
        if metric.model not in given:
            raise InputError(
                f"metric '{name}' needs {_MODELS[metric.model]}: set {metric.model} to its folder"
            )
        chosen[name] = metric
    for model in sorted(given - {""} - {metric.model for metric in chosen.values()}):
        raise InputError(
            f"{model}: {_MODELS[model]} is given, but none of the metrics needs it; for instance "
            f"'{next(name for name, metric in METRICS.items() if metric.model == model)}' does"
        )
    samples = Samples(generations, main, settings)
    return {
        name: pa.array(np.asarray(metric.compute(samples), np.float64), from_pandas=True)
        for name, metric in chosen.items()
    }
