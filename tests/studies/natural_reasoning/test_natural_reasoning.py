"""The study of NaturalReasoning: its files are valid, its truth is true, its models can do it."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from statllm.estimators.scaling import scaling_fit
from statllm.experiment import read_experiment
from statllm.files import read_yaml
from statllm.lab import problems
from statllm.lab.author import CHECK, COMPOSE, RATE, Course, tasks
from statllm.lab.reading import read_problem
from statllm.recipe import read_recipe
from statllm.results import Interval
from statllm.sampling.prompts import load_template
from statllm.sampling.prompts.question_set_settings import read_question_set_recipe

FOLDER = Path(__file__).parents[3] / "studies" / "natural_reasoning"


@pytest.fixture(scope="module")
def parts() -> tuple[ModuleType, ModuleType]:
    sys.path.insert(0, str(FOLDER))
    try:
        import nr_corpus
        import nr_scaling
    finally:
        sys.path.remove(str(FOLDER))
    return nr_corpus, nr_scaling


def test_the_law_that_fits_is_told_from_the_one_that_does_not(
    parts: tuple[ModuleType, ModuleType], tmp_path: Path
) -> None:
    laws = sys.modules["nr_laws"]
    sizes = np.array([25, 50, 100, 200])
    rng = np.random.default_rng(0)
    curve = 0.02 + 0.36 * (sizes / 25) ** -2.5
    scores = rng.random((5, 4, 400)) < curve[None, :, None]
    line, power = (scaling_fit(scores, sizes, law) for law in ("log", "power"))
    first, second = (laws.goodness("clean", fit) for fit in (line, power))
    assert float(first["rms"]) > 5 * float(second["rms"])
    assert float(first["p (Holm)"].strip("= ")) < 0.001 < float(second["p (Holm)"].strip("= "))
    # An accuracy near 0 has no interval below 0, and its upper end is as it was.
    last = power.means[-1]
    wide = replace(last, interval_of=lambda level: Interval(-0.2, 0.3, level, "wide"))
    assert laws.of_share(wide).interval(0.95).low == 0
    assert laws.of_share(wide).interval(0.95).high == 0.3
    laws.draw({"line": line, "power": power}, tmp_path / "laws.png")
    assert (tmp_path / "laws.png").stat().st_size > 5_000
    few = scaling_fit(scores[:, :3], sizes[:3], "power")
    assert laws.goodness("few", few)["p (Holm)"] == "-"


def test_a_limit_that_nothing_bounds_is_not_told_to_the_digit(
    parts: tuple[ModuleType, ModuleType],
) -> None:
    laws = sys.modules["nr_laws"]
    sizes = np.array([25, 50, 100, 200])
    noise = np.random.default_rng(2).normal(0, 0.02, (5, 4))
    nearly = 0.88 - 0.02 * (sizes / 25) ** -0.3 + noise - noise.mean(axis=0)
    fit = scaling_fit(nearly, sizes, "power")
    assert fit.parameters["exponent"].interval(0.95).high > 1e6
    assert laws.value_of(fit, "exponent").endswith(", > 1,000]")
    assert laws.value_of(fit, "limit").count(".") == 3


@pytest.fixture(scope="module")
def made(parts: tuple[ModuleType, ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("natural_reasoning")
    parts[0].make(folder, 80, 30)
    return folder


def test_the_recipes_have_what_the_paper_states() -> None:
    whole = read_yaml(FOLDER / "recipe.yaml", "a recipe")
    assert whole["phases"] == ["questions.yaml", "training.yaml"]
    recipe = read_recipe(FOLDER / "training.yaml")
    assert recipe.problems.source == "questions/questions.parquet"  # of the first phase
    chosen = recipe.iteration(1)
    assert (recipe.sampling.n, chosen.selection.rule) == (32, "self-score")
    assert chosen.selection.settings["min_chosen"] == 0
    assert chosen.rewards is not None
    assert (chosen.rewards.judge, chosen.rewards.judging.kind) == (recipe.model, "yes-no")
    questions = read_question_set_recipe(FOLDER / "questions.yaml")
    assert questions.near_duplicates is not None
    assert questions.decontaminate is not None
    assert questions.similar is not None
    assert (questions.near_duplicates.threshold, questions.decontaminate.n) == (0.55, 13)
    assert questions.similar.k == 15_000


def test_every_arm_has_equal_steps() -> None:
    experiment = read_experiment(FOLDER / "lab.yaml")
    assert len(experiment.seeds) >= 5
    steps = {experiment.recipe(arm, 0).training.max_steps for arm in experiment.arms}
    assert len(steps) == 1


def test_the_templates_ask_what_the_models_have_learnt() -> None:
    fields = {"document": "D."}
    for name, task, text in (
        ("rubric", "rubric", RATE),
        ("question", "back_translation", COMPOSE),
    ):
        template = load_template(FOLDER / "templates" / f"{name}.yaml", task)
        assert template.text(fields) == text.format(document="D.")
    from statllm.scoring.judges.prompts import load_template as load_judge

    valid = load_judge(FOLDER / "templates" / "valid.yaml")
    asked = {"prompt": "Q: x\nA:\n", "response": "#### 1"}
    assert valid.messages(asked)[-1]["content"] == CHECK.format(**asked)
    document, answer = next(tasks(Course("questions", 1, compose=1.0)))
    assert read_problem(answer[0].split(" Reference answer:")[0][10:]).problem is not None
    assert document[0].endswith("\nWrite:")


@pytest.mark.slow
def test_truth_and_sets(parts: tuple[ModuleType, ModuleType], made: Path) -> None:
    corpus = pq.read_table(made / "documents.parquet")
    raw = pq.read_table(made / "raw" / "questions.parquet")
    ledger = pq.read_table(made / "raw" / "ledger.parquet")
    assert ledger.num_rows == 80
    assert Counter(ledger["reason"].to_pylist())["kept"] == raw.num_rows > 60
    truth = parts[0].judged(raw, corpus)
    by_id = {row["prompt_id"]: row for row in corpus.to_pylist()}
    for row, question in zip(truth, raw.to_pylist(), strict=True):
        document = by_id[question["document_id"]]
        assert question["prompt"] == f"Q: {question['question']}\nA:\n"
        if row["faithful"]:
            assert row["fault"] is None
            assert row["answer"] == document["answer"]
        if row["reference"] == "right":
            assert question["reference"] == row["answer"] is not None
    # The author has learnt to compose: a good share of its questions can be read.
    assert np.mean([row["fault"] is None for row in truth]) > 0.2
    clean = pq.read_table(made / "clean" / "ledger.parquet")
    assert clean.num_rows == 80
    test = set(pq.read_table(made / "test.parquet")["prompt"].to_pylist())
    assert not test & set(
        pq.read_table(made / "clean" / "questions.parquet")["question"].to_pylist()
    )


def test_an_invented_truth(parts: tuple[ModuleType, ModuleType]) -> None:
    text = "Ida has 27 plums. First Ida gives 11 to Leo. Then Ida finds 3 more. "
    ask = "How many plums are there now?"
    corpus = pa.table(
        {
            "prompt_id": ["d"], "kind": ["told"], "origin": ["own"],
            "source": pa.array([None], pa.string()), "answer": ["19"], "chain": ["27-11+3"],
        }
    )  # fmt: skip
    questions = pa.table(
        {
            "prompt_id": list("abcd"), "document_id": ["d"] * 4,
            "question": [text + ask, text + ask, text.replace("3", "4") + ask, text],
            "reference": ["19", "20", None, "19"],
        }
    )  # fmt: skip
    found = parts[0].judged(questions, corpus)
    assert [row["reference"] for row in found] == ["right", "wrong", "none", "wrong"]
    assert [row["faithful"] for row in found] == [True, True, False, False]
    assert [row["fault"] for row in found] == [None, None, None, "no_question"]


@pytest.mark.slow
def test_training_sets_are_nested_and_of_one_size(
    parts: tuple[ModuleType, ModuleType], made: Path
) -> None:
    sets = {name: parts[1].examples(made, name, 3) for name in parts[1].SETS}
    assert len(sets["repeated"]) == len(sets["clean"])
    assert parts[1].examples(made, "clean", 4) != sets["clean"]
    four = [row["question"] for row in sets["repeated"][:4]]
    assert four[0] == sets["clean"][0]["question"]
    chains = {str(problem.steps) for q in four if (problem := read_problem(q).problem)}
    assert len(chains) <= 1  # the same chain under other names, if it can be read at all
    problem = next(
        read_problem(row["question"]).problem
        for row in sets["raw"]
        if read_problem(row["question"]).problem
    )
    assert problem is not None
    response = parts[1].taught(problem.text, "-1")
    assert response.endswith(f"#### {problem.answer}")


@pytest.mark.slow
def test_the_judge_knows_its_own_answers(parts: tuple[ModuleType, ModuleType]) -> None:
    from statllm.estimators.selective import auroc
    from statllm.generations import Generations
    from statllm.sampling import SamplingSettings, sample
    from statllm.scoring import score
    from statllm.scoring.judges import JudgeSettings, YesNoJudge, judge

    model = FOLDER / "model" / "judge"
    settings = SamplingSettings(n=4, max_new_tokens=60, batch_size=256)
    made = score(Generations(sample(model, problems("test", 80), settings, progress=False)))
    how = JudgeSettings(
        kind="yes-no", template=str(FOLDER / "templates" / "valid.yaml"), plain=True,
        yes=("yes",), no=("no",),
    )  # fmt: skip
    found = judge(made, YesNoJudge.load(model), how).generations
    scores = np.concatenate(found.column("reward").to_pylist())
    right = np.concatenate(found.column("correct").to_pylist())
    assert auroc(scores, right).interval(0.95).low > 0.75
    mass = np.concatenate(found.column("judge_yes_no_mass").to_pylist())
    assert mass.mean() > 0.9  # it says yes or no, and little else
