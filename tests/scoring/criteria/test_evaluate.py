"""Findings against the truth, pass vectors as rewards, criteria derived: against counts by hand."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.proportion import proportion_confint

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring.criteria import (
    COMPLETION,
    Aspect,
    Criterion,
    Finding,
    Guideline,
    Truth,
    claim_layers,
    criteria_rewards,
    derive_prompts,
    evaluate,
    feedback_prompts,
    format_findings,
    make_demonstrations,
    read_answers,
    read_derived,
    read_truth,
)
from statllm.scoring.criteria.feedback import Granularity
from statllm.selection import IrpoSettings, RipSettings, irpo, rip

GUIDE = Guideline(
    (
        Aspect("a", "A.", (Criterion("One", "1."), Criterion("Two", "2."))),
        Aspect("b", "B.", (Criterion("Three", "3."),)),
    )
)
KEYS = GUIDE.keys


def drawn(n: int, seed: int) -> tuple[pa.Table, dict[tuple[str, int, str], Truth]]:
    """Random findings and truth on n texts, with every kind of verdict."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    truth = {}
    for text in range(n):
        for key in KEYS:
            met = rng.choice([True, False, False, None])
            reason = rng.choice(["not_applicable", "missing"]) if met is None else ""
            inside = rng.random() < 0.6
            rows.append(
                {
                    "text_id": f"t{text}", "text_place": 0, "criterion": key, "met": met,
                    "reason": reason, "in_text": [inside] if met is False else [],
                    "in_example_only": [not inside] if met is False else [],
                    "fix": rng.choice(["right", "Right.", "wrong", ""]) if met is False else "",
                    "helpful": rng.choice([True, False]) if met is False else None,
                }
            )  # fmt: skip
            truth[f"t{text}", 0, key] = Truth(rng.choice([True, False, False, None]), "right")
    return pa.Table.from_pylist(rows), truth


def test_layers_and_quality_by_hand() -> None:
    table, truth = drawn(60, 3)
    rows = table.to_pylist()
    found = evaluate(table, truth)
    claims = [row for row in rows if row["met"] is False]
    valid = [r for r in claims if truth[r["text_id"], 0, r["criterion"]].met is False]
    special = [r for r in valid if r["in_text"] == [True]]
    constructive = [r for r in special if r["fix"].lower().strip(".") == "right"]
    helpful = [r for r in constructive if r["helpful"]]
    counts = [len(x) for x in (valid, special, constructive, helpful)]
    assert list(found.layers.n_passed) == counts
    assert list(found.layers.n_asked) == [len(claims), *counts[:-1]]
    assert 0 < counts[-1] < counts[0] < len(claims)  # or this test says nothing
    for rate, k, n in zip(found.layers.rates, counts, [len(claims), *counts[:-1]], strict=True):
        interval = rate.interval(0.95)
        expected = proportion_confint(k, n, method="wilson")
        np.testing.assert_allclose((interval.low, interval.high), expected)
    true_violations = sum(one.met is False for one in truth.values())
    assert found.overall.recall.value == pytest.approx(len(valid) / true_violations)
    assert found.overall.precision.value == pytest.approx(len(valid) / len(claims))
    assert found.overall.n_unread == sum(row["reason"] == "missing" for row in rows)
    for one in found.criteria:
        mine = [r for r in claims if r["criterion"] == one.criterion]
        assert one.precision.n == len(mine)
        assert one.precision.value == pytest.approx(sum(r in valid for r in mine) / len(mine))
    read = [row for row in rows if row["reason"] != "missing"]
    said = ["x" if r["met"] is None else str(r["met"]) for r in read]
    true = [truth[r["text_id"], 0, r["criterion"]].met for r in read]
    known = ["x" if t is None else str(t) for t in true]
    assert found.kappa.value == pytest.approx(cohen_kappa_score(said, known))
    assert found.from_examples.value == np.mean([r["in_example_only"] == [True] for r in claims])
    assert found.to_frame()["criterion"].tolist() == [*KEYS, "all"]


def test_without_a_judge_of_help_three_layers_are_known() -> None:
    table, truth = drawn(20, 1)
    found = evaluate(table.drop_columns(["helpful"]), truth)
    assert [rate.name for rate in found.layers.rates] == [
        "validity", "contextualisation", "constructiveness",
    ]  # fmt: skip
    assert np.isnan(claim_layers(table.drop_columns(["helpful"]), truth)[:, 3]).all()


