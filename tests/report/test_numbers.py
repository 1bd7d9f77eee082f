"""The numbers of the page against counts made another way."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from statllm.files import read_parquet
from statllm.recipe import make_recipe
from statllm.report import ledger, tables, words
from statllm.report.artefacts import RunData, read_runs
from statllm.report.examples import prepare_answers, prepare_pairs
from statllm.report.prepare import (
    entropy_edges,
    prepare_course,
    prepare_curve,
    prepare_histogram,
    prepare_reliability,
    share_edges,
    weight_edges,
)
from statllm.report.summary import describe_run, summarise
from statllm.stages import Run


@pytest.fixture(scope="module")
def data(runs: list[Run]) -> list[RunData]:
    return read_runs(runs)


# ---- figures --------------------------------------------------------------------------------


@given(
    k=st.integers(1, 40),
    votes=st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=60),
)
def test_reliability_counts_every_problem_once(k: int, votes: list[tuple[int, bool]]) -> None:
    """Against a count in Python and the exact interval of statsmodels."""
    shares = [min(v, k) / k for v, _ in votes] + [math.nan]
    right = [float(ok) for _, ok in votes] + [1.0]
    bins = prepare_reliability(shares, right, k)
    assert bins.count.sum() == len(votes)
    assert bins.n_unknown == 1
    assert bins.correct.sum() == sum(right[:-1])
    for i in np.flatnonzero(bins.count):
        inside = [
            (s, r)
            for s, r in zip(shares, right, strict=True)
            if bins.edges[i] < s <= bins.edges[i + 1]
        ]
        assert bins.count[i] == len(inside)
        assert bins.share[i] == pytest.approx(np.mean([s for s, _ in inside]))
        low, high = proportion_confint(sum(r for _, r in inside), len(inside), method="beta")
        assert (bins.low[i], bins.high[i]) == pytest.approx((low, high), abs=1e-9)
    if k <= 16:  # a bin for every possible share
        assert len(set(shares[:-1])) == (bins.count > 0).sum()


def test_reliability_leaves_empty_bins_empty() -> None:
    bins = prepare_reliability([0.5, 1.0], [1, 0], 4)
    assert bins.count.tolist() == [0, 1, 0, 1]
    assert np.isnan(bins.accuracy[[0, 2]]).all()
    assert np.isnan(bins.low[[0, 2]]).all()


@given(
    values=st.lists(st.floats(-1, 9) | st.just(math.nan), min_size=1, max_size=50),
    k=st.integers(2, 20),
)
def test_histograms_lose_nothing(values: list[float], k: int) -> None:
    for edges in (entropy_edges([values], k), share_edges(k), weight_edges([[0.5, 3.0]], k)):
        histogram = prepare_histogram(values, edges)
        assert histogram.n + histogram.n_unknown == len(values)
        assert histogram.share.sum() == pytest.approx(1 if histogram.n else 0)


@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=300), points=st.integers(1, 50))
def test_a_curve_keeps_mean_and_range(values: list[float], points: int) -> None:
    curve = prepare_curve(values, points)
    assert len(curve.mean) <= points
    sizes = [len(values[i : i + curve.block]) for i in range(0, len(values), curve.block)]
    assert np.average(curve.mean, weights=sizes) == pytest.approx(np.mean(values), abs=1e-9)
    assert (curve.low.min(), curve.high.max()) == (min(values), max(values))
    assert (np.diff(curve.progress) > 0).all()
    assert 0 < curve.progress[0] <= curve.progress[-1] < 1


def test_a_course_is_ordered_by_iteration(data: list[RunData]) -> None:
    for name in ("greedy_accuracy", "majority"):
        course = prepare_course(list(reversed(data[0].metrics)), name)
        assert course is not None
        assert course.iterations.tolist() == [0, 1, 2]
        assert (course.low <= course.values).all()
        assert (course.values <= course.high).all()
        assert (course.low < course.high).all()
    assert prepare_course(data[0].metrics, "nothing") is None


# ---- what was kept --------------------------------------------------------------------------


def test_the_ledger_adds_up(runs: list[Run], data: list[RunData]) -> None:
    found = ledger.prepare_ledger(data)
    assert found is not None
    assert found.adds_up
    assert found.totals == [40] * 4
    assert found.reasons[0] == "kept"
    for column, (place, iteration) in enumerate(found.columns):
        reasons = read_parquet(runs[place].path(iteration, "ledger.parquet"))["reason"].to_pylist()
        mine = {r: c[column] for r, c in zip(found.reasons, found.counts, strict=True) if c[column]}
        assert mine == Counter(reasons)


def test_a_ledger_that_lost_rows_is_noticed(data: list[RunData]) -> None:
    short = read_runs([data[0].run])[0]
    short.tables["ledger", 1] = short.tables["ledger", 1].slice(1)
    found = ledger.prepare_ledger([short])
    assert found is not None
    assert not found.adds_up


def test_pair_quality_is_that_of_the_answers(runs: list[Run], data: list[RunData]) -> None:
    """A pair's sides are right where their answers are the reference, which is a number here."""
    for part in ledger.prepare_pair_quality(data):
        run = runs[part.run]
        scores = read_parquet(run.path(part.iteration, "scores.parquet"))
        reference = dict(
            zip(scores["prompt_id"].to_pylist(), scores["reference"].to_pylist(), strict=True)
        )
        pairs = read_parquet(run.path(part.iteration, "pairs.parquet")).to_pylist()
        verdicts = Counter(
            tuple(
                row[f"{side}_answer"] == reference[row["prompt_id"]]
                for side in ("chosen", "rejected")
            )
            for row in pairs
        )
        assert part.right_over_wrong == verdicts[True, False]
        assert part.both_right == verdicts[True, True]
        assert part.both_wrong == verdicts[False, False]
        assert part.wrong_over_right == verdicts[False, True]
        assert (part.unknown, part.total) == (0, len(pairs))
        if run.recipe.selection.rule == "irpo":
            assert part.right_over_wrong == part.total


