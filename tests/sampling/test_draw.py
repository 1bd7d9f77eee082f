"""One draw: against brute force, transformers' nucleus, and perturbed logits."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.sampling.draw import draw
from statllm.sampling.nucleus import nucleus


def nucleus_by_force(weights: list[float], top_p: float) -> list[bool]:
    """Add the most probable token, the lowest id first among equals, until the mass is there."""
    kept = [False] * len(weights)
    mass, total = 0.0, math.fsum(weights)
    for token in sorted(range(len(weights)), key=lambda t: (-weights[t], t)):
        if mass >= top_p * total:
            break
        kept[token] = True
        mass += weights[token]
    return kept


def draw_by_force(
    logits: list[float], u: float, temperature: float, top_p: float
) -> tuple[int, float, float]:
    """Token, its final and its model log-probability, from the definitions in Python floats."""
    top = max(logits)
    model = [math.exp(x - top) for x in logits]
    weights = [math.exp((x - top) / temperature) for x in logits]
    kept = nucleus_by_force(weights, top_p)
    weights = [w * k for w, k in zip(weights, kept, strict=True)]
    total = math.fsum(weights)
    token = next(t for t, mass in enumerate(accumulate(weights)) if mass > u * total)
    return token, math.log(weights[token] / total), math.log(model[token] / math.fsum(model))


def random_logits(seed: int, rows: int, size: int, spread: float) -> torch.Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)) * spread


def numbers(seed: int, rows: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(size=rows))


@pytest.mark.parametrize("size", [1, 2, 5, 64, 65, 300])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.95, 1.0])
def test_brute_force(size: int, temperature: float, top_p: float) -> None:
    for spread in (0.05, 1.0, 6.0):  # flat rows need more than the head of the nucleus
        logits, u = random_logits(size, 40, size, spread), numbers(size, 40)
        drawn = draw(logits, u, temperature, top_p, 1e-6)
        assert drawn.certain.float().mean() > 0.9
        for row in torch.nonzero(drawn.certain)[:, 0].tolist():
            token, final, model = draw_by_force(
                logits[row].tolist(), u[row].item(), temperature, top_p
            )
            assert drawn.token[row].item() == token
            assert drawn.logprob[row].item() == pytest.approx(final, abs=2e-5)
            assert drawn.logprob_model[row].item() == pytest.approx(model, abs=2e-5)


@given(
    weights=st.lists(st.integers(0, 6), min_size=1, max_size=90).filter(lambda w: sum(w) > 0),
    top_p=st.sampled_from([0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 0.97]),
)
@settings(deadline=None)
def test_nucleus_by_force(weights: list[int], top_p: float) -> None:
    """Many exact ties; integers, so that masses are exact."""
    kept, _ = nucleus(torch.tensor([weights], dtype=torch.float32), top_p, 1.0)
    assert kept[0].tolist() == nucleus_by_force([float(w) for w in weights], top_p)


@pytest.mark.parametrize("top_p", [0.2, 0.8, 0.95, 0.99])
def test_nucleus_of_transformers(top_p: float) -> None:
    from transformers.generation.logits_process import TopPLogitsWarper

    logits = random_logits(1, 400, 150, 2.0)
    warped = TopPLogitsWarper(top_p)(torch.empty(400, 0), logits)
    kept, _ = nucleus(logits.softmax(-1), top_p, 1.0)
    assert 1 < kept.sum(-1).double().mean() < 150
    assert torch.equal(kept, warped > -torch.inf)


def test_ties_go_to_the_lowest_id() -> None:
    logits = torch.zeros(1, 100)
    assert draw(logits, torch.tensor([0.9]).double(), 0.0, 1.0, 0.0).token.item() == 0
    kept, _ = nucleus(logits.exp(), 0.3, 1.0)
    assert kept[0].nonzero()[:, 0].tolist() == list(range(30))
    logits[0, 40] = logits[0, 70] = 1.0
    greedy = draw(logits, torch.tensor([0.9]).double(), 0.0, 1.0, 1e-4)
    assert (greedy.token.item(), greedy.logprob.item()) == (40, 0.0)
    assert not greedy.certain.item()


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("size", [6, 120])
def test_certain_choices_withstand_errors(temperature: float, top_p: float, size: int) -> None:
    """Move every logit by up to near_tie: a choice that was called certain stays."""
    near_tie = 0.004
    flipped = uncertain = total = 0
    for seed in range(10):
        logits, u = random_logits(seed, 400, size, 1.5), numbers(seed, 400)
        drawn = draw(logits, u, temperature, top_p, near_tie)
        for change in range(4):
            noise = random_logits(1000 * change + seed, 400, size, 1.0)
            if change < 2:  # the corners of the cube, where the bound is reached
                noise = noise.sign()
            moved = draw(logits + near_tie * noise.clamp(-1, 1), u, temperature, top_p, near_tie)
            other = moved.token != drawn.token
            assert not (other & drawn.certain).any()
            flipped += int(other.sum())
        uncertain += int((~drawn.certain).sum())
        total += 400
    assert flipped > 0  # or this test could not fail
    assert uncertain < 0.5 * total  # nor is everything called uncertain


@given(
    logits=st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=12),
    signs=st.lists(st.sampled_from([-1.0, 1.0]), min_size=12, max_size=12),
    u=st.floats(1e-9, 1 - 1e-9),
    top_p=st.sampled_from([0.4, 0.9, 1.0]),
)
@settings(max_examples=300, deadline=None)
def test_certain_choices_withstand_any_error(
    logits: list[float], signs: list[float], u: float, top_p: float
) -> None:
    row, number = torch.tensor([logits]), torch.tensor([u]).double()
    drawn = draw(row, number, 1.0, top_p, 0.05)
    moved = draw(row + 0.0499 * torch.tensor([signs[: len(logits)]]), number, 1.0, top_p, 0.05)
    assert not drawn.certain.item() or moved.token.item() == drawn.token.item()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.3, 0.8)])
def test_distribution(temperature: float, top_p: float) -> None:
    """200,000 draws against the exact probabilities, and against a wrong temperature."""
    logits = random_logits(3, 1, 12, 1.0)
    rows = 200_000
    drawn = draw(logits.expand(rows, -1), numbers(8, rows), temperature, top_p, 0.0)
    counts = np.bincount(drawn.token.numpy(), minlength=12)

    def p_value(temperature: float) -> float:
        weights = np.exp(logits[0].double().numpy() / temperature)
        weights *= nucleus_by_force(weights.tolist(), top_p)
        expected = rows * weights / weights.sum()
        assert (counts[expected == 0] == 0).all()
        return float(stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue)

    assert p_value(temperature) > 1e-3
    assert p_value(temperature * 1.05) < 1e-6


def test_a_large_vocabulary_is_cut_into_rows() -> None:
    """More logits than are worked on at a time: rows don't depend on each other."""
    logits, u = random_logits(5, 70, 70_000, 3.0), numbers(5, 70)
    together = draw(logits, u, 1.0, 0.9, 1e-4)
    for row in (0, 59, 60, 69):
        alone = draw(logits[row : row + 1], u[row : row + 1], 1.0, 0.9, 1e-4)
        assert together.token[row] == alone.token[0]
        assert together.logprob[row].item() == pytest.approx(alone.logprob.item(), abs=1e-5)


@pytest.mark.parametrize("u", [2.0**-53, 1 - 2.0**-53])
def test_the_ends_of_the_interval(u: float) -> None:
    """The first and the last token that have any mass; -inf logits have none."""
    logits = torch.tensor([[-torch.inf, 0.1, 1.7, 0.3, -torch.inf, -300.0]])
    token = draw(logits, torch.tensor([u]).double(), 1.0, 1.0, 0.0).token.item()
    assert token == (1 if u < 0.5 else 3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_logits(bad: float) -> None:
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        draw(torch.tensor([[0.0, bad]]), torch.tensor([0.5]).double(), 1.0, 1.0, 0.0)
