"""Conformal selection of ScPO pairs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from statllm.errors import InputError
from statllm.selection import ScpoSettings, conformal, scpo, select

Rows = list[list[str]]


def world(rng: np.random.Generator, n: int, k: int = 8) -> tuple[Rows, list[str]]:
    """Votes of prompts from certain to hopeless; the right answer is "0" for all."""
    right = rng.beta(1.5, 1.0, size=n)
    lure = rng.integers(1, 6, size=(n, 1))  # mistakes agree a little
    wrong = np.where(rng.random((n, k)) < 0.3, lure, rng.integers(1, 6, size=(n, k)))
    answers = np.where(rng.random((n, k)) < right[:, None], 0, wrong)
    return answers.astype(str).tolist(), ["0"] * n


def by_definition(
    rows: Rows, known: list[str | None], alpha: float
) -> tuple[set[int], dict[int, float]]:
    """Kept candidates and their p-values, counted with loops."""
    share, verdict = {}, {}
    for i, row in enumerate(rows):
        votes = Counter(row).most_common()
        if len(votes) < 2 or votes[0][1] == votes[1][1]:
            continue  # none of these tests looks at a tie for the most votes
        share[i] = votes[0][1] / len(row)
        verdict[i] = None if known[i] is None else votes[0][0] == known[i]
    calibration = [i for i in share if verdict[i] is not None]
    p = {
        j: (1 + sum(not verdict[i] and share[i] >= share[j] for i in calibration))
        / (len(calibration) + 1)
        for j in share
        if verdict[j] is None
    }
    m = len(p)
    passing = [r for r, v in enumerate(sorted(p.values()), 1) if v <= alpha * r / m + 1e-12]
    cut = sorted(p.values())[passing[-1] - 1] if passing else 0.0
    return {j for j, v in p.items() if v <= cut}, p


@pytest.mark.parametrize("seed", range(5))
def test_against_the_definition(table, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, truth = world(rng, 160)
    known = [t if rng.random() < 0.5 else None for t in truth]
    clear = [i for i, row in enumerate(rows) if _one_leader(row)]
    rows, known = [rows[i] for i in clear], [known[i] for i in clear]
    selection = conformal(table(answer=rows, reference=known))
    wanted, p = by_definition(rows, known, 0.1)
    ledger = selection.ledger.to_pylist()
    assert {i for i, line in enumerate(ledger) if line["kept"]} == wanted
    for i, value in p.items():
        assert ledger[i]["p_value"] == pytest.approx(value)
        assert ledger[i]["reason"] == ("kept" if i in wanted else "above_fdr")
    assert sum(line["n_pairs"] for line in ledger) == selection.pairs.num_rows == len(wanted)


def _one_leader(row: list[str]) -> bool:
    top = Counter(row).most_common(2)
    return len(top) < 2 or top[0][1] > top[1][1]


def test_pairs_are_those_of_scpo(table) -> None:
    rows, truth = world(np.random.default_rng(1), 200)
    known = [*truth[:120], *[None] * 80]
    given = table(answer=rows, reference=known)
    pairs = conformal(given, None).pairs
    plain = {p["prompt_id"]: p for p in scpo(given, ScpoSettings(threshold=0)).pairs.to_pylist()}
    assert pairs.num_rows > 5
    for pair in pairs.to_pylist():
        assert pair == plain[pair["prompt_id"]] | {"rule": "conformal"}


@pytest.mark.parametrize("share_known", [0.3, 0.6])
def test_the_share_of_wrong_answers_is_held(table, share_known: float) -> None:
    """E[wrong / kept] <= fdr; where nothing is kept the share is 0 by definition."""
    rng = np.random.default_rng(8)
    wrong, plain, kept = [], [], 0
    for _ in range(40):
        rows, truth = world(rng, 300)
        known = [t if rng.random() < share_known else None for t in truth]
        pairs = select("conformal", table(answer=rows, reference=known), fdr=0.1).pairs
        answers = pairs["chosen_answer"].to_pylist()
        wrong.append(np.mean([a != "0" for a in answers]) if answers else 0.0)
        kept += len(answers)
        half = select("scpo", table(answer=rows), threshold=0.375).pairs["chosen_answer"]
        plain.append(np.mean([a != "0" for a in half.to_pylist()]))
    assert np.mean(wrong) <= 0.1 + 3 * np.std(wrong) / np.sqrt(len(wrong))
    assert np.mean(wrong) > 0.02  # and is used: selecting nothing would hold it too
    assert kept > 40 * 10
    assert np.mean(plain) > 0.15  # the plain threshold doesn't hold it


def test_scores_from_a_column(table) -> None:
    rows, truth = world(np.random.default_rng(3), 200)
    known = [*truth[:120], *[None] * 80]
    shares = [Counter(row).most_common(1)[0][1] / 8 for row in rows]
    of_column = conformal(table(answer=rows, reference=known, doubt=[-s for s in shares]))
    settings = {"score": "-doubt"}
    given = table(answer=rows, reference=known, doubt=[-s for s in shares])
    assert select("conformal", given, **settings).pairs.equals(of_column.pairs)
    with pytest.raises(InputError, match="conformal needs the column 'trust'"):
        select("conformal", given, score="trust")
    given = table(answer=rows, reference=known, doubt=[None, *shares[1:]])
    with pytest.raises(InputError, match=r"column 'doubt' .* row 0 \(prompt_id 'p0'\)"):
        select("conformal", given, score="doubt")


def test_too_few_labels_keep_nothing_and_say_so(table) -> None:
    rows = [["a", "a", "b"]] * 10
    selection = conformal(table(answer=rows, reference=["a"] * 3 + [None] * 7))
    assert selection.counts() == {
        "kept": 0, "too_few_calibration_prompts": 7, "calibration": 3,
    }  # fmt: skip
    assert selection.pairs.num_rows == 0


def test_without_any_label_it_is_refused(table) -> None:
    with pytest.raises(InputError, match="known answer"):
        conformal(table(answer=[["a", "a", "b"]], reference=[None]))
    with pytest.raises(InputError, match="conformal needs the column 'correct'"):
        conformal(table(answer=[["a", "a", "b"]]))
