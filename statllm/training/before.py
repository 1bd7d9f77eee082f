"""What is read, checked and said before a training starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from statllm._formats import read_rows
from statllm.errors import InputError
from statllm.models import load_tokenizer
from statllm.pairs import check_pairs
from statllm.training.data import Rows, model_limits, to_rows
from statllm.training.progress import ProgressLine
from statllm.training.settings import LanguageModelSettings, PreferenceSettings


def pair_rows(
    pairs: pa.Table | str | Path, start: Path, settings: PreferenceSettings
) -> tuple[pa.Table, Rows]:
    """The pairs, and their tokens."""
    table = check_pairs(pairs if isinstance(pairs, pa.Table) else read_rows(pairs))
    tokenizer = load_tokenizer(start)
    must_end = ["chosen"] if settings.keep_truncated_rejected else ["chosen", "rejected"]
    limits = model_limits(start, tokenizer, settings, must_end)
    return table, to_rows(table, ["chosen", "rejected"], tokenizer, limits)


def check_some_weight(rows: pa.Table) -> None:
    """Refuse rows of which none would change the model.

    Raises
    ------
    InputError
    """
    if not np.any(rows["weight"].to_numpy()):
        raise InputError("every weight is 0: there is nothing to train on")


def say_overlap(rows: pa.Table, held_out: pa.Table, line: ProgressLine) -> None:
    """Say how many of the held-out prompts are known from the training."""
    trained, other = ({*map(tuple, t["prompt_ids"].to_pylist())} for t in (rows, held_out))
    if both := len(trained & other):
        line.say(f"{both} of {len(other)} held-out prompts are trained on, too")


def say_layout(start: Path, settings: LanguageModelSettings, line: ProgressLine) -> None:
    """Say why a model takes the slow way, where nobody asked for it."""
    from transformers import AutoConfig

    from statllm.training.attention import can_share

    reason = can_share(AutoConfig.from_pretrained(start)) if settings.layout == "auto" else None
    if reason is not None:
        line.say(f"rows are padded and prompts computed for each response: {reason}")


def check_memory(
    start: Path,
    rows: Rows,
    responses: Sequence[str],
    settings: LanguageModelSettings,
    live_reference: bool,
) -> None:
    """Refuse what this machine's memory doesn't hold; of several, each holds a part."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return
    from transformers import AutoConfig

    from statllm.training.memory import check_training
    from statllm.training.packing import row_length
    from statllm.training.sequences import choose_layout

    layout = choose_layout(settings.layout, AutoConfig.from_pretrained(start))
    lengths = [
        pc.list_value_length(rows.table[name]).to_pylist() for name in ("prompt_ids", *responses)
    ]
    sizes = [row_length(prompt, each, layout) for prompt, *each in zip(*lengths, strict=True)]
    check_training(start, settings, sizes, live_reference=live_reference)
