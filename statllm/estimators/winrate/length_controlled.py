"""Length-controlled win rates, keyed by instruction."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import numbers
from statllm.estimators.winrate.controlled import ControlledWinRate, controlled_win_rate
from statllm.estimators.winrate.raw import outcomes

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """One model's answers against a baseline's, instruction by instruction.

    Attributes
    ----------
    ids : sequence of hashable, shape (n,)
        Of the instructions. An id may occur more than once (several samples).
    outcome : array_like of float, shape (n,)
        1 where the model wins, 0 where the baseline does, or between.
    length, baseline_length : array_like of float, shape (n,)
        In characters or words.

    Raises
    ------
    ValueError
        If lengths differ, an outcome isn't in [0, 1] or a length is negative or not finite; the
        row is named.
    """

    ids: Sequence[Hashable]
    outcome: ArrayLike
    length: ArrayLike
    baseline_length: ArrayLike

    def __post_init__(self) -> None:
        n = len(outcomes(self.outcome))
        if len(self.ids) != n:
            raise ValueError(f"{len(self.ids)} ids for {n} outcomes")
        for name in ("length", "baseline_length"):
            values = numbers(getattr(self, name), name)
            if values.shape != (n,):
                raise ValueError(f"{name} has shape {values.shape}, {n} values were expected")
            wrong = np.flatnonzero(~((values >= 0) & np.isfinite(values)))
            if len(wrong):
                raise ValueError(f"{name} must be finite and not negative (row {wrong[0]})")

    def lead(self) -> FloatArray:
        """tanh of the difference of lengths over its standard deviation, (n,).

        Positive where the model's answer is longer. 0 throughout where no lengths differ.
        """
        gap = np.asarray(self.length, np.float64) - np.asarray(self.baseline_length, np.float64)
        sd = float(np.std(gap, ddof=1)) if len(gap) > 1 else 0.0
        return np.asarray(np.tanh(gap / sd)) if sd > 0 else np.zeros(len(gap))

    def looked_up(self, difficulty: Mapping[Hashable, float]) -> FloatArray:
        """Difficulty of each row, by its id.

        Raises
        ------
        ValueError
            If an id has none; it's named, with its row.
        """
        missing = [row for row, key in enumerate(self.ids) if key not in difficulty]
        if missing:
            row = missing[0]
            raise ValueError(
                f"{len(missing)} ids have no difficulty, first {self.ids[row]!r} (row {row})"
            )
        return np.array([float(difficulty[key]) for key in self.ids])


def length_controlled(
    answers: Answers,
    difficulty: Mapping[Hashable, float] | None = None,
    *,
    ridge: float = 0.0,
    clusters: ArrayLike | None = None,
) -> ControlledWinRate:
    """Win rate if both answers were equally long (after Dubois et al. 2024).

    logit p_i = theta + phi tanh((length - baseline length) / sd) + psi d_i, the model of
    AlpacaEval 2, by maximum likelihood. AlpacaEval fits it with a lasso, and its error leaves out
    that of the parameters: see `alpaca_eval_win_rate`. sd is taken for given.

    Parameters
    ----------
    answers : Answers
    difficulty : mapping from id to float, optional
        Looked up by id, whatever the order of rows. From other models than this one:
        `instruction_difficulty`. Default: psi = 0.
    ridge : float
        As for `controlled_win_rate`.
    clusters : array_like, shape (n,), optional
        What rows share. Default: rows of one id are a cluster.

    Raises
    ------
    ValueError
        If an id has no difficulty, or there's no finite fit.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> mine, other = rng.gamma(4, 60, 800), rng.gamma(4, 40, 800)
    >>> lead = np.tanh((mine - other) / np.std(mine - other))
    >>> wins = rng.random(800) < 1 / (1 + np.exp(0.5 - lead))
    >>> found = length_controlled(Answers(range(800), wins, mine, other))
    >>> f"{found.raw.value:.3f} {found.win_rate.value:.3f} {found.win_rate.interval():.3f}"
    '0.438 0.341 [0.301, 0.383]'
    """
    known = None if difficulty is None else answers.looked_up(difficulty)
    if clusters is None:
        distinct = {key: place for place, key in enumerate(dict.fromkeys(answers.ids))}
        if len(distinct) < len(answers.ids):
            clusters = np.array([distinct[key] for key in answers.ids])
    lead = answers.lead()
    return controlled_win_rate(
        answers.outcome,
        lead if lead.any() else np.zeros((len(lead), 0)),
        difficulty=known,
        clusters=clusters,
        ridge=ridge,
        names=("length",) if lead.any() else (),
    )
