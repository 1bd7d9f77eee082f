"""How fast responses are sampled: tokens per second against transformers' own `generate`.

    python benchmarks/sampling.py [--model lab] [--prompts 300] [--samples 8] [--batch-size 512]

Both get the same model, prompts sorted by length, number of sequences per batch, temperature 1 and
no top-p. `generate` returns token ids only; ours also returns two log-probabilities per token and
makes texts that don't depend on the batch. They take turns, and each is quoted at its fastest
round, since other work on the machine only ever adds time.
"""

from __future__ import annotations

import argparse
import time

import pyarrow as pa
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from statllm.lab import model_path, problems
from statllm.models import load_model, load_tokenizer, stop_ids
from statllm.sampling import SamplingSettings, sample


def ours(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: pa.Table,
    settings: SamplingSettings,
) -> int:
    """Sample with statllm; return the number of tokens."""
    table = sample((model, tokenizer), prompts, settings, progress=False)
    return sum(map(sum, table["n_tokens"].to_pylist()))


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: pa.Table,
    settings: SamplingSettings,
) -> int:
    """Sample with `generate`; return the number of tokens up to each response's end."""
    torch.manual_seed(settings.seed)
    ids = sorted((tokenizer(text)["input_ids"] for text in prompts["prompt"].to_pylist()), key=len)
    at_once = max(1, settings.batch_size // settings.n)
    stop = torch.tensor(stop_ids(model, tokenizer))
    tokens = 0
    for start in range(0, len(ids), at_once):
        batch = tokenizer.pad(
            {"input_ids": ids[start : start + at_once]}, padding_side="left", return_tensors="pt"
        )
        out = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            do_sample=True,
            top_k=0,
            top_p=1.0,
            temperature=settings.temperature,
            num_return_sequences=settings.n,
            max_new_tokens=settings.max_new_tokens,
        )
        response = out[:, batch["input_ids"].shape[1] :]
        ended = torch.isin(response, stop).int().cumsum(-1)
        before_end = (ended - torch.isin(response, stop).int()) == 0
        tokens += int(before_end.sum())
    return tokens


def main() -> None:
    """Measure, and print tokens per second and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lab", help="a model folder, or lab")
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    folder = model_path() if arguments.model == "lab" else arguments.model
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    prompts = problems("test", arguments.prompts, 0)
    settings = SamplingSettings(
        n=arguments.samples,
        max_new_tokens=arguments.max_new_tokens,
        batch_size=arguments.batch_size,
    )
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{parameters / 1e6:.2f} M parameters, {torch.get_num_threads()} threads")
    print(f"{arguments.prompts} prompts x {arguments.samples} samples\n")
    wall = {"statllm": 0.0, "generate": 0.0}
    cpu = dict(wall)
    print("           tokens    seconds   CPU seconds    tokens/s   tokens per CPU second")
    for _ in range(arguments.rounds):
        for name, run in (("statllm", ours), ("generate", generate)):
            start, cpu_start = time.perf_counter(), time.process_time()
            tokens = run(model, tokenizer, prompts, settings)
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
            wall[name] = max(wall[name], tokens / seconds)
            cpu[name] = max(cpu[name], tokens / cpu_seconds)
            print(
                f"{name:9}{tokens:8,}{seconds:11.2f}{cpu_seconds:14.2f}"
                f"{tokens / seconds:12,.0f}{tokens / cpu_seconds:24,.0f}"
            )
    ratios = [best["statllm"] / best["generate"] for best in (wall, cpu)]
    print("\nfastest rounds, statllm against generate:", end=" ")
    print(f"{ratios[0]:.1f} x tokens per second, {ratios[1]:.1f} x tokens per CPU second")


if __name__ == "__main__":
    main()
