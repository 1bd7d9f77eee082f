"""Standard errors of entropy: formulas, brute force, and whether they are honest."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.estimators.entropies.estimate import METHODS, entropy
from statllm.estimators.entropies.profiles import clean_counts, find_profiles
from statllm.estimators.entropies.variance import _community

SPIDER = json.loads((Path(__file__).parents[2] / "references" / "entropy.json").read_text())[
    "spider"
]
votes = st.lists(st.integers(1, 7), min_size=1, max_size=6).filter(lambda row: sum(row) >= 3)
SMOOTH = [n for n in METHODS if not n.startswith("grassberger") and METHODS[n].se != "posterior"]


def categories(name: str) -> int | None:
    return 12 if METHODS[name].needs_categories else None


# ---- delta and jackknife ------------------------------------------------------------------------


def test_delta() -> None:
    p = np.array([0.8, 0.1, 0.1])
    logs = np.log(p)
    first = ((p * logs**2).sum() - (p * logs).sum() ** 2) / 10
    se = entropy([8, 1, 1], "plugin", se="delta").se[0]
    assert se == pytest.approx(math.sqrt(first + 2 / 200), abs=1e-14)


def test_delta_at_equal_shares_is_the_chi_square_limit() -> None:
    """2N(ln K - Ĥ) tends to χ² with K-1 degrees of freedom, of variance 2(K-1)."""
    se = entropy([25, 25, 25, 25], "plugin", se="delta").se[0]
    assert se == pytest.approx(math.sqrt(2 * 3) / 200, abs=1e-14)
    samples = np.random.default_rng(0).multinomial(100, [0.25] * 4, size=20_000)
    empirical = entropy(samples, "plugin", se="none").value.std()
    assert empirical == pytest.approx(se, rel=0.05)


@pytest.mark.parametrize("name", METHODS)
@settings(deadline=None, max_examples=15)
@given(counts=votes)
def test_jackknife_leaves_out_every_vote(name: str, counts: list[int]) -> None:
    total = sum(counts)
    without = []
    for answer, n in enumerate(counts):
        rest = [c - (i == answer) for i, c in enumerate(counts)]
        without += [entropy(rest, name, n_categories=categories(name), se="none").value[0]] * n
    variance = (total - 1) / total * sum((x - np.mean(without)) ** 2 for x in without)
    floor = (len(counts) - 1) / (2 * total**2)
    got = entropy(counts, name, n_categories=categories(name), se="jackknife").se[0]
    assert got == pytest.approx(math.sqrt(max(variance, floor)), abs=1e-10)


def test_jackknife_of_rules_follows_the_rule() -> None:
    """n_categories="observed" of a neighbour is what the neighbour observes."""
    counts = [3, 1]
    value = [entropy(c, "shrinkage", n_categories="observed").value[0] for c in ([2, 1], [3])]
    mean = 0.75 * value[0] + 0.25 * value[1]
    variance = 3 * (0.75 * (value[0] - mean) ** 2 + 0.25 * (value[1] - mean) ** 2)
    got = entropy(counts, "shrinkage", n_categories="observed").se[0]
    assert got == pytest.approx(math.sqrt(variance), abs=1e-12)


def test_none_and_posterior() -> None:
    assert np.isnan(entropy([3, 1], se="none").se[0])
    assert np.isnan(entropy([3, 1], "nsb", n_categories=4, se="none").se[0])
    own = entropy([3, 1], "nsb", n_categories=4)
    assert own.se_method == "posterior"
    assert own.se[0] != entropy([3, 1], "nsb", n_categories=4, se="jackknife").se[0]


# ---- bootstrap ----------------------------------------------------------------------------------


def community(counts: list[int]) -> list[float]:
    """Chao and Jost's estimated community, in scalars (Chao, Wang and Jost 2013, Appendix S2)."""
    n, f1, f2 = sum(counts), counts.count(1), counts.count(2)
    if f2 > 0:
        coverage = 1 - f1 / n * ((n - 1) * f1 / ((n - 1) * f1 + 2 * f2))
        unseen = (n - 1) / n * f1**2 / (2 * f2)
    elif f1 > 0:
        coverage = 1 - f1 / n * ((n - 1) * (f1 - 1) / ((n - 1) * (f1 - 1) + 2))
        unseen = (n - 1) / n * f1 * (f1 - 1) / 2
    else:
        coverage, unseen = 1.0, 0.0
    size = math.ceil(unseen)
    scale = (1 - coverage) / sum(c / n * (1 - c / n) ** n for c in counts) if size else 0.0
    seen = [c / n * (1 - scale * (1 - c / n) ** n) for c in counts]
    return seen + [(1 - coverage) / max(size, 1)] * size


@pytest.mark.parametrize(
    "counts", [[8, 1, 1], [5, 5], [4, 3, 2, 1], [1] * 10, [3, 1, 1], [9, 1], [2, 2, 1], [10]]
)
def test_community(counts: list[int]) -> None:
    profiles, _ = find_profiles(clean_counts(counts))
    got = _community(profiles).values
    np.testing.assert_allclose(np.sort(got), np.sort(community(counts)), atol=1e-14)
    assert got.sum() == pytest.approx(1, abs=1e-12)


def test_bootstrap_against_a_loop() -> None:
    rng, counts = np.random.default_rng(5), [4, 3, 2, 1]
    draws = rng.multinomial(10, community(counts), size=3000)
    loop = np.std([entropy(row, "chao_shen", se="none").value[0] for row in draws], ddof=1)
    got = entropy(counts, "chao_shen", se="bootstrap", n_boot=3000).se[0]
    assert got == pytest.approx(loop, rel=0.06)  # both have 1.3 % Monte Carlo error


