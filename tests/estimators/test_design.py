"""The table of scores: what it refuses, how it pairs, and which error it chooses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from statllm.estimators.comparison import mcnemar, mean_estimate, paired_difference, two_way_mean
from statllm.estimators.design import Design, compare, mean
from statllm.estimators.power import (
    mcnemar_sample_size,
    minimum_detectable_effect,
    sample_size,
)


def table(seed: int = 0, items: int = 30, samples: int = 3, judges: int = 2) -> pd.DataFrame:
    """Two models, some items missing from each, rows in no order."""
    rng = np.random.default_rng(seed)
    rows = pd.MultiIndex.from_product(
        [[f"q{i:03}" for i in range(items)], ["old", "new"], range(samples), range(judges)],
        names=["item", "model", "sample", "judge"],
    ).to_frame(index=False)
    number = rows["item"].str[1:].astype(int)
    rows["cluster"] = [f"source {i // 3}" for i in number]
    shared = rng.normal(size=items)[number] + rng.normal(size=items)[number // 3]
    rows["score"] = shared + rng.normal(size=len(rows)) + 0.3 * (rows["model"] == "new")
    gone = (number == 4) & (rows["model"] == "old") | number.isin([7, 8]) & (rows["model"] == "new")
    return rows[~gone].sample(frac=1, random_state=seed)


def design_of(frame: pd.DataFrame, *names: str) -> Design:
    wanted = ["score", "item", "model", *names]
    return Design.from_columns(**{name: frame[name].to_numpy() for name in wanted})


def test_pairs_by_label_equal_a_pivot() -> None:
    frame = table()
    design = design_of(frame, "sample", "judge")
    assert not design.paired
    assert int(design.shared.sum()) == 27
    pivot = frame.pivot_table(index="item", columns="model", values="score", aggfunc="mean")
    np.testing.assert_allclose(design.matrix(), pivot[["new", "old"]])
    np.testing.assert_allclose(design.matrix("old"), pivot["old"])
    complete = pivot.dropna()
    pairs = design.pair("old", "new")
    np.testing.assert_allclose(pairs.a, complete["old"])
    np.testing.assert_allclose(pairs.b, complete["new"])
    assert list(design.item.labels[pairs.item]) == list(complete.index)
    assert pairs.dropped == 3
    found = compare(design, "old", "new")
    theirs = stats.ttest_rel(complete["new"], complete["old"])
    assert found.test.statistic == pytest.approx(theirs.statistic)
    assert found.test.p_value == pytest.approx(theirs.pvalue)
    assert (found.n_items, found.n_dropped) == (27, 3)
    assert "3 dropped" in found.summary()


def test_order_of_rows_changes_nothing() -> None:
    frame = table(1)
    first = compare(design_of(frame, "sample", "judge", "cluster"), "old", "new")
    again = compare(
        design_of(frame.sort_values("score"), "sample", "judge", "cluster"), "old", "new"
    )
    assert first.difference.value == pytest.approx(again.difference.value, rel=1e-12)
    assert first.difference.se == pytest.approx(again.difference.se, rel=1e-12)


def test_clusters_and_detectable_effect() -> None:
    frame = table(2)
    design = design_of(frame, "sample", "judge", "cluster")
    assert design.nested
    pivot = frame.pivot_table(index="item", columns="model", values="score").dropna()
    clusters = [int(item[1:]) // 3 for item in pivot.index]
    expected = paired_difference(pivot["old"], pivot["new"], clusters)
    found = compare(design, "old", "new")
    assert found.difference.value == pytest.approx(expected.value)
    assert found.difference.se == pytest.approx(expected.se)
    assert found.difference.n == 10
    mde = minimum_detectable_effect(expected.se, expected.df + 1)
    assert found.mde == pytest.approx(mde)
    assert found.exact is None
    sentence = (
        "difference of mean score, new less old, over prompts; prompts a random sample, "
        "clustered by cluster, each prompt's samples averaged, judges these ones"
    )
    assert found.estimand == sentence
    assert found.difference.method == f"{sentence}: mean, clustered"
    assert sentence in found.test.assumptions
    single = mean(design, "new", score="accuracy")
    of_new = frame[frame["model"] == "new"].groupby("item")["score"].mean()
    alone = mean_estimate(of_new, [int(item[1:]) // 3 for item in of_new.index])
    assert (single.value, single.se) == pytest.approx((alone.value, alone.se))
    assert single.method.startswith(
        "mean accuracy of new over prompts; prompts a random sample, clustered"
    )


def test_random_judges_and_crossed_clusters_are_two_ways() -> None:
    frame = table(3, judges=5)
    design = design_of(frame, "sample", "judge")
    cells = frame.pivot_table(index=["item", "judge"], columns="model", values="score").dropna()
    item, judge = (cells.index.get_level_values(name) for name in ("item", "judge"))
    expected = two_way_mean(cells["new"] - cells["old"], item, judge)
    found = compare(design, "old", "new", judges="random")
    assert found.difference.se == pytest.approx(expected.se)
    assert found.difference.df == pytest.approx(expected.df)
    assert "judges a random sample" in found.estimand
    crossed = Design.from_columns(
        score=frame["score"], item=frame["item"], model=frame["model"], sample=frame["sample"],
        cluster=frame["judge"],
    )  # fmt: skip
    assert not crossed.nested
    found = compare(crossed, "old", "new")
    assert found.difference.se == pytest.approx(expected.se)
    assert found.n_items == 27


def test_right_and_wrong_come_with_mcnemar() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 2, (2, 40))
    order = rng.permutation(40)
    design = Design.from_columns(
        score=np.concatenate([a, b[order]]),
        item=np.concatenate([np.arange(40), order]),
        model=np.repeat(["a", "b"], 40),
    )
    found = compare(design, "a", "b")
    assert found.exact is not None
    assert found.exact.p_value == mcnemar(a, b).p_value
    assert "McNemar" in found.summary()
    assert compare(design, "b", "a").difference.value == -found.difference.value


def test_models_alone_margins_and_plans() -> None:
    """Everything beside the difference, against scipy and the formulas."""
    rng = np.random.default_rng(5)
    a, b = (rng.random((2, 80)) < [[0.5], [0.7]]).astype(float)
    columns: dict[str, Any] = {
        "item": np.tile(np.arange(80), 2),
        "model": np.repeat(["a", "b"], 80),
    }
    found = compare(
        Design.from_columns(score=np.concatenate([a, b]), **columns), "a", "b", margin=0.1
    )
    wilson = stats.binomtest(int(a.sum()), 80).proportion_ci(method="wilson")
    assert (found.a.interval().low, found.a.interval().high) == pytest.approx(
        (wilson.low, wilson.high)
    )
    assert found.b.value == b.mean()
    assert found.unpaired_se == pytest.approx(math.hypot(stats.sem(a), stats.sem(b)))
    worse = stats.ttest_rel(b + 0.1, a, alternative="greater").pvalue
    assert found.tests["not worse by 0.1"].p_value == pytest.approx(worse)
    lower = stats.ttest_rel(b - 0.1, a, alternative="less").pvalue
    assert found.tests["equal within 0.1"].p_value == pytest.approx(max(worse, lower))
    win, loss = float(np.mean(b > a)), float(np.mean(b < a))
    assert found.units_needed == mcnemar_sample_size(win, loss)
    assert found.to_dict()["tests"]["McNemar"]["p_value"] == mcnemar(a, b).p_value
    # Each answer twice: nothing is right or wrong any more, though every mean is 0 or 1.
    twice = {name: np.tile(column, 2) for name, column in columns.items()}
    repeated = Design.from_columns(
        score=np.tile(np.concatenate([a, b]), 2), sample=np.repeat([0, 1], 160), **twice
    )
    again = compare(repeated, "a", "b")
    assert again.exact is None
    assert again.difference.se == pytest.approx(found.difference.se)
    assert again.units_needed == sample_size(
        found.difference.value, found.difference.se * math.sqrt(80)
    )
    with pytest.raises(ValueError, match="margin"):
        compare(repeated, "a", "b", margin=-1)


def test_weights() -> None:
    design = Design.from_columns(
        score=[1.0, 2.0, 3.0, 5.0, 4.0, 9.0],
        item=[1, 2, 3, 1, 2, 3],
        model=["a"] * 3 + ["b"] * 3,
        weight=[1, 2, 1, 1, 2, 1],
    )
    found = compare(design, "a", "b")
    assert found.difference.value == pytest.approx((4 + 2 * 2 + 6) / 4)
    assert "weighted as given" in found.estimand


def test_it_refuses_what_it_cannot_know() -> None:
    good: dict[str, Any] = {
        "score": [1.0, 0.0, 1.0, 1.0],
        "item": ["x", "y", "x", "y"],
        "model": ["a", "a", "b", "b"],
    }
    Design.from_columns(**good)
    for change, message in (
        ({"score": [1.0, math.nan, 1.0, 1.0]}, "score must be finite, but row 1 is nan"),
        ({"item": ["x", "y", "x"]}, "item has 3 rows, score 4"),
        ({"item": np.array(["x", None, "x", "y"], object)}, "item must have a label, but row 1"),
        ({"item": ["x", "x", "x", "y"]}, "rows 0 and 1 have the same .*: x, a"),
        ({"weight": [1, 1, 2, 1]}, "item .*'x'.* has different weights"),
        ({"weight": [1, 1, -1, 1]}, "weight must be 0 or more, but row 2"),
        ({"score": []}, "one column"),
    ):
        with pytest.raises(ValueError, match=message):
            Design.from_columns(**{**good, **change})
    design = Design.from_columns(**good)
    with pytest.raises(ValueError, match="there is no model 'c'; there are 'a', 'b'"):
        compare(design, "a", "c")
    apart = Design.from_columns(score=[1, 0], item=["x", "y"], model=["a", "b"])
    with pytest.raises(ValueError, match="no item in common"):
        compare(apart, "a", "b")
    same = compare(Design.from_columns(**{**good, "score": [1, 0, 1, 0]}), "a", "b")
    assert math.isnan(same.mde)
    assert same.test.p_value == 1


def test_the_clustered_comparison_keeps_its_size() -> None:
    rng = np.random.default_rng(5)
    item = np.repeat(np.arange(100), 2)
    found = dict.fromkeys([True, False], 0)
    rounds = 600
    for _ in range(rounds):
        gap = rng.normal(size=20)[np.arange(100) // 5] + rng.normal(size=100)
        score = np.column_stack([np.zeros(100), gap]).ravel()
        for clustered in found:
            design = Design.from_columns(
                score=score, item=item, model=np.tile([0, 1], 100),
                cluster=item // 5 if clustered else None,
            )  # fmt: skip
            pairs = design.pair(0, 1)
            p = paired_difference(pairs.a, pairs.b, pairs.cluster)
            found[clustered] += 0 not in p.interval()
    # Monte Carlo error .009
    assert 0.02 < found[True] / rounds < 0.08
    assert found[False] / rounds > 0.15
