"""Pairs of prompts that differ in nothing but the group."""

from __future__ import annotations

from typing import Literal

from numpy.typing import ArrayLike

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
        As `paired_difference`.

    Examples
    --------
    >>> found = counterfactual_gap([1.0, 0.5, 0.2, 0.9], [0.8, 0.4, 0.2, 0.6])
    >>> f"{found.value:.2f} {found.interval():.2f}"
    '-0.15 [-0.36, 0.06]'
    """
    if not absolute:
        return paired_difference(score, swapped, clusters, missing, "counterfactual gap")
    import numpy as np

    size = np.abs(np.asarray(swapped, np.float64) - np.asarray(score, np.float64))
    return paired_difference(
        np.zeros_like(size), size, clusters, missing, "absolute counterfactual gap"
    )
