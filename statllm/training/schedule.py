"""The learning rate of each step."""

from __future__ import annotations

import math

from statllm.training.settings import TrainingSettings


def learning_rate(settings: TrainingSettings, step: int, n_steps: int) -> float:
    """Learning rate of a step, counted from 0.

    It rises linearly over the warm-up, ``(step / warm-up) · peak``, and then stays, or falls to 0
    at the end of the last step, linearly or as half a cosine.

    Examples
    --------
    >>> settings = TrainingSettings(learning_rate=1.0, warmup_steps=2)
    >>> [learning_rate(settings, step, 6) for step in range(6)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]
    """
    warmup = settings.warmup_steps or math.ceil(settings.warmup_ratio * n_steps)
    if step < warmup:
        return settings.learning_rate * step / warmup
    done = (step - warmup) / max(n_steps - warmup, 1)
    if settings.lr_scheduler == "linear":
        return settings.learning_rate * (1 - done)
    if settings.lr_scheduler == "cosine":
        return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
    return settings.learning_rate


def kept_steps(settings: TrainingSettings, steps_per_epoch: int, n_steps: int) -> list[int]:
    """Return the steps whose models are kept, the last one included; none unless asked for.

    Examples
    --------
    >>> kept_steps(TrainingSettings(keep_every=4), 3, 10)
    [4, 8, 10]
    >>> kept_steps(TrainingSettings(keep_every="epoch"), 3, 9), kept_steps(TrainingSettings(), 3, 9)
    ([3, 6, 9], [])
    """
    every = steps_per_epoch if settings.keep_every == "epoch" else settings.keep_every
    return [] if every is None else [*range(every, n_steps, every), n_steps]