def test_any_advice_is_constructive_where_the_truth_names_none() -> None:
    table, truth = drawn(20, 2)
    passed = claim_layers(table, {place: Truth(one.met) for place, one in truth.items()})
    fixes = [row["fix"] for row in table.to_pylist() if row["met"] is False]
    assert passed[:, 2].tolist() == [bool(fix) for fix in fixes]


def test_wrong_truths_and_findings_are_named() -> None:
    table, truth = drawn(2, 0)
    with pytest.raises(InputError, match="has two findings on 'a/One'"):
        evaluate(pa.concat_tables([table, table]), truth)
    del truth["t1", 0, "b/Three"]
    with pytest.raises(InputError, match="nothing on text 't1', place 0, 'b/Three'"):
        evaluate(table, truth)
    with pytest.raises(InputError, match="column 'met' of the truth is missing"):
        read_truth(pa.table({"text_id": ["t"], "criterion": ["a/One"]}))
    with pytest.raises(InputError, match="column 'met' of the truth is 2 in row 0"):
        read_truth(pa.table({"text_id": ["t"], "criterion": ["a/One"], "met": [2]}))
    with pytest.raises(InputError, match="'a/One' occur twice \\(row 1\\)"):
        read_truth(pa.table({"text_id": ["t"] * 2, "criterion": ["a/One"] * 2, "met": [1, 0]}))
    with pytest.raises(InputError, match="there are no findings"):
        evaluate(table.slice(0, 0), truth)
    one = {"text_id": [1.0], "criterion": ["a/One"], "met": [0]}
    assert read_truth(pa.table({**one, "fix": [5]})) == {("1", 0, "a/One"): Truth(False, "5")}
    with pytest.raises(InputError, match="'text_place' of the truth holds string"):
        read_truth(pa.table({**one, "text_place": ["x"]}))
    for name, wrong, message in (
        ("met", ["no"], "'met' of the findings is 'no' in row 0"),
        ("helpful", [2], "'helpful' of the findings is 2 in row 0"),
        ("in_text", ["x"], "'in_text' of the findings holds string"),
        ("text_place", [0.5], "'text_place' of the findings holds double"),
    ):
        first = table.slice(0, 1)
        spoilt = first.set_column(first.column_names.index(name), name, [wrong])
        with pytest.raises(InputError, match=message):
            evaluate(spoilt, truth)
    with pytest.raises(InputError, match="'in_example_only' of the findings is missing"):
        evaluate(table.drop_columns(["in_example_only"]), truth)


def test_verdicts_may_be_numbers() -> None:
    """0 isn't False to Python's `is`, and yet it means violated."""
    table, truth = drawn(20, 4)
    numbers = table.set_column(
        table.column_names.index("met"), "met", table["met"].cast(pa.int64())
    )
    assert evaluate(numbers, truth).to_frame().equals(evaluate(table, truth).to_frame())
    known = pa.table({"text_id": ["s", "t"], "criterion": ["a/One"] * 2, "met": [1.0, np.nan]})
    met = [one.met for one in read_truth(known).values()]
    assert met == [True, None]


def answered(said: dict[tuple[str, int], list[list[Finding]]]) -> pa.Table:
    """Findings read from written feedback: (text_id, place) -> votes of findings."""
    texts = [(name, place, f"text {name} {place}") for name, place in said]
    asked = feedback_prompts(GUIDE, texts, "crit", "all", wording=COMPLETION)
    responses = [[format_findings(vote, "lines") for vote in votes] for votes in said.values()]
    answers = Generations(asked.append_column("response", pa.array(responses)))
    return read_answers(answers, GUIDE).findings


def findings(*met: bool | None) -> list[Finding]:
    return [Finding(name, one) for name, one in zip(("One", "Two", "Three"), met, strict=True)]