@pytest.mark.parametrize("case", SPIDER, ids=["girdled", "logged"])
def test_bootstrap_against_inext(case: dict[str, object]) -> None:
    """iNEXT's se of exp(H), from its 50 resamples (10 % error), by the delta method from ours."""
    got = entropy(case["counts"], "chao_wang_jost", se="bootstrap", n_boot=1000)
    assert math.exp(got.value[0]) * got.se[0] == pytest.approx(case["se"], rel=0.25)


def test_bootstrap_is_seeded_and_alone() -> None:
    """The same seed, the same number; other prompts, their order and duplicates don't matter."""
    rows = [[8, 1, 1], [5, 5], [1, 8, 1], [3, 1, 1]]
    se = entropy(rows, se="bootstrap", rng=3).se
    assert se[0] == se[2]
    for at, row in enumerate(rows):
        assert entropy(row, se="bootstrap", rng=3).se[0] == se[at]
    assert entropy(rows, se="bootstrap", rng=4).se[0] != se[0]
    by_generator = [
        entropy(rows, se="bootstrap", rng=np.random.default_rng(1)).se.tolist() for _ in range(2)
    ]
    assert by_generator[0] == by_generator[1]


def test_bootstrap_draws_no_more_answers_than_there_are() -> None:
    """Ten singletons suggest 41 unseen answers; with 12 categories there can be 2."""
    free = entropy([1] * 10, "plugin", se="bootstrap").se[0]
    capped = entropy([1] * 10, "plugin", se="bootstrap", n_categories=12).se[0]
    profiles, _ = find_profiles(clean_counts([1] * 10), np.array([12.0]))
    assert len(_community(profiles).values) == 12
    assert capped != free
    full = entropy([1] * 10, "nsb", se="bootstrap", n_categories=10, n_boot=20)
    assert np.isfinite(full.se[0])


# ---- honesty ------------------------------------------------------------------------------------

PEAKED, FIVE, TWO = (0.9, 0.05, 0.05), (0.6, 0.2, 0.1, 0.05, 0.05), (0.5, 0.5)
ZIPF = tuple(1 / r / sum(1 / s for s in range(1, 21)) for r in range(1, 21))


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 10, 20, 40])
@pytest.mark.parametrize("p", [PEAKED, FIVE, ZIPF], ids=["peaked", "five", "zipf"])
@pytest.mark.parametrize("name", ["plugin", "miller_madow", "jackknife", "zhang"])
def test_jackknife_se_is_honest(name: str, p: tuple[float, ...], n: int) -> None:
    """Root mean square se over the estimator's real sd: between 0.9 and 1.3."""
    samples = np.random.default_rng(n).multinomial(n, p, size=20_000)
    got = entropy(samples, name)
    assert 0.9 < math.sqrt((got.se**2).mean()) / got.value.std() < 1.3


@pytest.mark.slow
@pytest.mark.parametrize("name", SMOOTH)
def test_jackknife_se_errs_on_the_safe_side_for_equal_shares(name: str) -> None:
    """Its variance is two to four times the real one there, a known bias of the jackknife."""
    samples = np.random.default_rng(7).multinomial(10, TWO, size=20_000)
    got = entropy(samples, name, n_categories=2 if METHODS[name].needs_categories else None)
    assert 1.3 < math.sqrt((got.se**2).mean()) / got.value.std() < 2.1
    assert ((got.value - 1.96 * got.se < math.log(2)) & (got.n_distinct > 1)).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 4, 10])
@pytest.mark.parametrize("n", [5, 10, 40])
def test_posterior_intervals_cover_under_their_prior(k: int, n: int) -> None:
    """Truths drawn from the prior: ±1.96 posterior sd covers 95 % up to non-normality."""
    rng = np.random.default_rng(100 * k + n)
    shares = rng.dirichlet(np.ones(k), size=20_000)
    truth = -(shares * np.log(shares)).sum(axis=1)
    got = entropy(rng.multinomial(n, shares), "wolpert_wolf", n_categories=k)
    assert (np.abs(truth - got.value) <= 1.96 * got.se).mean() == pytest.approx(0.95, abs=0.025)
    assert ((truth - got.value) / got.se).std() == pytest.approx(1, abs=0.03)


@pytest.mark.slow
def test_nsb_posterior_is_calibrated_under_its_prior() -> None:
    """β drawn so that the prior mean entropy is uniform, then shares, then votes."""
    k, rng = 5, np.random.default_rng(2)
    from scipy.special import digamma

    grid = np.exp(np.linspace(-14, 14, 20_001))
    xi = digamma(k * grid + 1) - digamma(grid + 1)
    beta = np.interp(rng.uniform(0, math.log(k), 20_000), xi, grid)
    # Gamma draws by their logarithm: shares stay positive where β is tiny.
    logs = np.log(rng.gamma(beta[:, None] + 1, size=(len(beta), k)))
    logs += np.log(rng.uniform(size=logs.shape)) / beta[:, None]
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    truth = -np.where(shares > 0, shares * np.log(np.maximum(shares, 1e-300)), 0).sum(axis=1)
    got = entropy(rng.multinomial(10, shares), "nsb", n_categories=k)
    assert (truth - got.value).mean() == pytest.approx(0, abs=0.006)
    assert ((truth - got.value) ** 2).mean() == pytest.approx((got.se**2).mean(), rel=0.04)
