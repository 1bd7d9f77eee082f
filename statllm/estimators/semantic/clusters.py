"""Which samples mean the same: clusters from what is known about pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.semantic.pairwise import Pairwise
from statllm.ragged import Ragged

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ClusterMethod = Literal["components", "complete", "greedy", "jlko", "lorenzkuhn"]

MNLI_ORDER = ("contradiction", "neutral", "entailment")


# Each rule sees, for a pair (i, j), whether i->j and j->i were called entailment, contradiction.
_Rule = Callable[[BoolArray, BoolArray, BoolArray, BoolArray], BoolArray]


def _no_contradiction(e: BoolArray, e2: BoolArray, c: BoolArray, c2: BoolArray) -> BoolArray:
    return ~(c | c2)


RULES: dict[str, _Rule] = {
    "strict": lambda e, e2, c, c2: e & e2,
    "jlko": lambda e, e2, c, c2: ~(c | c2) & (e | e2),
    "lorenzkuhn": _no_contradiction,
    "uq_nlg": _no_contradiction,
    "truthtorchlm": _no_contradiction,
    "uqlm": lambda e, e2, c, c2: e | e2,
}


def nli_relation(
    nli: Pairwise, rule: str = "strict", classes: Sequence[str] = MNLI_ORDER
) -> Pairwise:
    """Read from an NLI model's verdicts which pairs mean the same.

    Parameters
    ----------
    nli : Pairwise, values of shape (n_pairs, 3)
        Probabilities or logits of the three classes, for premise i and hypothesis j. The pair of
        a sample with itself may hold anything: a sample always means the same as itself.
    rule : str
        ========================= ===========================================================
        name                      same meaning if
        ========================= ===========================================================
        strict                    entailment both ways; the definition of Kuhn, Gal and
                                  Farquhar (2023) and what lm-polygraph does
        jlko                      no contradiction either way, and not neutral both ways
                                  (jlko/semantic_uncertainty, Farquhar et al. 2024)
        lorenzkuhn                no contradiction either way; what the code of Kuhn et al.
                                  does, and UQ-NLG and TruthTorchLM (also by these names:
                                  ``"uq_nlg"``, ``"truthtorchlm"``)
        uqlm                      entailment at least one way
        entailment_over_contradiction   p(entailment) > p(contradiction) both ways
                                  (lm-polygraph's number of semantic sets)
        ========================= ===========================================================
    classes : sequence of str
        The order of the model's classes; default that of the MNLI models of Microsoft. Others
        differ: look at ``config.id2label``.

    Returns
    -------
    Pairwise of bool
        Symmetric. Not transitive in general: see `semantic_clusters`.

    Raises
    ------
    InputError
        If the values aren't three numbers per pair, hold NaN, or a name is unknown.

    Notes
    -----
    A verdict is the class with the largest value. Where two share it neither has won, and the
    verdict is neutral.

    Examples
    --------
    >>> entails, neutral = [0.1, 0.2, 0.7], [0.1, 0.8, 0.1]
    >>> nli = Pairwise.from_blocks([[[entails, entails], [neutral, entails]]])
    >>> [nli_relation(nli, rule).block(0)[0, 1] for rule in ("strict", "jlko", "uqlm")]
    [np.False_, np.True_, np.True_]
    """
    if sorted(classes) != sorted(MNLI_ORDER):
        raise InputError(f"classes must be {', '.join(MNLI_ORDER)} in some order, not {classes}")
    values = nli.values
    if values.ndim != 2 or values.shape[1] != 3:
        raise InputError(f"nli must hold three numbers per pair, not values of {values.shape}")
    if np.delete(np.isnan(values).any(axis=1), nli.diagonal).any():
        raise InputError("nli holds NaN")
    contradiction, neutral, entailment = (values[:, list(classes).index(c)] for c in MNLI_ORDER)
    if rule == "entailment_over_contradiction":
        same = nli.with_values(entailment > contradiction).symmetric("min").values
    elif rule in RULES:
        entails = nli.with_values(entailment > np.maximum(neutral, contradiction))
        contradicts = nli.with_values(contradiction > np.maximum(neutral, entailment))
        back = entails.transpose().values, contradicts.transpose().values
        same = RULES[rule](entails.values, back[0], contradicts.values, back[1])
    else:
        known = ", ".join([*RULES, "entailment_over_contradiction"])
        raise InputError(f"rule is {rule!r}; it must be one of {known}")
    same[nli.diagonal] = True
    return nli.with_values(same)


def semantic_clusters(
    pairs: Pairwise,
    method: ClusterMethod = "components",
    threshold: float | None = None,
    rng: int | np.random.Generator = 0,
) -> Ragged:
    """Put each sample of a prompt into exactly one cluster.

    Parameters
    ----------
    pairs : Pairwise of bool or float
        Whether two samples mean the same (see `nli_relation`), or how similar they are, with
        `threshold`. Must be symmetric; pairs of a sample with itself are not looked at.
    method : str
        ============ ========================================================================
        components   the default: a chain of equivalent samples is one cluster. Doesn't depend
                     on the order of the samples.
        complete     complete linkage: every two members of a cluster are equivalent. The most
                     similar clusters merge first; equally similar ones (all, for booleans)
                     in the order of a seeded shuffle.
        greedy       a sample joins the first cluster whose first member it is equivalent to
                     (lm-polygraph, and the algorithm of Kuhn, Gal and Farquhar 2023). Depends
                     on the order of the samples.
        jlko         as jlko/semantic_uncertainty does it: like greedy, but a new cluster takes
                     members from earlier ones. Depends on the order.
        lorenzkuhn   as lorenzkuhn/semantic_uncertainty does it (and UQ-NLG, which it cites): a
                     sample takes the cluster of the last earlier one it is equivalent to.
                     Depends on the order, which there is that of a Python set.
        ============ ========================================================================
    threshold : float, optional
        For similarities: at least so much is equivalent.
    rng : int or numpy.random.Generator
        Seed of the shuffle in ``"complete"``. A prompt's clusters depend on its block and the
        seed only.

    Returns
    -------
    Ragged of int32, one row per prompt
        Cluster of each sample, numbered from 0 by first appearance.

    Raises
    ------
    InputError
        If `pairs` isn't symmetric, holds NaN, or a similarity comes without a threshold.

    Notes
    -----
    Where the relation is transitive, all methods give the same clusters. uqlm puts a sample into
    every cluster it fits, so that its cluster sizes may add up to more than the number of
    samples; no method here does.

    Examples
    --------
    >>> same = Pairwise.from_blocks([np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=bool)])
    >>> semantic_clusters(same).to_lists(), semantic_clusters(same, "greedy").to_lists()
    ([[0, 0, 0]], [[0, 0, 1]])
    """
    if method not in get_args(ClusterMethod):
        raise InputError(f"method is {method!r}; it must be one of {get_args(ClusterMethod)}")
    relation, strength = _read(pairs, threshold)
    if method == "components":
        return _number(_components(relation), relation.sample_offsets)
    labels = np.empty(relation.sample_offsets[-1], dtype=np.int64)
    order = _shuffle(int(relation.sizes.max(initial=0)), rng)
    for (rows, related), (_, similar) in zip(relation.blocks(), strength.blocks(), strict=True):
        k = related.shape[1]
        if method == "complete":
            found = _complete(np.where(related, similar, -np.inf), order[order < k])
        else:
            found = _ORDERED[method](related)
        labels[relation.sample_offsets[rows][:, None] + np.arange(k)] = found
    return _number(labels, relation.sample_offsets)


def n_semantic_sets(clusters: Ragged) -> IntArray:
    """Number of clusters of each prompt; 0 without samples.

    A lower bound that grows with the number of samples: compare prompts with equally many.

    Examples
    --------
    >>> n_semantic_sets(Ragged.from_lists([[0, 0, 1], [0], []]))
    array([2, 1, 0])
    """
    from statllm.estimators.votes import vote_counts

    return vote_counts(clusters).n_distinct


def _read(pairs: Pairwise, threshold: float | None) -> tuple[Pairwise, Pairwise]:
    """The relation, and how strong it is."""
    values = pairs.values
    if values.ndim != 1:
        raise InputError(f"pairs must hold one value per pair, not values of {values.shape}")
    if values.dtype == bool:
        if threshold is not None:
            raise InputError("threshold is for similarities; the pairs are true or false")
        relation, strength = pairs, pairs.with_values(values.astype(np.float64))
    else:
        if threshold is None:
            raise InputError("similarities need a threshold: at least so much is equivalent")
        if np.isnan(threshold) or np.delete(np.isnan(values), pairs.diagonal).any():
            raise InputError("pairs and threshold must not be NaN")
        relation, strength = pairs.with_values(values >= threshold), pairs
    same = relation.values.copy()
    same[relation.diagonal] = True
    relation = relation.with_values(same)
    if not relation.is_symmetric():
        raise InputError("pairs must be symmetric; pairs.symmetric('min') asks for both ways")
    return relation, strength


def _components(relation: Pairwise) -> IntArray:
    """Component of each sample, one graph for all prompts; any numbering."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = int(relation.sample_offsets[-1])
    edges = [np.empty((2, 0), dtype=np.int64)]
    for prompts, related in relation.blocks():
        prompt, i, j = np.nonzero(np.triu(related, 1))
        edges.append(relation.sample_offsets[prompts[prompt]] + np.stack([i, j]))
    left, right = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(n, n))
    labels: IntArray = connected_components(graph.tocsr(), directed=False)[1].astype(np.int64)
    first = np.full(n, n)  # a component is known by its first member, counted in the prompt
    np.minimum.at(first, labels, np.arange(n))
    owner = np.repeat(relation.sample_offsets[:-1], relation.sizes)
    return first[labels] - owner


