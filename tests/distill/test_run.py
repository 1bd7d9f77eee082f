"""A distillation by one recipe, from problems to accuracy; what is done stays."""

from __future__ import annotations

import importlib.util
import json
from itertools import islice
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.distill.recipe import read_distill_recipe
from statllm.distill.run import distill_plan, run_distill
from statllm.errors import InputError
from statllm.files import read_parquet, sha256
from statllm.lab import careful_solution, generate
from statllm.ledger import count_reasons

PHASES = [
    "problems", "solutions", "samples", "chains", "stage_1", "stage_2",
    *(f"evaluation-{model}-{kind}" for model in ("start", "stage_1", "stage_2")
      for kind in ("greedy", "samples")),
    "accuracy",
]  # fmt: skip


def recipe(folder: Path, **changes: object) -> Path:
    """The built-in model as student and teacher, on 16 problems with their careful solutions."""
    rows = [
        {"prompt_id": p.problem_id, "prompt": p.prompt, "solution": careful_solution(p)}
        for p in islice(generate("train", 9), 16)
    ]
    rows[3]["prompt"] = f"Prove that this is so. {rows[3]['prompt']}"
    rows[5]["solution"] = "It isn't known."
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = {
        "name": "small",
        "student": "lab",
        "problems": {"source": str(folder / "problems.jsonl")},
        "teacher": {"model": "lab", "sampling": {"n": 4, "max_new_tokens": 60}},
        "chains": {"per_prompt": 2},
        "stage_1": {"learning_rate": 1e-4, "max_steps": 2},
        "stage_2": {"learning_rate": 1e-4, "max_steps": 2},
        "evaluation": {
            "problems": {"source": "lab:test", "n": 8}, "k": 2, "sampling": {"max_new_tokens": 60},
        },
        **changes,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


class Stopped(Exception):
    """As if killed."""


def test_from_problems_to_accuracy_and_on_from_where_it_was_stopped(tmp_path: Path) -> None:
    path, out = recipe(tmp_path), tmp_path / "run"
    said: list[str] = []
    given = read_distill_recipe(path)
    assert distill_plan(given) == PHASES

    def stop(line: str) -> None:
        if line.startswith("stage_1: "):
            raise Stopped

    with pytest.raises(Stopped):
        run_distill(given, out, stop)
    before = {name: sha256(out / f"{name}.json") for name in PHASES[:5]}
    assert not (out / "stage_2.json").exists()
    model = run_distill(given, out, said.append)
    assert [line.split(":")[0] for line in said] == PHASES
    assert [line.endswith(": done before") for line in said] == [True] * 5 + [False] * 8
    assert before == {name: sha256(out / f"{name}.json") for name in PHASES[:5]}
    assert model == out / "stage_2"
    assert sha256(out / "stage_1") != sha256(model)

    # what was kept at each step, from the files alone
    ledger = read_parquet(out / "problems-ledger.parquet")
    assert count_reasons(ledger["reason"]) == {"kept": 14, "no_answer": 1, "proof": 1}
    problems = read_parquet(out / "problems.parquet")
    answers = dict(zip(problems["prompt_id"].to_pylist(), problems["reference"].to_pylist(),
                       strict=True))  # fmt: skip
    assert read_parquet(out / "solutions.parquet").num_rows == 14
    chains = read_parquet(out / "chains.parquet")
    assert 0 < chains.num_rows <= 28
    for row in chains.to_pylist():
        assert row["response"].split("#### ")[1].strip() == answers[row["prompt_id"]]
    assert read_parquet(out / "chains-ledger.parquet").num_rows == 14 * 4
    accuracy = read_parquet(out / "accuracy.parquet").to_pylist()
    right = read_parquet(out / "evaluation-stage_2-greedy.parquet")["correct"].to_pylist()
    row = next(r for r in accuracy if (r["model"], r["figure"]) == ("stage_2", "greedy"))
    assert row["value"] == sum(map(sum, right)) / 8
    assert read_parquet(out / "differences.parquet").num_rows == 3 * 2
    assert (out / "tokens.png").is_file()

    # another second stage leaves everything before it alone
    changed: list[str] = []
    path = recipe(tmp_path, stage_2={"learning_rate": 1e-4, "max_steps": 1})
    run_distill(read_distill_recipe(path), out, changed.append)
    again = [line.split(":")[0] for line in changed if "done before" not in line]
    assert again == ["stage_2", *PHASES[-3:]]


def test_how_a_server_is_called_changes_nothing(tmp_path: Path) -> None:
    sampling = {"n": 4, "max_new_tokens": 60}
    out = tmp_path / "run"
    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        if line.startswith("samples: "):
            raise Stopped

    for more in ({}, {"retries": 3, "concurrency": 2}, {"temperature": 0.9}):
        teacher = {"model": "lab", "sampling": {**sampling, **more}}
        with pytest.raises(Stopped):
            run_distill(read_distill_recipe(recipe(tmp_path, teacher=teacher)), out, stop)
    assert [line.endswith("done before") for line in said if line.startswith("samples")] == [
        False, True, False,
    ]  # fmt: skip


def test_a_writer_rewrites_for_the_first_stage(tmp_path: Path) -> None:
    place = Path(__file__).parents[1] / "sampling" / "prompts" / "conftest.py"
    spec = importlib.util.spec_from_file_location("prompts_conftest", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    template = {"name": "short", "version": 1, "task": "reformat", "source": "",
                "user": "{prompt} {response}"}  # fmt: skip
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(template))
    learned = {"p0 is #### 4": "first 2 then 2 so \\boxed{4}", "p1 is #### 6": "so \\boxed{7}"}
    writer = module.learn_by_heart(tmp_path / "writer", learned)
    path = recipe(
        tmp_path,
        rewrite={"model": str(writer), "template": str(tmp_path / "short.yaml"), "chat": False,
                 "sampling": {"n": 1, "temperature": 0.0, "max_new_tokens": 20}},
        checks={"min_steps": 1, "min_growth": 0},
    )  # fmt: skip
    rows = [{"prompt_id": n, "prompt": n, "solution": f"is #### {a}"}
            for n, a in (("p0", 4), ("p1", 6))]  # fmt: skip
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def stop(line: str) -> None:
        if line.startswith("solutions: "):
            raise Stopped(line)

    with pytest.raises(Stopped, match=r"1 solutions; dropped: other_answer 1"):
        run_distill(read_distill_recipe(path), tmp_path / "run", stop)
    [row] = read_parquet(tmp_path / "run" / "solutions.parquet").to_pylist()
    assert (row["prompt"], row["response"]) == ("p0", "first 2 then 2 so \\boxed{4}")


def test_one_stage_and_no_evaluation(tmp_path: Path) -> None:
    path, out = recipe(tmp_path, stage_1=None, evaluation=None), tmp_path / "run"
    plan = ["problems", "samples", "chains", "stage_2"]
    assert distill_plan(read_distill_recipe(path)) == plan
    found = CliRunner().invoke(app, ["run", str(path), "-o", str(out)], env={"COLUMNS": "400"})
    assert found.exit_code == 0, found.output
    *said, last = [line for line in found.output.splitlines() if ": " in line or "last" in line]
    assert [line.split(":")[0] for line in said if line.split(":")[0] in plan] == plan
    assert last == f"the last model is {out / 'stage_2'}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": {}}, "key 'teachers': there is no such key"),
        ({"teacher": {}}, r"key 'teacher.model': Field required"),
        ({"stage_1": {"max_stepz": 1}}, "key 'stage_1.max_stepz': there is no such key"),
        ({"chains": {"per_prompt": 0}}, "key 'chains.per_prompt': "),
    ],
)
def test_wrong_recipes(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_distill_recipe(recipe(tmp_path, **changes))
    assert str(tmp_path / "recipe.yaml") in str(caught.value)


def test_nothing_is_left(tmp_path: Path) -> None:
    def run(**changes: object) -> None:
        run_distill(read_distill_recipe(recipe(tmp_path, **changes)), tmp_path / "run")

    with pytest.raises(InputError, match="missing.jsonl does not exist"):
        run(problems={"source": str(tmp_path / "missing.jsonl")})
    only = {"source": str(tmp_path / "one.jsonl")}
    row = {"prompt_id": "a", "prompt": "Prove it.", "solution": "#### 1", "reference": "1"}
    (tmp_path / "one.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match="no problem is left; dropped: proof 1"):
        run(problems=only)
    row["prompt"], row["reference"] = "What is it?", "2"
    (tmp_path / "one.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match="no solution is left; dropped: solution_disagrees 1"):
        run(problems=only)
    row["prompt"], row["reference"] = next(generate("train", 9)).prompt, "-1"
    (tmp_path / "one.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match="no chain of the teacher is left; dropped: wrong"):
        run(problems=only, stage_1=None)
    assert not (tmp_path / "run" / "chains.json").exists()


def test_held_out_problems_need_answers(tmp_path: Path) -> None:
    held_out = tmp_path / "held_out.jsonl"
    rows = [{"prompt_id": "a", "prompt": "1 + 1?", "reference": "2"},
            {"prompt_id": "b", "prompt": "1 + 2?", "reference": None}]  # fmt: skip
    held_out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = recipe(
        tmp_path, stage_1=None,
        evaluation={"problems": {"source": str(held_out)}, "k": 2,
                    "sampling": {"max_new_tokens": 8}},
    )  # fmt: skip
    with pytest.raises(InputError, match="prompt_id 'b' has no reference"):
        run_distill(read_distill_recipe(path), tmp_path / "run")
