"""When to stop sampling answers: adaptive self-consistency with a stated error.

Rules, by name (the `rule` argument):

- ``"kt"`` (default): bets on the leader, valid for any number of answers, known or not. For each
  answer j the hypothesis "j is a mode" is tested by a wealth that starts at 1: before each sample
  the sole leader l is bet upon against j, with the Krichevsky-Trofimov share
  (n_l + 1/2) / (n_l + n_j + 1). Where j is a mode the wealth is a supermartingale, so it ever
  reaches 1 / alpha with probability at most alpha (Ville 1939). Sampling stops when that
  has happened to every answer but the leader, seen or unseen. To declare an answer that is not a
  mode, the true mode must have been rejected: P(that ever happens) <= alpha, and no division of
  alpha among the answers is needed, as only one true hypothesis has to survive. (Where s answers
  tie as modes one of them may be declared, with probability at most s alpha.)
- ``"kt-1v1"``: the mixture e-process over Beta(1/2, 1/2) of leader against runner-up,
  2^n B(a + 1/2, b + 1/2) / B(1/2, 1/2) >= (K - 1) / alpha, for K possible answers.
- ``"ppr-1v1"``: the same with a uniform prior, the prior-posterior ratio of Waudby-Smith and
  Ramdas (2020) in the one-versus-one rule of Jain et al. (AISTATS 2022). Valid for known K.
- ``"beta"``, ``"dirichlet"``: Adaptive-Consistency (Aggarwal et al. 2023), stop when the
  posterior probability that the leader beats the runner-up (is the mode) is 1 - alpha. Not valid
  as a test when looked at after every sample: of runs without any mode, p = 1/2 each, the Beta
  rule at .95 declares one in 42.0 % within 40 samples. The Dirichlet rule is exact over all the
  answers seen here, where the released code keeps five of them and integrates by Monte Carlo.
- ``"esc"``: early-stopping self-consistency (Li et al. 2024), stop when all of a window of
  `window` samples agree; windows follow each other without overlap. No error is claimed.

A sample without an answer counts as a sample but not as a vote. Samples must be independent
draws given the prompt.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.stopping._rules import Rule, RuleName, RunningVotes
from statllm.ragged import Ragged
from statllm.results import Estimate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_BLOCK = 1 << 20  # numbers per table of running votes


@dataclass(frozen=True)
class Decision:
    """What a stopping rule says after some samples.

    Attributes
    ----------
    stop : bool
        Whether the rule has fired.
    answer : hashable or None
        The leader: the answer with the most votes; None without votes or when the lead is shared.
    n_samples : int
        Samples used, up to the one at which the rule fired.
    doubt : float
        What the rule compares with alpha: for the valid rules an anytime-valid p-value of "the
        leader isn't a mode", for ``"beta"`` and ``"dirichlet"`` a posterior probability.
    """

    stop: bool
    answer: Hashable | None
    n_samples: int
    doubt: float


class AnswerStream:
    """A stopping rule for one prompt, fed while sampling.

    Parameters
    ----------
    rule : {"kt", "kt-1v1", "ppr-1v1", "beta", "dirichlet", "esc"}
        See the module's description.
    alpha : float
        Error allowed; for ``"beta"`` and ``"dirichlet"`` 1 - the confidence threshold.
    n_answers : int, optional
        Number of possible answers, for the 1v1 rules.
    window : int
        For ``"esc"``.

    Raises
    ------
    ValueError
        If a setting is out of range or doesn't belong to the rule.

    Examples
    --------
    >>> stream = AnswerStream(alpha=0.05)
    >>> stream.update(["18", "18", "20"])
    Decision(stop=False, answer='18', n_samples=3, doubt=0.66...)
    >>> stream.update(["18"] * 12).n_samples
    12
    """

    def __init__(
        self,
        rule: RuleName = "kt",
        alpha: float = 0.05,
        n_answers: int | None = None,
        window: int = 5,
    ) -> None:
        self._rule = Rule(rule, alpha, n_answers, window)
        self._votes = RunningVotes(1, 0, self._rule)
        self._codes: dict[Hashable, int] = {}
        self._decision = Decision(False, None, 0, 1.0)

    def update(self, answers: Iterable[Hashable | None]) -> Decision:
        """Take further answers, in the order sampled; None and NaN are no vote.

        Once the rule has fired, later answers are ignored: the decision stands.

        Raises
        ------
        ValueError
            If more than `n_answers` different answers turn up.
        """
        for answer in answers:
            if self._decision.stop:
                break
            self._votes.add(np.array([self._code(answer)]))
            doubt = float(self._rule.doubt(self._votes)[0])
            names = list(self._codes)
            sole = bool(self._votes.top[0] > self._votes.second[0])
            self._decision = Decision(
                doubt <= self._rule.alpha,
                names[int(self._votes.leader[0])] if sole else None,
                self._votes.n_samples,
                doubt,
            )
        return self._decision

    def _code(self, answer: Hashable | None) -> int:
        """Column of an answer, made when it's new; -1 for no vote."""
        if answer is None or (isinstance(answer, float) and answer != answer):
            return -1
        if answer not in self._codes:
            limit = self._rule.n_answers
            if limit is not None and len(self._codes) >= limit:
                raise ValueError(f"more than n_answers = {limit} different answers were given")
            self._codes[answer] = len(self._codes)
            self._votes.add_column()
        return self._codes[answer]