def test_pass_vectors_become_rewards_that_selection_takes() -> None:
    table = pa.table(
        {
            "prompt_id": ["p", "q"], "prompt": ["P", "Q"],
            "response": [["good", "half", "bad"], ["fine", "fair"]],
        }
    )  # fmt: skip
    said = {
        ("p", 0): [findings(True, True, None)],
        ("p", 1): [findings(True, False, True)],
        ("p", 2): [findings(False, False, None)],
        ("q", 0): [findings(True, True, True)],
        ("q", 1): [findings(True, True, False)[:2]],  # the third isn't spoken of
    }
    found = answered(said)
    rated = criteria_rewards(Generations(table), found)
    assert rated.column("reward").to_pylist() == [[1, pytest.approx(2 / 3), 0], [1, None]]
    assert rated.column("criteria").to_pylist()[0] == [[1, 1, None], [1, 0, 1], [0, 0, None]]
    assert rated.column("criteria_n_unread").to_pylist() == [[0, 0, 0], [0, 1]]
    assert rated.column("correct").to_pylist() == [[True, False, False], [True, None]]
    whole = criteria_rewards(Generations(table), found, not_applicable="met")
    assert whole.column("reward").to_pylist()[0] == pytest.approx([1, 2 / 3, 1 / 3])
    nothing = answered({("p", 0): [findings(None, None, None)]})
    for rule, reward in (("leave out", None), ("met", 1)):
        rated_so = criteria_rewards(Generations(table), nothing, not_applicable=rule)  # type: ignore[arg-type]
        assert rated_so.column("reward").to_pylist()[0] == [reward, None, None]
    least = criteria_rewards(Generations(table), found, "min")
    assert least.column("reward").to_pylist() == [[1, 0, 0], [1, None]]
    chosen = rip(rated, RipSettings(missing="drop"))
    assert [(p["chosen"], p["rejected"]) for p in chosen.pairs.to_pylist()] == [("good", "bad")]
    assert chosen.counts() == {"kept": 1, "too_few_responses": 1}
    pairs = irpo(rated, IrpoSettings(pairs_per_prompt=2)).pairs.to_pylist()
    assert [(p["chosen"], p["rejected"]) for p in pairs] == [("good", "half"), ("good", "bad")]


def test_votes_are_averaged_over_those_that_apply() -> None:
    table = Generations(pa.table({"prompt_id": ["p"], "prompt": ["P"], "response": [["x"]]}))
    votes = [findings(True, None, True), findings(False, None, True), findings(True, True, True)]
    rated = criteria_rewards(table, answered({("p", 0): votes}))
    assert rated.column("criteria").to_pylist() == [[[pytest.approx(2 / 3), None, 1]]]
    assert rated.column("reward").to_pylist() == [[pytest.approx(5 / 6)]]


def test_findings_on_no_response_are_named() -> None:
    table = Generations(pa.table({"prompt_id": ["p"], "prompt": ["P"], "response": [["x"]]}))
    with pytest.raises(InputError, match="no response 1 of prompt_id 'p'"):
        criteria_rewards(table, answered({("p", 1): [findings(True, True, True)]}))
    fine = {("p", 0): [findings(True, True, True)]}
    with pytest.raises(InputError, match="not_applicable must be"):
        criteria_rewards(table, answered(fine), not_applicable="fine")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="rule must be mean or min"):
        criteria_rewards(table, answered({("p", 0): [findings(True, True, True)]}), "max")  # type: ignore[arg-type]


def test_the_ledger_of_answers_adds_up() -> None:
    asked = feedback_prompts(GUIDE, [("t", 0, "x")], "crit", "all", wording=COMPLETION)
    said = ["**One**: met\n**Further**: met", None, "nothing of use"]
    answers = Generations(asked.append_column("response", pa.array([said])))
    ledger = read_answers(answers, GUIDE).ledger.to_pylist()
    assert [row["kept"] for row in ledger] == [True, False, False]
    assert [row["reason"] for row in ledger] == ["", "no_answer", "nothing_read"]
    assert [(row["n_asked"], row["n_read"], row["n_missing"]) for row in ledger] == [
        (3, 1, 2), (3, 0, 0), (3, 0, 3),
    ]  # fmt: skip
    assert ledger[0]["further"] == ["Further"]


