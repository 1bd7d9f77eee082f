"""Language models and tokenizers from a folder or the hub: safetensors, no foreign code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from statllm.errors import InputError
from statllm.files import sha256

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def check_model_folder(path: str | Path) -> Path:
    """Return `path` as a folder with a config, safetensors weights and a tokenizer.

    Raises
    ------
    InputError
        Says what is missing.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> check_model_folder(folder)
    Traceback (most recent call last):
    ...
    statllm.errors.InputError: ... is not a model folder: config.json is missing
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"model folder {path} does not exist")
    if not path.is_dir():
        raise InputError(f"{path} is a file, a model folder was expected")
    if not (path / "config.json").is_file():
        raise InputError(f"{path} is not a model folder: config.json is missing")
    _check_weights(path)
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise InputError(f"{path} is not a model folder: tokenizer.json is missing")
    return path


def _check_weights(path: Path) -> None:
    index = path / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{index} is not an index of safetensors shards") from error
        missing = [name for name in shards if not (path / name).is_file()]
        if missing:
            raise InputError(f"{path} is not a complete model folder: {missing[0]} is missing")
        return
    if not (path / "model.safetensors").is_file():
        pickled = any(path.glob("pytorch_model*.bin"))
        reason = " (pickled weights are not loaded)" if pickled else ""
        raise InputError(f"{path} is not a model folder: model.safetensors is missing{reason}")


def load_model(
    path_or_name: str | Path,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "auto",
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode.

    Parameters
    ----------
    path_or_name : str or Path
        A folder, or a name on the hub (such as ``Qwen/Qwen3-0.6B``).
    dtype : str or torch.dtype
        Of the weights; "auto" is the checkpoint's own.
    device : str or torch.device
        "auto" is CUDA where there is one, else the CPU.

    Raises
    ------
    InputError
        If it is a path that isn't a model folder, or can't be loaded.
    """
    import torch

    if isinstance(dtype, str) and dtype != "auto":
        kind = getattr(torch, dtype, None)
        if not isinstance(kind, torch.dtype):
            raise InputError(f"dtype '{dtype}' is unknown")
        dtype = kind
    source = _resolve(path_or_name)
    with loading(source):
        from transformers import AutoModelForCausalLM

        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model.to(device)  # type: ignore[arg-type]
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise InputError(f"model {source} can't be put on device '{device}': {reason}") from error
    model.train(False)
    return model


def load_tokenizer(path_or_name: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder, of a folder that holds no more than it, or a hub name.

    Raises
    ------
    InputError
        If it is a path that isn't a model folder, or can't be loaded.
    """
    folder = Path(path_or_name).expanduser()
    alone = any((folder / name).is_file() for name in _TOKENIZER_FILES)
    alone = alone and not (folder / "config.json").exists()
    alone = alone and not any(folder.glob("*.safetensors*"))  # else it is a model's, to be whole
    source = str(folder) if alone else _resolve(path_or_name)
    with loading(source):
        from transformers import AutoTokenizer

        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source, trust_remote_code=False
        )
    return tokenizer


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str | Sequence[Mapping[str, str]]
) -> list[int]:
    """Return the token ids of a prompt as the model gets it.

    A string is sent as it is, with the tokenizer's own special tokens; a list of
    ``{role, content}`` messages goes through the tokenizer's chat template, up to where the
    assistant begins.

    Raises
    ------
    InputError
        If there are messages, but no chat template.
    """
    if isinstance(prompt, str):
        return list(tokenizer(prompt)["input_ids"])
    if not getattr(tokenizer, "chat_template", None):
        raise InputError("the prompt is a list of messages, but the tokenizer has no chat template")
    messages = [dict(message) for message in prompt]
    return list(
        tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    )


def stop_ids(config: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that end a response: the model's own, else the tokenizer's; sorted."""
    for ids in (getattr(config, "eos_token_id", None), tokenizer.eos_token_id):
        if ids is not None:
            return sorted({ids} if isinstance(ids, int) else set(ids))
    return []


def model_digest(source: str | Path | PreTrainedModel) -> str:
    """Return what identifies a model's content: a digest of its files, else of its weights."""
    if isinstance(source, str | Path):
        return sha256(check_model_folder(source))
    import torch

    digest = hashlib.sha256(source.config.to_json_string().encode())
    for name, tensor in sorted(source.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def is_local(path_or_name: str | Path) -> bool:
    """Whether this names a place in the file system rather than a model on the hub."""
    if isinstance(path_or_name, Path) or Path(path_or_name).expanduser().exists():
        return True
    looks = path_or_name.startswith((".", "/", "~")) or "\\" in path_or_name
    return looks or path_or_name.count("/") > 1 or path_or_name.endswith("/")


def _resolve(path_or_name: str | Path) -> str:
    """A checked folder, or the hub name as it is."""
    if is_local(path_or_name):
        return str(check_model_folder(path_or_name))
    return str(path_or_name)


@contextmanager
def loading(source: str) -> Iterator[None]:
    """No telemetry, no progress bars; what goes wrong in loading is the input's fault."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from safetensors import SafetensorError
    from transformers.utils import logging

    had_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"model {source} can't be loaded: {reason}") from error
    finally:
        if had_bars:
            logging.enable_progress_bar()
