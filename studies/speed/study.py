"""How long a preference training takes here and in trl, on pairs of three length profiles.

Every measurement is a process of its own: a model with random weights, made pairs, one pass over
them. What is timed is the training alone, after everything was loaded and the cached reference
computed. On a CPU the time is that of the processor, on a GPU that of the clock.

    python studies/speed/study.py
    python studies/speed/study.py --shape 1b --pairs 512 --batch 64 --dtype bfloat16   # on a GPU
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: Median tokens of prompt and response; both are log-normal with sigma .5.
PROFILES = {"150/150": (150, 150), "400/120": (400, 120), "120/350": (120, 350)}

#: hidden, intermediate, layers, heads, key-value heads, vocabulary
SHAPES = {
    "tiny": (192, 512, 4, 6, 6, 512),
    "1b": (2048, 8192, 16, 32, 8, 128_256),
    "8b": (4096, 14_336, 32, 32, 8, 128_256),
}

#: Who trains, and how.
CONTENDERS: dict[str, dict[str, Any]] = {
    "trl, default": {"trl": True, "checkpointing": True, "live": True},
    "trl, best": {"trl": True, "checkpointing": False, "live": False, "sorted": True},
    "statllm, live reference": {"trl": False, "checkpointing": False, "live": True},
    "statllm, cached reference": {"trl": False, "checkpointing": False, "live": False},
}
MICRO = 4  # pairs of trl's micro-batch


def make_rows(profile: str, pairs: int, vocabulary: int, seed: int = 0) -> Any:
    """Token ids of made pairs."""
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng(seed)

    def ids(median: int) -> Any:
        lengths = np.maximum(2, median * np.exp(0.5 * rng.normal(size=pairs))).astype(int)
        lists = [[*rng.integers(3, vocabulary, n - 1).tolist(), 2] for n in lengths]
        return pa.array(lists, pa.list_(pa.int32()))

    prompt, response = PROFILES[profile]
    columns = {"prompt_ids": prompt, "chosen_ids": response, "rejected_ids": response}
    return pa.table({**{k: ids(n) for k, n in columns.items()}, "weight": pa.array(np.ones(pairs))})


def make_model(shape: str, dtype: str) -> Any:
    """A Llama of this shape with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, intermediate, layers, heads, kv_heads, vocabulary = SHAPES[shape]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=8192,
        eos_token_id=2,
        pad_token_id=0,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        return LlamaForCausalLM(config).to(getattr(torch, dtype))


def clock() -> float:
    """Seconds: of the processor, or on a GPU of the wall, when it has done its work."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def measure(task: dict[str, Any]) -> dict[str, float]:
    """Train once; seconds, peak GB, and the loss at the end of it."""
    import torch

    torch.set_num_threads(int(task["threads"]))
    how = CONTENDERS[task["contender"]]
    rows = make_rows(task["profile"], task["pairs"], SHAPES[task["shape"]][-1])
    model = make_model(task["shape"], task["weights"])
    with tempfile.TemporaryDirectory() as folder:
        train = (_trl if how["trl"] else _ours)(model, rows, task, how, Path(folder))
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        begin = clock()
        train()
        seconds = clock() - begin
    tokens = sum(len(ids) for name in rows.column_names[:3] for ids in rows[name].to_pylist())
    peak = (
        torch.cuda.max_memory_allocated()
        if torch.cuda.is_available()
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {"seconds": seconds, "peak_gb": peak / 1e9, "tokens": tokens}


def _ours(model: Any, rows: Any, task: dict[str, Any], how: dict[str, Any], folder: Path) -> Any:
    from statllm.training import PreferenceSettings
    from statllm.training.preference import preference_trainer

    settings = PreferenceSettings(
        batch_size=task["batch"],
        token_budget=task["budget"],
        precompute_reference=not how["live"],
        gradient_checkpointing=how["checkpointing"],
        dtype=task["dtype"],
        weight_dtype=task["weights"],
        checkpoint_every=None,  # the last one is written nevertheless, trl keeps none
    )
    return preference_trainer(model, rows, settings, folder).train


def _trl(model: Any, rows: Any, task: dict[str, Any], how: dict[str, Any], folder: Path) -> Any:
    import numpy as np
    import pyarrow.compute as pc
    from datasets import Dataset
    from trl import DPOConfig

    columns = [rows[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")]
    if how.get("sorted"):  # better than its own grouping, which fails for preferences
        lengths = [pc.list_value_length(column).to_numpy() for column in columns]
        rows = rows.take(np.argsort(-(lengths[0] + np.maximum(lengths[1], lengths[2]))))
    trainer = _token_id_trainer()(
        model=model,
        ref_model=copy.deepcopy(model),  # it would look for a folder otherwise
        args=DPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=MICRO,
            gradient_accumulation_steps=task["batch"] // MICRO,
            num_train_epochs=1,
            learning_rate=1e-6,
            bf16=task["dtype"] == "bfloat16",
            gradient_checkpointing=how["checkpointing"],
            precompute_ref_log_probs=not how["live"],
            max_length=None,
            train_sampling_strategy="sequential" if how.get("sorted") else "random",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset(rows.drop_columns(["weight"])),
        processing_class=_tokenizer(SHAPES[task["shape"]][-1]),
    )
    if not how["live"]:
        trainer.ref_model = None
    return trainer.train


def _token_id_trainer() -> Any:
    """trl's trainer, which otherwise tokenizes text: the pairs are token ids already."""
    from trl import DPOTrainer

    class TokenIdTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    return TokenIdTrainer


def _tokenizer(vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(vocabulary)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, "w1")), pad_token="w0", eos_token="w2"
    )


def main() -> None:
    """Measure, print a table and, last, the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=list(PROFILES))
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--budget", type=int, default=8192)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--weights", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    given = vars(parser.parse_args())
    if given["task"]:
        print("\n" + json.dumps(measure(json.loads(given["task"]))))
        return
    profiles, repeats = given.pop("profiles"), given.pop("repeats")
    found: dict[str, dict[str, Any]] = {}
    print(
        "| profile | who | seconds (range) | trl's default ÷ it | peak GB |\n|---|---|---|---|---|"
    )
    for profile in profiles:
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
        for _ in range(repeats):  # one after the other, so that a busy machine is so for all
            for name in CONTENDERS:
                task = {**given, "profile": profile, "contender": name}
                runs[name].append(_run(task))
        medians = {n: statistics.median(r["seconds"] for r in each) for n, each in runs.items()}
        ratios = {
            name: sorted(
                base["seconds"] / run["seconds"]
                for base, run in zip(runs["trl, default"], each, strict=True)
            )
            for name, each in runs.items()
        }
        for name, each in runs.items():
            seconds = sorted(run["seconds"] for run in each)
            peak = max(run["peak_gb"] for run in each)
            ratio = ratios[name]
            print(
                f"| {profile} | {name} | {medians[name]:.1f} ({seconds[0]:.1f}–{seconds[-1]:.1f}) "
                f"| {statistics.median(ratio):.2f} ({ratio[0]:.2f}–{ratio[-1]:.2f}) | {peak:.2f} |",
                flush=True,
            )
        found[profile] = {"seconds": medians, "ratios": ratios}
    print(json.dumps({**given, "repeats": repeats, "found": found}))


def _run(task: dict[str, Any]) -> dict[str, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(task["threads"])}
    done = subprocess.run(
        [sys.executable, __file__, "--task", json.dumps(task)],
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        raise SystemExit(f"{task['contender']}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
