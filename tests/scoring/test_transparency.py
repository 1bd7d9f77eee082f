"""The Technical Transparency Index against the published figures and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from statllm.errors import InputError
from statllm.scoring.transparency import (
    ITEMS,
    MOST,
    PUBLISHED,
    TransparencyScore,
    check,
    dominates,
    possible_items,
    rank_shares,
)


def test_points_are_those_published() -> None:
    assert list(MOST.values()) == [14, 33, 24, 29]
    everything = check("all", ITEMS)
    assert everything.total == 100
    np.testing.assert_array_equal(everything.shares, 1)


def test_published_totals_follow_from_the_dimensions() -> None:
    totals = {row.name: row.total for row in PUBLISHED}
    assert totals == {
        "Open O1": 33,
        "O1 Journey part 1": 76,
        "LLaMA-O1": 11,
        "k0Math": 16,
        "Skywork O1": 0,
        "DeepSeek-R1-Lite": 20,
        "O1 Journey part 2": 79,
    }


def test_possible_items_count() -> None:
    # evaluation: six items of 4 points, so 20 points are any five; the whole is one set
    assert len(possible_items("evaluation", 20)) == 6
    assert len(possible_items("methodology", 33)) == 1
    assert possible_items("evaluation", 18) == []
    subsets = sum(len(possible_items("open source", k)) for k in range(MOST["open source"] + 1))
    assert subsets == 2 ** len(ITEMS["open source"])


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="item of 'data' 'source' is unknown"):
        check("x", {"data": ["source"]})
    with pytest.raises(InputError, match="dimension 'code' is unknown"):
        check("x", {"code": []})
    with pytest.raises(InputError, match="given twice"):
        check("x", {"data": ["sources cited"] * 2})
    with pytest.raises(InputError, match="no items of 'evaluation' give 18 points"):
        TransparencyScore("x", {"data": 0, "methodology": 0, "evaluation": 18, "open source": 0})
    with pytest.raises(InputError, match="dimension 'data' has no points"):
        TransparencyScore("x", {"methodology": 0, "evaluation": 0, "open source": 0})
    with pytest.raises(ValueError, match="at least one"):
        rank_shares([])


def test_rank_shares_in_closed_form() -> None:
    one = check("one", {"data": ITEMS["data"]})
    rest = check("rest", {d: items for d, items in ITEMS.items() if d != "data"})
    # one leads iff its weight exceeds 1/2; the weight is Beta(1, 3): P = (1/2)^3
    draws = 40_000
    shares = rank_shares([one, rest], draws)
    assert abs(shares[0, 0] - 0.125) < 4 * np.sqrt(0.125 * 0.875 / draws)
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_a_dominated_score_never_leads() -> None:
    part1, part2 = PUBLISHED[1], PUBLISHED[6]
    assert dominates(part2, part1)
    assert not dominates(part1, part2)
    assert not dominates(part1, part1)
    assert rank_shares([part1, part2], 2000)[1, 0] == 1
