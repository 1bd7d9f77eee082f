"""The built-in model on three backends: same answers, same log-probabilities, at which speed?

    make .venv-vllm/installed
    .venv-vllm/bin/python studies/backends/study.py

Each backend is timed alone, after it has started; vLLM's server is the one that `vllm serve` runs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from statllm.estimators import wilson
from statllm.lab import model_path, problems
from statllm.sampling import SamplingSettings, sample
from statllm.scoring import extract

HERE = Path(__file__).parent
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
ENGINE = ("enforce_eager=true", "max_model_len=256")
MARK = "<!-- measured -->"


@contextmanager
def served() -> Iterator[str]:
    """The address of vLLM's server with the built-in model."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model_path()),
        "--served-model-name", "lab", "--dtype", "float32", "--enforce-eager",
        "--max-model-len", "256", "--no-enable-chunked-prefill", "--host", "127.0.0.1",
        "--port", str(port),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not _healthy(port):
            if process.poll() is not None:
                raise SystemExit("vLLM's server didn't start")
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _healthy(port: int) -> bool:
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


def measure(backend: str, prompts: int, samples: int) -> None:
    """Sample greedily (one sample) or at temperature 1, and write the table and the speed."""
    from statllm.sampling import sampler

    opened, started = sampler.open_backend, 0.0

    def timed(*arguments: Any) -> Any:
        nonlocal started
        found = opened(*arguments)
        started = time.perf_counter()
        return found

    sampler.open_backend = timed  # the clock starts when the backend has
    given: dict[str, Any] = {"backend": backend, "max_new_tokens": 80, "shard_size": prompts}
    if backend == "vllm":
        given["engine"] = ENGINE
    if backend == "openai":
        given["server"] = os.environ["STATLLM_STUDY_SERVER"]
    settings = SamplingSettings(n=samples, temperature=float(samples > 1), **given)
    table = sample(model_path(), problems("test", prompts, 0), settings, progress=False)
    seconds = time.perf_counter() - started
    tokens = sum(sum(row) for row in table["n_tokens"].to_pylist())
    pq.write_table(table, f"{backend}-{samples}.parquet")
    Path(f"{backend}-{samples}.json").write_text(json.dumps(tokens / seconds))


def compare(folder: Path, samples: int) -> str:
    """The table of the README."""
    tables = {name: pq.read_table(folder / f"{name}-1.parquet") for name in NAMES}
    base = tables["transformers"]
    lines = [
        "| backend | same greedy answers (95 %) | same greedy texts | mean log-prob gap, nat | "
        f"largest | greedy, tokens/s | n = {samples}, tokens/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, words in NAMES.items():
        speeds = [json.loads((folder / f"{name}-{n}.json").read_text()) for n in (1, samples)]
        speed = " | ".join(f"{each:,.0f}" for each in speeds)
        if name == "transformers":
            lines.append(f"| {words} | – | – | – | – | {speed} |")
            continue
        answers, texts, gaps = _agreement(base, tables[name])
        low, high = wilson(int(answers.sum()), len(answers))
        lines.append(
            f"| {words} | {answers.mean():.1%} [{low:.1%}, {high:.1%}] | {texts.mean():.1%} | "
            f"{gaps.mean():.1e} | {gaps.max():.1e} | {speed} |"
        )
    return "\n".join(lines)


NAMES = {
    "transformers": "transformers",
    "vllm": "vLLM, offline",
    "openai": "vLLM, server",
}


def _agreement(one: pa.Table, other: pa.Table) -> tuple[Any, Any, Any]:
    left, right = (table["response"].to_pylist() for table in (one, other))
    answers = np.array([extract(a[0]) == extract(b[0]) for a, b in zip(left, right, strict=True)])
    texts = np.array([a == b for a, b in zip(left, right, strict=True)])
    gaps = [
        np.abs(np.subtract(a[0], b[0]))
        for a, b, same in zip(
            one["token_logprobs_model"].to_pylist(),
            other["token_logprobs_model"].to_pylist(),
            texts,
            strict=True,
        )
        if same
    ]
    return answers, texts, np.concatenate(gaps)


def main() -> None:
    """Measure each backend in a process of its own, and write the table into the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        measure(given.only, given.prompts, given.samples)
        return
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            with served() if name == "openai" else nullcontext("") as address:
                for samples in (1, given.samples):
                    subprocess.run(
                        [sys.executable, Path(__file__).resolve(), "--only", name, "--prompts",
                         str(given.prompts), "--samples", str(samples)],
                        cwd=folder, check=True, env=os.environ | {"STATLLM_STUDY_SERVER": address},
                    )  # fmt: skip
        table = compare(Path(folder), given.samples)
    print(table)
    readme = HERE / "README.md"
    parts = readme.read_text().split(MARK)
    parts[1] = f"\n{table}\n"
    readme.write_text(MARK.join(parts))


if __name__ == "__main__":
    main()
