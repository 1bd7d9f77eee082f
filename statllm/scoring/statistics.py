"""The statistics of each prompt's votes, verdicts and rewards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.entropies.estimate import entropy
from statllm.estimators.votes import VoteTable, vote_counts
from statllm.generations import Generations
from statllm.ragged import BoolArray, Ragged
from statllm.scoring._columns import as_lists, flat_values, lengths_of
from statllm.scoring.metrics import metric_columns
from statllm.scoring.settings import ScoringSettings

_VOTE_COUNTS = ("n_votes", "n_distinct", "n_tied")
_VOTE_NUMBERS = (
    "vote_share",
    "vote_share_low",
    "vote_share_high",
    "vote_margin",
    "vote_entropy",
    "vote_entropy_se",
    "mode_probability",
)


def prompt_statistics(scored: Generations, settings: ScoringSettings) -> dict[str, Any]:
    """Return the per-prompt columns of `statllm.scoring.score`."""
    main = vote_pool(scored)
    votes = _votes(scored, main)
    return {
        "n_samples": pa.array(Ragged.from_lengths(main, scored.n_samples).keep(main).lengths),
        **_vote_columns(votes, scored.n_prompts, settings),
        **_verdict_columns(scored, main, votes, settings),
        **_reward_columns(scored, main, settings),
        **metric_columns(scored, main, settings),
    }


def vote_pool(generations: Generations) -> BoolArray:
    """Return which samples make up the statistics: all whose ``pool`` isn't "extra".

    Raises
    ------
    InputError
        If ``pool`` doesn't fit the samples or holds another word.
    """

    lengths = generations.n_samples
    if "pool" not in generations:
        return np.ones(int(lengths.sum()), dtype=bool)
    column = generations.column("pool")
    texts = pa.types.is_list(column.type) and pa.types.is_string(column.type.value_type)
    if not texts or not np.array_equal(lengths_of(column), lengths):
        raise InputError("column 'pool' must be a list with one of 'vote', 'extra' per sample")
    pool = flat_values(column)
    for word in pc.unique(pool).to_pylist():
        if word not in ("vote", "extra"):
            raise InputError(f"column 'pool' holds {word!r}; only 'vote' and 'extra' are known")
    main: NDArray[np.bool_] = pc.equal(pool, "vote").to_numpy(zero_copy_only=False)
    return main


def _votes(scored: Generations, main: BoolArray) -> VoteTable | None:
    """Votes of the main pool; None where no answers were looked for."""
    if "answer" not in scored:
        return None
    lengths = Ragged.from_lengths(main, scored.n_samples).keep(main).lengths
    return vote_counts(
        as_lists(flat_values(scored.column("answer")).filter(pa.array(main)), lengths)
    )


def _vote_columns(
    votes: VoteTable | None, n_prompts: int, settings: ScoringSettings
) -> dict[str, Any]:
    """The statistics of the votes; null throughout without answers."""
    if votes is None:
        return {
            **dict.fromkeys(_VOTE_COUNTS, pa.nulls(n_prompts, pa.int64())),
            "majority_answer": pa.nulls(n_prompts, pa.string()),
            **dict.fromkeys(_VOTE_NUMBERS, pa.nulls(n_prompts, pa.float64())),
        }
    low, high = votes.share_interval(settings.interval, settings.level)
    estimated = entropy(votes.counts, settings.entropy, n_categories=settings.n_categories)
    numbers = (
        votes.share,
        low,
        high,
        votes.margin,
        estimated.value,
        estimated.se,
        votes.mode_probability(),
    )
    none = votes.n_votes == 0
    return {
        **{name: pa.array(getattr(votes, name)) for name in _VOTE_COUNTS},
        "majority_answer": votes.majority(settings.ties, settings.seed).cast(pa.string()),
        **{
            name: _nullable(np.where(none, np.nan, values))
            for name, values in zip(_VOTE_NUMBERS, numbers, strict=True)
        },
    }


def _verdict_columns(
    scored: Generations, main: BoolArray, votes: VoteTable | None, settings: ScoringSettings
) -> dict[str, Any]:
    """The share of right samples; whether the majority is right, and the majority answer.

    The former counts 1/m for m tied answers, the latter breaks the tie.
    """
    if "correct" not in scored:
        return {}
    verdicts = scored.column("correct").cast(pa.list_(pa.int8())).cast(pa.list_(pa.float64()))
    correct = Ragged.from_arrow(verdicts).keep(main)
    columns = {"pass_rate": _nullable(correct.mean())}
    if votes is not None:
        of_sample = votes.votes_of_samples
        most = of_sample.with_values(of_sample.values.astype(np.float64)).max()
        winning = (of_sample.values > 0) & (of_sample.values == most[of_sample.rows])
        # Tied answers have equally many samples: the mean over samples is the mean over answers.
        majority = correct.keep(winning).mean()
        voteless = (votes.n_votes == 0) & _judged(scored, correct)
        majority[voteless] = 0.0
        columns["majority_correct"] = _nullable(majority)
        picked = votes.majority_codes(settings.ties, settings.seed)
        agrees = (votes.samples.values >= 0) & (votes.samples.values == picked[correct.rows])
        right = correct.keep(agrees).max()  # verdicts on equal answers can differ: one suffices
        right[voteless] = 0.0
        columns["majority_answer_correct"] = _nullable(right)
    return columns


def _judged(scored: Generations, correct: Ragged) -> BoolArray:
    """Which prompts have a known right answer."""
    if "reference" in scored:
        known: BoolArray = scored.column("reference").is_valid().to_numpy()
        return known
    return ~np.isnan(correct.mean())


def _reward_columns(
    scored: Generations, main: BoolArray, settings: ScoringSettings
) -> dict[str, Any]:
    """The statistics of the rewards; null throughout where there are none."""
    names = ("reward_mean", "reward_var", "reward_gap")
    if "reward" not in scored:
        return dict.fromkeys(names, pa.nulls(scored.n_prompts, pa.float64()))
    if settings.missing_rewards == "error":
        check_rewards(scored, "missing_rewards")
    rewards = scored.ragged("reward")
    if settings.missing_rewards == "drop":
        main = main & np.isfinite(rewards.values)
    rewards = rewards.keep(main)
    return {
        "reward_mean": _nullable(rewards.mean()),
        "reward_var": _nullable(rewards.var()),
        "reward_gap": _nullable(rewards.max() - rewards.min()),
    }


def check_rewards(generations: Generations, setting: str) -> None:
    """Refuse null, NaN and infinite rewards; `setting` is the name of the other choice.

    Raises
    ------
    InputError
        Names the prompt and the sample.
    """
    rewards = generations.ragged("reward")
    wrong = np.flatnonzero(~np.isfinite(rewards.values.astype(np.float64)))
    if len(wrong):
        row, place = int(rewards.rows[wrong[0]]), int(rewards.positions[wrong[0]])
        raise InputError(
            f"column 'reward' is missing or not finite for sample {place} of row {row} (prompt_id "
            f"'{generations.prompt_ids[row]}'); {setting}='drop' leaves such samples out"
        )


def _nullable(values: NDArray[np.float64]) -> pa.Array:
    """Floats with NaN as null."""
    return pa.array(values, pa.float64(), from_pandas=True)
