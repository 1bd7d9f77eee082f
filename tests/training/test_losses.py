"""The losses against arithmetic by hand, finite differences and symmetries."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from statllm.training.losses import (
    cdpo_loss,
    dpo_loss,
    hinge_loss,
    ipo_loss,
    margin,
    nll_loss,
    pm_loss,
    preference_loss,
    rdpo_loss,
    reward,
    robust_loss,
    simpo_loss,
)

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
TOKENS = torch.tensor([40, 10, 7]), torch.tensor([20, 30, 9])
# Each as a function of the four log-probabilities alone.
LOSSES: dict[str, Loss] = {
    "dpo": lambda c, r, rc, rr: dpo_loss(c, r, rc, rr, 0.3),
    "ipo": lambda c, r, rc, rr: ipo_loss(c, r, rc, rr, 0.3),
    "hinge": lambda c, r, rc, rr: hinge_loss(c, r, rc, rr, 0.3),
    "robust": lambda c, r, rc, rr: robust_loss(c, r, rc, rr, 0.3, 0.2),
    "cdpo": lambda c, r, rc, rr: cdpo_loss(c, r, rc, rr, 0.3, 0.2),
    "rdpo": lambda c, r, rc, rr: rdpo_loss(c, r, rc, rr, *TOKENS, 0.3, 0.05),
    "simpo": lambda c, r, rc, rr: simpo_loss(c, r, *TOKENS, 2.0, 0.5),
    "pm": lambda c, r, rc, rr: pm_loss(c, r, 0.3),
}

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


# ---- the other losses ---------------------------------------------------------------------------


def at_margin(*delta: float) -> list[torch.Tensor]:
    """Log-probabilities with these margins; the policy's chosen ones carry the gradient."""
    zero = torch.zeros(len(delta), dtype=torch.float64)
    return [torch.tensor(delta, dtype=torch.float64).requires_grad_(), zero, zero, zero]


def slope(loss: Loss, *delta: float) -> list[float]:
    """Derivative of a loss with respect to the margin."""
    logps = at_margin(*delta)
    (found,) = torch.autograd.grad(loss(*logps).sum(), logps[0])
    values: list[float] = found.tolist()
    return values


def test_others_hand_computed() -> None:
    """Δ = 4, β = .1, ε = .2: L(Δ) = log(1 + e^-.4) = .513015 and L(−Δ) = .913015."""
    found = [
        ipo_loss(*LOGPS, 0.1),  # (4 - 5)²
        ipo_loss(*LOGPS, 0.5),  # (4 - 1)²
        hinge_loss(*LOGPS, 0.1),  # 1 - .4
        hinge_loss(*LOGPS, 0.5),  # beyond the margin
        robust_loss(*LOGPS, 0.1, 0.2),  # (.8 · .513015 - .2 · .913015) / .6
        cdpo_loss(*LOGPS, 0.1, 0.2),  # .8 · .513015 + .2 · .913015
        # log(1 + e^-(2 (-20/40 + 30/20) - .5)) = log(1 + e^-1.5)
        simpo_loss(*LOGPS[:2], torch.tensor([40]), torch.tensor([20]), 2.0, 0.5),
    ]
    expected = [1.0, 9.0, 0.6, 0.0, 0.379682, 0.593015, 0.201413]
    assert torch.cat(found).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_against_finite_differences(name: str) -> None:
    torch.manual_seed(1)
    logps = [-20 * torch.rand(3, dtype=torch.float64) for _ in range(4)]
    policy = [part.requires_grad_() for part in logps[:2]]
    assert torch.autograd.gradcheck(lambda c, r: LOSSES[name](c, r, *logps[2:]), policy)


@pytest.mark.parametrize("name", LOSSES)
def test_a_pair_does_not_move_another_and_extremes_stay_finite(name: str) -> None:
    logps = at_margin(3.0, -2.0, 0.5)
    loss = LOSSES[name](*logps)
    assert loss.shape == (3,)
    (gradient,) = torch.autograd.grad(loss[1], logps[0])
    assert gradient[[0, 2]].tolist() == [0, 0]
    far = at_margin(1e5, -1e5, 0.0)
    (gradient,) = torch.autograd.grad(LOSSES[name](*far).sum(), far[0])
    assert gradient.isfinite().all()
    assert LOSSES[name](*far).isfinite().all()


def test_slope_of_dpo() -> None:
    """−β σ(−β Δ), eq. 7's derivative."""
    expected = [-0.3 / (1 + math.exp(0.3 * delta)) for delta in (-5.0, 0.0, 2.0)]
    assert slope(LOSSES["dpo"], -5.0, 0.0, 2.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "optimum"),
    [("ipo", 1 / (2 * 0.3)), ("cdpo", math.log(0.8 / 0.2) / 0.3)],
)
def test_where_a_loss_is_least(name: str, optimum: float) -> None:
    below, at, above = slope(LOSSES[name], optimum - 1, optimum, optimum + 1)
    assert below < 0 < above
    assert at == pytest.approx(0, abs=1e-9)


def test_hinge_stops_at_its_margin() -> None:
    assert slope(LOSSES["hinge"], -50.0, 3.0, 3.4) == pytest.approx([-0.3, -0.3, 0])


def test_robust_is_dpo_on_average_over_swapped_labels() -> None:
    """E over labels of which a share ε is swapped, each margin with both (eq. 12)."""
    logps = at_margin(-4.0, 0.0, 7.0)
    swapped = [logps[1], logps[0], logps[3], logps[2]]
    mean = 0.8 * LOSSES["robust"](*logps) + 0.2 * LOSSES["robust"](*swapped)
    assert torch.allclose(mean, LOSSES["dpo"](*logps))
    mean = 0.8 * LOSSES["dpo"](*logps) + 0.2 * LOSSES["dpo"](*swapped)
    assert torch.allclose(mean, LOSSES["cdpo"](*logps))


