"""The losses against arithmetic by hand, finite differences and symmetries."""

from __future__ import annotations

import math

import pytest
import torch

from statllm.training.losses import dpo_loss, margin, nll_loss, preference_loss, reward

LOGPS = [torch.tensor([x], dtype=torch.float64) for x in (-20.0, -30.0, -22.0, -28.0)]


@pytest.mark.parametrize(
    ("beta", "alpha", "weight", "expected"),
    [
        # log(1 + e^-0.4) + 20/40; 0.5 (log(1 + e^-2) + 20/40); the DPO term alone
        (0.1, 1.0, 1.0, 1.013015),
        (0.5, 1.0, 0.5, 0.313464),
        (0.1, 0.0, 1.0, 0.513015),
    ],
)
def test_hand_computed(beta: float, alpha: float, weight: float, expected: float) -> None:
    loss = preference_loss(
        *LOGPS, torch.tensor([40]), torch.tensor([weight], dtype=torch.float64), beta, alpha
    )
    assert loss.item() == pytest.approx(expected, abs=5e-7)


def test_nll_is_a_mean_per_sequence_not_per_token() -> None:
    logps, tokens = torch.tensor([-10.0, -300.0]), torch.tensor([20, 200])
    assert nll_loss(logps, tokens).mean().item() == pytest.approx(1.0)
    assert (-logps.sum() / tokens.sum()).item() == pytest.approx(1.409, abs=5e-4)


def test_swap_flips_the_margin() -> None:
    chosen, rejected, ref_chosen, ref_rejected = LOGPS
    there = margin(chosen, rejected, ref_chosen, ref_rejected)
    back = margin(rejected, chosen, ref_rejected, ref_chosen)
    assert there.item() == -back.item() == 4.0
    # -log s(x) and -log s(-x) differ by x
    gap = dpo_loss(rejected, chosen, ref_rejected, ref_chosen, 0.3) - dpo_loss(*LOGPS, 0.3)
    assert gap.item() == pytest.approx(0.3 * 4.0)


def test_reward_gap_is_beta_times_margin() -> None:
    chosen, rejected, ref_chosen, ref_rejected = LOGPS
    gap = reward(chosen, ref_chosen, 0.2) - reward(rejected, ref_rejected, 0.2)
    assert gap.item() == pytest.approx(0.2 * 4.0)


def test_ln2_where_policy_is_reference() -> None:
    logps = torch.tensor([-3.0, -500.0])
    assert torch.allclose(dpo_loss(logps, logps, logps, logps, 0.7), torch.tensor(math.log(2)))


def test_extreme_margins_stay_finite() -> None:
    zero = torch.zeros(2)
    loss = dpo_loss(torch.tensor([1e4, -1e4]), zero, zero, zero, 1.0)
    assert loss.tolist() == [0.0, 1e4]


def test_gradient_against_finite_differences() -> None:
    torch.manual_seed(0)
    logps = [(-20 * torch.rand(5, dtype=torch.float64)).requires_grad_() for _ in range(2)]
    refs = [-20 * torch.rand(5, dtype=torch.float64) for _ in range(2)]
    weight = torch.rand(5, dtype=torch.float64)
    tokens = torch.arange(1, 6)

    def loss(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        return preference_loss(chosen, rejected, *refs, tokens, weight, 0.3, 1.5)

    assert torch.autograd.gradcheck(loss, logps)
