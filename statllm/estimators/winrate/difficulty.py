"""How hard instructions are, from many models' win rates on them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.winrate._logistic import expit
from statllm.estimators.winrate.length_controlled import Answers
from statllm.estimators.winrate.raw import outcomes

FloatArray = NDArray[np.float64]


def instruction_difficulty(
    models: Sequence[Answers], *, ridge: float = 0.5
) -> dict[Hashable, float]:
    """Estimate gamma_i of logit p_mi = theta_m + phi_m tanh(lead_mi) + gamma_i.

    The instruction's part of the win rates of `models` against one baseline: positive where they
    win more often than elsewhere. The sign doesn't matter to a later fit, which has its own psi.

    Leave out the model whose win rate is to be controlled: an instruction that it won by luck would
    look easy, and psi d_i would explain its luck.

    Parameters
    ----------
    models : sequence of Answers
        Ids are matched between models; not every model needs every id.
    ridge : float
        Penalty ridge * gamma^2, a normal prior of variance 1 / (2 ridge); and, for stability alone,
        a thousandth of it on theta and phi.

    Returns
    -------
    dict
        From id to gamma, nats.

    Raises
    ------
    ValueError
        If there are no models, or `ridge` isn't positive.

    Examples
    --------
    >>> easy = [Answers(["a", "b"], [1, 0], [9, 9], [9, 9]) for _ in range(4)]
    >>> {key: round(value, 3) for key, value in instruction_difficulty(easy).items()}
    {'a': 1.043, 'b': -1.043}
    """
    if not len(models):
        raise ValueError("there are no models")
    if not 0 < ridge < np.inf:
        raise ValueError(f"ridge must be positive and finite, not {ridge}")
    ids = {key: place for place, key in enumerate(dict.fromkeys(k for m in models for k in m.ids))}
    item = np.array([ids[key] for m in models for key in m.ids])
    model = np.repeat(np.arange(len(models)), [len(m.ids) for m in models])
    y = np.concatenate([outcomes(m.outcome) for m in models])
    z = np.concatenate([m.lead() for m in models])
    gamma = _fitted(y, z, model, item, len(models), len(ids), ridge)
    return dict(zip(ids, gamma.tolist(), strict=True))


def _fitted(
    y: FloatArray,
    z: FloatArray,
    model: NDArray[np.int64],
    item: NDArray[np.int64],
    m: int,
    n: int,
    ridge: float,
) -> FloatArray:
    """Newton's method; the block of gamma is diagonal, so it's eliminated."""
    small, b, gamma = ridge / 1000, np.zeros(2 * m), np.zeros(n)

    def cost(b: FloatArray, gamma: FloatArray) -> float:
        eta = b[model] + b[m + model] * z + gamma[item]
        penalty = ridge * gamma @ gamma + small * b @ b
        return float((np.logaddexp(0.0, eta) - y * eta).sum() + penalty)

    now = cost(b, gamma)
    for _ in range(100):
        p = expit(b[model] + b[m + model] * z + gamma[item])
        w, rest = p * (1 - p), y - p
        diagonal = np.bincount(item, w, n) + 2 * ridge
        g_item = np.bincount(item, rest, n) - 2 * ridge * gamma
        g_model = np.concatenate([np.bincount(model, rest, m), np.bincount(model, rest * z, m)])
        g_model -= 2 * small * b
        cross = np.concatenate(
            [np.bincount(model * n + item, v, m * n).reshape(m, n) for v in (w, w * z)]
        )
        own = 2 * small * np.eye(2 * m)
        at = np.arange(m)
        for row, column, v in ((0, 0, w), (0, m, w * z), (m, 0, w * z), (m, m, w * z * z)):
            own[at + row, at + column] += np.bincount(model, v, m)
        schur = own - (cross / diagonal) @ cross.T
        step = np.linalg.solve(schur, g_model - cross @ (g_item / diagonal))
        step_item = (g_item - cross.T @ step) / diagonal
        size = 1.0
        while (new := cost(b + size * step, gamma + size * step_item)) > now + 1e-13 * abs(now):
            size /= 2
            if size < 1e-10:
                break
        b, gamma, now = b + size * step, gamma + size * step_item, new
        if max(np.abs(step).max(), np.abs(step_item).max()) <= 1e-8:
            break
    return gamma
