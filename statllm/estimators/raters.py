"""How much of the reward variance is rater noise, where responses are rated repeatedly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.comparison import mean_estimate, ratio_estimate
from statllm.ragged import Ragged
from statllm.results import Estimate

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RaterNoise:
    """Reward variance of each prompt, split in two; every array has length n_prompts.

    Attributes
    ----------
    n_responses, n_ratings : ndarray of int64
        Responses with at least one rating, and ratings.
    n_missing : ndarray of int64
        Ratings that were null or NaN; they are left out.
    degrees : ndarray of int64
        Degrees of freedom within responses, n_ratings - n_responses.
    rater_variance : ndarray of float64
        Variance of ratings of one response, pooled over the prompt's responses.
    noise_variance : ndarray of float64
        Its part of the variance of rewards, `rater_variance` * mean(1 / m_i).
    reward_variance : ndarray of float64
        Variance (ddof=1) of the responses' rewards, each the mean of its ratings.
    between_variance : ndarray of float64
        `reward_variance` - `noise_variance`: unbiased for the variance of what the raters would
        say on average, so it may be negative in a single prompt and isn't cut off at 0.

    Notes
    -----
    The model is rating_ij = quality_i + error_ij with independent errors of one variance in a
    prompt. Whatever the m_i, the sample variance of independent means has expectation
    var(quality) + mean(rater variance / m_i), which gives the split (method of moments). NaN where
    a prompt has fewer than two responses, or no response that was rated twice.

    Data-set figures average over prompts where the split is defined; their errors treat the
    prompt as the sampling unit.
    """

    n_responses: IntArray
    n_ratings: IntArray
    n_missing: IntArray
    degrees: IntArray
    rater_variance: FloatArray
    noise_variance: FloatArray
    reward_variance: FloatArray
    between_variance: FloatArray

    @property
    def _split(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.between_variance)

    def pooled_rater_variance(self) -> Estimate:
        """Variance of ratings of one response, pooled over all prompts by degrees of freedom."""
        rated = self.degrees > 0
        squares = self.rater_variance[rated] * self.degrees[rated]
        return ratio_estimate(squares, self.degrees[rated], name="rater variance")

    def mean_reward_variance(self) -> Estimate:
        """Mean over prompts of the variance of rewards."""
        return mean_estimate(self.reward_variance[self._split], name="reward variance")

    def mean_noise_variance(self) -> Estimate:
        """Mean over prompts of the part that is rater noise."""
        return mean_estimate(self.noise_variance[self._split], name="rater noise in rewards")

    def mean_between_variance(self) -> Estimate:
        """Mean over prompts of the part that lies between responses."""
        return mean_estimate(self.between_variance[self._split], name="between-response variance")

    def reliability(self) -> Estimate:
        """Share of the reward variance that lies between responses (a ratio of the means)."""
        return ratio_estimate(
            self.between_variance[self._split], self.reward_variance[self._split], "reliability"
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row per prompt."""
        import pandas as pd

        return pd.DataFrame(dict(vars(self)))


def rater_noise(ratings: Any) -> RaterNoise:
    """Split the variance of rewards that are means of repeated ratings.

    Parameters
    ----------
    ratings : pyarrow column of list<list<number>>, or nested lists
        ``ratings[prompt][response]`` holds the ratings of one response; numbers of responses and
        of ratings may vary. Null and NaN ratings are left out.

    Returns
    -------
    RaterNoise

    Raises
    ------
    InputError
        If the nesting isn't prompt, response, rating.

    Examples
    --------
    >>> split = rater_noise([[[1, 3], [4, 6], [8, 8]]])
    >>> split.reward_variance, split.noise_variance.round(4), split.between_variance.round(4)
    (array([9.]), array([0.6667]), array([8.3333]))
    """
    by_response, responses = _two_levels(ratings)
    missing = by_response.with_values(np.isnan(by_response.values).astype(np.int64)).sum()
    rated = by_response.keep(~np.isnan(by_response.values))
    m = rated.lengths
    # One row per prompt, one value per response that has a rating.
    every = Ragged.from_lengths(rated.mean(), responses)
    rewards = every.keep(m > 0)
    counts = rewards.with_values(m[m > 0])
    squares = every.with_values(rated.with_values(_centred(rated) ** 2).sum()).sum()
    degrees = (counts.sum() - rewards.lengths).astype(np.int64)
    rater = np.full(len(degrees), np.nan)
    np.divide(squares, degrees, out=rater, where=degrees > 0)
    noise = rater * counts.with_values(1 / counts.values).mean()
    reward_variance = rewards.var()
    return RaterNoise(
        n_responses=rewards.lengths,
        n_ratings=counts.sum().astype(np.int64),
        n_missing=every.with_values(missing).sum().astype(np.int64),
        degrees=degrees,
        rater_variance=rater,
        noise_variance=noise,
        reward_variance=reward_variance,
        between_variance=reward_variance - noise,
    )


def _centred(rows: Ragged) -> FloatArray:
    """Values less their row's mean."""
    centred: FloatArray = rows.values - rows.mean()[rows.rows]
    return centred


def _two_levels(ratings: Any) -> tuple[Ragged, IntArray]:
    """Ratings with one row per response, and the number of responses of each prompt."""
    import pyarrow as pa

    try:
        if not isinstance(ratings, pa.Array | pa.ChunkedArray):
            ratings = pa.array(ratings.tolist() if isinstance(ratings, np.ndarray) else ratings)
        column = ratings.cast(pa.large_list(pa.large_list(pa.float64())))
    except pa.ArrowException as error:
        raise InputError(f"ratings must be nested prompt > response > rating: {error}") from None
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    responses = column.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    by_response = Ragged.from_arrow(column.flatten())
    return by_response.with_values(by_response.values.astype(np.float64)), responses
