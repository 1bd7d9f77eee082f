"""Tables and intervals of the study of power."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from statllm.estimators.proportions import wilson

#: Colour, marker and dashes of each test, after Okabe and Ito (2008).
STYLES: dict[str, tuple[str, str, str]] = {
    "sum": ("#0072B2", "o", "-"),
    "log": ("#D55E00", "s", "--"),
    "optimal": ("#009E73", "^", "-."),
    "trgof": ("#CC79A7", "D", ":"),
    "e-process": ("#333333", "x", "-"),
}
NAMES = {"trgof": "Tr-GoF"}


@dataclass(frozen=True)
class Sizes:
    """How much is simulated and written."""

    texts: int = 4_000
    slow_texts: int = 1_000
    documents: int = 80
    edited: int = 120
    deltas: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.5)
    temperatures: tuple[float, ...] = (1.0, 1.5, 2.2)
    schemes: tuple[str, ...] = ()  # all of them
    alphas: tuple[float, ...] = (1e-2, 1e-4)
    kept: tuple[float, ...] = (0.5, 0.3, 0.2, 0.1)
    rates: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    lengths: tuple[int, ...] = (100, 1_000, 10_000, 100_000)


#: What a test of the study runs.
QUICK = Sizes(
    texts=200, slow_texts=100, documents=4, edited=6, deltas=(0.5,), temperatures=(2.2,),
    schemes=("vLLM Gumbel", "KGW left-hash", "SynthID, DeepMind"), alphas=(1e-2,), kept=(0.2,),
    rates=(0.0, 0.3), lengths=(100, 400),
)  # fmt: skip


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(share: float) -> str:
    """A share with the digits that matter."""
    return f"{share:.3f}".replace("0.", ".", 1) if share < 0.9995 else "1"


def observed(hits: int, n: int) -> str:
    """A share with its 95 % interval (Wilson)."""
    low, high = wilson(hits, n)
    return f"{percent(hits / n)} [{percent(float(low))}, {percent(float(high))}]"


def within(planned: float, hits: int, n: int, level: float = 0.95) -> bool:
    """Whether a planned share lies in the interval of what was seen."""
    low, high = wilson(hits, n, level)
    return bool(low <= planned <= high)
