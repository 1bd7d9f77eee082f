"""Does a policy prefer what its raters prefer, and as strongly? Laws over candidate responses."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import LARGEST, numbers
from statllm.estimators.comparison import TEstimate, mean_estimate

FloatArray = NDArray[np.float64]


def optimal_policy(
    rewards: ArrayLike,
    reference_logps: ArrayLike | None = None,
    beta: float = 0.0,
    entropy: float = 1.0,
) -> FloatArray:
    """Policy that maximises the reward with both regularisers, on a set of candidates.

    Of ``E[r - entropy log pi - beta log(pi / pi_ref)]`` the maximum is ``pi`` proportional to
    ``exp((r + beta log pi_ref) / (entropy + beta))``. KL-regularised RLHF, and DPO with unlimited
    data, is ``entropy = 0``; preference matching is ``beta = 0, entropy = 1``, where the policy is
    the Plackett-Luce law softmax(r) of the raters (Xiao et al. 2024, arXiv 2405.16455). A smaller
    sum than 1 exaggerates the majority: preference collapse.

    Parameters
    ----------
    rewards : array_like of float, shape (n_prompts, n_responses)
        Such that raters prefer y to y' with probability sigma(r - r').
    reference_logps : array_like of float, shape (n_prompts, n_responses), optional
        Log-probabilities of the same responses under the reference, nats, up to a constant per
        prompt. Default: all the same.
    beta, entropy : float
        Coefficients of the pull towards the reference and of -log pi; at least 0, not both 0.

    Returns
    -------
    ndarray of float64, shape (n_prompts, n_responses)
        Rows sum to 1.

    Raises
    ------
    ValueError
        If shapes differ, a number isn't finite, or a coefficient is wrong.

    Examples
    --------
    Of raters 51 % prefer the first answer. RLHF at beta = .02 all but drops the other.

    >>> rewards = [[np.log(0.51 / 0.49), 0.0]]
    >>> for beta in (1.0, 0.5, 0.1, 0.02):
    ...     print(f"{optimal_policy(rewards, beta=beta, entropy=0.0)[0, 0]:.3f}", end=" ")
    0.510 0.520 0.599 0.881
    >>> print(f"{optimal_policy(rewards)[0, 0]:.3f}")
    0.510
    """
    r = _rows(rewards, "rewards")
    ref = np.zeros_like(r) if reference_logps is None else _rows(reference_logps, "reference_logps")
    if ref.shape != r.shape:
        raise ValueError(f"reference_logps has shape {ref.shape}, rewards {r.shape}")
    for name, value in (("beta", beta), ("entropy", entropy)):
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be at least 0, not {value}")
    if beta + entropy == 0:
        raise ValueError("beta and entropy are both 0: the best policy is then the best response")
    return np.exp(_log_softmax((r + beta * ref) / (entropy + beta)))


def matching_divergence(
    rewards: ArrayLike,
    logps: ArrayLike,
    clusters: ArrayLike | None = None,
) -> TEstimate:
    """Mean over prompts of ``KL(softmax(r) || pi)`` among candidate responses, in nats.

    The preference-matching divergence of Xiao et al. (2024), with the policy's law restricted to
    the candidates: ``pi(y) / sum pi`` over them. 0 where the policy's odds between any two
    candidates are the raters'.

    Parameters
    ----------
    rewards : array_like of float, shape (n_prompts, n_responses)
        As for `optimal_policy`; log-probabilities of preferences do as well.
    logps : array_like of float, shape (n_prompts, n_responses)
        Summed log-probabilities of the responses under the policy, nats.
    clusters : array_like, shape (n_prompts,), optional

    Returns
    -------
    TEstimate

    Raises
    ------
    ValueError
        If shapes differ or a number isn't finite.

    Examples
    --------
    A policy that gives .881 to what .51 of the raters prefer: .51 ln(.51 / .881) + .49 ln(.49 /
    .119) = .4147 nats; one that gives .5 to .8 of them: ln 2 - H(.8) = .1927.

    >>> rewards = np.log([[0.51, 0.49], [0.8, 0.2]])
    >>> policy = np.log([[0.881, 0.119], [0.5, 0.5]])
    >>> print(f"{matching_divergence(rewards, policy).value:.4f}")
    0.3037
    """
    return mean_estimate(
        matching_divergences(rewards, logps), clusters, "preference-matching divergence", "nats"
    )


def matching_divergences(rewards: ArrayLike, logps: ArrayLike) -> FloatArray:
    """Return each prompt's divergence, of which `matching_divergence` is the mean.

    Parameters and errors as there; shape (n_prompts,), nats.

    Examples
    --------
    >>> matching_divergences([[0.0, 0.0]], [[-3.0, -3.0]])
    array([0.])
    """
    r, policy = _rows(rewards, "rewards"), _rows(logps, "logps")
    if policy.shape != r.shape:
        raise ValueError(f"logps has shape {policy.shape}, rewards {r.shape}")
    truth = _log_softmax(r)
    found: FloatArray = np.sum(np.exp(truth) * (truth - _log_softmax(policy)), axis=1)
    return np.maximum(found, 0.0)  # rounding


def _log_softmax(x: FloatArray) -> FloatArray:
    shifted = x - x.max(axis=1, keepdims=True)
    found: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def _rows(x: ArrayLike, name: str) -> FloatArray:
    values = numbers(x, name)
    if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] < 2:
        raise ValueError(
            f"{name} must have a row per prompt and 2 responses or more, not {values.shape}"
        )
    wrong = np.argwhere(~(np.abs(values) <= LARGEST))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(f"{name} is {values[row, column]:g} in row {row}, column {column}")
    return values
