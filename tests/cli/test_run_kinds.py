"""`statllm run` takes every kind of recipe; `--check` says what it would do."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.cli.recipe_kinds import KINDS, kind_of
from statllm.errors import InputError
from statllm.files import read_parquet, sha256
from statllm.lab import careful_solution, generate
from statllm.lab.documents import documents

STUDIES = Path(__file__).parents[2] / "studies"
SYSTEMS = {
    "scpo": "loop", "irpo": "loop", "tpo": "loop", "rip": "loop", "lift": "loop",
    "criteria": "loop", "natural_reasoning": "list of phases", "journey": "journey",
    "distill": "distillation", "overview": "training",
}  # fmt: skip


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["run", *map(str, arguments)], env={"COLUMNS": "400"})


def refusal(*arguments: object) -> str:
    """What an `InputError` says; nothing else may be raised."""
    found = run(*arguments)
    assert isinstance(found.exception, InputError), found.output
    return str(found.exception)


def write(path: Path, **content: Any) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def sft(tmp_path: Path) -> dict[str, Any]:
    """A training of two steps on eight solutions."""
    rows = [
        {"prompt_id": p.problem_id, "prompt": p.prompt, "response": careful_solution(p)}
        for p in islice(generate("train", 3), 8)
    ]
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "kind": "sft", "model": "lab", "data": str(tmp_path / "examples.jsonl"),
        "output": str(tmp_path / "named"), "training": {"max_steps": 2, "learning_rate": 1e-4},
    }  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_systems_recipe_is_accepted(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its models and data, and without a trace."""
    monkeypatch.chdir(tmp_path)
    path = STUDIES / system / "recipe.yaml"
    found = run(path, "--check")
    assert found.exit_code == 0, found.output
    head, *lines = found.output.splitlines()
    assert head.startswith(f"{path}: a {SYSTEMS[system]}, into runs/")
    assert lines
    assert not list(tmp_path.iterdir())
    assert kind_of(path).name == SYSTEMS[system]


def test_what_a_check_says() -> None:
    said = run(STUDIES / "natural_reasoning" / "recipe.yaml", "--check", "-o", "here").output
    assert [line.strip() for line in said.splitlines()[1:]] == [
        "questions: a set of questions", "rate", "compose", "near_duplicates", "decontaminate",
        "similar", "training: a loop", "iteration 0: evaluate",
        "iteration 1: sample, score, reward, select, train, evaluate",
    ]  # fmt: skip
    assert said.startswith(f"{STUDIES / 'natural_reasoning' / 'recipe.yaml'}: a list of phases, ")
    assert said.splitlines()[0].endswith("into here")


def test_keys_tell_kinds_apart() -> None:
    from statllm.distill.recipe import DistillRecipe
    from statllm.journey.recipe import JourneyRecipe
    from statllm.recipe import Recipe
    from statllm.sampling.prompts.question_set_settings import QuestionSetRecipe
    from statllm.training_recipe import TrainingRecipe

    shapes: tuple[type[BaseModel], ...]
    shapes = (Recipe, JourneyRecipe, DistillRecipe, QuestionSetRecipe, TrainingRecipe)
    keys = [kind.key for kind in KINDS]
    for shape, own in zip(shapes, keys, strict=False):
        assert [key for key in keys if key in shape.model_fields] == [own]
        assert shape.model_fields[own].is_required() or shape is JourneyRecipe


def test_refusals(tmp_path: Path, sft: dict[str, Any]) -> None:
    path = tmp_path / "r.yaml"
    said = refusal(write(path, name="x", modle="lab"))
    assert "iterations (loop), search (journey), teacher (distillation), documents" in said
    assert said.endswith("it has name, modle")
    assert refusal(write(path, arms={}, base={})).endswith("statllm experiment runs it")
    said = refusal(write(path, search={}, documents={}))
    assert said.endswith("several kinds of recipe: search (journey), documents (set of questions)")
    assert "--seed" in refusal(STUDIES / "journey" / "recipe.yaml", "--seed", 1, "--check")
    assert "does not exist" in refusal(tmp_path / "none.yaml", "--check")
    said = refusal(write(path, **{**sft, "modle": "lab"}), "--check")
    assert "modle: there is no such key; did you mean model?" in said


