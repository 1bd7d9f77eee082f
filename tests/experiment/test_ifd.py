"""An arm that selects by instruction-following difficulty: its scores have what that needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from statllm.experiment import Experiment, run_experiment
from statllm.experiment.run import open_run
from statllm.files import read_parquet
from statllm.lab import model_path

BASE: dict[str, Any] = {
    "model": "lab",
    "problems": {"source": "lab:train", "n": 12},
    "sampling": {"n": 4, "temperature": 1.0, "max_new_tokens": 40},
    "rewards": {"lab": {"noise": 0.1}},
    "selection": {"rule": "rip"},
    "training": {"loss": "dpo", "max_steps": 1, "batch_size": 4},
    "evaluation": {"problems": {"source": "lab:test", "n": 4}, "k": 2},
    "iterations": [{}],
}


def test_its_quality_is_the_ratio_of_two_losses(tmp_path: Path) -> None:
    experiment = Experiment(
        name="ifd",
        seeds=(0, 1),
        base=BASE,
        arms={"all": {}, "ifd": {"selection": {"rule": "band", "settings": {"quality": "ifd"}}}},
        comparisons=({"arm": "ifd", "against": "all"},),
    )
    run_experiment(experiment, tmp_path, isolate=False)
    ledger = read_parquet(open_run(tmp_path, "ifd", 0).path(1, "ledger.parquet"))
    pairs = read_parquet(open_run(tmp_path, "ifd", 0).path(1, "pairs.parquet"))
    quality = dict(zip(ledger["prompt_id"].to_pylist(), ledger["quality"].to_pylist(), strict=True))
    model = AutoModelForCausalLM.from_pretrained(model_path())
    tokenizer = AutoTokenizer.from_pretrained(model_path())

    def loss(before: list[int], ids: list[int]) -> float:
        given = torch.tensor([before + ids])
        with torch.no_grad():
            log_p = model(given).logits.log_softmax(-1)[0, len(before) - 1 : -1]
        return -float(log_p[torch.arange(len(ids)), ids].sum()) / len(ids)

    begin = [tokenizer.eos_token_id]
    for pair in pairs.to_pylist():
        chosen = [*tokenizer(pair["chosen"])["input_ids"], tokenizer.eos_token_id]
        ratio = loss(tokenizer(pair["prompt"])["input_ids"], chosen) / loss(begin, chosen)
        assert quality[pair["prompt_id"]] == pytest.approx(ratio, rel=1e-4)
    assert np.isfinite([q for q in quality.values() if q is not None]).any()
    others = read_parquet(open_run(tmp_path, "all", 0).path(1, "scores.parquet"))
    assert "logprob_alone" not in others.column_names
