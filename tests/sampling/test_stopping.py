"""Sampling that stops by its answers: prefixes, decisions, error, resuming, and what follows."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from statllm.errors import InputError
from statllm.estimators.stopping import AnswerStream, simulate_stopping
from statllm.estimators.stopping._rules import RuleName
from statllm.files import read_parquet, write_parquet
from statllm.generations import Generations
from statllm.lab import model_path, problems
from statllm.models import load_model, load_tokenizer
from statllm.sampling import SamplingSettings, sample
from statllm.sampling.progress import SamplingProgress
from statllm.sampling.settings import StopRule
from statllm.sampling.stopping import (
    STOP_COLUMNS,
    sample_until_decided,
    stopping_summary,
    with_decisions,
)
from statllm.scoring import ScoringSettings, score
from statllm.selection import select

#: The whole text is the answer, so that models of random words have answers.
TEXT = ScoringSettings(rule="text", equivalence="exact")
#: Short and peaked enough that some prompts agree with themselves and others don't.
SHORT: dict[str, Any] = {"n": 22, "max_new_tokens": 2, "temperature": 0.35, "seed": 4}
RULES: list[dict[str, Any]] = [
    {"stop": "anytime"},
    {"stop": "kt", "alpha": 0.2},
    {"stop": "kt-1v1", "n_answers": 60},
    {"stop": "ppr-1v1", "n_answers": 60, "alpha": 0.3},
    {"stop": "beta"},
    {"stop": "dirichlet", "alpha": 0.1},
    {"stop": "esc", "window": 3},
]
Loaded = tuple[Any, Any]


@pytest.fixture(scope="module")
def loaded(llama: Path) -> Loaded:
    return load_model(llama), load_tokenizer(llama)


@pytest.fixture(scope="module")
def many() -> pa.Table:
    ids = [f"p{i}" for i in range(40)]
    return pa.table({"prompt_id": ids, "prompt": [f"w{i} w{(3 * i) % 90}" for i in range(40)]})


@pytest.fixture(scope="module")
def full(loaded: Loaded, many: pa.Table) -> pa.Table:
    """As many samples as there can be, without stopping."""
    return sample(loaded, many, SamplingSettings(**SHORT), scoring=TEXT)


def stopped(loaded: Loaded, many: pa.Table, **how: Any) -> pa.Table:
    return sample(loaded, many, SamplingSettings(**{**SHORT, **how}), scoring=TEXT)


def answers_of(table: pa.Table) -> list[list[str | None]]:
    """What `score` finds; an empty text is no answer."""
    answers: list[list[str | None]] = score(Generations(table), TEXT).column("answer").to_pylist()
    return answers


# ---- prefixes and decisions ---------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["stop"])
@pytest.mark.parametrize("how", [{"round": 4}, {"round": 7, "batch_size": 9, "shard_size": 16}])
def test_samples_are_the_first_and_decisions_those_of_a_replay(
    loaded: Loaded, many: pa.Table, full: pa.Table, rule: dict[str, Any], how: dict[str, int]
) -> None:
    table = stopped(loaded, many, **rule, **how)
    settings = SamplingSettings(**SHORT, **rule, **how)
    replay = simulate_stopping(
        answers_of(full),
        settings.stop_rule,  # type: ignore[arg-type]
        settings.alpha,
        settings.n_answers,
        settings.window,
    )
    assert 0 < replay.stopped.sum() < 40  # the comparison has both kinds
    rounds = -(-replay.n_used // settings.round) * settings.round
    expected = np.minimum(np.where(replay.stopped, rounds, 22), 22)
    assert table["n_samples"].to_pylist() == expected.tolist()
    for name in ("response", "token_ids", "finish_reason", "n_tokens"):
        whole = full[name].to_pylist()
        assert table[name].to_pylist() == [
            row[:m] for row, m in zip(whole, expected, strict=True)
        ], name
    assert table["stop_decided"].to_pylist() == replay.stopped.tolist()
    after = [int(m) if s else None for m, s in zip(replay.n_used, replay.stopped, strict=True)]
    assert table["stop_after"].to_pylist() == after
    for said, row, m in zip(answers_of(full), table["stop_answer"].to_pylist(), after, strict=True):
        assert row == (m and Counter(a for a in said[:m] if a is not None).most_common(1)[0][0])


def test_the_beta_rule_step_by_step(loaded: Loaded, many: pa.Table, full: pa.Table) -> None:
    """Posterior P(p > 1/2) of leader against runner-up by SciPy, after every sample."""
    table = stopped(loaded, many, stop="beta", round=1)
    for row, answers in zip(table.to_pylist(), answers_of(full), strict=True):
        for m in range(1, 23):
            votes = Counter(a for a in answers[:m] if a is not None).most_common(2)
            (_, a), (_, b) = [*votes, (None, 0), (None, 0)][:2]
            if stats.beta(a + 1, b + 1).cdf(0.5) <= 0.05:
                break
        assert row["n_samples"] == m
        assert row["stop_doubt"] == pytest.approx(stats.beta(a + 1, b + 1).cdf(0.5))


def test_the_round_does_not_change_a_decision(loaded: Loaded, many: pa.Table) -> None:
    tables = [stopped(loaded, many, stop="anytime", round=size) for size in (1, 5, 22, 100)]
    for name in ("stop_decided", "stop_answer", "stop_after"):
        assert all(table[name].equals(tables[0][name]) for table in tables), name
    spent = [sum(table["n_samples"].to_pylist()) for table in tables]
    assert spent == sorted(spent)
    assert spent[-1] == 40 * 22
    decided = tables[0].filter(tables[0]["stop_decided"])
    assert decided["stop_after"].to_pylist() == decided["n_samples"].to_pylist()


def test_columns(loaded: Loaded, many: pa.Table, full: pa.Table) -> None:
    valid = stopped(loaded, many, stop="anytime", alpha=0.1)
    Generations(valid)
    assert valid.column_names == [*full.column_names, *STOP_COLUMNS]
    assert not set(STOP_COLUMNS) & set(full.column_names)
    assert valid["n_samples"].to_pylist() == Generations(valid).n_samples.tolist()
    for rule, alpha, bound, table in [
        ("kt", 0.1, 0.1, valid),
        ("dirichlet", 0.05, None, stopped(loaded, many, stop="dirichlet")),
        ("esc", None, None, stopped(loaded, many, stop="esc")),
    ]:
        for name, value in [
            ("stop_rule", rule), ("stop_alpha", alpha), ("stop_error_bound", bound),
            ("stop_cap", 22),
        ]:  # fmt: skip
            assert set(table[name].to_pylist()) == {value}
    fired = np.array(valid["stop_doubt"]) <= 0.1
    assert fired.tolist() == valid["stop_decided"].to_pylist()


def test_no_prompts(loaded: Loaded, many: pa.Table) -> None:
    table = stopped(loaded, many.slice(0, 0), stop="anytime")
    assert table.num_rows == 0
    assert table.schema.equals(stopped(loaded, many.slice(0, 1), stop="anytime").schema)
    assert "no prompts" in stopping_summary(table, SamplingSettings(stop="anytime"))[0]


# ---- error --------------------------------------------------------------------------------------


def test_error_on_a_model_whose_probabilities_are_known(loaded: Loaded, llama: Path) -> None:
    """After 'w1 w3' at T = .3 two tokens have .486 and .463: 400 runs of up to 40 samples."""
    runs = 400
    table = pa.table({"prompt_id": [f"r{i}" for i in range(runs)], "prompt": ["w1 w3"] * runs})
    model = load_model(llama, dtype="float64")
    with torch.inference_mode():
        logits = model(torch.tensor([loaded[1]("w1 w3")["input_ids"]])).logits[0, -1]
    p = (logits / 0.3).softmax(-1).numpy()
    mode = loaded[1].decode([int(p.argmax())])
    assert np.sort(p)[-2:] == pytest.approx([0.463, 0.486], abs=0.002)

    def wrong(**how: Any) -> int:
        settings = SamplingSettings(
            n=40, max_new_tokens=1, temperature=0.3, batch_size=8192, shard_size=1000, **how
        )
        done = sample(loaded, table, settings, scoring=TEXT)
        said = zip(done["stop_answer"].to_pylist(), done["stop_decided"].to_pylist(), strict=True)
        return sum(decided and answer != mode for answer, decided in said)

    assert wrong(stop="anytime", round=10) <= stats.binom.ppf(0.999, runs, 0.05)
    assert wrong(stop="beta", round=10) > stats.binom.ppf(0.999, runs, 0.05)  # it promised .05


# ---- how answers are read -----------------------------------------------------------------------


@dataclass
class Told:
    """A backend that says what it is told to, one text per sample number."""

    said: dict[str, list[str]]
    settings: SamplingSettings

    def sample(
        self, names: Sequence[str], prompts: Any, numbers: range, on_token: Any = None
    ) -> list[Any]:
        @dataclass
        class Said:
            token_ids: Any

        self.flat = [self.said[name][number] for name in names for number in numbers]
        return [Said(np.array([at])) for at in range(len(self.flat))]

    def text(self, token_ids: list[list[int]]) -> list[str]:
        return [self.flat[at] for [at] in token_ids]


def tell(said: dict[str, list[str]], scoring: ScoringSettings, **how: Any) -> pa.Table:
    settings = SamplingSettings(n=len(next(iter(said.values()))), **how)
    backend: Any = Told(said, settings)
    line = SamplingProgress(1, shown=False)
    drawn = sample_until_decided(backend, list(said), [[0]] * len(said), scoring, line)
    return with_decisions(pa.table({"prompt_id": list(said)}), drawn, settings)


SAID = {
    "canonical": [f"so\n#### {x}" for x in ("1,000", "1000.0", "$1000") * 4],
    "root": [rf"\boxed{{{x}}}" for x in (r"\frac{\sqrt{2}}{2}", r"1/\sqrt{2}") * 6],
    "none": ["No idea", "who knows", "hm"] * 4,
    "null": ["\\boxed{No answer!}"] * 12,
}


@pytest.mark.parametrize(
    ("scoring", "decided"),
    [
        (ScoringSettings(), ["canonical", "null"]),
        (ScoringSettings(equivalence="exact"), ["null"]),
        (ScoringSettings(null_answers=("No answer!",)), ["canonical"]),
        (ScoringSettings(equivalence="math-verify"), ["canonical", "root", "null"]),
    ],
    ids=lambda value: "" if isinstance(value, list) else value.equivalence,
)
def test_answers_are_read_as_score_reads_them(scoring: ScoringSettings, decided: list[str]) -> None:
    if scoring.equivalence == "math-verify":
        pytest.importorskip("math_verify")
    table = tell(SAID, scoring, stop="anytime", round=3)
    rows = table.filter(table["stop_decided"]).to_pylist()
    assert [row["prompt_id"] for row in rows] == decided
    responses = pa.array([SAID[row["prompt_id"]][: row["n_samples"]] for row in rows])
    seen = pa.table({"prompt_id": table["prompt_id"].filter(table["stop_decided"])})
    scored = score(Generations(seen.append_column("response", responses)), scoring)
    for row, votes in zip(rows, scored.column("answer").to_pylist(), strict=True):
        assert votes == [votes[0]] * 9  # 7 in a row decide, in the third round
        if row["prompt_id"] != "root":  # where it is written as it was first
            assert row["stop_answer"] == votes[0]


def test_more_answers_than_promised() -> None:
    with pytest.raises(InputError, match=r"prompt_id 'x': more than n_answers = 2 .* 'kt' doesn't"):
        tell(
            {"x": ["#### 1", "#### 2", "#### 3"] * 4}, ScoringSettings(), stop="kt-1v1", n_answers=2
        )


# ---- settings -----------------------------------------------------------------------------------


def test_the_rules_have_their_estimators_names() -> None:
    assert set(get_args(StopRule)) == {"anytime", *get_args(RuleName)}
    settings = SamplingSettings(stop="ppr-1v1", n_answers=3, alpha=0.2)
    given, expected = settings.answer_stream(), AnswerStream("ppr-1v1", 0.2, 3)
    assert given.update("aaab") == expected.update("aaab")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"stop": "kt-1v1"}, "needs n_answers"),
        ({"stop": "anytime", "n_answers": 4}, "not by kt"),
        ({"stop": "beta", "alpha": 1.0}, "alpha"),
        ({"stop": "sprt"}, "stop"),
        ({"round": 0}, "round"),
    ],
)
def test_wrong_settings(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        SamplingSettings(**wrong)


def test_what_stopping_cannot_work_with(loaded: Loaded, many: pa.Table) -> None:
    settings = SamplingSettings(**SHORT, stop="anytime")
    with pytest.raises(InputError, match="'none' finds none"):
        sample(loaded, many, settings, scoring=ScoringSettings(rule="none"))
    taken = many.append_column("n_samples", pa.array(range(40)))
    with pytest.raises(InputError, match="'n_samples' belongs to samples"):
        sample(loaded, taken, settings, scoring=TEXT)
    sample(loaded, taken.slice(0, 1), SamplingSettings(n=1, max_new_tokens=1))  # travels along


# ---- resuming -----------------------------------------------------------------------------------


def test_kill_9(llama: Path, many: pa.Table, tmp_path: Path) -> None:
    """A separate process is killed between shards; the same call then goes on."""
    settings = SamplingSettings(**SHORT, stop="anytime", shard_size=4, batch_size=8)
    undisturbed = tmp_path / "undisturbed.parquet"
    sample(llama, many, settings, out=undisturbed, scoring=TEXT)
    source, out = tmp_path / "prompts.parquet", tmp_path / "out.parquet"
    write_parquet(many, source)
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from statllm.files import read_parquet\n"
        "from statllm.sampling import SamplingSettings, sample\n"
        "from statllm.scoring import ScoringSettings\n"
        "settings = SamplingSettings.model_validate_json(sys.argv[3])\n"
        "scoring = ScoringSettings.model_validate_json(sys.argv[5])\n"
        "sample(sys.argv[1], read_parquet(sys.argv[2]), settings, sys.argv[4], scoring=scoring)\n"
    )
    arguments = [str(llama), str(source), settings.model_dump_json(), str(out)]
    third = tmp_path / "out.parquet.shards" / "shard-00002.parquet"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments, TEXT.model_dump_json()]
    ) as process:
        while not third.exists() and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    assert third.exists()
    made = third.stat().st_mtime_ns
    kept = tmp_path / "kept.parquet"
    kept.hardlink_to(third)

    sample(llama, many, settings, out=out, scoring=TEXT)
    assert out.read_bytes() == undisturbed.read_bytes()
    assert kept.stat().st_mtime_ns == made  # the finished shard was used, not made again
    assert 0 < sum(read_parquet(out)["stop_decided"].to_pylist()) < 40


@pytest.mark.parametrize(
    ("how", "scoring", "same"),
    [
        ({"stop": "anytime"}, TEXT, True),
        ({"stop": "anytime", "alpha": 0.2}, TEXT, False),
        ({"stop": "anytime", "round": 2}, TEXT, False),
        ({"stop": "beta"}, TEXT, False),
        ({}, TEXT, False),
        ({"stop": "anytime"}, ScoringSettings(rule="text"), False),
        ({"stop": "anytime"}, TEXT.model_copy(update={"entropy": "plugin"}), True),
    ],
)
def test_shards_of_other_stopping_are_not_used(
    loaded: Loaded, many: pa.Table, how: dict[str, Any], scoring: ScoringSettings, same: bool
) -> None:
    from statllm.sampling.shards import Shards

    def key(settings: SamplingSettings, scoring: ScoringSettings) -> bytes:
        return Shards(many, None, settings, "m", scoring)._key(slice(0, 4))

    first = key(SamplingSettings(**SHORT, stop="anytime"), TEXT)
    assert (key(SamplingSettings(**SHORT, **how), scoring) == first) == same


# ---- what comes after ---------------------------------------------------------------------------


def test_score_and_select_take_the_ragged_table() -> None:
    settings = SamplingSettings(n=20, max_new_tokens=80, stop="anytime", alpha=0.1)
    table = sample(model_path(), problems("test", 40, 0), settings)
    lengths = table["n_samples"].to_pylist()
    assert len(set(lengths)) > 1
    scored = score(Generations(table))
    assert scored.column("n_samples").to_pylist() == lengths
    for row in scored.table.to_pylist():
        if row["stop_decided"]:
            votes = Counter(a for a in row["answer"][: row["stop_after"]] if a is not None)
            assert votes.most_common(1)[0][0] == row["stop_answer"]
    chosen = select("scpo", scored, threshold=0.3)
    assert 0 < chosen.pairs.num_rows < 40
    assert chosen.ledger.num_rows == 40


def test_a_recipe_stops_by_its_own_scoring(tmp_path: Path) -> None:
    from statllm.recipe import dump_recipe, make_recipe
    from statllm.stages import Run, execute, is_complete, stage_key

    content: dict[str, Any] = {
        "name": "stops",
        "model": "lab",
        "problems": {"source": "lab:train", "n": 12},
        "sampling": {"n": 12, "max_new_tokens": 80, "stop": "anytime", "alpha": 0.2},
        "selection": {"rule": "scpo"},
        "training": {"loss": "scpo"},
        "evaluation": {"problems": {"source": "lab:test", "n": 10}},
        "iterations": [{}],
    }

    def key(**changes: Any) -> str:
        return stage_key(Run(tmp_path, make_recipe({**content, **changes})), 1, "sample")[0]

    recipe = make_recipe(content)
    (tmp_path / "run.yaml").write_text(dump_recipe(recipe))
    run = Run.open(tmp_path)
    execute(run, 1, "sample")
    assert is_complete(run, 1, "sample")
    table = read_parquet(run.path(1, "samples.parquet"))
    assert set(table["stop_error_bound"].to_pylist()) == {0.2}
    units = {"units": True}
    assert key() == stage_key(run, 1, "sample")[0] != key(scoring=units)
    fixed = {"n": 12, "max_new_tokens": 80}
    assert key() == key(scoring={"entropy": "plugin"})
    assert key(sampling=fixed) == key(sampling=fixed, scoring=units)
    with pytest.raises(InputError, match="needs n_answers"):
        key(sampling={"stop": "ppr-1v1"})
