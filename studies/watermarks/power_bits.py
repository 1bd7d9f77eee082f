"""Power of green lists and of tournaments where every token has the same law."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from power_common import Sizes, observed, percent, table

from statllm.estimators.watermark import nulls
from statllm.estimators.watermark.bits_power import (
    bits_power,
    bits_tokens_needed,
    tournament_bits,
)
from statllm.estimators.watermark.deduplicate import deduplicated
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.efficiency import green_share
from statllm.estimators.watermark.power import green_power, green_tokens_needed
from statllm.estimators.watermark.prf.synthid import SynthId
from statllm.estimators.watermark.weighted_bits_power import (
    tournament_weights,
    weighted_bits_power,
    weighted_bits_tokens_needed,
)
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
ALPHA = 1e-6
SHARE = 0.25
ROOM = 20_000_000  # tokens simulated per row of the table


def least_favourable(delta: float) -> FloatArray:
    """1 - Delta as often as it goes, and the rest."""
    k = int(1 / (1 - delta) + 1e-12)
    rest = 1 - k * (1 - delta)
    p = np.append(np.full(k, 1 - delta), [rest] if rest > 1e-9 else [])
    return np.asarray(p)


def greens(p: FloatArray, bias: float, size: int, rng: Any) -> NDArray[np.bool_]:
    """Colours of tokens that are drawn from the raised law under a new list each."""
    green = rng.random((size, len(p))) < SHARE
    raised = np.cumsum(np.where(green, p * math.exp(bias), p), axis=1)
    token = (raised < rng.random((size, 1)) * raised[:, -1:]).sum(axis=1)
    return np.asarray(green[np.arange(size), token])


def green_table(sizes: Sizes, rng: Any) -> str:
    """Green lists: the plan for a power of .99, and what texts show."""
    rows = []
    for delta in sizes.deltas:
        p = least_favourable(delta)
        for bias in (0.5, 1.0, 2.0):
            raised = float(green_share(p[None], SHARE, bias)[0])
            n = green_tokens_needed(SHARE, raised, ALPHA)
            texts = int(min(sizes.texts, ROOM // n))
            if texts < 100:
                rows.append([f"{delta:g}", f"{bias:g}", f"{raised:.4f}", f"{n:,}", "not simulated"])
                continue
            counts = np.concatenate(
                [
                    greens(p, bias, some * n, rng).reshape(some, n).sum(axis=1)
                    for some in _parts(texts, n)
                ]
            )
            log_p = nulls.binomial_log_tail(counts, n, SHARE)
            hits = int(np.sum(log_p <= math.log(ALPHA)))
            planned = float(green_power(n, SHARE, raised, ALPHA))
            rows.append(
                [f"{delta:g}", f"{bias:g}", f"{raised:.4f}", f"{n:,}",
                 f"{observed(hits, texts)} ({percent(planned)})"]
            )  # fmt: skip
    header = ["Delta", "delta", "P(green)", "planned n", "power seen (planned)"]
    return table(header, rows)


def _parts(texts: int, n: int) -> list[int]:
    most = max(1, 2_000_000 // n)
    return [min(most, texts - start) for start in range(0, texts, most)]


def synthid_table(sizes: Sizes, rng: Any) -> str:
    """SynthID: tokens that the scheme itself chooses after contexts that are all different."""
    rows = []
    for delta in sizes.deltas:
        if delta < 0.2:
            continue
        p = least_favourable(delta)
        plain = tournament_bits([p], n_draws=100_000, rng=rng)
        weighted = tournament_weights([p], n_draws=100_000, rng=rng)
        needed = {
            "mean": bits_tokens_needed(plain, ALPHA),
            "weighted": weighted_bits_tokens_needed(weighted, 30, ALPHA),
        }
        texts = sizes.slow_texts // 4
        tokens = tournament_texts(p, texts, max(needed.values()), rng)
        for name, n in needed.items():
            marks = [part.kept(part.documents * 0 + np.arange(len(part.seeds)) < n)
                     for part in tokens]  # fmt: skip
            test: Any = "sum" if name == "mean" else "weighted"
            hits = sum(
                float(detect(each, test, deduplicate="done").log_p[0]) <= math.log(ALPHA)
                for each in marks
            )
            planned = (
                bits_power(n, plain, ALPHA)
                if name == "mean"
                else weighted_bits_power(n, weighted, 30, ALPHA)
            )
            rows.append(
                [f"{delta:g}", name, f"{n:,}", f"{observed(hits, texts)} ({percent(planned)})"]
            )
    return table(["Delta", "test", "planned n", "power seen (planned)"], rows)


def tournament_texts(p: FloatArray, texts: int, n: int, rng: Any) -> list[Any]:
    """Marks of texts, each under keys of its own: (context, token) after (context, token)."""
    found = []
    for _ in range(texts):
        key = tuple(rng.integers(1, 2**31, 30).tolist())
        scheme = SynthId(key=key, flavour="deepmind")
        contexts = rng.integers(100, 60_000, (n + 8, 4))
        drawn = [
            int(np.searchsorted(np.cumsum(scheme.reweighted(p, context)), rng.random()))
            for context in contexts
        ]
        pieces = np.column_stack([contexts, np.minimum(drawn, len(p) - 1)])
        marks = scheme.marks(Ragged.from_lengths(pieces.ravel(), [5] * len(pieces)))
        whole = deduplicated(
            type(marks)(
                marks.values, marks.seeds, marks.targets, marks.positions,
                np.array([0, len(marks.seeds)]), marks.null,
            )
        )  # fmt: skip
        found.append(whole)
    return found