def test_refusals_of_phases(tmp_path: Path, sft: dict[str, Any]) -> None:
    path, out = tmp_path / "all.yaml", tmp_path / "out"
    write(tmp_path / "one.yaml", **sft)
    write(tmp_path / "two.yaml", **{**sft, "training": {"max_stepz": 2}})
    # told before the first phase is run
    said = refusal(write(path, name="x", phases=["one.yaml", "two.yaml"]), "-o", out)
    assert "training.max_stepz" in said
    assert not out.exists()
    assert "none.yaml does not exist" in refusal(write(path, name="x", phases=["none.yaml"]))
    assert "key 'name'" in refusal(write(path, phases=["one.yaml"]))
    assert "key 'phase'" in refusal(write(path, name="x", phases=["one.yaml"], phase=1))
    assert "key 'phases'" in refusal(write(path, name="x", phases=[]))
    twice = write(path, name="x", phases=["one.yaml", "one.yaml"])
    assert "two phases are called 'one'" in refusal(twice)
    assert "list of phases itself" in refusal(write(path, name="x", phases=["all.yaml"]))


def test_a_training_is_done_once(tmp_path: Path, sft: dict[str, Any]) -> None:
    path, out = write(tmp_path / "r.yaml", **sft), tmp_path / "here"
    found = run(path, "-o", out)
    assert found.exit_code == 0, found.output
    assert "8 examples, 2 steps" in found.output
    assert not (tmp_path / "named").exists()  # --output is where it goes
    made = sha256(out)
    assert "here: done before" in run(path, "-o", out).output
    assert "8 examples, 2 steps" in run(path, "-o", out, "--seed", 4).output
    assert sha256(out) != made  # another order of the data
    assert "8 examples, 2 steps" in run(path).output
    assert sha256(tmp_path / "named") == made


def test_phases_go_on_from_each_other(tmp_path: Path, sft: dict[str, Any]) -> None:
    write(tmp_path / "first.yaml", **sft)
    write(tmp_path / "second.yaml", **{**sft, "model": "first/"})
    path, out = write(tmp_path / "all.yaml", name="x", phases=["first.yaml", "second.yaml"]), "out"
    found = run(path, "-o", tmp_path / out)
    assert found.exit_code == 0, found.output
    assert found.output.count("8 examples, 2 steps") == 2
    first, second = tmp_path / out / "first", tmp_path / out / "second"
    # By hand: the second one starts from the first one's model.
    alone = write(tmp_path / "alone.yaml", **{**sft, "model": str(first)})
    assert run(alone, "-o", tmp_path / "by_hand").exit_code == 0
    assert sha256(second) == sha256(tmp_path / "by_hand")
    again = run(path, "-o", tmp_path / out).output
    assert again.count("done before") == 2
    # Stopped between the two: the second alone is made.
    (tmp_path / out / "second.json").unlink()
    again = run(path, "-o", tmp_path / out).output
    assert (again.count("done before"), again.count("2 steps")) == (1, 1)


