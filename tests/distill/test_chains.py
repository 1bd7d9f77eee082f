"""Chains that are kept: every reason, budgets, draws; and the lab's search for them."""

from __future__ import annotations

import random
from itertools import islice

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statllm.distill import CHAIN_REASONS, ChainSettings, keep_chains
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.lab import generate
from statllm.training.data import check_examples


def samples(**columns) -> Generations:
    n = len(columns["response"])
    base = {"prompt_id": [str(i) for i in range(n)], "prompt": [f"Q{i}" for i in range(n)]}
    return Generations(pa.table({**base, **columns}))


def test_every_reason() -> None:
    given = samples(
        response=[["ok", "ok", "cut", "bad", "", "unknown", "short", "other"]],
        correct=[[True, True, True, False, True, None, True, True]],
        finish_reason=[["stop", "stop", "length", "stop", "stop", "stop", "stop", "stop"]],
        n_tokens=[[5, 5, 9, 9, 9, 9, 1, 6]], model=["teacher"],
    )  # fmt: skip
    made = keep_chains(given, ChainSettings(min_tokens=2, choose="longest"))
    assert made.ledger["reason"].to_pylist() == [
        "not_chosen", "repeated", "cut", "wrong", "missing", "no_verdict", "too_short", "kept",
    ]  # fmt: skip
    assert made.examples.to_pylist() == [
        {"prompt_id": "0", "prompt": "Q0", "response": "other", "weight": 1.0, "rule": "chains",
         "model": "teacher"}
    ]  # fmt: skip
    check_examples(made.examples)
    over = keep_chains(given, ChainSettings(per_prompt=None, budget=12))
    counts = over.counts()
    # 5 + 6 + 1 tokens: all that are right and whole fill it
    assert (counts["kept"], counts.get("over_budget", 0)) == (3, 0)
    assert set(made.counts()) | set(over.counts()) - {"kept"} <= set(CHAIN_REASONS) | {"kept"}
    shortest = keep_chains(given, ChainSettings(min_tokens=2, choose="shortest"))
    assert shortest.examples["response"].to_pylist() == ["ok"]
    free = keep_chains(given, ChainSettings(right=False, per_prompt=None))
    assert free.counts() == {"kept": 5, "cut": 1, "missing": 1, "repeated": 1}


@given(
    st.lists(
        st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=5), min_size=1, max_size=8
    ),
    st.integers(1, 100),
    st.integers(0, 3),
)
def test_a_budget_is_kept_and_the_ledger_adds_up(rows, budget: int, seed: int) -> None:
    given = samples(
        response=[[f"{i}-{j}" for j in range(len(row))] for i, row in enumerate(rows)],
        correct=pa.array([[right for right, _ in row] for row in rows], pa.list_(pa.bool_())),
        n_tokens=pa.array([[n for _, n in row] for row in rows], pa.list_(pa.int32())),
    )
    made = keep_chains(given, ChainSettings(per_prompt=2, budget=budget, seed=seed))
    ledger = made.ledger.to_pylist()
    assert len(ledger) == sum(map(len, rows)) == sum(made.counts().values())
    kept = [row for row in ledger if row["kept"]]
    assert sum(row["n_tokens"] for row in kept) <= budget
    for i, row in enumerate(rows):
        own = [line for line in ledger if line["prompt_id"] == str(i)]
        chosen = [line for line in own if line["reason"] in ("kept", "over_budget")]
        assert len(chosen) == min(2, sum(right for right, _ in row))
        assert all(row[line["sample"]][0] for line in chosen)
    assert made.examples.num_rows == len(kept)
    again = keep_chains(given, ChainSettings(per_prompt=2, budget=budget, seed=seed))
    assert again.ledger.equals(made.ledger)


def test_draws_are_even() -> None:
    n = 3000
    given = samples(response=[["a", "b", "c"]] * n, correct=[[True, True, True]] * n)
    counts = np.bincount(
        [row["sample"] for row in keep_chains(given).ledger.to_pylist() if row["kept"]]
    )
    assert abs(counts - n / 3).max() < 4 * np.sqrt(n * 2 / 9)