@pytest.mark.parametrize("loss", [robust_loss, cdpo_loss])
def test_no_noise_is_dpo(loss: Callable[..., torch.Tensor]) -> None:
    assert torch.equal(loss(*LOGPS, 0.3, 0.0), dpo_loss(*LOGPS, 0.3))
    same = [LOGPS[0]] * 4
    assert loss(*same, 0.3, 0.2).item() == pytest.approx(math.log(2))


def test_simpo_sees_tokens_and_no_reference() -> None:
    chosen, rejected = torch.tensor([-20.0, -40.0]), torch.tensor([-30.0, -60.0])
    tokens = torch.tensor([40, 80])
    one, doubled = simpo_loss(chosen, rejected, tokens, tokens // 2, 2.0, 0.5).tolist()
    assert one == pytest.approx(doubled)
    at_target = simpo_loss(chosen, chosen - 10, torch.tensor(20), torch.tensor(20), 2.0, 1.0)
    assert at_target.tolist() == pytest.approx([math.log(2)] * 2)


def test_length_regularised_dpo_has_its_least_where_length_is_paid_for() -> None:
    """Labels of which .8 prefer the first, 10 tokens longer: beta * odds + alpha * 10 = log 4.

    Without a penalty it is DPO; one that pays for the whole preference asks for no margin at all.
    """
    long, short = torch.tensor([30]), torch.tensor([20])
    zero = torch.zeros(1, dtype=torch.float64)
    for alpha in (0.0, 0.05, math.log(4) / 10):
        first = torch.tensor([(math.log(4) - 10 * alpha) / 0.5], dtype=torch.float64)
        first.requires_grad_()
        mean = 0.8 * rdpo_loss(first, zero, zero, zero, long, short, 0.5, alpha)
        mean = mean + 0.2 * rdpo_loss(zero, first, zero, zero, short, long, 0.5, alpha)
        (slope,) = torch.autograd.grad(mean.sum(), first)
        assert slope.item() == pytest.approx(0, abs=1e-12)
    four = [torch.tensor([x], dtype=torch.float64) for x in (-20.0, -30.0, -22.0, -28.0)]
    assert rdpo_loss(*four, long, short, 0.1, 0.0).item() == dpo_loss(*four, 0.1).item()


def test_preference_matching_by_hand() -> None:
    """log(1 + e^-10) and, with tau = .1, log(1 + e^-1); the reference plays no part."""
    assert pm_loss(*LOGPS[:2], 1.0).item() == pytest.approx(math.log1p(math.exp(-10.0)))
    assert pm_loss(*LOGPS[:2], 0.1).item() == pytest.approx(0.313262, abs=5e-7)
    uniform = [LOGPS[0], LOGPS[1], LOGPS[2], LOGPS[2]]  # DPO's, where the reference is flat
    assert pm_loss(*LOGPS[:2], 0.1).item() == pytest.approx(dpo_loss(*uniform, 0.1).item())


@pytest.mark.parametrize("entropy", [1.0, 0.5])
def test_preference_matching_has_its_least_where_odds_are_the_raters(entropy: float) -> None:
    """Over labels of which .8 prefer the first: odds of 4 at tau = 1, of 4^(1 / tau) otherwise.

    The same labels under DPO pull the odds of a reference along, and exaggerate them by 1 / beta.
    """

    def slope_at(odds: float, loss: Loss, ref_odds: float) -> float:
        first = torch.tensor([math.log(odds)], dtype=torch.float64, requires_grad=True)
        zero, ref = torch.zeros(1, dtype=torch.float64), torch.tensor([math.log(ref_odds)])
        mean = 0.8 * loss(first, zero, ref, zero) + 0.2 * loss(zero, first, zero, ref)
        (found,) = torch.autograd.grad(mean.sum(), first)
        return float(found)

    def pm(c: torch.Tensor, r: torch.Tensor, rc: torch.Tensor, rr: torch.Tensor) -> torch.Tensor:
        return pm_loss(c, r, entropy)

    def dpo(c: torch.Tensor, r: torch.Tensor, rc: torch.Tensor, rr: torch.Tensor) -> torch.Tensor:
        return dpo_loss(c, r, rc, rr, entropy)

    for ref_odds in (1.0, 0.1):
        assert slope_at(4 ** (1 / entropy), pm, ref_odds) == pytest.approx(0, abs=1e-12)
        assert slope_at(ref_odds * 4 ** (1 / entropy), dpo, ref_odds) == pytest.approx(0, abs=1e-7)
    assert slope_at(3.9 ** (1 / entropy), pm, 1.0) < 0 < slope_at(4.1 ** (1 / entropy), pm, 1.0)


def test_a_weight_of_zero_has_no_gradient_and_others_scale_it() -> None:
    logps = at_margin(3.0, -2.0, 0.5)
    weight = torch.tensor([0.0, 1.0, 0.25], dtype=torch.float64)
    gradients = [
        torch.autograd.grad(preference_loss(*logps, TOKENS[0], w, 0.3, 1.5).sum(), logps[0])[0]
        for w in (weight, torch.ones_like(weight))
    ]
    assert torch.equal(gradients[0], weight * gradients[1])
    assert gradients[0][0] == 0
    assert (gradients[1] != 0).all()
