"""The spoilt pool: how many of each kind, and that each is spoilt in the way its name says."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import islice

import pytest

from statllm.errors import InputError
from statllm.lab.pool import KINDS, corrupted_pool, spoil
from statllm.lab.world import generate


@pytest.mark.parametrize(("n", "share", "spoilt"), [(60, 0.5, 30), (7, 0.0, 0), (9, 1.0, 9)])
def test_as_many_are_spoilt_as_asked(n: int, share: float, spoilt: int) -> None:
    pool = corrupted_pool(n, share)
    kinds = Counter(pool["kind"].to_pylist())
    assert pool.column_names == ["prompt_id", "prompt", "reference", "kind"]
    assert sum(kinds.values()) == n
    assert {kind: kinds[kind] for kind in KINDS} == {
        "clean": n - spoilt, "number": spoilt // 3, "cut": spoilt // 3, "mixed": spoilt // 3,
    }  # fmt: skip
    assert len(set(pool["prompt_id"].to_pylist())) == n


def test_a_seed_decides_the_pool() -> None:
    assert corrupted_pool(30, seed=1).equals(corrupted_pool(30, seed=1))
    assert not corrupted_pool(30, seed=1).equals(corrupted_pool(30, seed=2))


def test_each_kind_is_spoilt_as_named() -> None:
    rng = random.Random(3)
    drawn = list(islice(generate("train", 4), 400))
    for problem, other in zip(drawn[::2], drawn[1::2], strict=True):
        whole, others = (re.findall(r"\d+", each.text) for each in (problem, other))
        number, cut, mixed = (spoil(problem, kind, other, rng) for kind in KINDS[1:])
        assert spoil(problem, "clean", other, rng) == problem.prompt
        left = re.findall(r"\d+", number)
        assert len(left) == len(whole) - 1
        assert not Counter(left) - Counter(whole)
        assert number.endswith("?\nA:\n")
        # The text stops short: a beginning of the problem, without the last event's operand.
        text = cut.removeprefix("Q: ").removesuffix("\nA:\n")
        assert problem.text.startswith(text)
        assert not re.search(r"[?.]$", text)
        last = problem.text.removeprefix(text).split(".")[0]
        assert re.match(r" (\d+|doubles|triples)", last)
        assert Counter(re.findall(r"\d+", mixed)) == Counter(whole) + Counter(others)
        assert mixed.count("?") == 1
        assert problem.text.rsplit(". ", 1)[1] in mixed


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="n must be at least 1, got 0"):
        corrupted_pool(0)
    with pytest.raises(InputError, match=r"share must lie between 0 and 1, got 1\.5"):
        corrupted_pool(3, 1.5)
    problem = next(generate("test"))
    with pytest.raises(InputError, match="kind 'torn' is unknown"):
        spoil(problem, "torn", problem, random.Random(0))
