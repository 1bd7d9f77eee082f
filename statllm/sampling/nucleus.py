"""The smallest set of most probable tokens with a given mass."""

from __future__ import annotations

import torch
from torch import Tensor

#: Most probable tokens that are looked at before the whole vocabulary is sorted.
_HEAD = 64


def nucleus(weights: Tensor, top_p: float, slack: float) -> tuple[Tensor, Tensor]:
    r"""Return the nucleus of each row, and how far rounding could move what is drawn from it.

    Tokens in order of falling weight, equal ones by id; a token is in when those before it have a
    mass below `top_p` (Holtzman et al. 2020). The first token always is.

    When weights may be off by a factor of :math:`\sqrt{s}` either way, a token is certainly in if
    the mass of all that might come before it has odds below those of `top_p` by more than the
    factor :math:`s`, and certainly out if those that surely come before it reach `top_p` by as
    much.

    Parameters
    ----------
    weights : Tensor, shape (rows, vocabulary)
        Non-negative, of any scale.
    top_p : float
        In (0, 1).
    slack : float
        :math:`s = e^{2\delta}` for log-probabilities that are off by at most :math:`\delta`.

    Returns
    -------
    kept : bool Tensor, shape (rows, vocabulary)
    wobble : float64 Tensor, shape (rows,)
        Bound on how much an edge of the distribution function over the nucleus moves when any
        of the uncertain tokens come in or go: twice their mass over that of the certain ones.

    Examples
    --------
    >>> kept, wobble = nucleus(torch.tensor([[0.2, 0.5, 0.3]]), top_p=0.7, slack=1.0)
    >>> kept.tolist(), wobble.item()
    ([[False, True, True]], 0.0)
    """
    total = weights.sum(-1, dtype=torch.float64)[:, None]
    kept = torch.zeros_like(weights, dtype=torch.bool)
    size = min(_HEAD, weights.shape[1])
    ids, values = _by_id(*weights.topk(size))
    inside, wobble, closed = _members(values, total, top_p, slack)
    kept.scatter_(1, ids, inside)
    if size < weights.shape[1] and not bool(closed.all()):
        rows = (~closed).nonzero()[:, 0]
        values, ids = weights[rows].sort(dim=-1, descending=True, stable=True)
        inside, wobble[rows], _ = _members(values, total[rows], top_p, slack)
        kept[rows] = kept[rows].scatter(1, ids, inside)
    return kept, wobble


def _by_id(values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Put equal values in the order of their ids; topk leaves that open."""
    ids, order = ids.sort(dim=-1)
    values, again = values.gather(1, order).sort(dim=-1, descending=True, stable=True)
    return ids.gather(1, again), values


def _members(
    values: Tensor, total: Tensor, top_p: float, slack: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Membership in sorted order, the wobble, and whether the last value is certainly out."""
    values = values.double()
    before = values.cumsum(-1).roll(1, -1)
    before[:, 0] = 0
    inside = before < top_p * total

    ascending = (-values).contiguous()
    reach = torch.cat([before, before[:, -1:] + values[:, -1:]], dim=-1)  # mass of the first k
    may_precede = torch.searchsorted(ascending, ascending / slack, right=True)
    do_precede = torch.searchsorted(ascending, ascending * slack, right=False)
    most = reach.gather(1, may_precede) - values
    least = reach.gather(1, do_precede)
    surely_in = most * (1 - top_p) * slack < top_p * (total - most)
    surely_out = least * (1 - top_p) >= slack * top_p * (total - least)
    uncertain = (values * ~(surely_in | surely_out)).sum(-1)
    certain = (values * surely_in).sum(-1)
    wobble = torch.where(uncertain > 0, 2 * uncertain / certain, 0.0)
    return inside, wobble, surely_out[:, -1]