@dataclass(frozen=True, eq=False)
class StoppingSimulation:
    """How a rule would have stopped on stored answers. Arrays have length n_prompts.

    Attributes
    ----------
    n_used : ndarray of int64
        Samples used: up to where the rule fired, or all there are.
    n_available : ndarray of int64
    stopped : ndarray of bool
        Whether the rule fired.
    disagreement : ndarray of float64
        Probability that the majority of the samples used, ties drawn at random, isn't a majority
        answer of all the samples; 1 where the samples used hold no vote, NaN where none does.
    rule : str
    """

    n_used: IntArray
    n_available: IntArray
    stopped: BoolArray
    disagreement: FloatArray
    rule: str

    @property
    def mean_samples(self) -> Estimate:
        """Mean number of samples per prompt."""
        mean = mean_estimate(self.n_used, None, "samples used", "samples")
        return replace(mean, method=self.rule)

    @property
    def share_stopped(self) -> Estimate:
        """Share of prompts on which the rule fired, Wilson's interval."""
        from statllm.estimators.proportions import proportion

        return proportion(int(self.stopped.sum()), len(self.stopped), name="stopped early")

    @property
    def saving(self) -> float:
        """Share of all the samples that weren't needed; NaN without samples."""
        total = int(self.n_available.sum())
        return 1.0 - int(self.n_used.sum()) / total if total else float("nan")

    @property
    def error(self) -> Estimate:
        """Mean disagreement with the full-sample majority, over prompts with a vote.

        The full-sample majority isn't the mode either: this measures what stopping changed.
        """
        values = self.disagreement[~np.isnan(self.disagreement)]
        return replace(mean_estimate(values, None, "disagreement", "share"), method=self.rule)


def simulate_stopping(
    answers: Any,
    rule: RuleName = "kt",
    alpha: float = 0.05,
    n_answers: int | None = None,
    window: int = 5,
    max_samples: int | None = None,
) -> StoppingSimulation:
    """Replay a stopping rule on stored answers, all prompts at once.

    Parameters
    ----------
    answers : Ragged, pyarrow list column or list of lists
        Row i holds the answers to prompt i in the order sampled, as for `vote_counts`; null, NaN
        and negative integers are no vote.
    rule, alpha, n_answers, window
        See `AnswerStream`.
    max_samples : int, optional
        Budget per prompt: a rule that hasn't fired by then stops there. The majority of reference
        is that of all the samples, also of those beyond.

    Returns
    -------
    StoppingSimulation

    Raises
    ------
    ValueError
        As `AnswerStream`, or if a prompt has more than `n_answers` different answers.

    Examples
    --------
    >>> rows = [["a"] * 10, ["a", "b"] * 5, ["a", "a", "b"] + ["a"] * 7]
    >>> run = simulate_stopping(rows, "beta")
    >>> run.n_used, run.stopped
    (array([ 4, 10,  7]), array([ True, False,  True]))
    >>> simulate_stopping(rows, "kt").n_used
    array([ 7, 10, 10])
    """
    from statllm.estimators._answers import encode

    settings = Rule(rule, alpha, n_answers, window)
    if max_samples is not None and max_samples < 1:
        raise ValueError(f"max_samples must be at least 1, not {max_samples}")
    samples, _ = encode(answers)
    codes, n_distinct = _codes_within_rows(samples)
    if n_answers is not None and n_distinct.max(initial=0) > n_answers:
        raise ValueError(
            f"a prompt has {n_distinct.max()} different answers, more than n_answers = {n_answers}"
        )
    budget = codes.lengths if max_samples is None else np.minimum(codes.lengths, max_samples)
    n_used, stopped = budget.copy(), np.zeros(len(codes), dtype=bool)
    disagreement = np.full(len(codes), np.nan)
    for rows in _blocks(budget, n_distinct):
        width = int(n_distinct[rows].max(initial=0))
        fired = _replay(codes, rows, budget[rows], width, settings)
        stopped[rows] = fired > 0
        n_used[rows] = np.where(fired > 0, fired, budget[rows])
        disagreement[rows] = _disagreement(codes, rows, n_used[rows], width)
    return StoppingSimulation(n_used, codes.lengths, stopped, disagreement, rule)


