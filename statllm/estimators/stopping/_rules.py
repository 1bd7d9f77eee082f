"""The rules of `stopping`, applied to the running votes of many prompts at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
RuleName = Literal["kt", "kt-1v1", "ppr-1v1", "beta", "dirichlet", "esc"]


@dataclass(frozen=True)
class Rule:
    """A stopping rule with its settings: stop as soon as `doubt` is at most alpha."""

    name: RuleName
    alpha: float
    n_answers: int | None
    window: int

    def __post_init__(self) -> None:
        if self.name not in get_args(RuleName):
            raise ValueError(
                f"rule must be one of {', '.join(get_args(RuleName))}, not {self.name!r}"
            )
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must lie between 0 and 1, not {self.alpha}")
        if self.window < 2:
            raise ValueError(f"window must be at least 2, not {self.window}")
        if self.name.endswith("1v1"):
            if self.n_answers is None or self.n_answers < 2:
                raise ValueError(
                    f"{self.name} needs n_answers, the number of possible answers (2 or more); "
                    "'kt' is valid without it"
                )
        elif self.n_answers is not None:
            raise ValueError(f"n_answers is used by the 1v1 rules only, not by {self.name}")

    def doubt(self, votes: RunningVotes) -> FloatArray:
        """What is left to doubt about the leader: compared with alpha, in [0, 1]."""
        return np.minimum(_DOUBT[self.name](self, votes), 1.0)


class RunningVotes:
    """Votes of n prompts after the same number of samples each.

    Column j of `counts` is answer j of the prompt; the last column stands for every answer that
    was never seen. `log_wealth` and its maximum so far are those of the bets against "answer j
    is a mode" (see `_bet`).
    """

    def __init__(self, n_prompts: int, n_columns: int, rule: Rule) -> None:
        self.rule = rule
        self.counts = np.zeros((n_prompts, n_columns + 1), dtype=np.int64)
        self.n_samples = 0
        self.leader = np.zeros(n_prompts, dtype=np.int64)
        self.top = np.zeros(n_prompts, dtype=np.int64)
        self.second = np.zeros(n_prompts, dtype=np.int64)
        bets = n_prompts if rule.name == "kt" else 0
        self.log_wealth = np.zeros((bets, n_columns + 1))
        self.log_wealth_max = np.zeros((bets, n_columns + 1))
        self._window_first = np.full(n_prompts, -1, dtype=np.int64)
        self._window_unanimous = np.ones(n_prompts, dtype=bool)

    def add(self, codes: IntArray) -> None:
        """Count one more sample of every prompt; a negative code is no vote."""
        if self.rule.name == "kt":
            self._bet(codes)
        if self.n_samples % self.rule.window == 0:
            self._window_first, self._window_unanimous = codes, codes >= 0
        else:
            self._window_unanimous = self._window_unanimous & (codes == self._window_first)
        self.n_samples += 1
        rows = np.flatnonzero(codes >= 0)
        code = codes[rows]
        self.counts[rows, code] += 1
        count = self.counts[rows, code]
        leads, overtakes = code == self.leader[rows], count > self.top[rows]
        # Who overtakes was tied with the leader, whose count is now the second.
        self.second[rows] = np.where(
            leads,
            self.second[rows],
            np.where(overtakes, count - 1, np.maximum(self.second[rows], count)),
        )
        self.leader[rows] = np.where(overtakes, code, self.leader[rows])
        self.top[rows] = np.maximum(self.top[rows], count)

    def keep(self, rows: BoolArray) -> None:
        """Drop prompts that have stopped."""
        for name in ("counts", "leader", "top", "second", "_window_first", "_window_unanimous"):
            setattr(self, name, getattr(self, name)[rows])
        if self.rule.name == "kt":
            self.log_wealth, self.log_wealth_max = self.log_wealth[rows], self.log_wealth_max[rows]

    def add_column(self) -> None:
        """Make room for an answer that was unseen up to now: its history is the last column's."""
        for name in ("counts", "log_wealth", "log_wealth_max"):
            table = getattr(self, name)
            setattr(self, name, np.concatenate([table, table[:, -1:]], axis=1))

    @property
    def window_agrees(self) -> BoolArray:
        """Whether a window is just complete and all its samples gave one answer."""
        complete = self.n_samples > 0 and self.n_samples % self.rule.window == 0
        return self._window_unanimous & complete

    def _bet(self, codes: IntArray) -> None:
        """Bet, before counting a sample, on the sole leader l against every other answer j.

        With q = (n_l + 1/2) / (n_l + n_j + 1) (Krichevsky and Trofimov 1981) the wealth grows by
        2q if the sample is l, by 2(1 - q) if it is j. Where j is a mode, p_j >= p_l, so the
        expected factor 1 - (p_j - p_l)(2q - 1) is at most 1.
        """
        rows = np.flatnonzero((codes >= 0) & (self.top > self.second))
        leader, code = self.leader[rows], codes[rows]
        won = rows[code == leader]
        if len(won):
            top, counts = self.top[won, None], self.counts[won]
            gain = np.log(2 * top + 1) - np.log(top + counts + 1)
            gain[np.arange(len(won)), self.leader[won]] = 0.0
            self.log_wealth[won] += gain
        lost, rival = rows[code != leader], code[code != leader]
        n_rival = self.counts[lost, rival]
        self.log_wealth[lost, rival] += np.log(2 * n_rival + 1) - np.log(
            self.top[lost] + n_rival + 1
        )
        np.maximum(self.log_wealth_max, self.log_wealth, out=self.log_wealth_max)


