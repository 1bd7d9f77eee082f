"""Intervals of vote shares, unseen mass, entropies of answers and of responses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulate import IntervalCase, of_estimate

from statllm.estimators.entropies import entropy
from statllm.estimators.entropies.estimate import METHODS
from statllm.estimators.likelihood import predictive_entropy
from statllm.estimators.semantic import semantic_entropy
from statllm.estimators.votes import vote_counts
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Rng = np.random.Generator
Limits = list[tuple[float, float]]
Levels = tuple[float, ...]

LEADER = np.array([0.7, 0.1, 0.1, 0.1])
RIVALS = np.array([0.4, 0.35, 0.25])
ZIPF = (1 / np.arange(1, 31)) / (1 / np.arange(1, 31)).sum()
FORMS = {
    "leader": (LEADER, "n votes on 4 answers, .7 .1 .1 .1"),
    "zipf": (ZIPF, "n votes on 30 answers, shares falling as 1/rank"),
}

PICKED = (
    "The answer that came first was picked because it came first: where answers are close, the "
    "interval of a named answer lies too high for it (and a count of votes is discrete). "
    '`share_interval("goodman")` holds whichever answer wins.'
)
UNSEEN = (
    "At n = 20 the normal interval of a skewed share; at n = 1000 no answer is unseen, nor "
    "estimated to be, in nearly every sample."
)
SHORT = (
    "Estimate ± z errors. The errors come from the votes themselves: too small where few votes "
    "go astray, 0 where none does."
)
BIASED = (
    "30 possible answers and fewer votes than it takes to see them: what the estimate misses (or, "
    "for Chao and Shen's and Chao, Wang and Jost's, the room it leaves) isn't in its error."
)
PLUGIN = "The plug-in is too low by about (answers - 1) / 2n, which its error doesn't count."
PRIOR = (
    "What is known is that there are 4 (or 30) answers, and the prior says how they are shared out "
    "on average. At one distribution the interval is off by as much as the prior is."
)
BIAS_OF_PROMPTS = (
    "The interval is for sampling prompts. The bias of each prompt's estimate from 8 votes stays "
    "however many prompts there are, and shows once the interval is narrow enough; the plug-in's "
    "at 64 votes too."
)


# --- votes --------------------------------------------------------------------------------------


def votes(rng: Rng, n: int, p: FloatArray) -> tuple[IntArray, FloatArray]:
    """Counts of n votes."""
    return rng.multinomial(n, p), p


def winner_share(method: Any) -> Callable[[Any, Levels], Limits]:
    """The interval of the winner's share, less its true share."""

    def intervals(data: tuple[IntArray, FloatArray], levels: Levels) -> Limits:
        counts, p = data
        table = vote_counts([np.repeat(np.arange(len(p)), counts)])
        won = p[int(table.vocabulary[int(table.codes.values[0])].as_py())]
        k = len(p) if method == "goodman" else None
        found = [table.share_interval(method, level, k) for level in levels]
        return [(float(low[0]) - won, float(high[0]) - won) for low, high in found]

    return intervals


def unseen(data: tuple[IntArray, FloatArray], levels: Levels) -> Limits:
    """Good-Turing's unseen mass ± z errors, less the mass not seen."""
    from statistics import NormalDist

    counts, p = data
    table = vote_counts([np.repeat(np.arange(len(p)), counts)])
    value, se = float(table.unseen_mass[0]), float(table.unseen_mass_se[0])
    off = value - float(p[counts == 0].sum())
    z = [NormalDist().inv_cdf(0.5 + level / 2) for level in levels]
    return [(off - each * se, off + each * se) for each in z]


def vote_case(
    name: str, scene: str, p: FloatArray, method: Any, note: str, sizes: tuple[int, ...], safe: bool
) -> IntervalCase:
    """The share of the answer that won."""
    return IntervalCase(
        name, "Votes", scene, partial(votes, p=p), winner_share(method), lambda n: 0.0, note,
        sizes=sizes, conservative=safe,
    )  # fmt: skip


FULL = (20, 50, 200, 1000)
VOTES = [
    vote_case(
        f"vote-share-{method}-{key}{'-8' if len(sizes) == 1 else ''}",
        f"{'8' if len(sizes) == 1 else 'n'} votes, {words}; the winner",
        p, method, "" if method == "goodman" else PICKED, sizes, method == "goodman",
    )
    for method in ("wilson", "clopper-pearson", "jeffreys", "goodman")
    for key, p, words in (("leader", LEADER, ".7 .1 .1 .1"), ("rivals", RIVALS, ".4 .35 .25"))
    for sizes in (FULL, (8,))
    if method in ("wilson", "goodman") or (key == "rivals" and sizes == FULL)
]  # fmt: skip


# --- entropy of a prompt's answers --------------------------------------------------------------


def shannon(p: FloatArray) -> float:
    """Nats."""
    return float(-(p * np.log(p)).sum())


