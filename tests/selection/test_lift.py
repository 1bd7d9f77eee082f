"""LIFT's transform: the paper's cases, limits by definition, and what moves with a response."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from statllm._formats import write_table
from statllm.cli.app import app
from statllm.errors import InputError
from statllm.files import read_parquet
from statllm.pairs import check_pairs
from statllm.recipe import make_recipe
from statllm.sampling.prompts import count_words
from statllm.selection.lift import LiftSettings, lift
from statllm.stages import Run, execute

OPENING = "Answer the following instruction using {} words or less.\n\n{}"


def text(n: int, word: str = "w") -> str:
    return " ".join([word] * n)


def pairs(*lengths: tuple[int, int], **columns) -> pa.Table:
    n = len(lengths)
    return pa.table(
        {
            "prompt_id": [f"p{i}" for i in range(n)],
            "prompt": [f"question {i}" for i in range(n)],
            "chosen": [text(w, "good") for w, _ in lengths],
            "rejected": [text(lose, "bad") for _, lose in lengths],
            "weight": [0.5] * n,
            "pair_id": [f"p{i}#0" for i in range(n)],
            **columns,
        }
    )


def by_id(table: pa.Table) -> dict[str, dict]:
    return {row["pair_id"]: row for row in table.to_pylist()}


def test_the_papers_cases() -> None:
    """Winner of 120 words against 80, the reverse, and two that differ by 9 and by 10."""
    made = lift(pairs((120, 80), (80, 120), (89, 80), (80, 90)), LiftSettings(originals=False))
    found = by_id(made.pairs)
    ledger = by_id(made.ledger)
    assert found.keys() == {f"p{i}#0@{kind}" for i in (0, 1, 3) for kind in ("loose", "tight")}
    for i, (loose, low, high, flips) in {
        0: (130, 80, 119, True), 1: (130, 80, 119, False), 3: (100, 80, 89, False),
    }.items():  # fmt: skip
        line = ledger[f"p{i}#0"]
        assert line["loose_limit"] == loose
        assert low <= line["tight_limit"] <= high
        assert line["flipped"] is flips
        one, two = found[f"p{i}#0@loose"], found[f"p{i}#0@tight"]
        assert one["prompt"] == OPENING.format(loose, f"question {i}")
        assert two["prompt"] == OPENING.format(line["tight_limit"], f"question {i}")
        assert one["chosen"].startswith("good")
        assert two["chosen"].startswith("bad" if flips else "good")
    assert ledger["p2#0"] == {
        "pair_id": "p2#0", "prompt_id": "p2", "kept": False, "reason": "too_alike", "n_pairs": 0,
        "rule": "lift", "chosen_words": 89, "rejected_words": 80, "loose_limit": None,
        "tight_limit": None, "flipped": None,
    }  # fmt: skip
    assert made.counts() == {"kept": 3, "too_alike": 1}


@pytest.mark.parametrize(
    ("word", "counted"),
    [*((w, 0) for w in (",", ".", "-", "*", "()", "%")),
     *((w, 1) for w in ("...", "''", "``", "--", "1.")), ("don't", 2), ("it's", 2)],
)  # fmt: skip
def test_words_are_the_papers(word: str, counted: int) -> None:
    """Ten words more are enough to be kept; what isn't counted doesn't make up for one."""
    made = lift(pairs((5, 5), chosen=[f"{text(14)} {word} w"], rejected=[text(5)]))
    assert made.ledger["chosen_words"].to_pylist() == [15 + counted]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=12),
    st.integers(1, 15),
    st.integers(0, 12),
    st.integers(0, 5),
)
def test_by_definition(lengths, least: int, margin: int, seed: int) -> None:
    given = pairs(*lengths)
    made = lift(given, LiftSettings(seed=seed, min_difference=least, margin=margin))
    check_pairs(made.pairs)
    found = by_id(made.pairs)
    for i, (w, lose) in enumerate(lengths):
        line = made.ledger.to_pylist()[i]
        assert found[f"p{i}#0"]["prompt"] == f"question {i}"  # the original, always
        if min(w, lose) == 0:
            assert line["reason"] == "no_words"
        elif abs(w - lose) < least:
            assert line["reason"] == "too_alike"
        assert line["kept"] == (min(w, lose) > 0 and abs(w - lose) >= least)
        assert line["kept"] == (f"p{i}#0@tight" in found) == (f"p{i}#0@loose" in found)
        if line["kept"]:
            loose, tight = found[f"p{i}#0@loose"], found[f"p{i}#0@tight"]
            limit = int(loose["prompt"].split()[5])
            assert count_words(loose["chosen"]) == w
            assert limit == max(w, lose) + margin
            limit = int(tight["prompt"].split()[5])
            assert count_words(tight["chosen"]) <= limit < count_words(tight["rejected"])


def test_limits_are_even_and_hang_on_the_name_alone() -> None:
    n = 4000
    given = pairs(*[(23, 13)] * n)
    limits = np.array(lift(given).ledger["tight_limit"].to_pylist())
    counts = np.bincount(limits, minlength=23)
    assert counts[:13].sum() == 0
    assert len(counts) == 23
    assert abs(counts[13:] - n / 10).max() < 4.5 * np.sqrt(n * 0.1 * 0.9)
    order = np.random.default_rng(0).permutation(n)
    turned = np.array(lift(given.take(order)).ledger["tight_limit"].to_pylist())
    assert (turned == limits[order]).all()
    other = np.array(lift(given, LiftSettings(seed=1)).ledger["tight_limit"].to_pylist())
    assert 0.05 < (other == limits).mean() < 0.15


def test_what_belongs_to_a_response_goes_with_it() -> None:
    given = pairs(
        (40, 20),
        chosen_reward=[2.0], rejected_reward=[1.0], chosen_index=pa.array([3], pa.int32()),
        rejected_index=pa.array([5], pa.int32()), chosen_answer=["9"], rejected_answer=["8"],
        chosen_finish=["stop"], rejected_finish=["length"], rule=["rip"],
        prompt_ids=[[1]], chosen_ids=[[2, 3]], rejected_ids=[[4]],
    )  # fmt: skip
    found = by_id(lift(given).pairs)
    plain, loose, tight = (found[f"p0#0{end}"] for end in ("", "@loose", "@tight"))
    assert plain == check_pairs(given).to_pylist()[0]
    assert (loose["chosen_reward"], loose["rejected_reward"]) == (2.0, 1.0)
    assert (tight["chosen_reward"], tight["rejected_reward"]) == (1.0, 2.0)
    assert (tight["chosen_index"], tight["rejected_index"]) == (5, 3)
    assert (tight["chosen_answer"], tight["rejected_answer"]) == ("8", "9")
    assert (tight["chosen_finish"], tight["rejected_finish"]) == ("length", "stop")
    for row in (loose, tight):
        assert row["rule"] == "lift"
        assert row["weight"] == 0.5
        assert row["prompt_ids"] is row["chosen_ids"] is row["rejected_ids"] is None


def test_messages_stay_messages() -> None:
    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]
    made = lift(pairs((30, 10), prompt=[talk]), LiftSettings(originals=False)).pairs
    loose = made["prompt"].to_pylist()[0]
    assert loose == [talk[0], {"role": "user", "content": OPENING.format(40, "Why?")}]


def test_bad_input() -> None:
    with pytest.raises(InputError, match="pair_id 'x' occurs 2 times"):
        lift(pairs((9, 1), (9, 1), pair_id=["x", "x"]))
    with pytest.raises(InputError, match="column 'pair_id' is null in row 1"):
        lift(pairs((9, 1), (9, 1), pair_id=["x", None]))
    with pytest.raises(InputError, match="'tpo_generic' is for thoughts; for length: lift_words"):
        lift(pairs((9, 1)), LiftSettings(template="tpo_generic"))
    lifted = lift(pairs((30, 1))).pairs
    with pytest.raises(InputError, match=r"row 1 \(rule 'lift'\) has a limit on words already"):
        lift(lifted)
    unnamed = pairs((30, 1), (30, 1), prompt_id=["a", "a"]).drop_columns(["pair_id"])
    assert lift(unnamed).ledger["pair_id"].to_pylist() == ["a#0", "a#1"]


def test_nothing_left() -> None:
    made = lift(pairs((9, 8)), LiftSettings(originals=False))
    assert (made.pairs.num_rows, made.counts()) == (0, {"kept": 0, "too_alike": 1})


def test_command(tmp_path: Path) -> None:
    source, out, ledger = (tmp_path / f"{name}.parquet" for name in ("pairs", "out", "ledger"))
    write_table(pairs((120, 80), (80, 120), (80, 81)), source)
    arguments = ["select", "lift", str(source), "-o", str(out), "--ledger", str(ledger)]
    shown = CliRunner().invoke(app, [*arguments, "--no-originals", "--seed", "3"])
    assert shown.exit_code == 0, shown.output
    assert "labels flipped: 1 of 2" in shown.output
    made = lift(read_parquet(source), LiftSettings(seed=3, originals=False))
    assert read_parquet(out).equals(made.pairs)
    assert read_parquet(ledger).equals(made.ledger)
    refused = CliRunner().invoke(app, [*arguments, "--margin", "-1"])
    assert refused.exit_code != 0


def test_in_a_recipe(tmp_path: Path) -> None:
    """The select stage lifts the rule's pairs, with a seed of its own per iteration."""
    recipe = make_recipe(
        {
            "name": "x", "model": "lab", "problems": {"source": "lab:train", "n": 2},
            "selection": {"rule": "irpo", "lift": {"originals": False}}, "training": {},
            "evaluation": {"problems": {"source": "lab:test", "n": 2}}, "iterations": [{}, {}],
        }
    )  # fmt: skip
    given = [recipe.iteration(k).selection.lift for k in (1, 2)]
    assert all(one is not None and not one.originals for one in given)
    assert given[0].seed != given[1].seed
    run = Run(tmp_path, recipe)
    scores = pa.table(
        {
            "prompt_id": ["a", "b"], "prompt": ["A", "B"],
            "response": [[text(30), text(5)], [text(9), text(8)]], "correct": [[True, False]] * 2,
            "answer": [["1", "2"]] * 2,
        }
    )  # fmt: skip
    run.path(1, "").mkdir(parents=True)
    write_table(scores, run.path(1, "scores.parquet"))
    execute(run, 1, "select")
    made = read_parquet(run.path(1, "pairs.parquet"))
    prompts = {row["pair_id"].split("@")[1]: row["prompt"] for row in made.to_pylist()}
    assert prompts["loose"] == OPENING.format(40, "A")
    assert set(made["prompt_id"].to_pylist()) == {"a"}
