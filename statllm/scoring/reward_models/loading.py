"""Reward models from their folder: weights from safetensors, no code of a model's repository."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.models import loading

if TYPE_CHECKING:
    import torch


def load(folder: Path, kind: str, device: str = "auto", dtype: str = "float32") -> Any:
    """Load a transformers model in evaluation mode.

    Parameters
    ----------
    folder : Path
    kind : str
        Of transformers' automatic classes: AutoModel, AutoModelForSequenceClassification.
    device : str
        "auto" is CUDA where there is one, else the CPU.
    dtype : str
        Of the weights; "auto" is the checkpoint's own.

    Raises
    ------
    InputError
        If a weight that the model needs is missing, or the dtype is unknown.
    """
    import torch

    weights = dtype if dtype == "auto" else getattr(torch, dtype, None)
    if not (dtype == "auto" or isinstance(weights, torch.dtype)):
        raise InputError(f"dtype '{dtype}' is unknown")
    with loading(str(folder)), quiet():
        import transformers

        model, info = getattr(transformers, kind).from_pretrained(
            folder,
            dtype=weights,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        model.to(chosen_device(device))
    lacking = sorted(info["missing_keys"])
    if lacking:
        raise InputError(f"model {folder} isn't complete: its weights lack {lacking[0]}")
    model.train(False)
    return model


def chosen_device(device: str) -> str:
    """Return CUDA for "auto" where there is one, else the CPU."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bars, and its table of weights that it has no place for."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens padded on the right, and the mask. What pads doesn't matter: nothing attends to it."""
    import torch

    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    return ids, mask
