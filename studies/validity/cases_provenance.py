"""Tests of contamination and membership, of models that never saw the data."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulate import TestCase

from statllm.estimators.contamination import (
    dataset_inference_by_size,
    dataset_inference_splits,
    dataset_inference_test,
    exchangeability_test,
    membership,
    membership_test,
)

FloatArray = NDArray[np.float64]
Rng = np.random.Generator

ORDERS, FEATURES = 30, 6  # random orders of a shard; scores of a document
GROUP = "Contamination"

OREN = (
    "The published test, with an sd that is too small for few shards. Of shards of unlike spread, "
    "as here, t is cautious all the same; of ten normal ones its size is 5.8 % at 5 %."
)


def shards(rng: Rng, n: int, tied: bool = False) -> tuple[FloatArray, FloatArray]:
    """Log p of n shards in 31 exchangeable orders, skewed, each shard with its own spread."""
    table = rng.gamma(2, 1, (n, ORDERS + 1)) * rng.gamma(1, 1, (n, 1))
    if tied:
        table = np.ceil(20 * table)
    return table[:, 0], table[:, 1:]


def orders(rng: Rng, n: int, tied: bool = False, **more: Any) -> float:
    """Of one data set."""
    if more.get("ties") == "randomised":
        more["rng"] = rng
    return exchangeability_test(*shards(rng, n, tied), **more).p_value


def scores(rng: Rng, n: int, more: int = 2) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Heavy-tailed, tied scores of n suspects and of 2n references, shifted by domain."""
    domain = rng.integers(0, 3, (1 + more) * n)
    return np.round(rng.standard_t(3, len(domain)) + domain, 1), domain[:n], domain[n:]


def as_a_set(rng: Rng, n: int, grouped: bool, **more: Any) -> float:
    """Wilcoxon's or van Elteren's."""
    both, own, other = scores(rng, n)
    groups = (own, other) if grouped else None
    return membership_test(both[:n], both[n:], groups, rng=rng, **more).p_value


def one_document(rng: Rng, n: int, grouped: bool) -> float:
    """A conformal p-value."""
    both, own, other = scores(rng, n)
    groups = (own[:1], other) if grouped else None
    return float(membership(both[:1], both[n:], groups).p_values[0])


def any_member(rng: Rng, n: int) -> float:
    """The smallest q-value: without any member, P(a discovery) is the false discovery rate."""
    both, own, other = scores(rng, n, 60)
    return float(membership(both[:n], both[n:], (own, other)).q_values.min())


def features(rng: Rng, n: int) -> tuple[FloatArray, FloatArray]:
    """Skewed, correlated scores of n suspects and as many validation documents."""
    x = rng.exponential(size=(2 * n, FEATURES)) + rng.exponential(size=(2 * n, 1))
    return x[:n], x[n:]


def data_set(rng: Rng, n: int, **more: Any) -> float:
    """One split."""
    return dataset_inference_test(*features(rng, n), int(rng.integers(2**31)), **more).test.p_value


def splits(rng: Rng, n: int, combine: Any) -> float:
    """Eleven splits."""
    seed = int(rng.integers(2**31))
    return dataset_inference_splits(*features(rng, n), seed=seed, combine=combine).p_value


def sizes(rng: Rng, n: int) -> float:
    """The smallest of five prefixes' adjusted p-values."""
    prefixes = [n // 5 * k for k in range(1, 6)]
    found = dataset_inference_by_size(*features(rng, n), prefixes, int(rng.integers(2**31)))
    return min(each.p_value for each in found)


def case(
    name: str, scene: str, p_value: Any, note: str = "", exact: bool = True, **more: Any
) -> TestCase:
    """One test."""
    more.setdefault("sizes", (20, 50, 200))
    return TestCase(name, GROUP, scene, p_value, note, exact_or_conservative=exact, **more)


SHARDS = f"n shards in {ORDERS + 1} exchangeable orders"
SETS = "n suspects and 2n references, heavy tails and ties"
DOCUMENTS = f"n suspects and n validation documents, {FEATURES} skewed scores"

CASES = [
    case("exchangeability-sum", SHARDS, partial(orders, method="sum"), slow=2),
    case("exchangeability-fisher", SHARDS, partial(orders, method="fisher"), slow=2),
    case("exchangeability-e-value", SHARDS, partial(orders, method="e-value"), slow=2),
    case("exchangeability-sum-tied", f"{SHARDS}, tied", partial(orders, tied=True), slow=2),
    case("exchangeability-sum-randomised", f"{SHARDS}, tied, ties at random",
         partial(orders, tied=True, ties="randomised"), slow=2),
    case("exchangeability-t", SHARDS, partial(orders, method="t")),
    case("exchangeability-oren", SHARDS, partial(orders, method="oren"), OREN, exact=False),
    case("membership-one", f"{SETS}; one suspect", partial(one_document, grouped=False)),
    case("membership-one-grouped", f"{SETS}; one suspect, within its domain",
         partial(one_document, grouped=True)),
    case("membership-any", "n suspects and 60n references, within domains; any of n, q-values",
         any_member),
    case("membership-set-exact", SETS, partial(as_a_set, grouped=False, method="exact"), slow=10,
         sizes=(20, 50)),
    case("membership-set-permuted", SETS, partial(as_a_set, grouped=False, method="permutation",
         n_permutations=499), slow=4),
    case("membership-set-grouped", f"{SETS}, within domains",
         partial(as_a_set, grouped=True, n_permutations=499), slow=2),
    case("data-set-t", DOCUMENTS, partial(data_set, test="t"), exact=False),
    case("data-set-permutation", DOCUMENTS, partial(data_set, test="permutation"), slow=8,
         sizes=(20, 50)),
    case("data-set-splits", f"{DOCUMENTS}; twice the median of 11 splits",
         partial(splits, combine="twice-median"), slow=8),
    case("data-set-splits-e-value", f"{DOCUMENTS}; mean e-value of 11 splits",
         partial(splits, combine="e-value"), slow=8),
    case("data-set-sizes", f"{DOCUMENTS}; smallest of five prefixes, Holm", sizes, slow=4),
]  # fmt: skip
