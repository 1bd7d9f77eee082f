"""Real servers on this machine with the built-in model: vLLM's and transformers' own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from statllm.files import read_parquet
from statllm.lab import model_path, problems
from statllm.models import load_model
from statllm.sampling import SamplingSettings, sample
from statllm.sampling.failures import SamplesMissing, failures_file

pytest.importorskip("openai", reason="the openai client isn't installed")

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM isn't installed")
_SERVING = ("fastapi", "uvicorn", "requests")
needs_serve = pytest.mark.skipif(
    any(find_spec(name) is None for name in _SERVING),
    reason="transformers[serving] isn't installed",
)


class Process:
    """A server in processes of its own."""

    def __init__(self, command: list[str], port: int, path: str, log: Path) -> None:
        environment = os.environ | {
            "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(log.parent / "hub"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.url = f"http://127.0.0.1:{port}/v1"
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command, "--host", "127.0.0.1", "--port", str(port)],
                stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 300
        while not self._answers(port, path):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"the server didn't start:\n{log.read_text()[-3000:]}")
            time.sleep(0.5)

    @staticmethod
    def _answers(port: int, path: str) -> bool:
        from http.client import HTTPConnection

        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except OSError:
            return False

    def kill(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self.process.wait()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def vllm_serve(folder: Path, port: int, *more: str) -> Process:
    """What `vllm serve` runs; vllm-cpu's own command needs a package named vllm."""
    command = [
        "vllm.entrypoints.openai.api_server", "--model", str(model_path()),
        "--served-model-name", "lab-model", "--dtype", "float32", "--enforce-eager",
        "--max-model-len", "256", "--no-enable-chunked-prefill",
        *more,
    ]  # fmt: skip
    return Process(command, port, "/health", folder / f"vllm-{port}.log")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of random factors."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(
        r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False
    )
    folder = tmp_path_factory.mktemp("adapters") / "lora"
    get_peft_model(load_model(model_path(), device="cpu"), config).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory, adapter: Path) -> Iterator[Process]:
    """The model by its name, and the model with the adapter as 'tuned'."""
    lora = ("--enable-lora", "--lora-modules", f"tuned={adapter}")
    server = vllm_serve(tmp_path_factory.mktemp("vllm"), free_port(), *lora)
    yield server
    server.kill()


def settings(server: Process | None, **changes: Any) -> SamplingSettings:
    asked = {"backend": "openai", "server": server.url} if server else {}
    return SamplingSettings(**{"max_new_tokens": 80, "backoff": 0.05, **asked, **changes})


# ---- vLLM ---------------------------------------------------------------------------------------


@pytest.mark.vllm_ci
@needs_vllm
@pytest.mark.slow
def test_vllm_greedy_texts_and_logprobs_are_those_of_transformers(vllm: Process) -> None:
    prompts = problems("test", 200, 0)
    ours, theirs = (
        sample(model_path(), prompts, settings(one, n=1, temperature=0.0), progress=False)
        for one in (None, vllm)
    )
    same = [a == b for a, b in zip(ours["token_ids"], theirs["token_ids"], strict=True)]
    assert np.mean(same) >= 0.99
    for a, b, equal in zip(
        ours["token_logprobs_model"].to_pylist(),
        theirs["token_logprobs_model"].to_pylist(),
        same,
        strict=True,
    ):
        if equal:
            assert np.abs(np.subtract(a[0], b[0])).max() < 0.02
    assert theirs.schema == ours.schema
    for name in ("prompt_token_ids", "token_logprobs", "model"):
        assert theirs[name].equals(ours[name])
    assert theirs["finish_reason"].to_pylist() == ours["finish_reason"].to_pylist()


@needs_vllm
@pytest.mark.slow
def test_vllm_seeds_hold_and_draw_from_the_model(vllm: Process) -> None:
    prompts = problems("test", 40, 0)
    ours = sample(model_path(), prompts, settings(None, n=16), progress=False)
    whole = sample(model_path(), prompts, settings(vllm, n=16), progress=False)
    cut = settings(vllm, n=16, shard_size=13, concurrency=5)
    parts = sample(model_path(), prompts, cut, progress=False)
    # Batches round differently, so a few texts may; the requests' seeds are the same.
    a, b = (np.array(table["response"].to_pylist()) for table in (whole, parts))
    assert (a == b).mean() > 0.97
    assert len(np.unique(a)) > 40
    means = [np.array(table["logprob"].to_pylist()) for table in (ours, whole)]
    gap = means[0].mean(axis=1) - means[1].mean(axis=1)
    assert abs(gap.mean()) < 4 * gap.std(ddof=1) / np.sqrt(len(gap))


@needs_vllm
@pytest.mark.slow
def test_vllm_by_name_alone(vllm: Process) -> None:
    """No folder: texts go out, vLLM encodes them alike and tells the tokens."""
    prompts = problems("test", 30, 0)
    chosen = settings(vllm, n=2, temperature=0.0)
    by_folder, by_name = (
        sample(model, prompts, chosen, progress=False) for model in (model_path(), "lab-model")
    )
    assert by_name["prompt_token_ids"].equals(by_folder["prompt_token_ids"])
    assert by_name.schema == by_folder.schema
    assert by_name["model"].to_pylist() == ["lab-model"] * 30
    same = np.equal(by_name["response"].to_pylist(), by_folder["response"].to_pylist())
    assert same.mean() > 0.97
    # it has no chat template, which vLLM says to every request: none is tried again
    messages = pa.table({"prompt_id": ["a"], "prompt": [[{"role": "user", "content": "hi"}]]})
    with pytest.raises(SamplesMissing, match="refused.*chat template") as caught:
        sample("lab-model", messages, chosen, progress=False)
    assert [one.attempts for one in caught.value.failures] == [1, 1]