def entropy_limits(estimator: str, k: int | None) -> Callable[[Any, Levels], Limits]:
    """`EntropyEstimates.interval`."""

    def intervals(data: tuple[IntArray, FloatArray], levels: Levels) -> Limits:
        found = entropy([data[0].tolist()], estimator, n_categories=k, n_boot=100)
        limits = [found.interval(level) for level in levels]
        return [(float(low[0]), float(high[0])) for low, high in limits]

    return intervals


def entropy_case(estimator: str, form: str) -> IntervalCase:
    """One estimator at one distribution; the number of categories is known where it's asked."""
    p, scene = FORMS[form]
    method = METHODS[estimator]
    limits = entropy_limits(estimator, len(p) if method.needs_categories else None)
    note = PRIOR if method.needs_categories else BIASED if form == "zipf" else SHORT
    if estimator == "plugin":
        note = PLUGIN
    return IntervalCase(
        f"entropy-{estimator.replace('_', '-')}-{form}", "Entropy of answers", scene,
        partial(votes, p=p), limits, lambda n: shannon(p), note,
    )  # fmt: skip


def semantic_limits(kind: str) -> Callable[[Any, Levels], Limits]:
    """The same by `semantic_entropy`, from meaning labels."""

    def intervals(data: tuple[IntArray, FloatArray], levels: Levels) -> Limits:
        labels = np.repeat(np.arange(len(data[1])), data[0])
        found = semantic_entropy([labels.tolist()], kind=kind)
        limits = [found.interval(level) for level in levels]
        return [(float(low[0]), float(high[0])) for low, high in limits]

    return intervals


def many_prompts(rng: Rng, n: int, n_votes: int, estimator: str) -> Any:
    """Entropy estimates of n prompts, each with Dirichlet(.3, ..., .3) shares of 4 answers."""
    shares = rng.dirichlet(np.full(4, 0.3), n)
    counts = rng.multinomial(n_votes, shares)
    known = 4 if METHODS[estimator].needs_categories else None
    rows = Ragged.from_lengths(counts.ravel(), np.full(n, 4))
    return entropy(rows, estimator, n_categories=known, se="none").mean()


def _mean_entropy() -> float:
    """Mean entropy of Dirichlet(.3, ..., .3) on 4 answers: ψ(A + 1) - ψ(α + 1), A = 4 α."""
    from scipy.special import digamma

    return float(digamma(4 * 0.3 + 1) - digamma(0.3 + 1))


ENTROPIES = [
    *(entropy_case(estimator, form) for form in FORMS for estimator in METHODS),
    *(
        IntervalCase(
            f"semantic-entropy-{kind}", "Entropy of answers",
            "n responses in 4 meanings, .7 .1 .1 .1", partial(votes, p=LEADER),
            semantic_limits(kind), lambda n: shannon(LEADER),
            PLUGIN if kind == "discrete" else SHORT,
        )
        for kind in ("corrected", "discrete")
    ),
    *(
        IntervalCase(
            f"mean-entropy-{estimator}-{n_votes}", "Entropy, mean over prompts",
            f"n prompts of 4 answers, Dirichlet(.3) shares, {n_votes} votes each",
            partial(many_prompts, n_votes=n_votes, estimator=estimator),
            of_estimate(lambda found: found), lambda n: _mean_entropy(), BIAS_OF_PROMPTS,
            slow=4 if estimator == "nsb" else 1,
        )
        for estimator in ("plugin", "jackknife", "nsb")
        for n_votes in (8, 64)
    ),
]  # fmt: skip


# --- entropy of the response distribution -------------------------------------------------------


def responses(rng: Rng, n: int) -> Any:
    """Log-probabilities of 10 responses to each of n prompts.

    A response is 12 independent tokens, each one of two with a probability that is the prompt's.
    """
    p = rng.uniform(0.02, 0.5, n)[:, None]
    rare = rng.binomial(12, np.broadcast_to(p, (n, 10)))
    table = rare * np.log(p) + (12 - rare) * np.log1p(-p)
    return predictive_entropy(Ragged.from_lengths(table.ravel(), np.full(n, 10)))


def _mean_response_entropy() -> float:
    """Twelve times the mean binary entropy over p uniform on (.02, .5)."""
    p = (np.arange(200_000) + 0.5) / 200_000 * 0.48 + 0.02
    return float(12 * (-p * np.log(p) - (1 - p) * np.log1p(-p)).mean())


CASES: list[IntervalCase] = [
    *VOTES,
    IntervalCase(
        "unseen-mass", "Votes", "n votes on 30 answers, shares falling as 1/rank; value ± z errors",
        partial(votes, p=ZIPF), unseen, lambda n: 0.0, UNSEEN,
    ),
    *ENTROPIES,
    IntervalCase(
        "mean-predictive-entropy", "Entropy, mean over prompts",
        "n prompts, 10 responses of 12 tokens each", responses,
        of_estimate(lambda found: found.mean), lambda n: _mean_response_entropy(),
    ),
]  # fmt: skip