@pytest.mark.slow
def test_from_documents_to_a_trained_model(tmp_path: Path) -> None:
    """As NaturalReasoning's recipe: the loop reads the questions of the first phase."""
    from statllm.files import write_parquet

    study = STUDIES / "natural_reasoning"
    write_parquet(documents(24), tmp_path / "documents.parquet")
    write(
        tmp_path / "questions.yaml",
        model=str(study / "model" / "author"),
        documents={"source": str(tmp_path / "documents.parquet")},
        rubric=None,
        template=str(study / "templates" / "question.yaml"),
        chat=False,
        sampling={"n": 1, "temperature": 0.0, "max_new_tokens": 110},
        near_duplicates={"threshold": 0.7, "shingle": 2},
        wrap="Q: {prompt}\nA:\n",
    )
    write(
        tmp_path / "training.yaml",
        name="small",
        model="lab",
        problems={"source": "questions/questions.parquet"},
        sampling={"n": 4, "max_new_tokens": 60},
        selection={"rule": "scpo", "settings": {"threshold": 0.5}},
        training={"loss": "scpo", "learning_rate": 1e-4, "max_steps": 1},
        evaluation={"problems": {"source": "lab:test", "n": 8}, "k": 2},
        iterations=[{}],
    )
    path = write(tmp_path / "all.yaml", name="x", phases=["questions.yaml", "training.yaml"])
    out = tmp_path / "out"
    found = run(path, "-o", out)
    assert found.exit_code == 0, found.output
    questions = read_parquet(out / "questions" / "questions.parquet")
    samples = read_parquet(out / "training" / "iteration_1" / "samples.parquet")
    assert samples["prompt"].to_pylist() == questions["prompt"].to_pylist()
    assert (out / "training" / "report.html").is_file()
    model = sha256(out / "training" / "iteration_1" / "model")
    assert run(path, "-o", out).exit_code == 0
    assert sha256(out / "training" / "iteration_1" / "model") == model


@pytest.mark.slow
def test_a_journey(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.yaml",
        name="small",
        model="lab",
        problems={"source": "lab:train", "n": 16, "seed": 5},
        policy={"step_end": ".", "max_step_tokens": 16, "sampling": {"max_new_tokens": 60}},
        search={"width": 3, "keep": 2, "depth": 4},
        reward={"reward": "lab"},
        training={"learning_rate": 1e-4, "max_steps": 1},
    )
    plan = [line.strip() for line in run(path, "--check").output.splitlines()[1:]]
    assert plan == ["search", "extract", "sft"]
    found = run(path, "-o", tmp_path / "out")
    assert found.exit_code == 0, found.output
    heads = [line.split(":")[0] for line in found.output.splitlines()]
    assert [head for head in heads if head in plan] == plan
    assert found.output.splitlines()[-1] == f"the last model is {tmp_path / 'out' / 'sft'}"
    assert run(path, "-o", tmp_path / "out").output.count("done before") == 3


def test_every_key_of_a_recipe_is_listed_with_its_meaning() -> None:
    """Against the resolved recipe itself: what run.yaml holds is what is listed."""
    from statllm.recipe import make_recipe

    result = CliRunner().invoke(app, ["run", "--keys"], env={"COLUMNS": "500"})
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if line.strip()]
    listed = {line.split(" [")[0].split("  ")[0] for line in lines}
    recipe = make_recipe(
        {
            "name": "x", "model": "lab", "problems": {"source": "lab:train"},
            "new_problems": {"count": 1}, "thoughts": "tpo_generic", "selection": {"rule": "scpo"},
            "extra": {}, "rewards": {"lab": {}}, "training": {},
            "choice": {"problems": {"source": "lab:train"}},
            "evaluation": {"problems": {"source": "lab:test"}}, "iterations": [{}],
        }
    )  # fmt: skip

    def keys(value: object, path: str = "") -> set[str]:
        if not isinstance(value, dict):
            return {path}
        return {path, *(k for name, v in value.items() for k in keys(v, f"{path}.{name}"))}

    wanted = {key.lstrip(".") for key in keys(recipe.model_dump())} - {""}
    assert wanted <= listed, wanted - listed
    assert any(line.startswith("selection.settings (rip).max_gap [none]") for line in lines)


def test_run_without_a_recipe_is_refused() -> None:
    result = CliRunner().invoke(app, ["run"])
    assert result.exit_code != 0
