"""lm-watermarking's seedings, against its formulas in whole numbers, window by window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from statllm.estimators.watermark.cuda_lists import CudaKgw
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf._lm_seeds import WINDOW_SEEDINGS
from statllm.estimators.watermark.prf.kgw import Kgw
from statllm.ragged import Ragged

V, GREENS = 300, 75


def wrapped(number: int) -> int:
    """A whole number as 64 bits keep it."""
    return (number + 2**63) % 2**64 - 2**63


@lru_cache
def table() -> list[int]:
    generator = torch.Generator().manual_seed(2971215073)
    return torch.randperm(1_000_003, generator=generator).tolist()


def h(number: int) -> int:
    return table()[wrapped(number) % 1_000_003] + 1


def product(numbers: Sequence[int]) -> int:
    """Reduced in 64 bits that wrap."""
    out = 1
    for number in numbers:
        out = wrapped(out * number)
    return out


def noncommuting(window: Sequence[int], key: int) -> int:
    for token in window:
        key = wrapped(key * h(key * token)) % 2**32
    return key


Function = Callable[[Sequence[int], int], int]
FORMULAS: dict[str, Function] = {
    "additive": lambda x, key: key * sum(x),
    "multiplicative": lambda x, key: key * product(x),
    "minfunc": lambda x, key: key * min(x),
    "position": lambda x, key: wrapped(sum(key * i * token for i, token in enumerate(x, 1))),
    "skipgram": lambda x, key: h(key * x[0]),
    "anchored-skipgram": lambda x, key: h(key * x[0]) * h(key * x[-1]),
    "simple-skip": lambda x, key: product([h(key * token) for token in x[::2]]),
    "minhash": lambda x, key: min(h(key * token) for token in x),
    "anchored-minhash": lambda x, key: min(wrapped(key * h(token) * h(x[-1])) for token in x),
    "minskipgram": lambda x, key: min(h(key * a) * h(key * b) for a, b in combinations(x, 2)),
    "noncomm": noncommuting,
}


def is_green(token: int, window: Sequence[int], seeding: str, key: int) -> bool:
    """Whether a token is in the list that PyTorch draws for the window."""
    generator = torch.Generator().manual_seed(FORMULAS[seeding](window, key) % (2**64 - 1))
    return token in torch.randperm(V, generator=generator)[:GREENS].tolist()


def scheme_of(seeding: str, key: int = 15485863, **options: Any) -> Kgw:
    return Kgw(V, key, seeding=seeding, flavour="lm-watermarking", **options)


def test_no_function_is_left_out() -> None:
    assert set(FORMULAS) == set(WINDOW_SEEDINGS)


@pytest.mark.parametrize("seeding", FORMULAS)
@pytest.mark.parametrize("width", [2, 5])
@pytest.mark.parametrize("key", [15485863, 3_000_000_000_000_007, 2**62 + 11])
@pytest.mark.parametrize("self_salt", [False, True])
def test_colours_are_those_of_the_formulas(
    seeding: str, width: int, key: int, self_salt: bool
) -> None:
    """Of 50 tokens, zeros among them; large keys wrap."""
    ids = np.random.default_rng(width).integers(0, V, 50)
    ids[20:23] = 0
    scheme = scheme_of(seeding, key, context_width=width, self_salt=self_salt)
    marks = scheme.marks(Ragged.from_lists([ids], np.int64))
    first = width - self_salt
    assert marks.positions.tolist() == list(range(first, 50))
    expected = [
        is_green(int(ids[t]), ids[t - first : t - first + width].tolist(), seeding, key)
        for t in range(first, 50)
    ]
    assert marks.values.tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_a_written_law_raises_green_logits() -> None:
    """The whole list; of self-salted ones, the green among the 41 likeliest tokens alone."""
    rng = np.random.default_rng(1)
    law = rng.dirichlet(np.ones(V))
    prefix = rng.integers(0, V, 9)
    likeliest = set(np.argsort(-law)[:41].tolist())
    for self_salt in (False, True):
        scheme = scheme_of("noncomm", context_width=3, bias=1.5, self_salt=self_salt)
        raised = law.copy()
        for token in range(V):
            last = prefix[-2:] if self_salt else prefix[-3:]
            window = [*last.tolist(), *([token] if self_salt else [])]
            if is_green(token, window, "noncomm", 15485863) and (
                not self_salt or token in likeliest
            ):
                raised[token] *= math.exp(1.5)
        np.testing.assert_allclose(scheme.reweighted(law, prefix), raised / raised.sum())


@pytest.mark.parametrize("self_salt", [False, True])
@pytest.mark.parametrize("seeding", sorted(set(FORMULAS) - {"additive", "minhash", "skipgram"}))
def test_round_trip_and_keys_by_chance(seeding: str, self_salt: bool) -> None:
    """300 tokens of random laws are found; under 200 other keys p isn't too small."""
    rng = np.random.default_rng(4)
    options: dict[str, Any] = {"context_width": 3, "self_salt": self_salt}
    scheme = scheme_of(seeding, bias=3.0, **options)
    text = rng.integers(0, V, 3).tolist()
    for _ in range(300):
        law = scheme.reweighted(rng.dirichlet(np.full(V, 0.3)), np.array(text))
        text.append(int(rng.choice(V, p=law)))
    tokens = Ragged.from_lists([text], np.int64)
    assert detect(scheme.marks(tokens)).log_p[0] < math.log(1e-6)
    keys = rng.integers(1, 2**31, 200).tolist()
    p = np.exp([detect(scheme_of(seeding, key, **options).marks(tokens)).log_p[0] for key in keys])
    for alpha in (0.2, 0.05):
        assert np.mean(p <= alpha) < alpha + 3 * math.sqrt(alpha * (1 - alpha) / len(p))


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="context_width must be at least 2"):
        scheme_of("minskipgram", context_width=1)
    for seeding in ("lefthash", "selfhash"):
        with pytest.raises(ValueError, match=f"self_salt is no option of seeding '{seeding}'"):
            Kgw(V, seeding=seeding, self_salt=True)
    with pytest.raises(ValueError, match="no list before the token is known"):
        scheme_of("minhash", self_salt=True).lists(np.array([[1]]))
    with pytest.raises(ValueError, match="only left-hash and additive lists"):
        CudaKgw(scheme_of("additive", self_salt=True))
