"""Contenders take turns and each is quoted at its fastest round: other work only adds time."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

Contenders = dict[str, Callable[[], object]]


def fastest(contenders: Contenders, rounds: int) -> dict[str, float]:
    """Seconds of each contender's fastest round."""
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def medians(contenders: Contenders, rounds: int) -> dict[str, float]:
    """Seconds of each contender's middle round: what a machine with other work gives."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return {name: median(seconds) for name, seconds in taken.items()}


def compare(title: str, contenders: Contenders, rounds: int) -> None:
    """Print each contender's fastest round and its ratio to the first, which is ours."""
    best = fastest(contenders, rounds)
    ours = next(iter(best.values()))
    print(title)
    for name, seconds in best.items():
        print(f"  {name:<58}{seconds:10.4f} s{seconds / ours:10.1f} x ours")