def _replay(codes: Ragged, rows: IntArray, budget: IntArray, width: int, rule: Rule) -> IntArray:
    """Number of samples after which the rule fires on each row; 0 where it never does."""
    fired = np.zeros(len(rows), dtype=np.int64)
    votes = RunningVotes(len(rows), width, rule)
    active = np.arange(len(rows))
    for t in range(int(budget.max(initial=0))):
        going = (fired[active] == 0) & (budget[active] > t)
        if not going.all():
            votes.keep(going)
            active = active[going]
            if not len(active):
                break
        votes.add(codes.values[codes.offsets[rows[active]] + t])
        fired[active[rule.doubt(votes) <= rule.alpha]] = t + 1
    return fired


def _disagreement(codes: Ragged, rows: IntArray, n_used: IntArray, width: int) -> FloatArray:
    """Share of the majority answers of the first samples that aren't majority answers of all."""
    lengths = codes.lengths[rows]
    row = np.repeat(np.arange(len(rows)), lengths)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    code = codes.values[np.repeat(codes.offsets[rows], lengths) + place]
    vote = code >= 0
    cell = row[vote] * max(width, 1) + code[vote]
    size = len(rows) * max(width, 1)
    used = np.bincount(cell[place[vote] < n_used[row[vote]]], minlength=size)
    full, used = (
        np.bincount(cell, minlength=size).reshape(len(rows), -1),
        used.reshape(len(rows), -1),
    )
    full_wins = (full == full.max(axis=1, keepdims=True)) & (full > 0)
    used_wins = (used == used.max(axis=1, keepdims=True)) & (used > 0)
    tied = np.count_nonzero(used_wins, axis=1)
    share = np.count_nonzero(used_wins & ~full_wins, axis=1) / np.maximum(tied, 1)
    return np.where(full_wins.any(axis=1), np.where(tied > 0, share, 1.0), np.nan)


def _codes_within_rows(samples: Ragged) -> tuple[Ragged, IntArray]:
    """Number the answers of each row from 0, and count them; -1 stays no vote."""
    values = samples.values.astype(np.int64)
    vote = values >= 0
    span = int(values.max(initial=0)) + 1
    pairs, inverse = np.unique(samples.rows[vote] * span + values[vote], return_inverse=True)
    n_distinct = np.bincount(pairs // span, minlength=samples.n_rows)
    first = np.cumsum(n_distinct) - n_distinct
    codes = np.full(len(values), -1, dtype=np.int64)
    codes[vote] = inverse - first[samples.rows[vote]]
    return samples.with_values(codes), n_distinct


def _blocks(budget: IntArray, n_distinct: IntArray) -> Iterator[IntArray]:
    """Rows with about equally many answers, in tables that stay small."""
    order = np.argsort(n_distinct, kind="stable")
    digits = np.frexp(n_distinct[order].astype(np.float64))[1]
    for digit in np.unique(digits):
        members = order[digits == digit]
        step = max(1, _BLOCK >> int(digit))
        for start in range(0, len(members), step):
            yield members[start : start + step]
