"""LoRA adapters in the folders that peft writes: read, checked against a model, merged into it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.files import read_json, sha256
from statllm.models import loading

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FACTOR = re.compile(r"base_model\.model\.(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?")


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: every module's weight W gets B A times a scale, with A of few rows.

    Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models* (2022).

    Attributes
    ----------
    folder : Path
    rank : int
        The largest of any module.
    base : str
        What the adapter says that it was trained on; a name or a path of then.
    factors : dict
        By module name: the shapes of A, (rank, inputs), and B, (outputs, rank).
    """

    folder: Path
    rank: int
    base: str
    factors: dict[str, dict[str, tuple[int, ...]]]


def read_adapter(folder: str | Path) -> Adapter:
    """Read an adapter's configuration and the shapes of its weights.

    Raises
    ------
    InputError
        If the folder isn't that of a LoRA adapter with safetensors weights, or its weights have
        another rank than its configuration.

    Examples
    --------
    >>> read_adapter("no/such/folder")
    Traceback (most recent call last):
    ...
    statllm.errors.InputError: adapter folder no/such/folder does not exist
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"adapter folder {folder} does not exist")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            pickled = name.endswith("safetensors") and (folder / "adapter_model.bin").is_file()
            reason = " (pickled weights are not loaded)" if pickled else ""
            raise InputError(f"{folder} is not an adapter folder: {name} is missing{reason}")
    config = read_json(folder / "adapter_config.json")
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise InputError(f"adapter {folder} is of type {kind}, LORA was expected")
    factors: dict[str, dict[str, tuple[int, ...]]] = {}
    try:
        with safe_open(folder / "adapter_model.safetensors", "numpy") as weights:
            for name in weights.keys():  # noqa: SIM118 (not a dict)
                if found := _FACTOR.fullmatch(name):
                    shape = tuple(weights.get_slice(name).get_shape())
                    factors.setdefault(found[1], {})[found[2]] = shape
    except (OSError, SafetensorError) as error:
        raise InputError(f"adapter {folder} can't be read: {error}") from error
    if not factors:
        raise InputError(f"adapter {folder} has no LoRA weights")
    said = {config.get("r"), *(config.get("rank_pattern") or {}).values()}
    for module, shapes in factors.items():
        a, b = shapes.get("A", ()), shapes.get("B", ())
        if len(a) != 2 or len(b) != 2 or a[0] != b[1]:
            raise InputError(f"adapter {folder} is damaged: the two factors of {module} don't fit")
        if a[0] not in said:
            raise InputError(
                f"adapter {folder} has rank {a[0]} at {module}, its adapter_config.json says "
                f"{config.get('r')}"
            )
    rank = max(shapes["A"][0] for shapes in factors.values())
    return Adapter(folder, rank, str(config.get("base_model_name_or_path") or "unknown"), factors)


def check_fits(adapter: Adapter, model: PreTrainedModel) -> None:
    """Check that the model has the modules that the adapter changes, in its sizes.

    Only names and shapes are looked at: the model may be on PyTorch's meta device.

    Raises
    ------
    InputError
        Names a module that doesn't fit, and the model that the adapter was made for.
    """
    modules: dict[str, Any] = dict(model.named_modules())
    for name, shapes in adapter.factors.items():
        reason = None
        if name not in modules:
            reason = f"it has no {name}"
        else:
            # some architectures keep a weight as (inputs, outputs)
            weight = getattr(modules[name], "weight", None)
            wanted = sorted((shapes["B"][0], shapes["A"][1]))
            if weight is not None and sorted(weight.shape) != wanted:
                a, b = shapes["A"][1], shapes["B"][0]
                reason = f"its {name} is {tuple(weight.shape)}, the adapter's is ({b}, {a})"
        if reason:
            raise InputError(
                f"adapter {adapter.folder}, made for {adapter.base}, doesn't fit the model: "
                f"{reason}"
            )


def model_shape(folder: Path) -> PreTrainedModel:
    """Return a model without its weights, for its modules' names and shapes."""
    import torch

    with loading(str(folder)), torch.device("meta"):
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return model


def merge_adapter(model: PreTrainedModel, folder: str | Path) -> PreTrainedModel:
    """Add the adapter's changes to the model's weights, in place, and return the model.

    Raises
    ------
    InputError
        If peft isn't installed, or the adapter doesn't fit.
    """
    adapter = read_adapter(folder)
    check_fits(adapter, model)
    try:
        from peft import PeftModel
    except ImportError as error:
        raise InputError("an adapter needs peft: pip install peft") from error
    with loading(f"with adapter {folder}"):
        adapted = PeftModel.from_pretrained(
            model, str(adapter.folder), torch_device=str(model.device)
        )
        merged: PreTrainedModel = adapted.merge_and_unload()
    merged.train(False)
    return merged


def adapted_digest(model_digest: str, folder: str | Path | None) -> str:
    """Return what identifies a model's content together with an adapter's; None is no adapter."""
    if folder is None:
        return model_digest
    content = sha256(Path(folder).expanduser())
    return hashlib.sha256(f"{model_digest} {content}".encode()).hexdigest()
