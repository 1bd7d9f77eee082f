"""When enough answers have been sampled."""

from statllm.estimators.stopping.streams import (
    AnswerStream,
    Decision,
    StoppingSimulation,
    simulate_stopping,
)

__all__ = [
    "AnswerStream",
    "Decision",
    "StoppingSimulation",
    "simulate_stopping",
]
