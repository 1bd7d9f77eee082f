"""New problems and extra samples in a run: what is asked, what is kept, what is sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.files import read_json, read_parquet
from statllm.generations import Generations
from statllm.lab import problems
from statllm.loop import run
from statllm.recipe import make_recipe
from statllm.sampling import ExtraSampling, SamplingSettings, sample, with_extra
from statllm.sampling.new_problems import NewProblems
from statllm.scoring import score
from statllm.stages import Run, execute

FORM = "Q: {question}\nA:\n"
BASE: dict[str, Any] = {
    "name": "tiny",
    "model": "lab",
    "problems": {"source": "lab:train", "n": 12},
    "sampling": {"n": 4, "temperature": 1.0, "max_new_tokens": 80},
    "selection": {"rule": "scpo", "settings": {"threshold": 0.3}},
    "training": {"loss": "scpo", "batch_size": 8, "max_steps": 1},
    "evaluation": {"problems": {"source": "lab:test", "n": 4}, "k": 2},
    "iterations": [{}],
}
NEW: dict[str, Any] = {
    "count": 4,
    "template": "completion",
    "examples": 1,
    "chat": False,
    "form": FORM,
    "sampling": {"n": 2, "max_new_tokens": 30},
}


# ---- new problems -------------------------------------------------------------------------------


def written(folder: Path, **change: Any) -> Run:
    recipe = make_recipe({**BASE, "new_problems": {**NEW, **change}})
    made = Run(folder, recipe)
    for stage in ("write", "sample"):
        execute(made, 1, stage)
    return made


@pytest.mark.parametrize("use", ["beside", "instead"])
def test_new_problems_have_the_form_and_a_ledger(use: str, tmp_path: Path) -> None:
    made = written(tmp_path, use=use)
    counts = read_json(made.record(1, "write"))["counts"]
    ledger = read_parquet(made.path(1, "written-ledger.parquet"))
    assert counts["texts"] == 8
    dropped = sum(n for name, n in counts.items() if name.startswith("dropped"))
    assert counts["new problems"] + dropped == ledger.num_rows
    table = read_parquet(made.path(1, "problems.parquet"))
    new = table.filter(table["written"])
    assert new.num_rows == counts["new problems"] > 0
    assert table.num_rows - new.num_rows == (12 if use == "beside" else 0)
    kept = ledger.filter(ledger["kept"])["question"].to_pylist()
    assert new["prompt"].to_pylist() == [f"Q: {question}\nA:\n" for question in kept]
    if use == "beside":
        assert new["reference"].null_count == new.num_rows
    samples = Generations.read(made.path(1, "samples.parquet"))
    assert list(samples.prompt_ids) == table["prompt_id"].to_pylist()


def test_problems_of_an_earlier_run_can_be_the_examples(tmp_path: Path) -> None:
    first = written(tmp_path / "first")
    source = str(first.path(1, "problems.parquet"))
    recipe = make_recipe({**BASE, "problems": {"source": source}, "new_problems": NEW})
    again = Run(tmp_path / "again", recipe)
    execute(again, 1, "write")
    table = read_parquet(again.path(1, "problems.parquet"))
    before = read_parquet(first.path(1, "problems.parquet")).num_rows
    assert table.column_names.count("written") == 1
    assert sum(table["written"].to_pylist()) == table.num_rows - before > 0
    assert len(set(table["prompt_id"].to_pylist())) == table.num_rows


def test_a_whole_run_trains_on_what_was_written(tmp_path: Path) -> None:
    recipe = make_recipe({**BASE, "new_problems": NEW})
    done = run(recipe, tmp_path, isolate=False)
    stages = [stage for k, stage in done.plan() if k == 1]
    assert stages == ["write", "sample", "score", "select", "train", "evaluate"]
    ledger = read_parquet(done.path(1, "ledger.parquet"))
    assert ledger.num_rows == read_parquet(done.path(1, "problems.parquet")).num_rows


def test_examples_are_shown_without_the_form() -> None:
    new = NewProblems(**NEW)
    bare = new.bare(problems("train", 3))["prompt"].to_pylist()
    assert all(not text.startswith("Q:") and text.endswith("?") for text in bare)
    assert [FORM.replace("{question}", text) for text in bare] == problems("train", 3)[
        "prompt"
    ].to_pylist()


def test_messages_stay_messages() -> None:
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    questions = pa.table({"prompt_id": ["x"], "prompt": ["Why?"]})
    seeds = pa.table({"prompt_id": ["s"], "prompt": pa.array([[]], kind)})
    asked = NewProblems(count=1).asked(questions, seeds, 2)
    assert asked.to_pylist() == [
        {"prompt_id": "written-2-x", "prompt": [{"role": "user", "content": "Why?"}]}
    ]


def test_a_prompt_without_the_form_is_named() -> None:
    other = pa.table({"prompt_id": ["odd"], "prompt": ["Why?"]})
    with pytest.raises(InputError, match="'odd' hasn't new_problems.form"):
        NewProblems(**NEW).bare(other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"form": "Q: A:"}, "form needs {question}, once"),
        ({"template": "tpo_generic"}, "is for thoughts"),
        ({"template": "none"}, "'none' is none of"),
        ({"count": 0}, "new_problems.count"),
        ({"use": "besides"}, "new_problems.use"),
        ({"sampling": {"tmperature": 1}}, "tmperature"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_recipe({**BASE, "new_problems": {**NEW, **change}})


# ---- extra samples ------------------------------------------------------------------------------


def test_extra_samples_are_a_second_draw_that_does_not_vote(tmp_path: Path) -> None:
    recipe = make_recipe({**BASE, "extra": {"n": 3, "temperature": 1.5}})
    made = Run(tmp_path, recipe)
    execute(made, 1, "sample")
    execute(made, 1, "score")
    plain = Run(tmp_path / "plain", make_recipe(BASE))
    execute(plain, 1, "sample")
    execute(plain, 1, "score")
    both = Generations.read(made.path(1, "scores.parquet"))
    alone = Generations.read(plain.path(1, "scores.parquet"))
    for name in ("response", "token_ids", "logprob", "finish_reason"):
        rows = both.column(name).to_pylist()
        assert [row[:4] for row in rows] == alone.column(name).to_pylist()
        assert {len(row) for row in rows} == {7}
    for name in ("vote_share", "vote_entropy", "majority_answer", "n_votes"):
        assert both.column(name).to_pylist() == alone.column(name).to_pylist()
    assert both.column("pool").to_pylist() == [["vote"] * 4 + ["extra"] * 3] * 12
    assert set(both.column("extra_temperature").to_pylist()) == {1.5}
    hot = ExtraSampling(n=3, temperature=1.5).applied(
        recipe.iteration(1).sampling, recipe.derived_seed(1, "extra")
    )
    drawn = sample(made.model(0), problems("train", 12), hot, progress=False)
    assert [row[4:] for row in both.column("response").to_pylist()] == drawn["response"].to_pylist()
    assert read_json(made.record(1, "sample"))["counts"] == {
        "prompts": 12, "samples": 84, "extra": 36,
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.glob("iteration_1/samples*")) == [
        "samples.parquet"
    ]


def test_they_may_be_rejected_where_all_votes_agree() -> None:
    """Brute force on one prompt: 4 votes for A; B was drawn hot and has no vote."""
    from statllm.selection import select

    def table(answers: list[str]) -> pa.Table:
        return pa.table(
            {"prompt_id": ["p"], "prompt": ["?"], "response": [[f"#### {a}" for a in answers]]}
        )

    both = score(Generations(with_extra(table(["1"] * 4), table(["1", "2"]))))
    assert select("scpo", score(Generations(table(["1"] * 4))), threshold=0.5).pairs.num_rows == 0
    (pair,) = select("scpo", both, threshold=0.5).pairs.to_pylist()
    assert (pair["chosen"], pair["rejected"], pair["weight"]) == ("#### 1", "#### 2", 1.0)


def test_other_prompts_are_refused() -> None:
    one = pa.table({"prompt_id": ["a"], "prompt": ["?"], "response": [["1"]]})
    two = pa.table({"prompt_id": ["b"], "prompt": ["?"], "response": [["1"]]})
    with pytest.raises(InputError, match="of other prompts"):
        with_extra(one, two)
    with pytest.raises(InputError, match="'pool' is already there"):
        with_extra(with_extra(one, one), one)


def test_the_stopping_rule_is_that_of_the_votes() -> None:
    votes = SamplingSettings(n=8, stop="anytime", top_p=0.9)
    hot = ExtraSampling(n=2, temperature=1.3).applied(votes, seed=5)
    assert (hot.n, hot.temperature, hot.top_p, hot.stop, hot.seed) == (2, 1.3, 0.9, None, 5)
    assert np.isclose(ExtraSampling(top_p=1.0).applied(votes, 0).top_p, 1.0)
