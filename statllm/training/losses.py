"""Preference losses: pure functions of per-sequence log-probabilities.

All log-probabilities are in nats, summed over the response tokens with the prompt masked; every
argument is a tensor of shape ``(n_pairs,)``, and so is every result. Nothing is averaged here:
the trainer divides the sum by the number of pairs of the optimizer batch.

The reference π_ref is the frozen model that the run starts from, M_t, which is also the model
that generated the responses.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def margin(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor
) -> Tensor:
    """Difference of the log-ratios of chosen and rejected, Δ, in nats.

    ``Δ = [log π(y+|x) − log π_ref(y+|x)] − [log π(y−|x) − log π_ref(y−|x)]``

    Rafailov et al. 2023 (arXiv 2305.18290), eq. 7. It is 0 where the policy is the reference.

    Examples
    --------
    >>> import torch
    >>> margin(torch.tensor(-20.0), torch.tensor(-30.0), torch.tensor(-22.0), torch.tensor(-28.0))
    tensor(4.)
    """
    return (policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)


def reward(policy: Tensor, ref: Tensor, beta: float) -> Tensor:
    """Implicit reward of a response, ``β [log π(y|x) − log π_ref(y|x)]`` (arXiv 2305.18290).

    Examples
    --------
    >>> import torch
    >>> reward(torch.tensor(-20.0), torch.tensor(-22.0), beta=0.5)
    tensor(1.)
    """
    return beta * (policy - ref)


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float,
) -> Tensor:
    """DPO's sigmoid loss per pair, ``−log σ(β Δ)`` (arXiv 2305.18290, eq. 7).

    It is ln 2 where the policy is the reference.

    Examples
    --------
    By hand: βΔ = .1 · 4, so log(1 + e^−.4) = 0.513015.

    >>> import torch
    >>> logps = [torch.tensor(x) for x in (-20.0, -30.0, -22.0, -28.0)]
    >>> print(f"{dpo_loss(*logps, beta=0.1):.6f} {dpo_loss(*logps, beta=0.5):.6f}")
    0.513015 0.126928
    """
    return -functional.logsigmoid(
        beta * margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    )


def rdpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    chosen_tokens: Tensor,
    rejected_tokens: Tensor,
    beta: float,
    length_penalty: float,
) -> Tensor:
    """Length-regularised DPO per pair, ``−log σ(β Δ + α (|y+| − |y−|))``.

    Park et al. 2024 (arXiv 2403.19159): DPO for a reward from which α is taken per token. Where the
    chosen response is the longer one by enough, the pair is satisfied without any margin; where it
    is the shorter one, more is asked for. Lengths are in tokens.

    Examples
    --------
    By hand: βΔ = .1 · 4, and .05 · (20 − 10) = .5, so log(1 + e^−.9).

    >>> import torch
    >>> logps = [torch.tensor(x) for x in (-20.0, -30.0, -22.0, -28.0)]
    >>> print(f"{rdpo_loss(*logps, torch.tensor(20), torch.tensor(10), 0.1, 0.05):.6f}")
    0.341154
    """
    delta = margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    longer = (chosen_tokens - rejected_tokens).to(delta.dtype)
    return -functional.logsigmoid(beta * delta + length_penalty * longer)


def ipo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float,
) -> Tensor:
    """IPO's squared loss per pair, ``(Δ − 1 / (2β))²`` (arXiv 2310.12036, eq. 17).

    β is the paper's τ. trl divides each log-probability by its response's tokens first: the paper
    doesn't say so, but its authors told trl's that their results were computed like that. The
    same β then asks for a margin that is a response's length larger.

    Examples
    --------
    By hand: Δ = 4 and 1 / (2 · .1) = 5, so (−1)².

    >>> import torch
    >>> ipo_loss(*[torch.tensor(x) for x in (-20.0, -30.0, -22.0, -28.0)], beta=0.1)
    tensor(1.)
    """
    delta = margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return (delta - 1 / (2 * beta)) ** 2


def hinge_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float,
) -> Tensor:
    """Hinge loss per pair, ``max(0, 1 − β Δ)``.

    That of SLiC (Zhao et al. 2023, arXiv 2305.10425, eq. 1) on the normalised likelihoods of
    statistical rejection sampling (Liu et al. 2023, arXiv 2309.06657, eq. 13).

    Examples
    --------
    By hand: 1 − .1 · 4.

    >>> import torch
    >>> hinge_loss(*[torch.tensor(x) for x in (-20.0, -30.0, -22.0, -28.0)], beta=0.1)
    tensor(0.6000)
    """
    delta = margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return functional.relu(1 - beta * delta)


def robust_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float,
    noise: float,
) -> Tensor:
    """DPO's loss without the bias of wrong labels, per pair.

    ``[(1 − ε) L(Δ) − ε L(−Δ)] / (1 − 2ε)`` with L the sigmoid loss: its mean over labels of which a
    share ε is swapped is DPO's on the right ones (Chowdhury et al. 2024, arXiv 2403.00409, eq. 12).

    Parameters
    ----------
    noise : float
        ε, the share of swapped labels, below 1/2.

    Examples
    --------
    By hand, with ε = .1: (.9 · 0.513015 − .1 · 0.913015) / .8.

    >>> import torch
    >>> logps = [torch.tensor(x) for x in (-20.0, -30.0, -22.0, -28.0)]
    >>> print(f"{robust_loss(*logps, beta=0.1, noise=0.1):.6f}")
    0.463015
    """
    right = dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta)
    swapped = dpo_loss(policy_rejected, policy_chosen, ref_rejected, ref_chosen, beta)
    return ((1 - noise) * right - noise * swapped) / (1 - 2 * noise)


def cdpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float,
    noise: float,
) -> Tensor:
    """Conservative DPO per pair, ``(1 − ε) L(Δ) + ε L(−Δ)`` (Mitchell 2023).

    Its optimum is a margin of ``log((1 − ε) / ε) / β`` instead of an infinite one.

    Examples
    --------
    By hand, with ε = .1: .9 · 0.513015 + .1 · 0.913015.

    >>> import torch
    >>> logps = [torch.tensor(x) for x in (-20.0, -30.0, -22.0, -28.0)]
    >>> print(f"{cdpo_loss(*logps, beta=0.1, noise=0.1):.6f}")
    0.553015
    """
    right = dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta)
    swapped = dpo_loss(policy_rejected, policy_chosen, ref_rejected, ref_chosen, beta)
    return (1 - noise) * right + noise * swapped


def simpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    chosen_tokens: Tensor,
    rejected_tokens: Tensor,
    beta: float,
    gamma: float,
) -> Tensor:
    """SimPO's loss per pair: log-probabilities per token, a target margin, no reference.

    ``−log σ(β log π(y+|x) / |y+| − β log π(y−|x) / |y−| − γ)`` (Meng et al. 2024, arXiv
    2405.14734, eq. 6).

    Examples
    --------
    By hand: 2 · (−20/40 + 30/40) − .5 = 0, so ln 2.

    >>> import torch
    >>> logps = [torch.tensor(x) for x in (-20.0, -30.0)]
    >>> tokens = [torch.tensor(40), torch.tensor(40)]
    >>> print(f"{simpo_loss(*logps, *tokens, beta=2.0, gamma=0.5):.6f}")
    0.693147
    """
    difference = policy_chosen / chosen_tokens - policy_rejected / rejected_tokens
    return -functional.logsigmoid(beta * difference - gamma)


def pm_loss(policy_chosen: Tensor, policy_rejected: Tensor, entropy: float) -> Tensor:
    """Preference matching per pair, ``−log σ(τ [log π(y+|x) − log π(y−|x)])``, no reference.

    Xiao et al. (2024, arXiv 2405.16455) maximise ``E[r − τ log π]`` with τ = 1 in place of the KL
    term of RLHF. Its maximum is ``π ∝ exp(r / τ)``, so ``r = τ log π + const``, which goes into
    the Bradley-Terry likelihood of the pairs as DPO's own reward does (arXiv 2305.18290, section
    4; the paper itself trains a reward model first). At τ = 1 the policy's odds between two
    responses become the odds with which raters prefer one to the other; at τ < 1 the majority's
    share is exaggerated. Nothing here holds the probability of all other texts: pairs must be
    responses that the model gives (the paper's *conditional* variant, which asks that only of
    natural responses), and `alpha` adds the chosen response's NLL.

    Parameters
    ----------
    policy_chosen, policy_rejected : Tensor
        Summed log-probabilities, nats; not per token, or odds would be of something else.
    entropy : float
        τ, the coefficient of −log π.

    Examples
    --------
    By hand: log(1 + e^−(−2 + 3)) and, at τ = .1, log(1 + e^−.1).

    >>> import torch
    >>> logps = [torch.tensor(x) for x in (-2.0, -3.0)]
    >>> print(f"{pm_loss(*logps, entropy=1.0):.6f} {pm_loss(*logps, entropy=0.1):.6f}")
    0.313262 0.644397
    """
    return -functional.logsigmoid(entropy * (policy_chosen - policy_rejected))


def nll_loss(chosen_logps: Tensor, chosen_tokens: Tensor) -> Tensor:
    """Negative log-likelihood of the chosen response per token of that response, per pair.

    ``−log π(y+|x) / |y+|``, with |y+| the response tokens alone (Pang et al. 2024, arXiv
    2404.19733 v3, eq. 1).

    Examples
    --------
    Two chosen responses of 20 and 200 tokens with a total of 10 and 300 nats. The papers average
    over pairs, (10/20 + 300/200) / 2 = 1; a mean over the tokens of a batch, as in trl, would let
    the long response weigh ten times as much, 310/220 = 1.409.

    >>> import torch
    >>> logps, tokens = torch.tensor([-10.0, -300.0]), torch.tensor([20, 200])
    >>> print(f"{nll_loss(logps, tokens).mean():.3f} {-logps.sum() / tokens.sum():.3f}")
    1.000 1.409
    """
    return -chosen_logps / chosen_tokens


def preference_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    chosen_tokens: Tensor,
    weight: Tensor,
    beta: float,
    alpha: float,
) -> Tensor:
    """Weighted DPO plus NLL per pair, ``w · (L_DPO + α · L_NLL)``.

    DPO is w = 1, α = 0; IRPO is w = 1, α = 1 (arXiv 2404.19733 v3); ScPO has the vote margin
    ``w(x) = (V(y+) − V(y−)) / k`` on both terms and α = 1 (Prasad et al. 2024, arXiv 2411.04109
    v3, eq. 3).

    Parameters
    ----------
    policy_chosen, policy_rejected, ref_chosen, ref_rejected : Tensor
        Summed log-probabilities, nats.
    chosen_tokens : Tensor
        Tokens of the chosen response, the end-of-sequence token included.
    weight : Tensor
        Of the pair; the mean is later taken over pairs, not over the sum of weights.
    beta, alpha : float
        Strength of the reference, and of the NLL term.

    Examples
    --------
    By hand, with |y+| = 40: IRPO at β = .1 is 0.513015 + 20/40; ScPO at β = .5 and w = .5 is
    .5 · (0.126928 + .5).

    >>> import torch
    >>> logps = [torch.tensor([x]) for x in (-20.0, -30.0, -22.0, -28.0)]
    >>> tokens = torch.tensor([40])
    >>> irpo = preference_loss(*logps, tokens, torch.tensor([1.0]), beta=0.1, alpha=1.0)
    >>> scpo = preference_loss(*logps, tokens, torch.tensor([0.5]), beta=0.5, alpha=1.0)
    >>> print(f"{irpo.item():.6f} {scpo.item():.6f}")
    1.013015 0.313464
    """
    dpo = dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta)
    return weight * (dpo + alpha * nll_loss(policy_chosen, chosen_tokens))
