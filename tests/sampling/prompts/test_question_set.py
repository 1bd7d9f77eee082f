"""From documents to a set of questions with a model that rates and asks as it has learnt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.errors import InputError
from statllm.recipe import Problems
from statllm.sampling.prompts.question_set import question_set
from statllm.sampling.prompts.question_set_settings import (
    QuestionSetRecipe,
    read_question_set_recipe,
)
from statllm.stages import load_problems

RUN = "one two three four five"
QUESTIONS = {
    "alpha": "Why does a cold river freeze ?",
    "beta": "Why does a cold lake freeze ?",  # nearly alpha's
    "gamma": f"Say {RUN} please ?",  # five words in a row of the benchmark
    "delta": "How many moons has it ?",
    "poor": "never asked",
}
POINTS = {
    "alpha": 1.0, "beta": 2.0, "gamma": 2.0, "delta": 0.0, "poor": 2.0,
}  # fmt: skip


def rating(name: str) -> str:
    return json.dumps(
        {
            "completeness": 0 if name == "poor" else 2,
            "complexity": 1,
            "correctness": POINTS[name],
            "reasoning": 1,
        }
    )


@pytest.fixture(scope="module")
def files(
    by_heart: Callable[[Mapping[str, str]], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("question_set")
    says = {f"Rate {name}": rating(name) for name in QUESTIONS}
    says |= {
        f"Ask {name}": f"Question: {text} Reference answer: {name}."
        for name, text in QUESTIONS.items()
    }
    model = by_heart(says)
    pq.write_table(
        pa.table({"prompt_id": list(QUESTIONS), "document": list(QUESTIONS)}),
        folder / "documents.parquet",
    )
    pq.write_table(pa.table({"prompt": ["Unlike the rest", f"{RUN}!"]}), folder / "test.parquet")
    pq.write_table(pa.table({"prompt": ["Which has many moons?"]}), folder / "seeds.parquet")
    templates = {
        "rate": {"task": "rubric", "user": "Rate {document}"},
        "ask": {
            "task": "back_translation",
            "user": "Ask {document}",
            "delimiters": {"question": "Question:", "reference_answer": "Reference answer:"},
        },
    }
    for name, content in templates.items():
        text = yaml.safe_dump({"name": name, "version": 1, "source": "", **content})
        (folder / f"{name}.yaml").write_text(text)
    recipe = {
        "model": str(model),
        "documents": {"source": str(folder / "documents.parquet")},
        "rubric": str(folder / "rate.yaml"),
        "template": str(folder / "ask.yaml"),
        "chat": False,
        "sampling": {"n": 1, "temperature": 0.0, "max_new_tokens": 40},
        "decontaminate": {"against": [str(folder / "test.parquet")], "n": 5},
        "wrap": "Q: {prompt}\nA:\n",
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def test_every_document_has_its_fate(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    found = CliRunner().invoke(
        app,
        ["prompts", "question-set", str(files / "recipe.yaml"), "-o", str(out)],
        catch_exceptions=False,
    )
    assert found.exit_code == 0, found.output
    ledger = {row["document_id"]: row for row in pq.read_table(out / "ledger.parquet").to_pylist()}
    assert {name: row["reason"] for name, row in ledger.items()} == {
        "alpha": "near_duplicate",  # beta's document is rated higher
        "beta": "kept",
        "gamma": "leak",
        "delta": "kept",
        "poor": "low_completeness",
    }
    assert ledger["alpha"]["duplicate_of"] == "beta/0"
    assert ledger["alpha"]["jaccard"] == pytest.approx(5 / 7)
    assert (ledger["gamma"]["leak_row"], ledger["gamma"]["ngram"]) == (1, RUN)
    assert [row["kept"] for row in ledger.values()].count(True) == 2
    rows = {row["document_id"]: row for row in pq.read_table(out / "questions.parquet").to_pylist()}
    assert rows["beta"]["prompt"] == f"Q: {QUESTIONS['beta']}\nA:\n"
    assert rows["beta"]["question"] == QUESTIONS["beta"]
    assert rows["beta"]["total"] == 6.0
    assert rows["beta"]["reference"] == "beta."
    assert rows["delta"]["reference"] is None  # its document isn't correct enough
    counts = json.loads((out / "counts.json").read_text())
    assert counts["documents"] == sum(counts["rows"].values()) == 5
    problems = load_problems(Problems(source=str(out / "questions.parquet")))
    assert problems["prompt"].to_pylist() == [row["prompt"] for row in rows.values()]


def test_a_second_run_samples_nothing_and_gives_the_same(files: Path, tmp_path: Path) -> None:
    recipe = read_question_set_recipe(files / "recipe.yaml")
    first = question_set(recipe, tmp_path, progress=False)
    texts = tmp_path / "questions.generations.parquet"
    before = texts.stat().st_mtime_ns
    (tmp_path / "questions.parquet").unlink()
    again = question_set(recipe, tmp_path, progress=False)
    assert texts.stat().st_mtime_ns == before
    assert again.questions.equals(first.questions)
    # Another threshold needs no new texts either.
    strict = recipe.model_copy(update={"near_duplicates": None, "decontaminate": None})
    assert question_set(strict, tmp_path, progress=False).counts()["kept"] == 4
    assert texts.stat().st_mtime_ns == before


def test_only_questions_near_the_seeds(files: Path, tmp_path: Path) -> None:
    recipe = read_question_set_recipe(
        files / "recipe.yaml", similar={"to": str(files / "seeds.parquet"), "k": 1}
    )
    found = question_set(recipe, tmp_path, progress=False)
    assert found.questions["document_id"].to_pylist() == ["delta"]
    assert found.counts()["not_similar"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "colour.: there is no such key"),
        ({"rubric": None, "gate": {"total": 5}}, "a gate needs a rubric"),
        ({"wrap": "Q:"}, "wrap needs"),
        ({"near_duplicates": {"threshold": 2}}, "near_duplicates.threshold"),
    ],
)
def test_wrong_recipes(files: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_question_set_recipe(files / "recipe.yaml", **changes)


def test_wrong_files_are_named(files: Path, tmp_path: Path) -> None:
    recipe = read_question_set_recipe(files / "recipe.yaml")
    leaks = {"against": [str(files / "test.parquet")], "column": "text"}
    with pytest.raises(InputError, match="test.parquet has no column 'text'; it has prompt"):
        changed = recipe.model_dump() | {"decontaminate": leaks}
        question_set(QuestionSetRecipe(**changed), tmp_path, progress=False)
    assert not list(tmp_path.iterdir())  # before anything was asked
    nobody = recipe.model_dump() | {"gate": {"total": 9.0}}
    with pytest.raises(InputError, match="no question is left: 5 documents, 0 .* low_total"):
        question_set(QuestionSetRecipe(**nobody), tmp_path, progress=False)
    ledger = pq.read_table(tmp_path / "ledger.parquet")
    assert "low_total" in ledger["reason"].to_pylist()


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ({"total": 9.5}, "a total has 9 points at most, not 9.5"),
        ({"minimum": {"complexity": 3.0}}, "complexity has 2 points at most, not 3"),
        ({"minimum": {"colour": 1.0}}, "there is no criterion 'colour'"),
    ],
)
def test_a_gate_that_nothing_passes(
    files: Path, gate: dict[str, object], words: str, tmp_path: Path
) -> None:
    recipe = read_question_set_recipe(files / "recipe.yaml", gate=gate)
    with pytest.raises(InputError, match=words):
        question_set(recipe, tmp_path, progress=False)
