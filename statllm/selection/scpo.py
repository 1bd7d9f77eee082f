"""ScPO: prefer the answer that most samples give to one that few give, weighted by the margin."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from statllm.generations import Generations
from statllm.ragged import BoolArray, FloatArray, IntArray
from statllm.selection._clusters import Clusters, answer_clusters
from statllm.selection._draws import words_of
from statllm.selection._pairing import paired
from statllm.selection._samples import Samples
from statllm.selection._tables import (
    build_pairs,
    require,
    with_canonical_answers,
    with_verdicts,
)
from statllm.selection.result import Reasons, Selection, build_ledger
from statllm.selection.settings import ScpoSettings

_CHOSEN, _REJECTED = 2, 3  # purposes of the draws inside a cluster
_SLACK = 1e-9  # .28 * 25 is 7.000000000000001 in floating point


def scpo(generations: Generations, settings: ScpoSettings | None = None) -> Selection:
    """Select pairs by self-consistency (Prasad et al. 2024, arXiv 2411.04109).

    With V(y) the number of the k samples that give y's answer: a prompt is kept where
    max V >= threshold * k; the chosen response has an answer of the highest, the rejected one
    an answer of the lowest V; the pair's weight is (V(chosen) - V(rejected)) / k. Answers with
    equal votes are drawn from, and so are the responses that give the answer.

    Parameters
    ----------
    generations : Generations
        With ``prompt``, ``response`` and, unless they are to be extracted, ``answer``. Used
        where present: ``pool``, ``finish_reason``, token ids, and ``correct`` or ``reference``
        if labels are asked for. A table that was scored is used as it stands; other answers
        are brought to canonical form first.
    settings : ScpoSettings, optional

    Returns
    -------
    Selection
        Reasons for dropping a prompt: ``no_parsed_answer``; ``below_threshold``;
        ``no_distinct_answers`` (nothing to reject); ``truncated`` (the responses that would be
        chosen or rejected all ran into the length limit); ``tied`` (chosen and rejected have
        equally many votes, so the weight is 0); with labels ``no_correct``, ``no_incorrect``.

    Raises
    ------
    InputError
        If a column is missing.

    Examples
    --------
    >>> import pyarrow as pa
    >>> answers = [["A"] * 5 + ["B"] * 2 + ["C"], ["A"] * 4 + ["B"] * 4, ["A"] * 8]
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["p", "q", "r"], "prompt": ["P", "Q", "R"],
    ...     "answer": answers, "response": [[f"It is {a}" for a in row] for row in answers],
    ... }))
    >>> selection = scpo(g, ScpoSettings(threshold=0.5))
    >>> selection.pairs.select(["chosen", "rejected", "weight"]).to_pylist()
    [{'chosen': 'It is A', 'rejected': 'It is C', 'weight': 0.5}]
    >>> selection.counts()
    {'kept': 1, 'no_distinct_answers': 1, 'tied': 1}
    """
    settings = settings or ScpoSettings()
    require(generations, "scpo", "prompt", "response")
    generations = with_canonical_answers(generations, settings.answer_rule)
    require(generations, "scpo", "answer")
    samples = Samples(generations)
    prompts = words_of(generations.column("prompt_id"), settings.seed)
    clusters = answer_clusters(samples, prompts, settings)

    best = clusters.most()
    worst = clusters.fewest(besides=best)
    votes = np.append(clusters.votes, 0)  # cluster -1: none
    needed = np.maximum(settings.threshold * clusters.k, settings.min_votes)
    reasons = _reasons(clusters, best, worst, needed)
    chosen = clusters.choosable & (clusters.of_sample == best[samples.rows])
    rejected = clusters.rejectable & (clusters.of_sample == worst[samples.rows])
    margin = (votes[best] - votes[worst]) / np.maximum(clusters.k, 1)
    weight = margin if settings.weight == "margin" else np.ones(samples.n_prompts)
    labelled = np.zeros(samples.n_prompts, dtype=bool)
    if settings.labels == "use":
        labelled = _use_labels(samples, clusters, reasons, chosen, rejected)
        weight = np.where(labelled, 1.0, weight)

    kept = reasons.kept
    pairs = paired(
        samples.shuffled(chosen & kept[samples.rows], prompts, _CHOSEN),
        samples.shuffled(rejected & kept[samples.rows], prompts, _REJECTED),
        settings.pairs_per_prompt,
        repeats=False,
    )
    of_sample = clusters.votes_of_sample
    table = build_pairs(
        samples,
        "scpo",
        pairs,
        weight=weight[pairs.rows],
        chosen_votes=of_sample[pairs.chosen],
        rejected_votes=of_sample[pairs.rejected],
        n_votes=clusters.n_votes[pairs.rows],
    )
    by_votes = kept & ~labelled
    numbers = {
        "k": clusters.k,
        "n_votes": clusters.n_votes,
        "n_distinct": clusters.n_distinct,
        "top_votes": clusters.top,
        "votes_needed": np.where(labelled, np.nan, needed),
        "chosen_votes": pa.array(votes[best], mask=~by_votes),
        "rejected_votes": pa.array(votes[worst], mask=~by_votes),
        "weight": np.where(kept, weight, np.nan),
        "labelled": labelled,
    }
    ledger = build_ledger(samples, "scpo", reasons, pairs, numbers)
    return Selection(table, ledger, {"threshold": settings.threshold})


def _reasons(clusters: Clusters, best: IntArray, worst: IntArray, needed: FloatArray) -> Reasons:
    """Why each prompt is dropped, in the order of the rule's steps."""
    votes = np.append(clusters.votes, 0)
    groups = np.bincount(clusters.row, minlength=len(clusters.k))
    reasons = Reasons(len(clusters.k))
    reasons.drop("no_parsed_answer", clusters.n_votes == 0)
    reasons.drop("below_threshold", clusters.top < needed - _SLACK)
    reasons.drop("no_distinct_answers", groups < 2)
    reasons.drop("truncated", (best < 0) | (worst < 0))
    reasons.drop("tied", votes[best] == votes[worst])
    return reasons


def _use_labels(
    samples: Samples, clusters: Clusters, reasons: Reasons, chosen: BoolArray, rejected: BoolArray
) -> BoolArray:
    """Decide prompts with verdicts by these, in place; return which prompts they are."""
    table = with_verdicts(samples.generations)
    require(table, "scpo with labels", "correct")
    right, wrong = Samples(table).verdicts()
    rows, n = samples.rows, samples.n_prompts
    labelled = np.bincount(rows[right | wrong], minlength=n) > 0
    here = labelled[rows]
    chosen[here] = (clusters.choosable & right)[here]
    rejected[here] = (clusters.rejectable & wrong)[here]
    reasons.decide_anew(labelled)
    reasons.drop("no_correct", labelled & (np.bincount(rows[chosen], minlength=n) == 0))
    reasons.drop("no_incorrect", labelled & (np.bincount(rows[rejected], minlength=n) == 0))
    return labelled