def _greedy(related: BoolArray, steal: bool = False) -> IntArray:
    """Samples join the first cluster whose founder they are equivalent to."""
    m, k = related.shape[:2]
    labels = np.full((m, k), -1, dtype=np.int64)
    for i in range(k):
        founds = labels[:, i] < 0
        labels[founds, i] = i
        joins = related[:, i, i + 1 :] & founds[:, None]
        if not steal:
            joins &= labels[:, i + 1 :] < 0
        labels[:, i + 1 :][joins] = i
    return labels


def _last_match(related: BoolArray) -> IntArray:
    """Samples take the label of the last earlier one they are equivalent to."""
    m, k = related.shape[:2]
    labels = np.tile(np.arange(k), (m, 1))
    for i in range(k):
        later = labels[:, i + 1 :]
        labels[:, i + 1 :] = np.where(related[:, i, i + 1 :], labels[:, i, None], later)
    return labels


_ORDERED: dict[str, Callable[[BoolArray], IntArray]] = {
    "greedy": _greedy,
    "jlko": lambda related: _greedy(related, steal=True),
    "lorenzkuhn": _last_match,
}


def _complete(strength: NDArray[Any], order: IntArray) -> IntArray:
    """Complete linkage of stacked similarities, -inf where two samples may not meet."""
    link = strength[:, order][:, :, order]
    link = np.minimum(link, link.transpose(0, 2, 1))
    m, k = link.shape[:2]
    place = np.arange(k)
    link[:, place, place] = -np.inf
    labels = np.tile(place, (m, 1))
    rows = np.arange(m)
    for _ in range(k - 1):
        best = link.reshape(m, k * k).argmax(axis=1)
        keeps, joins = np.minimum(best // k, best % k), np.maximum(best // k, best % k)
        merges = rows[link[rows, keeps, joins] > -np.inf]
        if not len(merges):
            break
        a, b = keeps[merges], joins[merges]
        both = np.minimum(link[merges, a], link[merges, b])
        link[merges, a], link[merges, :, a] = both, both
        link[merges, b], link[merges, :, b] = -np.inf, -np.inf
        link[merges, a, a] = -np.inf
        joined = labels[merges]
        labels[merges] = np.where(joined == b[:, None], a[:, None], joined)
    back = np.empty_like(labels)
    back[:, order] = labels
    return back


def _shuffle(k: int, rng: int | np.random.Generator) -> IntArray:
    """One order for all prompts; a shorter prompt uses the places that it has."""
    return np.random.default_rng(rng).permutation(k)


def _number(labels: IntArray, offsets: IntArray) -> Ragged:
    """Number the clusters of each prompt from 0 by first appearance; labels lie below k."""
    n = len(labels)
    owner = np.repeat(offsets[:-1], np.diff(offsets))
    key = owner + labels
    first = np.full(n, n)
    np.minimum.at(first, key, np.arange(n))
    new = first[key] == np.arange(n)
    number = np.cumsum(new) - 1
    return Ragged((number[first[key]] - number[owner]).astype(np.int32), offsets)
