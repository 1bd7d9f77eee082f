"""The best and the worst response of each prompt, ties drawn by the seed."""

from __future__ import annotations

from typing import Literal

import numpy as np

from statllm.ragged import BoolArray, FloatArray, IntArray
from statllm.selection._draws import Words, drawn, first_of_each
from statllm.selection._samples import Samples


def extremes(
    samples: Samples,
    values: FloatArray,
    usable: BoolArray,
    prompts: Words,
    ties: Literal["random", "first"],
    purposes: tuple[int, int],
) -> tuple[IntArray, IntArray]:
    """Flat index of each prompt's highest and lowest value, two different samples; -1 for none.

    Parameters
    ----------
    samples : Samples
    values : ndarray of float64, shape (n_samples,)
        Finite where `usable`.
    usable : ndarray of bool, shape (n_samples,)
    prompts : ndarray of uint64, shape (n_prompts,)
        Random words of the prompts.
    ties : {"random", "first"}
    purposes : (int, int)
        Of the two draws.
    """
    at = np.flatnonzero(usable)
    best = _lowest(samples, at, -values[at], prompts, purposes[0], ties)
    at = at[at != best[samples.rows[at]]]
    return best, _lowest(samples, at, values[at], prompts, purposes[1], ties)


def _lowest(
    samples: Samples,
    at: IntArray,
    values: FloatArray,
    prompts: Words,
    purpose: int,
    ties: Literal["random", "first"],
) -> IntArray:
    """Of the samples `at`, each prompt's one with the lowest value; -1 for none."""
    lowest = np.full(samples.n_prompts, np.inf)
    np.minimum.at(lowest, samples.rows[at], values)
    at = at[values == lowest[samples.rows[at]]]
    rows, places = samples.rows[at], samples.positions[at]
    tie = places if ties == "first" else drawn(prompts[rows], purpose, places)
    first = first_of_each(rows, samples.n_prompts, tie)
    return np.where(first >= 0, np.append(at, -1)[first], -1)
