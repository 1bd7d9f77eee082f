"""Models on engines: what they write is what they write from memory, whatever the pieces."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from statllm.engines import EngineSettings, Source, run
from statllm.engines.judging import judge_file
from statllm.engines.models import FineSource, ModelEngineSettings, ModelWork
from statllm.engines.ray_data import n_actors
from statllm.engines.rewards import reward_file
from statllm.engines.sampling import sample_file
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.lab import model_path, problems
from statllm.sampling import SamplingSettings, sample
from statllm.sampling.judge_model import open_judge
from statllm.scoring.judges import JudgeSettings, YesNoJudge, judge
from statllm.scoring.reward_models import RewardModel, add_rewards

pytestmark = pytest.mark.usefixtures("one_ray")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray isn't installed")
ENGINES = ["local", pytest.param("ray", marks=needs_ray)]
TWO = SamplingSettings(n=2, max_new_tokens=80)
GREEDY = SamplingSettings(temperature=0.0, max_new_tokens=1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the workers have; the number of threads may change rounding."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Prompts, in row groups that aren't those of parts."""
    pq.write_table(problems("test", 26, 0), tmp_path / "prompts.parquet", row_group_size=17)
    return tmp_path


def answers() -> pa.Table:
    """Prompts with 0 to 4 short responses; some are null."""
    rng = np.random.default_rng(3)
    rows = [[str(d) for d in rng.integers(0, 10, k)] for k in rng.integers(0, 5, 30)]
    return pa.table(
        {
            "prompt_id": [f"p{i}" for i in range(30)],
            "prompt": [f"{i % 10} vs {i % 7}" for i in range(30)],
            "response": rows,
        }
    )


def pieces(engine: Any, **changes: Any) -> EngineSettings:
    """Two actors; one process, this one, since another takes seconds to import torch."""
    given = {"workers": 1 + (engine == "ray"), "part_rows": 8, "batch_rows": 5} | changes
    return EngineSettings(engine=engine, **given)


def same_but_for_rounding(found: pa.Table, expected: pa.Table, rounded: set[str]) -> None:
    assert found.schema.equals(expected.schema)
    exact = [name for name in found.column_names if name not in rounded]
    assert found.select(exact).equals(expected.select(exact))
    for name in rounded & set(found.column_names):
        a, b = (flat(table[name]) for table in (found, expected))
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-4, err_msg=name)


def flat(column: pa.ChunkedArray) -> Any:
    while pa.types.is_list(column.type):
        column = pc.list_flatten(column)
    return column.to_numpy()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- small parts ----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 20, 500])
@pytest.mark.parametrize("batch", [3, 64])
def test_pieces_are_all_rows_in_order(tmp_path: Path, rows: int, batch: int) -> None:
    table = pa.table(
        {"qid": [f"p{i}" for i in range(100)], "task": ["a" if i % 3 else "b" for i in range(100)]}
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=33)
    source = FineSource(tmp_path / "in.parquet", {"prompt_id": "qid"}, {"task": "a"})
    parts = source.parts(rows)
    assert [part.first for part in parts] == list(np.cumsum([0, *(p.rows for p in parts)])[:-1])
    assert max(part.rows for part in parts) <= rows
    assert len({source.fingerprint(part) for part in parts}) == len(parts)
    read = [pair for part in parts for pair in source.batches(part, batch)]
    assert all(table.num_rows <= min(batch, rows) for _, table in read)
    found = pa.concat_tables([table for _, table in read])
    expected = table.filter(pc.equal(table["task"], "a")).rename_columns(["prompt_id", "task"])
    assert found.equals(expected)
    for first, one in read:  # a batch's number is the file's, whatever is left out
        assert int(one["prompt_id"][0].as_py()[1:]) - first in (0, 1)
    only = [one for part in parts for _, one in source.batches(part, batch, ["prompt_id"])]
    assert pa.concat_tables(only)["prompt_id"].equals(expected["prompt_id"])