def test_one_name_in_two_aspects_is_asked_apart() -> None:
    twice = Guideline((GUIDE.aspects[0], Aspect("c", "C.", (Criterion("one", "1."),))))
    texts = [("t", 0, "x")]
    with pytest.raises(InputError, match="'a/One' and 'c/one' have one name"):
        feedback_prompts(twice, texts, "crit", "all", wording=COMPLETION)
    asked = feedback_prompts(twice, texts, "crit", "aspect", wording=COMPLETION)
    said = asked.append_column("response", pa.array([["**One**: met"]] * asked.num_rows))
    assert read_answers(Generations(said), twice).findings["met"].to_pylist() == [True, None, True]
    together = said.slice(0, 1).set_column(
        said.column_names.index("asked"), "asked", [[["a/One", "c/one"]]]
    )
    with pytest.raises(InputError, match="'a/One' and 'c/one' have one name"):
        read_answers(Generations(together), twice)


@pytest.mark.parametrize("granularity", ["all", "aspect", "criterion"])
def test_names_may_have_a_slash(granularity: Granularity) -> None:
    """LLMCrit's own data has an aspect called Files/sockets."""
    files = Aspect("Files/sockets", "Close.", (Criterion("With/as", "use with"),))
    everything = Aspect("all", "All.", (Criterion("Whole", "it is whole"),))
    guide = Guideline((files, everything))
    asked = feedback_prompts(guide, [("t", 0, "x")], "crit", granularity, wording=COMPLETION)
    named = {
        "all": ["all"],
        "aspect": ["Files/sockets", "all"],
        "criterion": ["With/as", "Whole"],
    }[granularity]
    for prompt, name in zip(asked["prompt"].to_pylist(), named, strict=True):
        assert f"On: {name}\n" in prompt
    said = pa.array([["**With/as**: met\n**Whole**: violated"]] * asked.num_rows)
    found = read_answers(Generations(asked.append_column("response", said)), guide).findings
    assert found.select(["criterion", "met"]).to_pylist() == [
        {"criterion": "Files/sockets/With/as", "met": True},
        {"criterion": "all/Whole", "met": False},
    ]


def test_criteria_are_derived_and_repeats_dropped() -> None:
    asked = derive_prompts(GUIDE)
    assert asked["prompt_id"].to_pylist() == ["a", "b"]
    said = {
        "a": [
            "Sure!\n1. **Short names**: names have at most ten letters.\n2. **Empty**:",
            "1. **short names**: no name is long.\n2. **Docs**: each function has a docstring.",
        ],
        "b": ["1. **Name length**: short names have at most ten letters.\n2. **Tests**: tested.",
              None],
    }  # fmt: skip
    derived = read_derived(said, GUIDE, alike=0.6)
    assert derived.guideline.keys == ("a/Short names", "a/Docs", "b/Tests")
    rows = derived.ledger.to_pylist()
    assert [row["reason"] for row in rows] == [
        "", "no_check", "same_name", "", "near_duplicate", "", "unreadable",
    ]  # fmt: skip
    one = {"short", "names", "have", "at", "most", "ten", "letters"}
    other = {"name", "length", "short", "names", "have", "at", "most", "ten", "letters"}
    near = rows[4]
    assert near["like"] == "a/Short names"
    assert near["similarity"] == pytest.approx(len(one & other) / len(one | other))
    assert len(read_derived(said, GUIDE, alike=1.0).guideline.keys) == 4


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"a": ["1. **X**: y"]}, "aspect 'b' has no answer"),
        ({"a": ["hm"], "b": ["1. **X**: y"]}, "no criterion could be read for aspect 'a'"),
        ({"z": ["1. **X**: y"]}, "an answer to 'z', which is no aspect"),
    ],
)
def test_wrong_answers_are_named(said: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_derived(said, GUIDE)


def test_a_kind_that_cannot_be_made_is_named() -> None:
    one = Aspect("a", "", (Criterion("One", "1."),))

    def check(text: str) -> list[Finding]:
        return [Finding("One", None if text == "n/a" else "bad" not in text)]

    def make(kind: str) -> Any:
        return make_demonstrations(
            one, [kind], lambda applies: "ok" if applies else "n/a",  # type: ignore[list-item]
            lambda text, name: text + " bad", check, random.Random(0),
        )  # fmt: skip

    assert make("violate")[0].input == "ok bad"
    assert make("not applicable")[0].output == "1. **One**\n- not applicable"
    with pytest.raises(InputError, match="no text is 'mixed'"):
        make("mixed")
