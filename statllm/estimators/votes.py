"""Votes: how often each answer was given, which won, and how sure the win is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators import _answers, _vote_kernel
from statllm.estimators._ties import tied_rows_winners
from statllm.ragged import Ragged

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Ties = Literal["random", "lexical", "first", "none"]
ShareInterval = Literal["wilson", "clopper-pearson", "jeffreys", "goodman"]


def vote_counts(answers: Any) -> VoteTable:
    """Count the votes that each prompt's samples give.

    Parameters
    ----------
    answers : pyarrow list column, list of lists, 2-D array, or Ragged
        Row i holds the answers of prompt i's samples, in canonical form: equal answers are equal
        strings (or numbers). Null, None and NaN are no vote; in a `Ragged` of integers, so is
        any negative number. Rows may differ in length and may be empty; a null row is empty.

    Returns
    -------
    VoteTable

    Raises
    ------
    InputError
        If `answers` isn't a list of answers per prompt.

    Examples
    --------
    >>> votes = vote_counts([["18", "18", "20", None], ["7"], [None, None]])
    >>> votes.counts.to_lists()
    [[2, 1], [1], []]
    >>> votes.share
    array([0.66666667, 1.        ,        nan])
    >>> votes.majority().to_pylist()
    ['18', '7', None]
    """
    samples, vocabulary = _answers.encode(answers)
    counts, codes = _vote_kernel.distinct_counts(samples)
    return VoteTable(samples, counts, codes, vocabulary)


@dataclass(frozen=True, eq=False)
class VoteTable:
    """The votes of every prompt. All arrays have length n_prompts, in the order of the input.

    Attributes
    ----------
    samples : Ragged of int32
        Code of each sample's answer, -1 where it has none.
    counts : Ragged of int64
        Votes of each distinct answer, most frequent first; ties in the order of `codes`.
    codes : Ragged of int32
        Which answer each count belongs to, as a place in `vocabulary`.
    vocabulary : pyarrow.Array
        The distinct answers of the whole data set.

    Examples
    --------
    >>> votes = vote_counts([["a", "b", "a", "a", "c"]])
    >>> votes.n_votes, votes.n_distinct, votes.share, votes.margin
    (array([5]), array([3]), array([0.6]), array([0.4]))
    >>> votes.mode_probability().round(4)
    array([0.6977])
    """

    samples: Ragged
    counts: Ragged
    codes: Ragged
    vocabulary: pa.Array

    def __len__(self) -> int:
        return self.samples.n_rows

    # ---- how many -------------------------------------------------------------------------

    @property
    def n_prompts(self) -> int:
        """Number of prompts."""
        return self.samples.n_rows

    @property
    def n_samples(self) -> IntArray:
        """Samples of each prompt, with those that gave no vote."""
        return self.samples.lengths

    @cached_property
    def n_votes(self) -> IntArray:
        """Samples of each prompt that gave an answer."""
        return _exact_sum(self.counts)

    @property
    def n_distinct(self) -> IntArray:
        """Different answers to each prompt."""
        return self.counts.lengths

    @cached_property
    def n_tied(self) -> IntArray:
        """Answers that share the highest count: 1 for a clear winner, 0 without votes."""
        tied = self._top.clip(max=1)
        rows = self._tied_rows
        counts = _vote_kernel.take_rows(self.counts, rows)
        is_top = counts.values == np.repeat(self._top[rows], counts.lengths)
        tied[rows] = _exact_sum(counts.with_values(is_top))
        return tied

    @property
    def votes_of_samples(self) -> Ragged:
        """V(y): for each sample the number of votes for its answer; 0 for no vote."""
        return _vote_kernel.votes_of_samples(self.samples)

    # ---- how sure -------------------------------------------------------------------------

    @cached_property
    def share(self) -> FloatArray:
        """Share of the votes that the most frequent answer has; NaN without votes.

        The largest of several shares is biased upwards as an estimate of its answer's
        probability; see `share_interval`.
        """
        return _ratio(self._top, self.n_votes)

    @cached_property
    def margin(self) -> FloatArray:
        """Lead over the runner-up, (c1 - c2) / n_votes, c2 = 0 where there is none."""
        return _ratio(self._top - self._second, self.n_votes)

    @cached_property
    def margin_variance(self) -> FloatArray:
        """Sampling variance of the margin: [p1 + p2 - (p1 - p2)^2] / n_votes (multinomial).

        The shares are plugged in, so it's 0 where all votes agree.
        """
        both = _ratio(self._top + self._second, self.n_votes)
        return _ratio(both - self.margin**2, self.n_votes)

    def share_interval(
        self,
        method: ShareInterval = "wilson",
        level: float = 0.95,
        n_categories: int | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Confidence limits for the probability of the most frequent answer.

        ``"wilson"``, ``"clopper-pearson"`` and ``"jeffreys"`` treat the winning answer as if it
        had been named before the votes were counted. It was picked because it came first, so
        they lie too high and cover less often than `level` says. ``"goodman"`` covers all
        answers at once, and therefore also the one that was picked.

        Parameters
        ----------
        method : {"wilson", "clopper-pearson", "jeffreys", "goodman"}
        level : float
        n_categories : int, optional
            For Goodman: how many answers are possible (4 for option letters, say). Default: the
            number seen for the prompt, at least 2, which is too few if some were never seen.

        Returns
        -------
        low, high : ndarray of float64
            0 and 1 without votes.
        """
        from statllm.estimators import proportions

        top = self._top
        if method == "goodman":
            categories = (
                np.maximum(self.n_distinct, 2)
                if n_categories is None
                else np.maximum(self.n_distinct, n_categories)
            )
            return proportions.goodman(top, self.n_votes, categories, level)
        return proportions.interval_function(method)(top, self.n_votes, level)

    def mode_probability(self, prior: float = 1.0) -> FloatArray:
        """Probability that the most frequent answer is the model's most probable one.

        Exact under a Dirichlet(`prior`, ..., `prior`) prior on the answers seen (an answer that
        was never seen can't win): one integral over gamma variables, by quadrature. With m
        answers tied at the top it's that of any one of them, at most 1/m. NaN without votes.

        Raises
        ------
        ValueError
            If `prior` isn't positive.
        """
        from statllm.estimators._mode import mode_probability

        if not prior > 0:
            raise ValueError(f"prior must be positive, not {prior}")
        return mode_probability(self.counts, prior)

    @cached_property
    def unseen_mass(self) -> FloatArray:
        """Probability of the answers not seen: Good-Turing f1 / n_votes (Good 1953).

        f1 is the number of answers given exactly once.
        """
        return _ratio(self._n_with_count(1), self.n_votes)

    @cached_property
    def unseen_mass_se(self) -> FloatArray:
        """Standard error of `unseen_mass`: sqrt([f1 (n - f1) + 2 n f2] / n^3) (Esty 1983).

        A large-sample formula. It's 0 at both ends (no answer given once; all given once),
        where few votes say little.
        """
        f1, f2, n = self._n_with_count(1), self._n_with_count(2), self.n_votes
        return np.sqrt(_ratio(f1 * (n - f1) + 2 * n * f2, n**3))

    # ---- which ----------------------------------------------------------------------------

    def majority(self, ties: Ties = "random", seed: int = 0) -> pa.Array:
        """Most frequent answer of each prompt; null without votes.

        Parameters
        ----------
        ties : {"random", "lexical", "first", "none"}
            ``"random"``: a seeded draw that depends on the tied prompt's votes only, not on the
            order of samples or prompts. ``"lexical"``: the smallest answer. ``"first"``: the
            answer sampled first, as `collections.Counter.most_common` and most published code
            do; it depends on the order of the samples. ``"none"``: null.
        seed : int
            For ``"random"``.
        """
        import pyarrow as pa

        codes = self.majority_codes(ties, seed)
        return self.vocabulary.take(pa.array(codes, mask=codes < 0))

    def majority_codes(self, ties: Ties = "random", seed: int = 0) -> IntArray:
        """Like `majority`, as places in `vocabulary`; -1 for null.

        Raises
        ------
        ValueError
            If the tie rule is unknown.
        """
        if ties not in get_args(Ties):
            raise ValueError(f"ties must be one of {', '.join(get_args(Ties))}, not {ties!r}")
        if ties == "first":
            votes = self.votes_of_samples
            place = votes.with_values(votes.values.astype(np.float64)).argmax()
            return self._codes_at(self.samples, np.where(self.n_votes > 0, place, -1))
        codes = self._codes_at(self.codes, np.where(self.n_votes > 0, 0, -1))
        rows = self._tied_rows
        if ties == "none":
            codes[rows] = -1
        elif len(rows):
            candidates = _vote_kernel.take_rows(self.codes, rows)
            counts = _vote_kernel.take_rows(self.counts, rows)
            codes[rows] = tied_rows_winners(candidates, counts, self.vocabulary, ties, seed)
        return codes

    def to_frame(self, ties: Ties = "random", seed: int = 0, level: float = 0.95) -> pd.DataFrame:
        """Return one row per prompt; the share's limits are Wilson's."""
        import pandas as pd

        low, high = self.share_interval("wilson", level)
        return pd.DataFrame(
            {
                "n_samples": self.n_samples,
                "n_votes": self.n_votes,
                "n_distinct": self.n_distinct,
                "n_tied": self.n_tied,
                "majority_answer": self.majority(ties, seed).to_pandas(),
                "vote_share": self.share,
                "vote_share_low": low,
                "vote_share_high": high,
                "vote_margin": self.margin,
                "vote_margin_variance": self.margin_variance,
                "mode_probability": self.mode_probability(),
                "unseen_mass": self.unseen_mass,
                "unseen_mass_se": self.unseen_mass_se,
            }
        )

    # ---- pieces ---------------------------------------------------------------------------

    @cached_property
    def _top(self) -> IntArray:
        """Votes of the most frequent answer, 0 without votes."""
        return self._nth_count(0)

    @cached_property
    def _second(self) -> IntArray:
        """Votes of the runner-up, 0 where there is none."""
        return self._nth_count(1)

    @cached_property
    def _tied_rows(self) -> IntArray:
        """Prompts whose two highest counts are equal."""
        return np.flatnonzero((self._top == self._second) & (self._top > 0))

    def _nth_count(self, n: int) -> IntArray:
        """The n-th highest count of each row, 0 where there is none."""
        out = np.zeros(self.n_prompts, dtype=np.int64)
        present = self.counts.lengths > n
        out[present] = self.counts.values[self.counts.offsets[:-1][present] + n]
        return out

    def _n_with_count(self, count: int) -> IntArray:
        """Number of answers of each row given exactly `count` times."""
        return _exact_sum(self.counts.with_values(self.counts.values == count))

    @staticmethod
    def _codes_at(rows: Ragged, places: IntArray) -> IntArray:
        """Code at a place of each row, -1 where the place is -1."""
        out = np.full(rows.n_rows, -1, dtype=np.int64)
        present = places >= 0
        out[present] = rows.values[rows.offsets[:-1][present] + places[present]]
        return out


