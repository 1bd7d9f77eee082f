"""Pretraining: Muon against the singular value decomposition, documents, and a tiny run."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from statllm.files import sha256  # noqa: E402
from statllm.lab.muon import Muon, orthogonalize  # noqa: E402
from statllm.lab.pretrain import (  # noqa: E402
    PROMPT_WEIGHT,
    Habits,
    batches,
    documents,
    encode,
    new_model,
    pretrain,
    train,
    train_tokenizer,
)
from statllm.lab.world import split_of  # noqa: E402, F401