def test_held_out_means_no_common_prompt(data: list[RunData]) -> None:
    assert [ledger.held_out_overlap(one) for one in data] == [(0, 60), (0, 60)]


# ---- examples, settings, words --------------------------------------------------------------


def test_examples_do_not_depend_on_the_order_of_rows(data: list[RunData]) -> None:
    first = read_runs([data[0].run])[0]
    for key, table in first.tables.items():
        first.tables[key] = table.take(list(range(table.num_rows))[::-1])
    assert prepare_pairs(first) == prepare_pairs(data[0])
    assert prepare_answers(first) == prepare_answers(data[0])


def test_answers_are_counted_by_what_became_of_them(runs: list[Run], data: list[RunData]) -> None:
    found = prepare_answers(data[0])
    assert found is not None
    before, after = (
        read_parquet(runs[0].path(k, "evaluation.parquet"))["greedy_correct"].to_pylist()
        for k in (0, 2)
    )
    counts, examples = found
    both = Counter(zip(before, after, strict=True))
    assert counts == {
        "became right": both[False, True],
        "became wrong": both[True, False],
        "stayed wrong": both[False, False],
        "stayed right": both[True, True],
    }
    assert sum(counts.values()) == 60
    for example in examples:
        assert example.before.endswith(f"#### {example.reference}") == example.before_right
        assert example.after.endswith(f"#### {example.reference}") == example.after_right


def test_differences_are_those_of_the_recipes(data: list[RunData]) -> None:
    found = dict(tables.prepare_differences(data))
    assert found["selection.rule"] == ["scpo", "irpo"]
    assert found["selection.settings.threshold"] == ["0.375", "–"]
    assert found["training.loss"] == ["scpo", "irpo"]
    assert not any(key.startswith(("sampling", "evaluation", "problems")) for key in found)


def _metrics(gain: float, log_p: float) -> list[dict[str, Any]]:
    common = {
        "se": 0.01, "level": 0.95, "unit": "share of problems", "n": 1000,
        "method": "proportion; interval: wilson", "log_p_value": None, "test": None,
    }  # fmt: skip
    rows = [
        {"iteration": 0, "name": "greedy_accuracy", "value": 0.517, "low": 0.486, "high": 0.548},
        {"iteration": 2, "name": "greedy_accuracy", "value": 0.517 + gain, "low": 0.4, "high": 0.9},
        {"iteration": 2, "name": "greedy_gain", "value": gain, "low": gain - 0.01,
         "high": gain + 0.01, "log_p_value": log_p},
    ]  # fmt: skip
    return [{**common, **row} for row in rows]


@pytest.mark.parametrize(
    ("gain", "log_p", "expected"),
    [
        (0.2, -230.0, "raised greedy accuracy on 1,000 held-out problems from 51.7 % [48.6, 54.8]"),
        (-0.2, -30.0, "lowered greedy accuracy"),
        (0.01, math.log(0.4), "can't be told from chance"),
    ],
)
def test_the_summary_claims_no_more_than_there_is(
    data: list[RunData], gain: float, log_p: float, expected: str
) -> None:
    run = RunData(data[0].run, "scpo", metrics=_metrics(gain, log_p))
    (text,) = summarise([run], [(0, 1000)])
    text = text.replace(words.NARROW, " ")
    assert expected in text
    assert text.startswith("Two iterations of ScPO, which never saw a label,")
    if log_p > math.log(0.05):
        assert "raised" not in text
        assert "lowered" not in text
    (unchecked,) = summarise([run], [None])
    assert "held-out" not in unchecked


