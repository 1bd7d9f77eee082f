"""Long answers claim by claim: how far other samples support each claim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.errors import InputError
from statllm.estimators.rewards import as_float_rows
from statllm.estimators.semantic.pairwise import Pairwise
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
SupportForm = Literal["entailment", "noncontradiction", "contrasted_entailment", "frequency"]


@dataclass(frozen=True, eq=False)
class ClaimSupport:
    """Mean support of each claim by a response's other samples; arrays of length n_claims.

    Attributes
    ----------
    value : ndarray of float64
        Larger is more confident; NaN without samples.
    se : ndarray of float64
        Standard error over samples; NaN below two.
    n : ndarray of int64
        Samples.
    rows : Ragged
        Support of claim i by each sample, a row per claim.
    """

    value: FloatArray
    se: FloatArray
    n: IntArray
    rows: Ragged

    def per_response(self, n_claims: ArrayLike) -> ClaimSupport:
        """Mean over the claims of each response, which follow each other.

        One minus it is LUQ for responses cut into sentences (``"contrasted_entailment"``), and
        LUQ-Atomic for claims (Zhang et al. 2024). The claims of a response are judged by the
        same samples, so the error is that of the samples' means over claims, not of all pairs.

        Parameters
        ----------
        n_claims : array_like of int, shape (n_responses,)

        Raises
        ------
        InputError
            If the claims don't add up, or those of a response have different numbers of samples.
        """
        counts = np.asarray(n_claims, dtype=np.int64)
        if counts.ndim != 1 or (counts < 0).any() or counts.sum() != len(self.value):
            raise InputError(f"n_claims must add up to the {len(self.value)} claims")
        owner = np.repeat(np.arange(len(counts)), counts)
        claims = Ragged.from_lengths(self.n.astype(np.float64), counts)
        with np.errstate(invalid="ignore"):
            if (claims.max() > claims.min()).any():
                raise InputError("claims of one response must have equally many samples")
        size = np.where(counts > 0, claims.max(), 0).astype(np.int64)
        start = np.concatenate([[0], np.cumsum(size)])
        place = start[owner[self.rows.rows]] + self.rows.positions
        total = np.bincount(place, self.rows.values, int(start[-1]))
        share = np.repeat(np.maximum(counts, 1), size)
        return _support(Ragged(total / share, start))


def claim_support(
    entailment: Any,
    contradiction: Any = None,
    form: SupportForm = "contrasted_entailment",
    n_units: Any = None,
) -> ClaimSupport:
    """Mean support of each claim by other samples of the response, from NLI probabilities.

    Parameters
    ----------
    entailment, contradiction : Ragged, Arrow list column or list of lists
        A row per claim (or sentence): p(entailment) and p(contradiction) of the claim given each
        other sample.
    form : str
        ===================== ==============================================================
        entailment            p(entailment)
        noncontradiction      1 - p(contradiction)
        contrasted_entailment p(entailment) / (p(entailment) + p(contradiction)); LUQ
        frequency             1 where entailment is the larger of the three classes, -1 where
                              contradiction is, else 0; its mean is minus lm-polygraph's
                              ``FrequencyScoringClaim`` over the number of samples (Mohri and
                              Hashimoto 2024)
        ===================== ==============================================================

        ``"entailment"`` needs no contradiction, ``"noncontradiction"`` no entailment (give
        None). The names are those of uqlm's ``LongTextUQ``.
    n_units : like entailment, of int, optional
        For matched claims: each sample was cut into so many claims or sentences, whose numbers
        follow each other in a claim's row, and the best match in a sample is its support
        (LUQ-Pair, uqlm's ``matched_unit`` mode). A sample without units supports nothing (0).

    Returns
    -------
    ClaimSupport

    Raises
    ------
    InputError
        If layouts differ, a probability is missing or outside [0, 1], or both of a pair are 0
        in ``"contrasted_entailment"``.

    Notes
    -----
    Long-form semantic entropy asks a question for each claim and clusters several answers to it:
    `semantic_entropy` with a row per question, and a mean over the questions of a claim.

    Examples
    --------
    >>> support = claim_support([[0.8, 0.6], [0.1, 0.1]], [[0.2, 0.2], [0.3, 0.9]])
    >>> support.value.round(4)
    array([0.775, 0.175])
    >>> 1 - support.per_response([2]).value
    array([0.525])
    """
    given = {
        name: _probabilities(rows, name)
        for name, rows in (("entailment", entailment), ("contradiction", contradiction))
        if rows is not None
    }
    needs = {
        "entailment": ("entailment",),
        "noncontradiction": ("contradiction",),
        "contrasted_entailment": ("entailment", "contradiction"),
        "frequency": ("entailment", "contradiction"),
    }
    if form not in needs:
        raise InputError(f"form must be one of {', '.join(needs)}, not {form!r}")
    missing = [name for name in needs[form] if name not in given]
    if missing:
        raise InputError(f"{form} needs {missing[0]}")
    layout = next(iter(given.values()))
    if any(not np.array_equal(rows.offsets, layout.offsets) for rows in given.values()):
        raise InputError("entailment and contradiction must have equally many values per claim")
    e, c = (given[n].values if n in given else np.zeros(0) for n in ("entailment", "contradiction"))
    if form == "entailment":
        values = e
    elif form == "noncontradiction":
        values = 1 - c
    elif form == "frequency":
        neutral = 1 - e - c
        values = np.where(e > np.maximum(c, neutral), 1.0, 0.0)
        values = values - (c > np.maximum(e, neutral))
    else:
        if (e + c <= 0).any():
            raise InputError("entailment and contradiction of a pair must not both be 0")
        values = e / (e + c)
    table = layout.with_values(values)
    return _support(table if n_units is None else _best_of(table, n_units))


def consistency(similarity: Pairwise, response: int = 0) -> ClaimSupport:
    """Mean similarity of one response of each prompt to the others: a confidence, with its error.

    The black-box scores of uqlm, where the response is an original and the others are samples:
    ``exact_match`` (similarity 1 where answers are equal), ``noncontradiction`` and
    ``entailment`` (`nli_similarity`), ``cosine_sim`` (`cosine_similarity`), ``bert_score``
    (`bert_score`).

    Parameters
    ----------
    similarity : Pairwise of float
        Both orders of a pair are averaged.
    response : int
        Its place in the prompt, from 0.

    Returns
    -------
    ClaimSupport
        One number per prompt. NaN where there is no such response, or no other.

    Raises
    ------
    InputError
        If a similarity is NaN, or there isn't one number per pair.

    Examples
    --------
    >>> pairs = Pairwise.from_stack([[[1.0, 0.4, 0.8], [0.6, 1.0, 0.1], [0.8, 0.1, 1.0]]])
    >>> found = consistency(pairs)
    >>> found.value.round(4), found.se.round(4)
    (array([0.65]), array([0.15]))
    """
    if similarity.values.ndim != 1:
        raise InputError("similarities must be one number per pair")
    if response < 0:
        raise InputError(f"response must be a place from 0, not {response}")
    table = similarity.with_values(similarity.values.astype(np.float64))
    both = table.symmetric().values
    rows = Ragged.from_lengths(both, similarity.sizes**2)
    k = similarity.sizes[rows.rows]
    own = (rows.positions // np.maximum(k, 1) == response) & (rows.positions % k != response)
    kept = rows.keep(own)
    if np.isnan(kept.values).any():
        raise InputError("similarities must not be NaN")
    return _support(kept)


def _support(rows: Ragged) -> ClaimSupport:
    n = rows.lengths
    return ClaimSupport(rows.mean(), np.sqrt(rows.var() / np.maximum(n, 1)), n, rows)


def _best_of(table: Ragged, n_units: Any) -> Ragged:
    """Largest value of each sample's units, a row per claim; 0 for a sample without any."""
    units = as_float_rows(n_units, "n_units")
    counts = units.values.astype(np.int64)
    if (counts != units.values).any() or (counts < 0).any():
        raise InputError("n_units must be whole numbers of at least 0")
    if not np.array_equal(units.sum(), table.lengths):
        raise InputError("n_units must add up to the number of values of each claim")
    best = Ragged.from_lengths(table.values, counts).max().astype(np.float64)
    return units.with_values(np.where(counts > 0, best, 0.0))


def _probabilities(rows: Any, name: str) -> Ragged:
    table = as_float_rows(rows, name)
    if not ((table.values >= 0) & (table.values <= 1)).all():  # NaN fails too
        raise InputError(f"{name} must hold probabilities in [0, 1], without missing ones")
    return table
