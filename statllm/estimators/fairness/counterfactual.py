"""Pairs of prompts that differ in nothing but the group."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators._arrays import LARGEST, numbers
from statllm.estimators.comparison import paired_difference
from statllm.results import Estimate


def counterfactual_gap(
    score: ArrayLike,
    swapped: ArrayLike,
    clusters: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
    absolute: bool = False,
) -> Estimate:
    """Mean change of a score when the group named in the prompt is swapped.

    The scores may be verdicts, rewards, or log p of an answer. The mean of differences shows a
    bias in one direction; that of absolute ones shows any dependence on the group, and is positive
    for a sampled score even without a bias: compare it with that of two samples of one prompt.

    Parameters
    ----------
    score, swapped : array_like of float, shape (n,)
        Prompt by prompt; positive means that the swapped prompt scores higher.
    clusters : array_like, shape (n,), optional
        Templates, where one template makes several pairs.
    missing : {"raise", "drop"}
    absolute : bool

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        If there is no pair, a score is infinite (its row is named), or as `paired_difference`.

    Examples
    --------
    >>> found = counterfactual_gap([1.0, 0.5, 0.2, 0.9], [0.8, 0.4, 0.2, 0.6])
    >>> f"{found.value:.2f} {found.interval():.2f}"
    '-0.15 [-0.36, 0.06]'
    """
    before, after = numbers(score, "score"), numbers(swapped, "swapped")
    if before.ndim != 1 or before.shape != after.shape or not len(before):
        raise ValueError(
            f"score and swapped must be of one length and not empty, not {before.shape}, "
            f"{after.shape}"
        )
    for name, x in (("score", before), ("swapped", after)):
        wrong = np.flatnonzero(np.abs(x) > LARGEST)
        if len(wrong):
            raise ValueError(f"{name} is {x[wrong[0]]:g} in row {wrong[0]}")
    if not absolute:
        return paired_difference(before, after, clusters, missing, "counterfactual gap")
    size = np.abs(after - before)
    return paired_difference(
        np.zeros_like(size), size, clusters, missing, "absolute counterfactual gap"
    )
