"""Conformal selection: ScPO pairs whose chosen answers are wrong at a stated rate at most."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from statllm.errors import InputError
from statllm.estimators.conformal.selection import conformal_selection
from statllm.generations import Generations
from statllm.ledger import KEPT
from statllm.ragged import BoolArray, FloatArray
from statllm.scoring._columns import flat_values
from statllm.selection._tables import require, with_canonical_answers, with_verdicts
from statllm.selection.result import Selection
from statllm.selection.scpo import scpo
from statllm.selection.settings import ConformalSettings


def conformal(generations: Generations, settings: ConformalSettings | None = None) -> Selection:
    """Select ScPO pairs with a bound on the share of wrong chosen answers.

    Prompts with a known answer calibrate, the others are candidates; both only where ScPO makes
    a pair, because unanimous prompts, the safest, make none. A candidate's p-value of "the chosen
    answer is wrong" counts the calibration prompts with a wrong chosen answer that score as
    high, and Benjamini and Hochberg's procedure keeps candidates so that, in expectation, at most
    `fdr` of the kept ones are wrong (Jin and Candes 2023, arXiv 2210.01408). It holds if the
    calibration prompts are a random sample of the same kind of prompts: labels that were given
    to the easy ones first break it.

    Parameters
    ----------
    generations : Generations
        With ``prompt``, ``response``, and ``reference`` or ``correct`` of some prompts, null for
        the others; otherwise as in `scpo`.
    settings : ConformalSettings, optional

    Returns
    -------
    Selection
        Pairs of the candidates that were kept. Reasons beyond those of `scpo`: ``calibration``;
        ``above_fdr``; ``too_few_calibration_prompts`` (no p-value can be small enough). The ledger
        has ``score`` and ``p_value``.

    Raises
    ------
    InputError
        If a column is missing, a score is null, or no prompt can calibrate.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows = [["A"] * 6 + ["B"] * 2, ["A"] * 3 + ["B"] * 2] * 10
    >>> known = [["A", "C"] * 10, [None] * 20]  # a clear majority is right, a narrow one isn't
    >>> g = Generations(pa.table({
    ...     "prompt_id": [f"p{i}" for i in range(40)], "prompt": ["?"] * 40, "answer": rows * 2,
    ...     "response": rows * 2, "reference": known[0] + known[1],
    ... }))
    >>> selection = conformal(g, ConformalSettings(fdr=0.1))
    >>> selection.counts()
    {'kept': 10, 'calibration': 20, 'above_fdr': 10}
    >>> selection.thresholds["score"]
    0.75
    """
    settings = settings or ConformalSettings()
    require(generations, "conformal", "prompt", "response")
    generations = with_verdicts(with_canonical_answers(generations, settings.answer_rule))
    require(generations, "conformal", "correct")
    base = scpo(generations, settings.scpo())
    pairs, ledger = base.pairs, base.ledger
    kept = _booleans(ledger["kept"])
    known, right = _verdicts(generations, pairs, kept)
    score = _scores(generations, ledger, settings.score, kept)
    calibrates, candidate = kept & known, kept & ~known
    if not calibrates.any():
        raise InputError(
            "conformal needs prompts with a known answer and a pair to calibrate on; "
            "their 'reference' (or 'correct') must not be null"
        )
    picked = conformal_selection(
        score[calibrates],
        right[calibrates],
        score[candidate],
        alpha=settings.fdr,
        rng=settings.seed,
    )
    selected = np.zeros(len(kept), dtype=bool)
    selected[candidate] = picked.selected
    p_values = np.full(len(kept), np.nan)
    p_values[candidate] = picked.p_values
    reasons = np.array(ledger["reason"].to_pylist(), dtype=object)
    reasons[calibrates] = "calibration"
    refused = "too_few_calibration_prompts" if picked.note else "above_fdr"
    reasons[candidate] = np.where(picked.selected, KEPT, refused)
    decided = {
        "kept": pa.array(selected),
        "reason": pa.array(reasons, pa.string()),
        "n_pairs": pc.if_else(pa.array(selected), ledger["n_pairs"], pa.scalar(0, pa.int32())),
        "rule": pa.array(["conformal"] * len(kept), pa.string()),
        "weight": pc.if_else(pa.array(selected), ledger["weight"], None),
    }
    for name, column in decided.items():
        ledger = ledger.set_column(ledger.column_names.index(name), name, column)
    for name, values in (("score", score), ("p_value", p_values)):
        ledger = ledger.append_column(name, pa.array(values, from_pandas=True))
    ids = ledger["prompt_id"].filter(pa.array(selected)).combine_chunks()
    pairs = pairs.filter(pc.is_in(pairs["prompt_id"], value_set=ids))
    rule = pa.array(["conformal"] * pairs.num_rows, pa.string())
    pairs = pairs.set_column(pairs.column_names.index("rule"), "rule", rule)
    bounds = {"fdr": settings.fdr, "p_value": picked.p_threshold, "score": picked.score_threshold}
    return Selection(pairs, ledger, bounds)


def _verdicts(
    generations: Generations, pairs: pa.Table, kept: BoolArray
) -> tuple[BoolArray, BoolArray]:
    """Per prompt: whether the truth of its chosen answer is known, and whether it is right."""
    first = pairs.filter(pc.ends_with(pairs["pair_id"], "#0"))  # in the order of the prompts
    at = np.cumsum(generations.n_samples) - generations.n_samples
    at = at[kept] + first["chosen_index"].to_numpy()
    verdict = flat_values(generations.column("correct")).take(pa.array(at))
    known, right = np.zeros(len(kept), dtype=bool), np.zeros(len(kept), dtype=bool)
    known[kept] = verdict.is_valid().to_numpy(zero_copy_only=False)
    right[kept] = _booleans(verdict.fill_null(False))
    return known, right


def _scores(generations: Generations, ledger: pa.Table, name: str, kept: BoolArray) -> FloatArray:
    """How sure each prompt is of its chosen answer; larger is surer."""
    if name in ("vote_share", "vote_margin"):
        chosen, other = (
            ledger[f"{side}_votes"].cast(pa.float64()).to_numpy() for side in ("chosen", "rejected")
        )
        votes = np.maximum(ledger["n_votes"].to_numpy(), 1)
        share: FloatArray = (chosen - (other if name == "vote_margin" else 0)) / votes
        return share
    column = name.removeprefix("-")
    require(generations, "conformal", column)
    try:
        values = generations.column(column).cast(pa.float64()).to_numpy()
    except pa.ArrowException as error:
        raise InputError(f"column '{column}' must hold one number per prompt") from error
    score: FloatArray = -values if name.startswith("-") else values
    missing = np.flatnonzero(kept & ~np.isfinite(score))
    if len(missing):
        prompt_id = generations.prompt_ids[missing[0]]
        raise InputError(
            f"column '{column}' is missing or not finite in row {missing[0]} "
            f"(prompt_id '{prompt_id}')"
        )
    return score


def _booleans(column: pa.Array | pa.ChunkedArray) -> BoolArray:
    values: BoolArray = np.asarray(column.cast(pa.int8())).astype(bool)
    return values
