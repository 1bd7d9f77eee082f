"""Settings of scoring."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from statllm.scoring.answers import AnswerRule
from statllm.scoring.equivalence import Equivalence


class ScoringSettings(BaseModel):
    """How answers are found and compared, and which statistics are reported.

    Examples
    --------
    >>> ScoringSettings(rule="hash").rule
    'hash'
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    rule: AnswerRule = Field(
        default="auto",
        description="How the final answer is found in a response; 'none' looks for none.",
    )
    equivalence: Equivalence = Field(
        default="canonical",
        description="When two answers are equal: as they are written ('exact'), in canonical "
        "form, or where math-verify finds that they mean the same.",
    )
    units: bool = Field(
        default=False,
        description="Keep words after a number, so that '5 hours' differs from '5 minutes'.",
    )
    null_answers: tuple[str, ...] = Field(
        default=(),
        description="Answers that stand for no answer, such as 'No answer!'; they don't vote.",
    )
    entropy: str = Field(default="jackknife", description="Estimator of the vote entropy.")
    n_categories: int | Literal["observed", "chao1"] | None = Field(
        None,
        description="Number of possible answers, for the entropy estimators that need it (nsb, "
        "dirichlet, ...): a number, those observed, or Chao's estimate from the votes.",
    )
    metrics: tuple[str, ...] = Field(
        default=(),
        description="Further uncertainty metrics by name, a column each, such as "
        "semantic_entropy_jlko; 'all' for those whose columns and models are there.",
    )
    nli: str | None = Field(
        None,
        description="Folder of an NLI model (a sequence classifier of contradiction, neutral and "
        "entailment), for the metrics that compare responses by meaning.",
    )
    nli_classes: tuple[str, ...] = Field(
        default=(),
        description="The NLI model's classes in the order of its outputs, where its configuration "
        "doesn't name them.",
    )
    nli_question: str | None = Field(
        None,
        description="Column whose text is put before both responses that are compared, such as "
        "prompt. Default: responses are compared alone.",
    )
    embedder: str | None = Field(
        None,
        description="Folder of an encoder (sentence-transformers or transformers), for the "
        "metrics that compare responses by their embeddings.",
    )
    embedding_threshold: float = Field(
        default=0.8,
        gt=-1,
        le=1,
        description="Cosine from which on two responses count as one in clusters of embeddings; "
        "the right one differs from model to model.",
    )
    model_cache: str | None = Field(
        None,
        description="Folder that keeps what these models said, so that no text is put through "
        "one twice. Default: statllm/models in the user's cache folder.",
    )
    long_texts: Literal["error", "cut"] = Field(
        default="error",
        description="A response that is longer than such a model reads: refuse it, or cut it.",
    )
    batch_tokens: int = Field(
        default=8192, ge=1, description="Tokens that such a model gets at a time."
    )
    ties: Literal["random", "lexical", "first"] = Field(
        "random",
        description="Which of several most frequent answers is the majority answer: drawn by the "
        "seed, first in the alphabet, or first among the samples (order-dependent, as published "
        "code often has it). majority_correct averages over ties in any case.",
    )
    interval: Literal["wilson", "clopper-pearson", "jeffreys", "goodman"] = Field(
        default="goodman",
        description="Interval of the vote share. Goodman's allows for the winning answer having "
        "been picked after the votes were counted; the others lie too high.",
    )
    level: float = Field(default=0.95, gt=0, lt=1, description="Confidence level of that interval.")
    missing_rewards: Literal["error", "drop", "propagate"] = Field(
        default="error",
        description="A null or NaN reward: refuse the table, leave the sample out of its "
        "prompt's reward statistics, or make these null.",
    )
    seed: int = Field(default=0, ge=0, description="Decides between tied majority answers.")