@needs_vllm
@pytest.mark.slow
def test_vllm_serves_an_adapter_by_its_own_name(vllm: Process, adapter: Path) -> None:
    prompts = problems("test", 100, 0)
    greedy = settings(vllm, n=1, temperature=0.0)
    tuned = greedy.model_copy(update={"served_name": "tuned"})
    local = settings(None, n=1, temperature=0.0, adapter=adapter)
    ours = sample(model_path(), prompts, local, progress=False)["response"].to_pylist()
    by_name = sample("tuned", prompts, greedy, progress=False)["response"].to_pylist()
    assert np.equal(ours, by_name).mean() >= 0.99
    # with the folder of the model beneath, which doesn't identify the two together
    by_folder, base = (
        sample(model_path(), prompts, one, progress=False) for one in (tuned, greedy)
    )
    assert np.equal(ours, by_folder["response"].to_pylist()).mean() >= 0.99
    assert by_folder["model"][0] != base["model"][0]
    assert np.equal(base["response"].to_pylist(), by_name).mean() < 0.7


@pytest.mark.vllm_ci
@needs_vllm
@pytest.mark.slow
def test_vllm_killed_in_the_middle(vllm: Process, tmp_path: Path) -> None:
    prompts, out = problems("test", 60, 1), tmp_path / "out.parquet"
    whole = sample(model_path(), prompts, settings(vllm, n=8), progress=False)
    port = free_port()
    server = vllm_serve(tmp_path, port)
    chosen = settings(server, n=8, retries=2, shard_size=20, concurrency=4)
    timer = Timer(1.5, server.kill)
    timer.start()
    with pytest.raises(SamplesMissing) as caught:
        sample(model_path(), prompts, chosen, out=out, progress=False)
    timer.join()
    shards = tmp_path / "out.parquet.shards"
    kept = sum(read_parquet(path).num_rows * 8 for path in shards.glob("*.parquet"))
    for journal in shards.glob("*.jsonl"):
        kept += sum(bool(line.strip()) for line in journal.read_text().splitlines())
    assert 0 < len(caught.value.failures) == 60 * 8 - kept
    assert len(failures_file(out).read_text().splitlines()) == len(caught.value.failures)
    assert not out.exists()

    again = settings(vllm, n=8, shard_size=20)  # another port, the same model
    table = sample(model_path(), prompts, again, out=out, progress=False)
    a, b = (np.array(one["response"].to_pylist()) for one in (whole, table))
    assert table["prompt_id"].equals(prompts["prompt_id"])
    assert (a == b).mean() > 0.97
    assert [path.name for path in tmp_path.glob("out*")] == ["out.parquet"]


# ---- transformers -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def transformers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, told to draw: `transformers serve` is greedy for models that don't say so."""
    folder = tmp_path_factory.mktemp("transformers") / "lab"
    shutil.copytree(model_path(), folder)
    config = json.loads((folder / "generation_config.json").read_text())
    config |= {"do_sample": True, "top_k": 0}
    (folder / "generation_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def served(transformers_folder: Path) -> Iterator[Process]:
    command = ["transformers.cli.transformers", "serve", str(transformers_folder)]
    command += ["--device", "cpu", "--dtype", "float32"]
    log = transformers_folder.parent / "serve.log"
    server = Process(command, free_port(), "/health", log)
    yield server
    server.kill()


@needs_serve
@pytest.mark.slow
def test_transformers_greedy_texts_are_ours(served: Process, transformers_folder: Path) -> None:
    prompts = problems("test", 200, 0)
    ours = sample(model_path(), prompts, settings(None, n=1, temperature=0.0), progress=False)
    chosen = settings(served, n=1, temperature=0.0, concurrency=4)
    theirs = sample(transformers_folder, prompts, chosen, progress=False)
    same = np.equal(ours["response"].to_pylist(), theirs["response"].to_pylist())
    assert same.mean() >= 0.99
    assert theirs.schema == ours.schema
    assert theirs["token_ids"].to_pylist() == [[None]] * 200
    lengths = np.equal(ours["n_tokens"].to_pylist(), theirs["n_tokens"].to_pylist())
    assert lengths.mean() >= 0.99
    assert ours["finish_reason"].to_pylist() == theirs["finish_reason"].to_pylist()


@needs_serve
@pytest.mark.slow
def test_transformers_samples_are_drawn_with_their_seeds(
    served: Process, transformers_folder: Path
) -> None:
    """One at a time: this server's random numbers are one stream for all requests."""
    prompts = problems("test", 10, 0)
    chosen = settings(served, n=8, concurrency=1)
    a, b = (
        np.array(
            sample(transformers_folder, prompts, chosen, progress=False)["response"].to_pylist()
        )
        for _ in range(2)
    )
    assert (a == b).all()
    assert all(len(set(row)) > 1 for row in a)
