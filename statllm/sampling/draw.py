"""One token per row from next-token logits, and whether the choice could hang on rounding."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from statllm.sampling.nucleus import nucleus

#: Logits that are worked on at a time; bounds the memory for float64 sums over the vocabulary.
_CHUNK = 2**22


class Draw(NamedTuple):
    """One token per row; every tensor has shape (rows,)."""

    token: Tensor
    """int64"""
    logprob: Tensor
    """Nats, under the distribution that the token was drawn from; float64. 0 when greedy."""
    logprob_model: Tensor
    """Nats, under the model itself (temperature 1, every token); float64."""
    certain: Tensor
    """False where errors of `near_tie` in the log-probabilities could give another token."""


def draw(logits: Tensor, u: Tensor, temperature: float, top_p: float, near_tie: float) -> Draw:
    r"""Draw by inverting the distribution function, tokens in the order of their ids.

    The token is the first whose cumulative probability :math:`C_t` exceeds `u`. If every
    log-probability is off by at most :math:`\delta`, the odds of any fixed set of tokens are off
    by a factor of at most :math:`e^{2\delta}`; the choice is therefore certain when

    .. math:: |\mathrm{logit}(u) - \mathrm{logit}(C)| > 2\delta
       \quad\text{for both edges } C \in \{C_{t-1}, C_t\}.

    With a nucleus, tokens whose membership is itself uncertain may move the edges by their mass,
    which is added to the distance that is asked for.

    Parameters
    ----------
    logits : Tensor, shape (rows, vocabulary)
        Any floating type; worked on in float32, sums in float64.
    u : Tensor, shape (rows,)
        Uniform numbers in (0, 1), float64. Not used when greedy.
    temperature : float
        0 is greedy; of equal logits the lowest token id wins.
    top_p : float
        Nucleus mass in (0, 1].
    near_tie : float
        :math:`\delta` in nats, before temperature.

    Raises
    ------
    FloatingPointError
        If a row has no finite normaliser (NaN or infinite logits).

    Examples
    --------
    >>> logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    >>> draw(logits, torch.tensor([0.79]).double(), 1.0, 1.0, 1e-4).token.item()
    1
    >>> draw(logits, torch.tensor([0.80001]).double(), 1.0, 1.0, 1e-4).certain.item()
    False
    """
    rows = max(1, _CHUNK // logits.shape[1])
    parts = [
        _draw(part.float(), numbers, temperature, top_p, near_tie)
        for part, numbers in zip(torch.split(logits, rows), torch.split(u, rows), strict=True)
    ]
    return Draw(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _draw(logits: Tensor, u: Tensor, temperature: float, top_p: float, near_tie: float) -> Draw:
    normaliser = logits.logsumexp(-1)
    if not bool(normaliser.isfinite().all()):
        raise FloatingPointError("the model's logits are NaN or infinite")
    if temperature == 0:
        return _greedy(logits, normaliser, near_tie)
    slack = math.exp(2 * near_tie / temperature)
    scaled = logits / temperature
    top = scaled.amax(-1, keepdim=True)
    weights = (scaled - top).exp_()
    wobble = torch.zeros_like(u)
    if top_p < 1:
        kept, wobble = nucleus(weights, top_p, slack)
        weights = weights * kept

    cumulative = weights.cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1]
    # u * total may round up to the total, which no token exceeds
    target = torch.minimum(u * total, total.nextafter(torch.zeros_like(total)))
    token = torch.searchsorted(cumulative, target[:, None], right=True)
    upper = cumulative.gather(1, token)[:, 0]
    lower = torch.where(token == 0, 0.0, cumulative.gather(1, (token - 1).clamp(min=0)))[:, 0]
    shift = wobble * total
    certain = _odds_above(upper - shift, total, u, slack) & _odds_above(
        total - lower - shift, total, 1 - u, slack
    )
    logprob = (scaled - top).gather(1, token)[:, 0].double() - total.log()
    return Draw(token[:, 0], logprob, _model_logprob(logits, normaliser, token), certain)


def _odds_above(mass: Tensor, total: Tensor, u: Tensor, slack: float) -> Tensor:
    """Whether the odds of mass / total exceed those of `u` by more than the factor `slack`."""
    return mass * (1 - u) > slack * u * (total - mass)


def _greedy(logits: Tensor, normaliser: Tensor, near_tie: float) -> Draw:
    token = logits.argmax(-1, keepdim=True)  # the first of several maxima
    best = logits.topk(min(2, logits.shape[1])).values
    certain = best[:, 0] - best[:, -1] > 2 * near_tie
    logprob_model = _model_logprob(logits, normaliser, token)
    return Draw(token[:, 0], torch.zeros_like(logprob_model), logprob_model, certain)


def _model_logprob(logits: Tensor, normaliser: Tensor, token: Tensor) -> Tensor:
    return logits.gather(1, token)[:, 0].double() - normaliser.double()
