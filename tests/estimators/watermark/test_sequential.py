"""e-processes: martingales by enumeration, size when peeking, and how soon they stop."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from statllm.estimators.multiplicity import e_benjamini_hochberg
from statllm.estimators.watermark.marks import FloatArray, Marks, Null
from statllm.estimators.watermark.nulls import optimal_score
from statllm.estimators.watermark.ratios import log_ratios, without_replacement
from statllm.estimators.watermark.sequential import e_process

GRID = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def marks_of(values: np.ndarray, null: Null, seeds: np.ndarray | None = None) -> Marks:
    """Documents in rows, every token with a pair of its own unless seeds are given."""
    documents, length = values.shape[:2]
    n = np.arange(documents * length)
    return Marks(
        values.reshape(n.size, *values.shape[2:]),
        n.astype(np.uint64) if seeds is None else seeds,
        n,
        n % length,
        np.arange(documents + 1) * length,
        null,
    )


def least_favourable(delta: float, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """Pivots of a text whose law is P*_Delta at every token: U^p for the chosen p."""
    k = int(1 / (1 - delta) + 1e-12)
    large = rng.random(shape) < k * (1 - delta)
    return rng.random(shape) ** np.where(large, 1 - delta, 1 - k * (1 - delta))


def fair_marks(kind: str, documents: int, length: int, rng: np.random.Generator) -> Marks:
    """Texts that know nothing of the key."""
    if kind == "pivots":
        return marks_of(rng.random((documents, length)), Null("uniform"))
    if kind == "two keys":
        return marks_of(rng.random((documents, length, 2)), Null("uniform", mixing=0.1))
    if kind == "greens":
        return marks_of(
            (rng.random((documents, length)) < 0.25).astype(np.uint8), Null("green", 0.25)
        )
    if kind == "bits":
        bits = rng.integers(0, 2, (documents, length, 30), dtype=np.uint8)
        return marks_of(bits, Null("bits", depth=30))
    # one list of 250 of 1,000 for all tokens: draws without replacement
    drawn = np.argsort(rng.random((documents, 1000)), axis=1)[:, :length] < 250
    null = Null("green", 0.25, greens=250, vocabulary=1000)
    return marks_of(drawn.astype(np.uint8), null, np.zeros(drawn.size, np.uint64))


def test_ratios_of_pivots_have_mean_one() -> None:
    null = Null("uniform")
    for delta in (0.02, 0.1, 0.5, 0.7, 0.9):

        def ratio(v: float, delta: float = delta) -> float:  # y = v^4: the density is steep at 0
            return 4 * v**3 * math.exp(log_ratios(marks_of(np.array([[v**4]]), null), delta)[0])

        assert integrate.quad(ratio, 0, 1, limit=500)[0] == pytest.approx(1, abs=1e-6)


def test_ratios_of_greens_and_bits_have_mean_one_by_enumeration() -> None:
    bits = np.array(list(itertools.product([0, 1], repeat=6)), np.uint8)[None]
    for share in (0.5, 0.502):
        ratios = np.exp(log_ratios(marks_of(bits, Null("bits", share, depth=6)), 0.4))
        law = share ** bits[0].sum(axis=1) * (1 - share) ** (6 - bits[0].sum(axis=1))
        assert ratios @ law == pytest.approx(1, abs=1e-12)
    orders = np.array(list(itertools.permutations([1, 1, 0, 0, 0])), np.uint8)
    null = Null("green", 0.4, greens=2, vocabulary=5)
    marks = marks_of(orders, null, np.zeros(orders.size, np.uint64))
    running = np.exp(np.cumsum(log_ratios(marks, 0.3).reshape(orders.shape), axis=1))
    np.testing.assert_allclose(running.mean(axis=0), 1, atol=1e-12)


def test_shares_without_replacement_by_counting() -> None:
    rng = np.random.default_rng(1)
    green = rng.integers(0, 2, (3, 40)).astype(np.uint8)
    seeds = rng.integers(0, 4, 120).astype(np.uint64)
    marks = marks_of(green, Null("green", 0.5, greens=50, vocabulary=100), seeds)
    found = without_replacement(marks)
    for i in range(120):
        before = [j for j in range(i // 40 * 40, i) if seeds[j] == seeds[i]]
        seen = sum(int(marks.values[j]) for j in before)
        assert found[i] == pytest.approx((50 - seen) / (100 - len(before)))


def test_against_products_written_out() -> None:
    rng = np.random.default_rng(2)
    y = rng.random((3, 20)) ** 0.6
    found = e_process(marks_of(y, Null("uniform")), strengths=(0.1, 0.4), shares=(1.0, 0.2))
    for document in range(3):
        products = [
            np.cumprod(1 - s + s * np.exp(optimal_score(y[document], d)))
            for d in (0.1, 0.4)
            for s in (1.0, 0.2)
        ]
        e = np.mean(products, axis=0)
        np.testing.assert_allclose(np.exp(found.log_e.row(document)), e, rtol=1e-10)
        expected = np.minimum(1 / np.maximum.accumulate(e), 1)
        np.testing.assert_allclose(np.exp(found.running_log_p.row(document)), expected, rtol=1e-10)
        assert found.last[document] == pytest.approx(math.log(e[-1]))
        assert math.exp(found.log_p[document]) == pytest.approx(expected[-1])
        alpha = 1 / float(np.sort(e)[-3])
        crossing = int(np.flatnonzero(e >= (1 / alpha) * (1 - 1e-12))[0])
        assert found.first_crossing(alpha * (1 + 1e-9))[document] == crossing


def test_greens_against_a_beta_mixture() -> None:
    """A dense grid is the mixture over p uniform on (g, 1), whose mean the beta law knows."""
    rng = np.random.default_rng(3)
    green = (rng.random((1, 200)) < 0.4).astype(np.uint8)
    marks = marks_of(green, Null("green", 0.25))
    grid = (np.arange(2000) + 0.5) / 2000
    k = int(green.sum())
    law = stats.beta(k + 1, 201 - k)
    log_mixture = (
        law.logsf(0.25)
        + math.lgamma(k + 1)
        + math.lgamma(201 - k)
        - math.lgamma(202)
        - math.log(0.75)
        - k * math.log(0.25)
        - (200 - k) * math.log(0.75)
    )
    assert e_process(marks, strengths=grid).last[0] == pytest.approx(log_mixture, abs=1e-4)


def test_a_repeated_pair_is_no_bet() -> None:
    y = np.array([[0.9, 0.99, 0.9, 0.5]])
    marks = Marks(
        y[0], np.array([1, 2, 1, 3], np.uint64), np.array([5, 5, 5, 5]), np.arange(4),
        np.array([0, 4]), Null("uniform"),
    )  # fmt: skip
    found = e_process(marks)
    assert found.positions.tolist() == [0, 1, 3]
    apart = e_process(marks_of(y[:, [0, 1, 3]], Null("uniform")))
    np.testing.assert_allclose(found.log_e.values, apart.log_e.values)


def check_size(kind: str, documents: int, seed: int) -> None:
    """The share of fair texts that ever cross within 500 tokens is at most alpha."""
    rng = np.random.default_rng(seed)
    log_p = []
    for _ in range(max(documents // 2000, 1)):
        marks = fair_marks(kind, min(documents, 2000), 500, rng)
        log_p.append(e_process(marks, deduplicate="done").log_p)
    smallest = np.concatenate(log_p)
    for alpha in (0.05, 0.01, 0.001):
        rate = np.mean(smallest <= math.log(alpha))
        assert rate <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / len(smallest))
    assert np.mean(smallest <= math.log(0.05)) > 0.005  # and it isn't asleep


KINDS = ["pivots", "two keys", "greens", "bits", "greens without replacement"]


@pytest.mark.parametrize("kind", KINDS)
def test_size_when_looking_after_every_token(kind: str) -> None:
    check_size(kind, 600 if kind == "bits" else 2000, seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_size_of_many(kind: str) -> None:
    check_size(kind, 6000 if kind == "bits" else 60_000, seed=5)


@pytest.mark.parametrize(("delta", "tokens"), [(0.1, 500), (0.2, 198), (0.3, 115), (0.5, 80)])
def test_stops_as_soon_as_the_prototype_did(delta: float, tokens: int) -> None:
    """Mean tokens until p <= 1e-6, six strengths mixed, from an implementation apart from ours."""
    rng = np.random.default_rng(6)
    length = 4 * tokens
    marks = marks_of(least_favourable(delta, (500, length), rng), Null("uniform"))
    stops = e_process(marks, strengths=GRID, shares=(1.0,)).first_crossing(1e-6)
    assert np.all(stops >= 0)
    error = stops.std() / math.sqrt(500)
    assert stops.mean() + 1 == pytest.approx(tokens, abs=4 * error)
    default = e_process(marks).first_crossing(1e-6)
    assert default.mean() < 1.08 * stops.mean()


def test_predicted_strengths_stop_sooner() -> None:
    """9 of 10 tokens are almost certain: bets that know which ones aren't need fewer tokens."""
    rng = np.random.default_rng(7)
    delta = np.where(rng.random((200, 1500)) < 0.1, 0.5, 0.0)
    y = np.where(delta > 0, least_favourable(0.5, delta.shape, rng), rng.random(delta.shape))
    marks = marks_of(y, Null("uniform"))
    blind = e_process(marks).first_crossing(1e-6)
    seeing = e_process(marks, predicted=delta.ravel()).first_crossing(1e-6)
    seen = np.where(seeing < 0, 1500, seeing).mean()
    assert seen < 0.75 * np.where(blind < 0, 1500, blind).mean()


