"""How fast a training runs: tokens per second, share of the device's peak, memory."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import torch

#: Peak of dense bfloat16 arithmetic in FLOP/s, as the makers' data sheets have it. The first name
#: that a device's contains is its own.
PEAKS = {
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
}


@dataclass(frozen=True)
class Throughput:
    """What a process has done, and how fast.

    Attributes
    ----------
    tokens : int
        Positions that it computed, forward and backward.
    seconds : float
        Of its optimizer steps.
    mfu : float or None
        Model FLOPs per second as a share of the device's peak (6 per parameter and token, 4 where
        the parameter isn't trained, and attention aside); None where the peak isn't known.
    peak_bytes : int
        Most memory of the device; on a CPU, of the process.
    """

    tokens: int
    seconds: float
    mfu: float | None
    peak_bytes: int

    @property
    def tokens_per_second(self) -> float:
        """Of this process."""
        return self.tokens / self.seconds if self.seconds else 0.0

    def summary(self) -> str:
        """Say it in one line."""
        share = (
            "unknown (no peak is known of this device)" if self.mfu is None else f"{self.mfu:.1%}"
        )
        return (
            f"{self.tokens_per_second:,.0f} tokens/s, MFU {share}, "
            f"{self.peak_bytes / 2**30:.2f} GiB at most"
        )


class Meter:
    """Counts tokens and time.

    Parameters
    ----------
    model : Module
    device : torch.device
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        self._device = device
        self._flops = flops_per_token(model)
        self._tokens, self._seconds = 0, 0.0
        self._begin: float | None = None

    def start(self) -> None:
        """Go on with measuring time; what lies between a stop and a start isn't counted."""
        self._begin = time.perf_counter()

    def stop(self) -> None:
        """Stop the clock."""
        if self._begin is not None:
            self._seconds += time.perf_counter() - self._begin
        self._begin = None

    def add(self, tokens: int) -> None:
        """Count positions."""
        self._tokens += tokens

    def summary(self) -> Throughput:
        """Return what was counted up to now."""
        running = 0.0 if self._begin is None else time.perf_counter() - self._begin
        seconds = self._seconds + running
        peak = device_peak(self._device)
        flops = self._flops * self._tokens
        return Throughput(
            self._tokens,
            seconds,
            None if peak is None or not seconds else flops / seconds / peak,
            _peak_bytes(self._device),
        )


def flops_per_token(model: Any) -> int:
    """FLOPs of a token, forward and backward, attention aside.

    2 per parameter for the product, 2 for the gradient of what goes in, and 2 for that of the
    parameter where it is trained (Kaplan et al. 2020, arXiv 2001.08361, section 2.1). Embeddings
    are looked up, not multiplied, unless they are the output layer's as well.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    """
    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings()  # a classifier has none
    only_looked_up = head is None or embedding is not head.weight
    return sum(
        (6 if part.requires_grad else 4) * part.numel()
        for part in model.parameters()
        if not (part is embedding and only_looked_up)
    )


def device_peak(device: torch.device) -> float | None:
    """FLOP/s that a device can do at most; None where that isn't known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAKS.items() if known in name), None)


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