def test_wrong_input_is_named() -> None:
    given = samples(response=[["a"]])
    with pytest.raises(InputError, match="'correct' is missing"):
        keep_chains(given)
    with pytest.raises(InputError, match="'n_tokens' is missing"):
        keep_chains(given, ChainSettings(right=False, budget=9))
    unknown = samples(response=[["a", "b"]], n_tokens=[[3, None]])
    with pytest.raises(InputError, match="null in sample 1 of prompt_id '0'"):
        keep_chains(unknown, ChainSettings(right=False, per_prompt=None, budget=9))
    nothing = samples(response=[["a"]]).with_columns({"prompt": pa.nulls(1, pa.string())})
    with pytest.raises(InputError, match="the prompt of prompt_id '0' is null"):
        keep_chains(nothing, ChainSettings(right=False))


# ---- the lab's chains ---------------------------------------------------------------------------


@given(st.integers(0, 60), st.sampled_from("+-*"), st.integers(2, 60), st.integers(0, 400))
def test_a_check_leads_back_only_from_the_right_result(a: int, sign, b: int, result: int) -> None:
    from statllm.lab.checking import inverse
    from statllm.lab.world import apply

    text, agrees = inverse(a, sign, b, result)
    assert agrees == (apply(a, sign, b) == result)
    left, shown = text.removesuffix(".").split(" = ")
    x, operation, y = left.split()
    assert apply(int(x), operation, int(y)) == int(shown)  # a check never states what is false


def test_checked_chains_end_in_the_answer() -> None:
    from statllm.lab.checking import Course, checked_solution, course_documents

    rng = random.Random(0)
    slipped = 0
    for problem in islice(generate("train", 3), 200):
        text = checked_solution(problem, rng, slips=0.5)
        assert text.endswith(f" #### {problem.answer}")
        statements = text.split(" #### ")[0].rstrip(".").split(". ")
        assert len(statements) % 2 == 0
        slipped += len(statements) // 2 - len(problem.steps)
    assert 0.4 < slipped / 500 < 0.6
    documents = [next(course_documents(Course(checked=1.0))) for _ in range(2)]
    assert all("First" in document[1][0] and document[1][1] for document in documents)


def test_a_search_keeps_what_stands_and_shows_what_fell() -> None:
    from statllm.lab.search import _Chain

    problem = next(generate("test", seed=0))  # 27 - 11, then times 3
    chain = _Chain("x", problem)
    chain.advance(["nonsense", "First 27 - 11 = 17.", " 27 - 11 = 17. Then", " 27 - 11 = 16. Then"])
    assert chain.text == ["First 27 - 11 = 17. 17 + 11 = 28. First 27 - 11 = 16. 16 + 11 = 27."]
    chain.advance(["Then 17 * 3 = 51.", " #### 48", " Then 16 * 3 = 48. ####"])
    assert chain.value == 48
    chain.advance([" #### 47", " #### 48"])
    assert chain.response().endswith("Then 16 * 3 = 48. 3 * 16 = 48. #### 48")
    assert (chain.tries, chain.redone, chain.open) == (9, 1, False)
    stuck = _Chain("y", problem)
    stuck.advance(["?", "First 2 + 2 = 5."])
    assert stuck.stuck
    assert stuck.response() == ""


def test_a_search_with_the_labs_model() -> None:
    from statllm.lab import model_path
    from statllm.lab.search import search_chains
    from statllm.scoring import score

    given = list(islice(generate("train", 5), 6))
    table = search_chains(model_path(), given, n=2, tries=3, seed=1)
    alone = search_chains(model_path(), given[:2], n=2, tries=3, seed=1)
    assert table.slice(0, 2).equals(alone)  # whatever the other problems are
    made = keep_chains(score(Generations(table)), ChainSettings(per_prompt=None))
    assert sum(made.counts().values()) == 12
    assert made.counts()["kept"] >= 3
    for row in made.examples.to_pylist():
        problem = next(p for p in given if p.problem_id == row["prompt_id"])
        assert row["response"].endswith(f"#### {problem.answer}")
