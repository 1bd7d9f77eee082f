"""Hypothesis tests of circuits: parts of a network that are said to do a task."""

from statllm.estimators.circuits.hypotheses import (
    circuit_equivalence,
    circuit_independence,
    circuit_minimality,
    circuit_necessity,
    circuit_sufficiency,
)

__all__ = [
    "circuit_equivalence",
    "circuit_independence",
    "circuit_minimality",
    "circuit_necessity",
    "circuit_sufficiency",
]
