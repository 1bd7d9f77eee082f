"""What TPO's pairs can be made of, and each prompt's pair at one price of length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ragged import BoolArray, FloatArray, IntArray
from statllm.scoring._columns import flat_parts, map_lists
from statllm.scoring.judges.responses import part_of
from statllm.selection._draws import Words, drawn, words_of
from statllm.selection._extremes import extremes
from statllm.selection._length_control import standardised
from statllm.selection._samples import Samples
from statllm.selection.tpo_settings import TpoSettings

_BEST, _WORST, _FAILURE, _CAP = 9, 10, 11, 12  # purposes of draws


@dataclass(frozen=True)
class Pool:
    """What pairs can be made of; arrays of shape (n_samples,) unless said.

    Attributes
    ----------
    samples : Samples
    prompts : random words of the prompts, shape (n_prompts,)
    candidate, failed : responses that may be chosen or rejected; texts that couldn't be cut
    failure : a failed text of each prompt, drawn; -1 for none; shape (n_prompts,)
    length : of the response part
    reward_score, length_score : N of both over the candidates, 0 elsewhere
    """

    samples: Samples
    prompts: Words
    candidate: BoolArray
    failed: BoolArray
    failure: IntArray
    length: FloatArray
    reward_score: FloatArray
    length_score: FloatArray

    @classmethod
    def of(cls, generations: Generations, settings: TpoSettings) -> Pool:
        samples = Samples(generations)
        parsed, length = _parts(generations, settings)
        rewards = generations.ragged("reward").values.astype(np.float64)
        usable = samples.usable(settings)
        known = np.isfinite(rewards)
        if settings.missing == "error":
            _check_rewards(samples, usable & parsed & ~known, rewards)
        candidate = usable & parsed & known
        failed = usable & ~parsed
        if settings.unparsed == "dropped":
            failed &= False
        prompts = words_of(generations.column("prompt_id"), settings.seed)
        at, n = np.flatnonzero(candidate), samples.n_prompts
        scores = np.zeros((2, len(rewards)))
        for row, values in zip(scores, (rewards, length), strict=True):
            row[at] = standardised(values[at], samples.rows[at], n)
        failure, _ = extremes(
            samples, np.zeros(len(rewards)), failed, prompts, settings.ties, (_FAILURE, _FAILURE)
        )
        return cls(samples, prompts, candidate, failed, failure, length, *scores)


@dataclass(frozen=True)
class Made:
    """Each prompt's pair at one price of length; arrays of shape (n_prompts,).

    Attributes
    ----------
    rho : float
    score : of the samples, shape (n_samples,)
    best, worst, rejected : flat sample indices; -1 for none
    kept : whether there is a pair
    failed : whether it rejects a text that couldn't be cut
    """

    rho: float
    score: FloatArray
    best: IntArray
    worst: IntArray
    rejected: IntArray
    kept: BoolArray
    failed: BoolArray

    def length_differences(self, pool: Pool) -> FloatArray:
        """Length of chosen minus rejected response, of the pairs of two responses."""
        both = self.kept & ~self.failed
        found: FloatArray = pool.length[self.best[both]] - pool.length[self.rejected[both]]
        return found

    def numbers(self, pool: Pool) -> dict[str, FloatArray]:
        """Score and length of both sides, NaN where there are none."""
        found: dict[str, FloatArray] = {}
        for side, index, has in (
            ("chosen", self.best, self.kept),
            ("rejected", self.rejected, self.kept & ~self.failed),
        ):
            for name, values in (("score", self.score), ("length", pool.length)):
                found[f"{side}_{name}"] = np.where(has, np.append(values, np.nan)[index], np.nan)
        return found


def make_pairs(pool: Pool, rho: float, settings: TpoSettings) -> Made:
    """Pair the highest with the lowest score, or with a text that couldn't be cut."""
    # Digits that subtraction makes up must not decide between equal scores.
    score = np.round(pool.reward_score - rho * pool.length_score, 12)
    best, worst = extremes(
        pool.samples, score, pool.candidate, pool.prompts, settings.ties, (_BEST, _WORST)
    )
    padded = np.append(score, np.nan)
    two = (best >= 0) & (worst >= 0)
    if settings.drop_ties:
        two &= padded[best] != padded[worst]
    failed = _capped((best >= 0) & (pool.failure >= 0), two, pool.prompts, settings)
    return Made(
        rho, score, best, worst, np.where(failed, pool.failure, worst), two | failed, failed
    )


def _capped(
    possible: BoolArray, without: BoolArray, prompts: Words, settings: TpoSettings
) -> BoolArray:
    """Draw the prompts whose pair rejects a failure, as many as the cap allows.

    Prompts are taken in a random order. One that has no pair `without` its failure adds a pair,
    and so room for others; the share is that of the pairs there are in the end.
    """
    at = np.flatnonzero(possible)
    at = at[np.argsort(drawn(prompts[at], _CAP, np.zeros_like(at)), kind="stable")]
    n_failures = np.arange(1, len(at) + 1)
    n_pairs = without.sum() + np.cumsum(~without[at])
    # Each further one adds 1 on the left and at most the share on the right: once over, always.
    fits = n_failures <= settings.max_failure_share * n_pairs + 1e-9
    failed = np.zeros(len(possible), dtype=bool)
    failed[at[fits]] = True
    return failed


def _parts(generations: Generations, settings: TpoSettings) -> tuple[BoolArray, FloatArray]:
    """Which texts have a response part, and its length."""
    column: Any = generations.column("response")
    if settings.response_part is not None:
        marker = settings.response_part
        column = map_lists(column, lambda text: part_of(text, marker))
    elif "final_response" in generations:
        column = generations.column("final_response")
        if not pc.list_value_length(column).equals(
            pc.list_value_length(generations.column("response"))
        ):
            raise InputError("column 'final_response' hasn't as many texts as 'response' per row")
    parsed, lengths = [], []
    for part in flat_parts(column):
        count = (
            pc.utf8_length(part)
            if settings.length == "characters"
            else pc.count_substring_regex(part, r"\S+")
        )
        parsed.append(part.is_valid().to_numpy(zero_copy_only=False))
        lengths.append(count.fill_null(0).cast(pa.float64()).to_numpy(zero_copy_only=False))
    return np.concatenate(parsed), np.concatenate(lengths)


def _check_rewards(samples: Samples, wrong: BoolArray, rewards: FloatArray) -> None:
    if not wrong.any():
        return
    at = int(np.argmax(wrong))
    row = int(samples.rows[at])
    what = "missing" if np.isnan(rewards[at]) else "infinite"
    more = "" if what == "missing" else " and a judge's prior_ties above 0 keeps it finite"
    raise InputError(
        f"column 'reward' is {what} for sample {samples.positions[at]} of row {row} (prompt_id "
        f"'{samples.generations.prompt_ids[row]}'); missing='drop' leaves it out{more}"
    )
