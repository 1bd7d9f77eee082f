"""A low-rank adapter in place of all weights, through peft."""

from __future__ import annotations

from typing import Any

from statllm.errors import InputError
from statllm.training.settings import LanguageModelSettings


def adapted(model: Any, settings: LanguageModelSettings) -> Any:
    """Return the model with an adapter, the only part that is trained; it starts at zero.

    ``W x + (alpha / rank) · B A x`` for each linear layer (Hu et al. 2021, arXiv 2106.09685).

    Raises
    ------
    InputError
        If peft isn't installed, or a target isn't a layer of the model.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise InputError("lora_rank needs peft: pip install peft") from error
    import torch

    rank = settings.lora_rank
    assert rank is not None
    config = LoraConfig(
        r=rank,
        lora_alpha=settings.lora_alpha or 2 * rank,  # type: ignore[arg-type]
        target_modules=list(settings.lora_targets) or "all-linear",
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)  # A is random, B zero
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            raise InputError(f"lora_targets: {str(error).splitlines()[0]}") from error