def test_the_summary_of_a_gain(data: list[RunData]) -> None:
    """From evaluation tables to the sentence: samples got better, so the model did."""
    text = summarise(data, [(0, 60)] * 2)[0].replace(words.NARROW, " ")
    assert "raised greedy accuracy on 60 held-out problems" in text
    assert "paired difference of +" in text


def test_the_summary_does_not_hide_a_step_back(data: list[RunData]) -> None:
    """With the last two iterations exchanged, the last one lowered what the first had raised."""
    run = read_runs([data[0].run])[0]
    name = "evaluation"
    run.tables[name, 1], run.tables[name, 2] = run.tables[name, 2], run.tables[name, 1]
    before, after = (run.tables[name, k]["greedy_correct"].to_pylist() for k in (1, 2))
    step = 100 * (np.mean(after) - np.mean(before))
    assert step < 0
    text = summarise([run], [(0, 60)])[0]
    assert f"The last iteration alone changed it by −{-step:.1f} percentage points" in text


def test_the_summary_compares_the_final_models(data: list[RunData]) -> None:
    tables_of = [one.tables["evaluation", 2]["greedy_correct"].to_pylist() for one in data]
    gap = 100 * (np.mean(tables_of[1]) - np.mean(tables_of[0]))
    text = summarise(data, [(0, 60)] * 2)[-1]
    assert f"irpo minus scpo: {gap:+.1f}".replace("-", "−") in text


@given(st.text())
def test_nothing_invisible_is_left(text: str) -> None:
    shown = words.visible(text)
    assert not [c for c in shown if ord(c) < 0x20 and c not in "\n\t"]
    assert not [
        c
        for c in shown
        if c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
    ]
    assert words.visible(shown) == shown


@pytest.mark.parametrize("limit", [0, 1, 7, 100])
def test_long_texts_keep_their_ends(limit: int) -> None:
    text = words.shortened("x" * 60 + "y" * 60, limit)
    if limit == 100:
        assert text.startswith("x" * 50 + " … [20 characters left out] … " + "y" * 49)
    assert text.count("x") + text.count("y") <= limit + 10


def test_numbers_as_a_reader_expects_them() -> None:
    share = {"name": "greedy_gain", "unit": "share of problems"}
    assert words.scaled(share, -0.00001, signed=True) == "0.0"
    assert words.scaled(share, -0.123) == "−12.3"
    assert words.scaled(share, math.nan) == "–"
    assert words.p_value(-5000.0) == "p = 3.4 × 10⁻²¹⁷²"
    assert words.p_value(None) == "p undefined"
    assert words.unit({"name": "greedy_gain", "unit": "share of problems"}) == "percentage points"
    assert words.unit({"name": "vote_share", "unit": "share of votes"}) == "% of votes"
    assert words.unit({"name": "vote_entropy", "unit": "nats"}) == "nats"


def test_a_complete_run_lacks_nothing(data: list[RunData]) -> None:
    assert all(not one.missing for one in data)


def _with_all(**choice: Any) -> RunData:
    """A run of which only the recipe and the stages' counts are known."""
    recipe = make_recipe(
        {
            "name": "scpo", "model": "lab", "problems": {"source": "lab:train", "n": 30},
            "new_problems": {"count": 20}, "sampling": {"n": 4}, "extra": {"n": 3},
            "selection": {"rule": "scpo"}, "training": {"batch_size": 16},
            "choice": {"problems": {"source": "lab:train", "n": 10}, **choice},
            "evaluation": {"problems": {"source": "lab:test", "n": 20}}, "iterations": [{}],
        }
    )  # fmt: skip
    stages = {
        (1, "write"): {"texts": 20, "new problems": 18},
        (1, "sample"): {"prompts": 48, "samples": 336, "extra": 144},
        (1, "score"): {"votes": 96},
        (1, "choose"): {"problems": 10, "pairs": 30, "steps tried": 5, "held out": 2, "step": 8},
        (1, "train"): {"pairs": 32, "steps": 8},
    }
    return RunData(Run(Path("nowhere"), recipe), "scpo", stages=stages)


def test_the_flow_tells_what_was_written_drawn_hot_and_chosen() -> None:
    steps = {step.unit: step for step in tables.prepare_flow(_with_all(), 1)}
    assert steps["prompts"].note == "18 of them written by a model"
    assert steps["samples"].note == "4 each, temperature 1; 3 more at 1.2, which don't vote"
    note = steps["votes"].note.replace(words.NARROW, " ")
    assert note == "50.0 % of samples that vote have an answer"  # 96 of 4 * 48
    assert steps["training steps"].note == "batches of 16; best of 5 on 10 held-out problems"


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("greedy_correct", "which saw reference answers only to choose when to stop training,"),
        ("vote_share", "which never saw a label,"),
    ],
)
def test_labels_that_chose_the_step_are_told(by: str, expected: str) -> None:
    assert describe_run(_with_all(by=by)) == f"One iteration of ScPO, {expected}"