def test_a_prompt_id_in_two_pieces_is_refused(tmp_path: Path) -> None:
    table = pa.table({"prompt_id": [*map(str, range(20)), "7"], "prompt": ["x"] * 21})
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(InputError, match="must be unique, but '7' occurs twice"):
        sample_file(
            model_path(), Source(tmp_path / "in.parquet"), tmp_path / "s.parquet", TWO,
            settings=pieces("local"),
        )  # fmt: skip


@dataclass(frozen=True)
class Opened(ModelWork[str]):
    """Counts how often its model is opened and closed."""

    events: list[str] = field(default_factory=list)
    outputs: tuple[str, ...] = ("rows",)

    def decides(self) -> dict[str, Any]:
        return {}

    def open(self, closing: ExitStack) -> str:
        self.events.append("open")
        closing.callback(self.events.append, "close")
        return "model"

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        assert self.model == "model"
        if "p25" in table["prompt_id"].to_pylist():
            raise InputError("p25 is bad")
        self.events.append("batch")
        return {"rows": table}, {}


def test_a_model_is_opened_once_and_closed_whatever_happens(tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(2)
    out = {"rows": tmp_path / "out.parquet"}
    for n, ends in ((25, None), (30, "in rows 24 to 30: p25 is bad")):
        pq.write_table(answers().slice(0, n), tmp_path / "in.parquet")
        work, source = Opened(), FineSource(tmp_path / "in.parquet")
        if ends is None:
            run(source, work, out, ModelEngineSettings(workers=1, part_rows=8, batch_rows=8))
        else:
            with pytest.raises(InputError, match=ends):
                run(source, work, out, ModelEngineSettings(workers=1, part_rows=8, batch_rows=8))
        assert work.events == ["open", *["batch"] * (3 + (ends is None)), "close"]
        assert torch.get_num_threads() == 2


def test_an_open_model_stays_where_it_is() -> None:
    work = Opened()
    assert work.model == "model"
    copied = pickle.loads(pickle.dumps(work))
    assert "model" not in vars(copied)
    assert copied.model == "model"
    assert copied.events == ["open", "open"]


# ---- sampling -------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("stop", [None, "anytime"])
def test_samples_are_those_of_the_table_in_memory(folder: Path, engine: str, stop: Any) -> None:
    if engine == "ray" and stop:
        pytest.skip("one kind is enough for Ray, whose actors take seconds to start")
    settings = SamplingSettings(n=6, max_new_tokens=80, stop=stop, alpha=0.3, round=2)
    source = Source(folder / "prompts.parquet")
    found = sample_file(
        model_path(), source, folder / "s.parquet", settings, settings=pieces(engine)
    )
    expected = sample(model_path(), pq.read_table(source.path), settings, progress=False)
    written = pq.read_table(folder / "s.parquet")
    rounded = {"token_logprobs", "token_logprobs_model", "logprob"}
    same_but_for_rounding(written, expected, rounded)
    assert found.n_prompts == 26
    assert found.n_tokens == sum(sum(row) for row in expected["n_tokens"].to_pylist())
    assert sorted(path.name for path in folder.iterdir()) == ["prompts.parquet", "s.parquet"]


def test_batches_like_shards_give_the_same_log_probabilities(folder: Path) -> None:
    settings = TWO.model_copy(update={"shard_size": 8})
    expected = sample(model_path(), problems("test", 26, 0), settings, progress=False)
    pq.write_table(problems("test", 26, 0), folder / "prompts.parquet")
    sample_file(
        model_path(), Source(folder / "prompts.parquet"), folder / "s", settings,
        settings=pieces("local", batch_rows=8),
    )  # fmt: skip
    assert Generations.read(folder / "s").table.equals(expected)


@needs_ray
def test_ray_and_any_number_of_workers_write_the_same_bytes(folder: Path) -> None:
    source, found = Source(folder / "prompts.parquet"), set()
    for name, settings in (
        ("a", pieces("local")),
        ("b", pieces("local", workers=2)),
        ("c", pieces("ray")),
    ):
        sample_file(model_path(), source, folder / f"{name}.parquet", TWO, settings=settings)
        found.add(digest(folder / f"{name}.parquet"))
    assert len(found) == 1


_RUN = """
import sys
from pathlib import Path
from statllm.engines import EngineSettings, Source
from statllm.engines.sampling import sample_file
from statllm.lab import model_path
from statllm.sampling import SamplingSettings

folder = Path(sys.argv[1])
sample_file(model_path(), Source(folder / "prompts.parquet"), folder / "s.parquet",
            SamplingSettings(n=2, max_new_tokens=80),
            settings=EngineSettings(engine="local", workers=2, part_rows=2, batch_rows=2))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_gives_the_same_bytes(folder: Path) -> None:
    settings = pieces("local", part_rows=2, batch_rows=2)
    source = Source(folder / "prompts.parquet")
    running = subprocess.Popen([sys.executable, "-c", _RUN, str(folder)])
    parts = folder / "s.parquet.parts"
    while len(list(parts.glob("samples-*.parquet"))) < 2 and running.poll() is None:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    made = {path.name: path.stat().st_mtime_ns for path in parts.glob("samples-*.parquet")}
    assert 2 <= len(made) < 14
    again: dict[str, int] = {}

    def on_part(done: int, of: int) -> None:
        again.update({path.name: path.stat().st_mtime_ns for path in parts.glob("samples-*")})

    sample_file(model_path(), source, folder / "s.parquet", TWO, settings=settings, on_part=on_part)
    assert len(again) == 14
    assert {name: again[name] for name in made} == made
    sample_file(model_path(), source, folder / "t.parquet", TWO, settings=settings)
    assert digest(folder / "s.parquet") == digest(folder / "t.parquet")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_names_the_rows_and_the_prompt(folder: Path, engine: str) -> None:
    table = pa.table({"prompt_id": list("abcdef"), "prompt": ["1 + 1?"] * 4 + ["1 " * 600, "2?"]})
    pq.write_table(table, folder / "in.parquet")
    with pytest.raises(InputError, match=r"in rows 3 to 6: the prompt of prompt_id 'e' has"):
        sample_file(
            model_path(), Source(folder / "in.parquet"), folder / "s.parquet", TWO,
            settings=pieces(engine, part_rows=3, batch_rows=3),
        )  # fmt: skip
    assert not (folder / "s.parquet").exists()


@pytest.mark.parametrize(
    ("sampling", "engine", "message"),
    [
        ({"backend": "openai", "server": "http://127.0.0.1:1/v1"}, {}, "belong to one caller"),
        ({"backend": "vllm"}, {"workers": 2}, "--engine local has one worker"),
        (
            {"backend": "vllm", "engine": ("tensor_parallel_size=2",)},
            {"engine": "ray", "gpus": 1},
            "spread over 2 GPUs: it needs --gpus 2",
        ),
        ({"stop": "esc"}, {"gpus": 1}, "--gpus has no effect without --engine ray"),
    ],
)
def test_what_workers_cannot_share_is_refused(
    folder: Path, sampling: Any, engine: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sample_file(
            model_path(), Source(folder / "prompts.parquet"), folder / "s.parquet",
            SamplingSettings(**sampling), settings=EngineSettings(**{"engine": "local"} | engine),
        )  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == ["prompts.parquet"]


def test_ray_gets_as_many_actors_as_there_are_gpus_for() -> None:
    assert n_actors({"CPU": 64.0, "GPU": 8.0}, 0) == 64
    assert n_actors({"CPU": 64.0, "GPU": 8.0}, 1) == 8
    assert n_actors({"CPU": 64.0, "GPU": 8.0}, 2) == 4
    assert n_actors({"CPU": 64.0, "GPU": 1.0}, 0.25) == 4
    with pytest.raises(InputError, match="Ray has 1 GPUs here"):
        n_actors({"CPU": 64.0, "GPU": 1.0}, 2)
    assert ModelEngineSettings.of(EngineSettings(engine="ray")).workers == 1
    assert ModelEngineSettings.of(EngineSettings(engine="ray", gpus=1)).workers is None


# ---- rewards --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reward_models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two sequence classifiers with random weights, as Skywork's are saved."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(model_path())
    folders = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp("models") / f"skywork-{seed}"
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=24, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=64, initializer_range=0.3,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, num_labels=1,
        )  # fmt: skip
        LlamaForSequenceClassification(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folders.append(folder)
    return folders


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("variance", ["none", "ensemble"])
def test_rewards_are_those_of_the_table_in_memory(
    tmp_path: Path, reward_models: list[Path], engine: str, variance: Any
) -> None:
    if engine == "ray" and variance == "ensemble":
        pytest.skip("one kind is enough for Ray, whose actors take seconds to start")
    folders = reward_models if variance == "ensemble" else reward_models[:1]
    pq.write_table(answers(), tmp_path / "in.parquet")

    def models(cache: str) -> tuple[RewardModel, ...]:
        return tuple(RewardModel(each, device="cpu", cache=tmp_path / cache) for each in folders)

    expected = add_rewards(Generations(answers()), models("memory"), gap_variance=variance).table
    found = reward_file(
        models("engine"), Source(tmp_path / "in.parquet"), tmp_path / "r.parquet",
        gap_variance=variance, settings=pieces(engine),
    )  # fmt: skip
    rounded = {"reward", "reward_sd", "reward_gap_var"}
    same_but_for_rounding(pq.read_table(tmp_path / "r.parquet"), expected, rounded)
    assert (found.n_prompts, found.n_unknown) == (30, 0)


@pytest.mark.slow
@needs_ray
def test_rewards_have_the_same_bytes_from_any_engine(
    tmp_path: Path, reward_models: list[Path]
) -> None:
    pq.write_table(answers(), tmp_path / "in.parquet")
    found = set()
    for name, settings in (
        ("a", pieces("local")),
        ("b", pieces("local", workers=2)),
        ("c", pieces("ray")),
    ):
        model = RewardModel(reward_models[0], device="cpu", cache=tmp_path / name)
        out = tmp_path / f"{name}.parquet"
        reward_file(model, Source(tmp_path / "in.parquet"), out, settings=settings)
        found.add(digest(out))
    assert len(found) == 1


def test_texts_that_are_too_long_are_counted_and_nulls_are_named(
    tmp_path: Path, reward_models: list[Path]
) -> None:
    rows = [["1"], ["2 " * 200, "3"], ["4 " * 200]]
    table = pa.table({"prompt_id": list("abc"), "prompt": ["x"] * 3, "response": rows})
    pq.write_table(table, tmp_path / "in.parquet")
    source, out = Source(tmp_path / "in.parquet"), tmp_path / "r.parquet"
    model = RewardModel(reward_models[0], device="cpu", cache=tmp_path, too_long="null")
    found = reward_file(model, source, out, settings=pieces("local", part_rows=1))
    assert found.n_unknown == 2
    known = [[r is not None for r in row] for row in pq.read_table(out)["reward"].to_pylist()]
    assert known == [[True], [False, True], [False]]
    pq.write_table(
        table.set_column(2, "response", pa.array([["1"], ["2"], [None]], pa.list_(pa.string()))),
        tmp_path / "in.parquet",
    )
    with pytest.raises(InputError, match=r"in rows 2 to 3: .*null in row 0 \(prompt_id 'c'\)"):
        reward_file(model, source, out, settings=pieces("local", part_rows=2))


# ---- judging --------------------------------------------------------------------------------

TEMPLATES = {
    "pair": {"mode": "pairwise", "grammar": "brackets", "user": "{response_a} vs {response_b}"},
    "grade": {
        "mode": "pointwise", "grammar": "brackets", "user": "{response}", "low": 1, "high": 3,
    },
    "check": {
        "mode": "pointwise", "grammar": "brackets", "user": "{criterion} {response}",
        "low": 0, "high": 1,
    },
    "valid": {"mode": "yes-no", "grammar": "next_token", "user": "{response}"},
}  # fmt: skip


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights whose words are mostly verdicts, and templates beside it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("judge")
    verdicts = ["[[A]]", "[[B]]", "[[C]]", "[[0]]", "[[1]]", "[[2]]", "[[3]]", "yes", "no", "hm"]
    words = ["<pad>", "<eos>", "<unk>", "vs", "even", "big", *map(str, range(10)), *verdicts]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    torch.manual_seed(5)  # whose verdicts on pairs are of all kinds, as is checked below
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64, pad_token_id=0, eos_token_id=1,
        bos_token_id=None, tie_word_embeddings=False, initializer_range=0.5,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[: len(words) - len(verdicts)] = 0.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name, given in TEMPLATES.items():
        text = yaml.safe_dump({"name": name, "version": 1, **given})
        (folder / f"{name}.yaml").write_text(text)
    (folder / "criteria.yaml").write_text("even: even\nbig: big\n")
    return folder


def judging(folder: Path, kind: Any) -> JudgeSettings:
    names = {"pairwise": "pair", "pointwise": "grade", "yes-no": "valid", "criteria": "check"}
    criteria = str(folder / "criteria.yaml") if kind == "criteria" else None
    return JudgeSettings(kind=kind, template=str(folder / f"{names[kind]}.yaml"), criteria=criteria)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["pairwise", "pointwise", "yes-no", "criteria"])
def test_verdicts_are_those_of_the_table_in_memory(
    tmp_path: Path, judge_folder: Path, engine: str, kind: str
) -> None:
    if engine == "ray" and kind != "pairwise":
        pytest.skip("one kind is enough for Ray, whose actors take seconds to start")
    table, settings = answers(), judging(judge_folder, kind)
    pq.write_table(table, tmp_path / "in.parquet")
    found = judge_file(
        judge_folder, Source(tmp_path / "in.parquet"), tmp_path / "j.parquet",
        tmp_path / "v.parquet", settings, GREEDY, cache=tmp_path / "engine",
        settings=pieces(engine),
    )  # fmt: skip
    model: Any = YesNoJudge.load(judge_folder) if kind == "yes-no" else None
    model = model or open_judge(judge_folder, GREEDY)
    expected = judge(Generations(table), model, settings, cache=tmp_path / "memory")
    rounded = {"reward", "judge_yes_no_mass", "verdict", "logprob_yes", "logprob_no"}
    rounded = rounded if kind == "yes-no" else set()
    same_but_for_rounding(
        pq.read_table(tmp_path / "j.parquet"), expected.generations.table, rounded
    )
    verdicts = pq.read_table(tmp_path / "v.parquet")
    if kind == "criteria":  # criterion after criterion, batch after batch
        order = [("prompt_id", "ascending"), ("response", "ascending"), ("criterion", "ascending")]
        verdicts, listed = (each.sort_by(order) for each in (verdicts, expected.verdicts))
        assert verdicts.equals(listed)
    else:
        same_but_for_rounding(verdicts, expected.verdicts, rounded)
    assert found.summary == expected.summary
    assert found.n_left_out == expected.n_left_out
    assert found.audit == expected.audit
    if kind == "pairwise":  # the premise: all kinds of pairs occur
        audit = expected.audit
        assert audit is not None
        assert min(audit.n_failed, audit.n_toward_first, audit.n_toward_second) > 0
        assert 0 < audit.consistency.value < 1


def test_parts_of_another_judge_are_not_taken_over(tmp_path: Path, judge_folder: Path) -> None:
    """A template's words decide, not its name."""
    pq.write_table(answers(), tmp_path / "in.parquet")
    template = tmp_path / "grade.yaml"
    settings = JudgeSettings(kind="pointwise", template=str(template))

    def go(on_part: Any = lambda done, of: None) -> pa.Table:
        judge_file(
            judge_folder, Source(tmp_path / "in.parquet"), tmp_path / "j.parquet", None,
            settings, GREEDY, cache=tmp_path, settings=pieces("local"), on_part=on_part,
        )  # fmt: skip
        return pq.read_table(tmp_path / "j.parquet")

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    given = {"name": "grade", "version": 1, **TEMPLATES["grade"]}
    template.write_text(yaml.safe_dump(given))
    with pytest.raises(KeyboardInterrupt):
        go(stop)
    template.write_text(yaml.safe_dump(given | {"user": "big {response}"}))
    expected = judge(
        Generations(answers()), open_judge(judge_folder, GREEDY), settings, cache=tmp_path
    )
    assert go().equals(expected.generations.table)
