"""IRPO against the rule written out for one prompt at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.pairs import check_pairs
from statllm.selection import IrpoSettings, irpo


def made(selection):
    """Pairs as (chosen, rejected) texts, by prompt."""
    out: dict[str, list] = {}
    for pair in selection.pairs.to_pylist():
        out.setdefault(pair["prompt_id"], []).append((pair["chosen"], pair["rejected"]))
    return out


def test_both_lists_wrap_around(table):
    """Three right, two wrong, five pairs: (w1,l1) (w2,l2) (w3,l1) (w1,l2) (w2,l1)."""
    g = table(response=[["w1", "l1", "w2", "l2", "w3"]], correct=[[True, False, True, False, True]])
    selection = irpo(g, IrpoSettings(pairs_per_prompt=5))
    expected = [("w1", "l1"), ("w2", "l2"), ("w3", "l1"), ("w1", "l2"), ("w2", "l1")]
    assert made(selection)["p0"] == expected
    assert selection.pairs["weight"].to_pylist() == [1.0] * 5
    assert selection.pairs["pair_id"].to_pylist() == [f"p0#{j}" for j in range(5)]
    assert selection.pairs["chosen_index"].to_pylist() == [0, 2, 4, 0, 2]


def test_repeats(table):
    g = table(response=[["w1", "w2", "l1"]], correct=[[True, True, False]])
    assert len(made(irpo(g, IrpoSettings(pairs_per_prompt=7)))["p0"]) == 7
    once = IrpoSettings(pairs_per_prompt=7, repeats=False)
    assert len(made(irpo(g, once))["p0"]) == 2
    # The walk over two and two is back after two steps; it doesn't form the other two pairs.
    g = table(response=[["w1", "w2", "l1", "l2"]], correct=[[True, True, False, False]])
    assert made(irpo(g, once))["p0"] == [("w1", "l1"), ("w2", "l2")]


def test_reasons(table):
    g = table(
        correct=[[True, False], [True, True], [False, False], [None, None], []],
    )
    selection = irpo(g)
    assert selection.ledger["reason"].to_pylist() == [
        "kept",
        "no_incorrect",
        "no_correct",
        "no_reference",
        "no_reference",
    ]
    assert selection.ledger["n_correct"].to_pylist() == [1, 2, 0, 0, 0]
    assert sum(selection.counts().values()) == 5


@pytest.mark.parametrize(
    ("gold", "first"), [("last", ["w1", "w2", "G"]), ("first", ["G", "w1", "w2"])]
)
def test_gold_response(table, gold, first):
    g = table(
        response=[["w1", "w2", "l1"], ["l1", "l2"], ["l1", "l2"], ["w1"]],
        correct=[[True, True, False], [False, False], [False, False], [True]],
        gold_response=["G", "G", None, "G"],
        token_ids=[[[1], [2], [3]], [[4], [5]], [[4], [5]], [[6]]],
    )
    selection = irpo(g, IrpoSettings(pairs_per_prompt=3, gold=gold))
    pairs = made(selection)
    assert [chosen for chosen, _ in pairs["p0"]] == first
    assert pairs["p1"] == [("G", "l1"), ("G", "l2"), ("G", "l1")]
    assert selection.ledger["reason"].to_pylist() == [
        "kept",
        "kept",
        "no_correct",
        "no_incorrect",
    ]
    assert selection.ledger["gold"].to_pylist() == [True, True, False, True]
    for pair in check_pairs(selection.pairs).to_pylist():
        assert (pair["chosen"] == "G") == (pair["chosen_index"] is None)
        assert (pair["chosen"] == "G") == (pair["chosen_ids"] is None)
    assert irpo(g).ledger["reason"].to_pylist()[1] == "no_correct"  # ignored unless asked for


def test_gold_column_is_required(table):
    with pytest.raises(InputError, match="irpo with gold='last' needs the column 'gold_response'"):
        irpo(table(correct=[[True, False]]), IrpoSettings(gold="last"))
    several = table(correct=[[True, False]], gold_response=[["a", "b"]])
    with pytest.raises(InputError, match="'gold_response' holds list<.*>, one text per prompt"):
        irpo(several, IrpoSettings(gold="last"))


def test_verdicts_are_made_from_references(table):
    g = table(response=[["#### 4.0", "#### 5", "who knows"]], reference=["4"])
    pairs = made(irpo(g, IrpoSettings(pairs_per_prompt=2)))["p0"]
    assert pairs == [("#### 4.0", "#### 5"), ("#### 4.0", "who knows")]
    strict = IrpoSettings(pairs_per_prompt=2, unparsed_rejected=False)
    assert made(irpo(g, strict))["p0"] == [("#### 4.0", "#### 5")] * 2
    with pytest.raises(InputError, match="irpo needs the column 'correct'"):
        irpo(table(response=[["#### 4"]]))


def test_truncated_responses_are_in_neither_list(table):
    g = table(
        response=[["w1", "w2", "l1", "l2"]],
        correct=[[True, True, False, False]],
        finish_reason=[["length", "stop", "length", "stop"]],
    )
    assert made(irpo(g, IrpoSettings(pairs_per_prompt=1)))["p0"] == [("w2", "l2")]
    included = IrpoSettings(pairs_per_prompt=1, truncated="include")
    assert made(irpo(g, included))["p0"] == [("w1", "l1")]


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.lists(st.sampled_from([True, False, None]), max_size=7), min_size=1, max_size=5),
    st.integers(1, 12),
)
def test_against_the_definition(table, prompts, k):
    selection = irpo(table(correct=prompts), IrpoSettings(pairs_per_prompt=k))
    expected = {}
    for i, row in enumerate(prompts):
        right = [f"{j}:{x}" for j, x in enumerate(row) if x is True]
        wrong = [f"{j}:{x}" for j, x in enumerate(row) if x is False]
        if right and wrong:
            expected[f"p{i}"] = [(right[j % len(right)], wrong[j % len(wrong)]) for j in range(k)]
    assert made(selection) == expected
    assert selection.ledger["n_pairs"].to_pylist() == [
        len(expected.get(f"p{i}", [])) for i in range(len(prompts))
    ]


def test_cap_is_a_uniform_subset(table):
    n = 4000
    g = table(correct=[[True, False, False]] * n)
    given_settings = IrpoSettings(pairs_per_prompt=2, max_pairs=3000)
    selection = irpo(g, given_settings)
    assert selection.pairs.num_rows == 3000
    counts = selection.counts()
    assert counts["kept"] + counts["over_cap"] == n
    assert sum(selection.ledger["n_pairs"].to_pylist()) == 3000
    numbers = [int(pair_id.split("#")[1]) for pair_id in selection.pairs["pair_id"].to_pylist()]
    assert stats.chisquare(np.bincount(numbers)).pvalue > 0.001
    halves = np.array([int(key[1:]) >= n // 2 for key in selection.pairs["prompt_id"].to_pylist()])
    assert stats.chisquare(np.bincount(halves)).pvalue > 0.001
    # The same pairs whatever the order of the rows.
    order = np.random.default_rng(0).permutation(n)
    again = irpo(g.take(order), given_settings)
    assert sorted(again.pairs["pair_id"].to_pylist()) == sorted(
        selection.pairs["pair_id"].to_pylist()
    )
    other = irpo(g, IrpoSettings(pairs_per_prompt=2, max_pairs=3000, seed=1))
    assert not other.pairs.equals(selection.pairs)


def test_shuffled_order(table):
    g = table(correct=[[True] * 6 + [False]] * 3000)
    pairs = irpo(g, IrpoSettings(pairs_per_prompt=1, order="shuffled")).pairs
    first = np.bincount(pairs["chosen_index"].to_numpy(), minlength=6)
    assert stats.chisquare(first).pvalue > 0.001


def test_empty_table(table):
    empty = irpo(Generations(table(correct=[[True]]).table.slice(0, 0)))
    assert (empty.pairs.num_rows, empty.ledger.num_rows) == (0, 0)


def test_tables_in_chunks(table):
    """Parquet files come in chunks; a sample is found across their borders."""
    g = table(correct=[[True, False], [False, True, True], [True, False]])
    halves = [g.table.slice(0, 1), g.table.slice(1)]
    chunked = Generations(pa.concat_tables(halves))
    assert irpo(chunked).pairs.equals(irpo(g).pairs)
