"""Samples of a prompt grouped by answer, with the votes of each group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from statllm.ragged import BoolArray, IntArray
from statllm.scoring.statistics import vote_pool
from statllm.selection._draws import Words, drawn, first_of_each, words_of
from statllm.selection._samples import Samples
from statllm.selection.settings import ScpoSettings

_CLUSTER = 1  # purpose of the draw between clusters with equal votes


@dataclass(frozen=True)
class Clusters:
    """Answer clusters. Arrays of clusters are in order of row.

    Attributes
    ----------
    row, votes : ndarray of int64, shape (n_clusters,)
        Prompt of a cluster, and its votes.
    word : ndarray of uint64, shape (n_clusters,)
        Decides between clusters with equal votes.
    can_choose, can_reject : ndarray of int64, shape (n_clusters,)
        Samples of the cluster that may be chosen, or rejected.
    of_sample : ndarray of int64, shape (n_samples,)
        Cluster of a sample, -1 for one that takes no part.
    choosable, rejectable : ndarray of bool, shape (n_samples,)
    k, n_votes, n_distinct, top : ndarray of int64, shape (n_prompts,)
        Size of the vote pool, votes, different answers among them, the most votes.
    """

    row: IntArray
    votes: IntArray
    word: Words
    can_choose: IntArray
    can_reject: IntArray
    of_sample: IntArray
    choosable: BoolArray
    rejectable: BoolArray
    k: IntArray
    n_votes: IntArray
    n_distinct: IntArray
    top: IntArray

    @property
    def votes_of_sample(self) -> IntArray:
        """V(y) of each sample; 0 for one that takes no part."""
        return np.append(self.votes, 0)[self.of_sample]

    def most(self) -> IntArray:
        """Return each prompt's cluster with the most votes that has a choosable sample, or -1."""
        fits = (self.votes == self.top[self.row]) & (self.can_choose > 0)
        return self._first(fits, np.zeros_like(self.votes))

    def fewest(self, besides: IntArray) -> IntArray:
        """Return each prompt's rejectable cluster with the fewest votes, or -1."""
        fits = self.can_reject > 0
        fits[besides[besides >= 0]] = False
        return self._first(fits, self.votes)

    def _first(self, fits: BoolArray, rising: NDArray[np.int64]) -> IntArray:
        places = np.flatnonzero(fits)
        first = first_of_each(self.row[places], len(self.k), rising[places], self.word[places])
        return np.where(first >= 0, np.append(places, -1)[first], -1)


def answer_clusters(samples: Samples, prompts: Words, settings: ScpoSettings) -> Clusters:
    """Group the samples by answer and count votes; unparsed samples are a group without votes."""
    rows, n = samples.rows, samples.n_prompts
    codes, texts = samples.codes("answer")
    main = vote_pool(samples.generations)
    if settings.extra == "vote":
        main = np.ones_like(main)
    parsed = codes >= 0
    takes_part = parsed | settings.unparsed_rejected
    if settings.extra == "ignore":
        takes_part &= main
    votes = main & parsed
    usable = samples.usable(settings) & takes_part
    choosable = usable & votes
    width = len(texts) + 1  # the last code stands for "no answer"
    cells = rows * width + np.where(parsed, codes, len(texts))
    found, inverse = np.unique(cells[takes_part], return_inverse=True)
    of_sample = np.full(len(rows), -1, dtype=np.int64)
    of_sample[takes_part] = inverse

    def per_cluster(mask: BoolArray) -> IntArray:
        return np.bincount(of_sample[mask & takes_part], minlength=len(found))

    def per_prompt(mask: BoolArray) -> IntArray:
        return np.bincount(rows[mask], minlength=n)

    row = found // width
    counts = per_cluster(votes)
    top = np.zeros(n, dtype=np.int64)
    np.maximum.at(top, row, counts)
    words = np.append(words_of(texts, settings.seed), np.uint64(0))[found % width]
    return Clusters(
        row=row,
        votes=counts,
        word=drawn(prompts[row], _CLUSTER, words),
        can_choose=per_cluster(choosable),
        can_reject=per_cluster(usable),
        of_sample=of_sample,
        choosable=choosable,
        rejectable=usable,
        k=per_prompt(votes if settings.k == "votes" else main),
        n_votes=per_prompt(votes),
        n_distinct=np.bincount(row[counts > 0], minlength=n),
        top=top,
    )
