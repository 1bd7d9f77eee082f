"""Weights of a model or of its LoRA adapter, as safetensors in a folder."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers.utils.logging
from torch import Tensor

from statllm.errors import InputError


def is_adapted(model: Any) -> bool:
    """Whether the model is one of peft's, of which only the adapter is trained."""
    return hasattr(model, "peft_config")


def save_weights(model: Any, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write all weights, or those of the adapter alone.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    state : mapping of Tensor
        State of the model; where it is one of peft's, of the model inside of it.
    folder : Path
        Exists already.
    """
    if is_adapted(model):
        state = {f"base_model.model.{name}": value for name, value in state.items()}
    else:  # processes that hold parts of the weights no longer know which are the same
        tied = getattr(model, "all_tied_weights_keys", {})
        state = {name: value for name, value in state.items() if name not in tied}
    with no_bar():
        model.save_pretrained(folder, state_dict=dict(state))


def load_weights(model: Any, folder: Path) -> None:
    """Read what `save_weights` has written into the model.

    Raises
    ------
    InputError
        If the folder's weights aren't those of such a model.
    """
    from safetensors.torch import load_file

    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    if is_adapted(model):
        from peft import set_peft_model_state_dict

        result: Any = set_peft_model_state_dict(model, found)
        unknown = result.unexpected_keys
    else:
        own = model.state_dict()
        unknown = [name for name in found if name not in own]
        with torch.no_grad():
            for name in found.keys() & own.keys():
                own[name].copy_(found[name])
    if unknown or not found:
        what = f"'{unknown[0]}' has no place in the model" if unknown else "there are none"
        raise InputError(f"weights in {folder}: {what}")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what torch and safetensors raise when a disk is full into an OSError."""
    from safetensors import SafetensorError

    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(errno.EIO, f"a checkpoint can't be written: {reason}", str(folder)) from error


@contextmanager
def no_bar() -> Iterator[None]:
    """transformers shows a bar of its own for every checkpoint."""
    logging: Any = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
