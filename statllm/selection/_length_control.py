"""Rewards with a price on length, standardised within each prompt."""

from __future__ import annotations

import numpy as np

from statllm.ragged import FloatArray, IntArray, Ragged

_DIGITS = 12  # what subtraction makes up beyond them must not decide between equal scores


def length_controlled(rewards: Ragged, lengths: Ragged, rho: float) -> Ragged:
    """Take `rho` times the length from the reward, both in units of their spread in the prompt.

    ``s_k = N(r_k) - rho N(l_k)`` with ``N(v_k) = (v_k - mean v) / sd v`` over the responses of one
    prompt (Wu et al. 2024, arXiv 2410.10630, length control). The paper doesn't say which standard
    deviation; this is that of the K responses themselves (ddof=0). Where all values of a prompt
    are equal, N is 0: nothing is known from them.

    Parameters
    ----------
    rewards, lengths : Ragged
        One value per response, rows of equal lengths; finite. Any unit: N has none.
    rho : float
        Price of one standard deviation of length, in standard deviations of reward.

    Returns
    -------
    Ragged
        Scores, rounded to 12 digits.

    Examples
    --------
    >>> rewards = Ragged.from_lists([[0.10, 0.14, 0.12, 0.16]])
    >>> lengths = Ragged.from_lists([[100, 200, 150, 400]])
    >>> length_controlled(rewards, lengths, 0.5).values.round(3)
    array([-0.848,  0.502, -0.173,  0.518])
    """
    n = rewards.n_rows
    scores = standardised(rewards.values, rewards.rows, n)
    scores = scores - rho * standardised(lengths.values, lengths.rows, n)
    return rewards.with_values(np.round(scores, _DIGITS) + 0.0)


def standardised(values: FloatArray, groups: IntArray, n_groups: int) -> FloatArray:
    """Return (value - mean) / sd within each group; 0 in a group of equal values."""
    values = np.asarray(values, dtype=np.float64)
    low, high = np.full(n_groups, np.inf), np.full(n_groups, -np.inf)
    np.minimum.at(low, groups, values)
    np.maximum.at(high, groups, values)
    counts = np.maximum(np.bincount(groups, minlength=n_groups), 1)
    mean = np.bincount(groups, values, n_groups) / counts
    centred = values - mean[groups]
    sd = np.sqrt(np.bincount(groups, centred**2, n_groups) / counts)
    varies = low < high  # sd alone would be 1e-17 where rounding moves the mean of equal values
    return np.where(varies[groups], centred / np.where(varies, sd, 1.0)[groups], 0.0)