def majority_correct(votes: VoteTable, references: Any) -> FloatArray:
    """Score the majority answer: 1 right, 0 wrong, 1/m if right and tied with m - 1 others.

    The expected score of breaking ties at random. A prompt without votes scores 0: leaving it
    out would reward a model for answers that can't be read.

    Parameters
    ----------
    votes : VoteTable
    references : list or pyarrow.Array, length n_prompts
        Right answers in the same canonical form; None = unknown.

    Returns
    -------
    ndarray of float64, shape (n_prompts,)
        NaN where the reference is unknown.

    Raises
    ------
    InputError
        If there isn't one reference per prompt.

    Examples
    --------
    >>> votes = vote_counts([["a", "a", "b"], ["a", "b"], [None], ["b"]])
    >>> majority_correct(votes, ["a", "b", "a", None])
    array([1. , 0.5, 0. , nan])
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(references) != votes.n_prompts:
        raise InputError(f"{len(references)} references for {votes.n_prompts} prompts")
    try:
        right = pa.array(references) if isinstance(references, list | np.ndarray) else references
        right = right.cast(votes.vocabulary.type)
    except pa.ArrowException as error:
        raise InputError(f"references and answers must be of one type: {error}") from None
    codes = pc.index_in(right, votes.vocabulary, skip_nulls=True).fill_null(-1).to_numpy()
    is_top = votes.counts.values == np.repeat(votes._top, votes.n_distinct)
    hit = is_top & (votes.codes.values == np.repeat(codes, votes.n_distinct))
    score = votes.counts.with_values(hit.astype(np.float64)).sum() / np.maximum(votes.n_tied, 1)
    return np.where(right.is_valid().to_numpy(zero_copy_only=False), score, np.nan)


def _exact_sum(rows: Ragged) -> IntArray:
    """Sum of each row of integers or booleans, as integers."""
    running = np.concatenate([[0], np.cumsum(rows.values, dtype=np.int64)])
    sums: IntArray = running[rows.offsets[1:]] - running[rows.offsets[:-1]]
    return sums


def _ratio(numerator: NDArray[Any], count: IntArray) -> FloatArray:
    """Numerator / count, NaN where the count is 0."""
    out = np.full(len(count), np.nan)
    np.divide(numerator, count, out=out, where=count > 0)
    return out