def test_predicted_strengths_keep_the_size() -> None:
    rng = np.random.default_rng(8)
    marks = marks_of(rng.random((2000, 300)), Null("uniform"))
    found = e_process(marks, predicted=rng.random(600_000) * 0.9)
    rate = np.mean(found.log_p <= math.log(0.05))
    assert rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_false_discoveries_over_documents_that_share_their_numbers() -> None:
    """e-BH holds although the fair documents all have the same pivots."""
    rng = np.random.default_rng(9)
    shares = []
    for _ in range(200):
        fair = np.repeat(rng.random((1, 150)), 15, axis=0)
        marks = marks_of(np.vstack([fair, least_favourable(0.5, (5, 150), rng)]), Null("uniform"))
        called = e_benjamini_hochberg(e_process(marks).last) <= math.log(0.1)
        assert called[15:].mean() > 0.5
        shares.append(called[:15].sum() / max(called.sum(), 1))
    assert np.mean(shares) <= 0.1 * 15 / 20 + 3 * np.std(shares) / math.sqrt(200)


def test_empty_documents() -> None:
    marks = Marks(
        np.array([0.5]), np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64),
        np.array([0, 0, 1, 1]), Null("uniform"),
    )  # fmt: skip
    found = e_process(marks)
    assert np.isnan(found.log_p).tolist() == [True, False, True]
    assert found.first_crossing(0.5).tolist() == [-1, -1, -1]
    assert found.last[[0, 2]].tolist() == [0, 0]


def test_bad_input_is_named() -> None:
    marks = marks_of(np.array([[0.5, 0.6]]), Null("uniform"))
    with pytest.raises(ValueError, match="strength must lie between 0 and 1, not 1"):
        e_process(marks, strengths=(0.1, 1.0))
    with pytest.raises(ValueError, match="shares must lie between 0 and 1"):
        e_process(marks, shares=(0.0,))
    with pytest.raises(ValueError, match=r"predicted must have shape \(2,\), not \(3,\)"):
        e_process(marks, predicted=np.zeros(3))
    with pytest.raises(ValueError, match="strength must lie between 0 and 1, not nan"):
        e_process(marks, predicted=[math.nan, 0.1])
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        e_process(marks).first_crossing(0.0)