def _kt(rule: Rule, votes: RunningVotes) -> FloatArray:
    """The smallest wealth ever reached against any answer but the leader, inverted."""
    wealth = votes.log_wealth_max.copy()
    wealth[np.arange(len(wealth)), votes.leader] = np.inf
    return np.where(votes.top > votes.second, np.exp(-wealth.min(axis=1)), 1.0)


def _kt_1v1(rule: Rule, votes: RunningVotes) -> FloatArray:
    """Jeffreys mixture on the top two, B(1/2, 1/2) / (2^n B(a + 1/2, b + 1/2)), times K - 1."""
    return _one_versus_one(rule, votes, 0.5)


def _ppr_1v1(rule: Rule, votes: RunningVotes) -> FloatArray:
    """Uniform mixture on the top two: the Beta(a + 1, b + 1) density at 1/2, times K - 1."""
    return _one_versus_one(rule, votes, 1.0)


def _one_versus_one(rule: Rule, votes: RunningVotes, prior: float) -> FloatArray:
    """Prior-posterior ratio at 1/2 of leader against runner-up, times K - 1.

    The runner-up has the largest ratio of all rivals.
    """
    from scipy import special

    a, b = votes.top, votes.second
    log_ratio = (
        special.betaln(prior, prior)
        - special.betaln(a + prior, b + prior)
        - (a + b) * np.log(2.0)
        + np.log((rule.n_answers or 2) - 1.0)
    )
    return np.where(a > b, np.exp(np.minimum(log_ratio, 0.0)), 1.0)


def _beta(rule: Rule, votes: RunningVotes) -> FloatArray:
    """P(p < 1/2) for p ~ Beta(a + 1, b + 1)."""
    from scipy import special

    return np.where(votes.top > 0, special.betainc(votes.top + 1, votes.second + 1, 0.5), 1.0)


def _dirichlet(rule: Rule, votes: RunningVotes) -> FloatArray:
    """1 - P(the leader is the mode), the shares ~ Dirichlet(counts + 1).

    Two answers at least: where one was seen, its rival has no votes yet.
    """
    from statllm.estimators._mode import mode_probability

    if not len(votes.counts):
        return np.ones(0)
    ordered = -np.sort(-votes.counts, axis=1)
    sizes = np.maximum(np.count_nonzero(ordered, axis=1), min(2, ordered.shape[1]))
    inside = np.arange(ordered.shape[1]) < sizes[:, None]
    rows = Ragged.from_lengths(ordered[inside], sizes)
    return np.where(votes.top > 0, 1.0 - mode_probability(rows, 1.0), 1.0)


def _esc(rule: Rule, votes: RunningVotes) -> FloatArray:
    """0 when a window has just agreed, else 1."""
    return np.where(votes.window_agrees, 0.0, 1.0)


_DOUBT: dict[str, Callable[[Rule, RunningVotes], FloatArray]] = {
    "kt": _kt,
    "kt-1v1": _kt_1v1,
    "ppr-1v1": _ppr_1v1,
    "beta": _beta,
    "dirichlet": _dirichlet,
    "esc": _esc,
}
