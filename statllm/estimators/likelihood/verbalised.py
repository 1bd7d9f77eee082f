"""What a model says of its own answer: stated confidence, P(True), yes against no."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.likelihood.sequence import check_logprobs

if TYPE_CHECKING:
    import pyarrow as pa

FloatArray = NDArray[np.float64]

#: Probabilities that people give to expressions of likelihood, as used by lm-polygraph's
#: ``Linguistic1S`` after Tian et al. 2023 ("Just Ask for Calibration").
PROBABILITY_WORDS: Mapping[str, float] = {
    "almost certain": 0.95,
    "highly likely": 0.9,
    "very good chance": 0.8,
    "we believe": 0.75,
    "probably": 0.7,
    "probable": 0.7,
    "likely": 0.7,
    "better than even": 0.6,
    "about even": 0.5,
    "probably not": 0.25,
    "we doubt": 0.2,
    "unlikely": 0.2,
    "little chance": 0.1,
    "chances are slight": 0.1,
    "improbable": 0.1,
    "highly unlikely": 0.05,
    "almost no chance": 0.02,
}

# A sign belongs to the number, so that the end of a range ("60-80%") is read as negative.
_NUMBER = r"[-–—~]?(?:\d+(?:\.\d*)?|\.\d+)"
_PERCENT = rf"(?P<value>{_NUMBER})\s*(?:%|per\s?cent\b)"
_FRACTION = rf"(?P<value>{_NUMBER})\s*(?:/|out\s+of)\s*(?P<whole>\d+(?:\.\d+)?)"
_PLAIN = rf"(?P<value>{_NUMBER})"
_RANGE = r"\d\s*(?:%|per\s?cent)?\s*(?:to|and|or|[-–—~])\s*\d+(?:\.\d+)?\s*(?:%|per\s?cent\b)"


@dataclass(frozen=True, eq=False)
class VerbalisedConfidence:
    """Confidences read from texts.

    Attributes
    ----------
    confidence : ndarray of float64, shape (n_texts,)
        In [0, 1]; NaN where none could be read.
    n_unparsed : int
        How many are NaN.
    """

    confidence: FloatArray
    n_unparsed: int


def parse_confidence(
    texts: Any,
    scale: float = 1.0,
    words: Mapping[str, float] | None = None,
    which: Literal["only", "last"] = "only",
) -> VerbalisedConfidence:
    """Read a stated confidence from each text.

    In this order: a percentage ("85%", "85 per cent"), a fraction ("8/10", "8 out of 10"), a
    plain number ("0.85"), and, with `words`, an expression ("highly likely"). The first kind
    that occurs decides. A text is unparsed, and NaN, if it has none, gives a range ("60-80%"),
    says a number several times where `which` is ``"only"``, negates the expression ("not
    likely"), or if the confidence isn't in [0, 1].

    Parameters
    ----------
    texts : pyarrow string column, or sequence of str or None
        Best cut down to the part that states the confidence: numbers of the answer itself
        can't be told from it.
    scale : float
        What a plain number is out of: 1, or 100 if the prompt asked for a number up to 100.
    words : mapping of str to float, optional
        Confidence for each expression; case doesn't matter and longer ones win.
        `PROBABILITY_WORDS` is a published map. Default: expressions aren't read.
    which : {"only", "last"}
        ``"last"`` takes the last of several numbers of the deciding kind.

    Returns
    -------
    VerbalisedConfidence

    Raises
    ------
    ValueError
        If `scale` isn't positive or a value of `words` isn't in [0, 1].

    Examples
    --------
    >>> said = parse_confidence(["I'm 85% sure", "8/10", "0.9", "no idea", None, "120%"])
    >>> said.confidence, said.n_unparsed
    (array([0.85, 0.8 , 0.9 ,  nan,  nan,  nan]), 3)
    >>> parse_confidence(["Highly likely."], words=PROBABILITY_WORDS).confidence
    array([0.9])
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, not {scale}")
    if which not in ("only", "last"):
        raise ValueError(f"which must be only or last, not {which!r}")
    column = _as_strings(texts)
    out = np.full(len(column), np.nan)
    undecided = np.ones(len(column), dtype=bool)
    for pattern, unit in ((_PERCENT, 100.0), (_FRACTION, 1.0), (_PLAIN, scale)):
        value, count = _numbers(column, pattern)
        decides = undecided & (count > 0)
        usable = decides if which == "last" else decides & (count == 1)
        out[usable] = value[usable] / unit
        undecided &= count == 0
    out[_matches(column, _RANGE)] = np.nan
    if words:
        stated = _expressions(column, words)
        out[undecided] = stated[undecided]
    with np.errstate(invalid="ignore"):
        out[~((out >= 0) & (out <= 1))] = np.nan
    return VerbalisedConfidence(out, int(np.isnan(out).sum()))


def p_true(logprob_true: ArrayLike, logprob_false: ArrayLike) -> FloatArray:
    """P(True), scaled so that "True" and "False" are the only possibilities.

    p(True) / (p(True) + p(False)) (Kadavath et al. 2022). The spellings of a word (" True",
    "true") are added up.

    Parameters
    ----------
    logprob_true, logprob_false : array_like of float, shape (n,) or (n, n_spellings)
        Log-probabilities of the first token of the verdict. -inf is probability 0; for a token
        that fell out of the listed top k, give the smallest log-probability listed, which
        bounds it.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN where a log-probability is NaN, or both words have probability 0.

    Raises
    ------
    ValueError
        If lengths differ or a log-probability is above 0.

    Examples
    --------
    >>> p_true(np.log([0.6]), np.log([0.2]))
    array([0.75])
    """
    from scipy import special

    out: FloatArray = special.expit(self_score(logprob_true, logprob_false))
    return out


def p_true_uqlm(said_true: ArrayLike, logprob: ArrayLike) -> FloatArray:
    """P(True) from the verdict's own token alone, as uqlm has it.

    p if the token says "True", 1 - p if it says "False". What the model gives to other words
    than the two counts for the side that it didn't take, so a verdict of "False" with p = 0.4,
    p(True) = 0.1 is 0.6 here and 0.2 in `p_true`.

    Parameters
    ----------
    said_true : array_like of bool, shape (n,)
    logprob : array_like of float, shape (n,)
        Of the token said.

    Returns
    -------
    ndarray of float64, shape (n,)

    Examples
    --------
    >>> p_true_uqlm([True, False], np.log([0.7, 0.4]))
    array([0.7, 0.6])
    """
    said, given = np.asarray(said_true), np.asarray(logprob, dtype=np.float64)
    if said.shape != given.shape or not np.isin(said, [0, 1]).all():
        raise ValueError("said_true must be true or false, and as long as logprob")
    check_logprobs(given, "logprob")
    probability = np.exp(np.minimum(given, 0.0))
    return np.where(said.astype(bool), probability, 1 - probability)


def self_score(logprob_yes: ArrayLike, logprob_no: ArrayLike) -> FloatArray:
    """Log p("yes") - log p("no"), nats: the log-odds that a model gives its own answer.

    Self-scoring of Yuan et al. 2025 (NaturalReasoning), who drop an answer below 0.

    Parameters
    ----------
    logprob_yes, logprob_no : array_like of float, shape (n,) or (n, n_spellings)
        As for `p_true`; spellings are added up.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN where a log-probability is NaN, or both words have probability 0.

    Raises
    ------
    ValueError
        If lengths differ or a log-probability is above 0.

    Examples
    --------
    >>> self_score([[-1.0, -3.0]], [[-2.0, -4.0]]).round(6)
    array([1.])
    """
    yes, no = _word(logprob_yes, "the first word"), _word(logprob_no, "the second word")
    if yes.shape != no.shape:
        raise ValueError(f"{len(yes)} log-probabilities of one word and {len(no)} of the other")
    impossible = np.isneginf(yes) & np.isneginf(no)
    return np.where(impossible, np.nan, yes - np.where(impossible, 0.0, no))


def _word(logprob: ArrayLike, what: str) -> FloatArray:
    """Log-probability of a word, its spellings added up."""
    table = np.asarray(logprob, dtype=np.float64)
    if table.ndim not in (1, 2):
        raise ValueError(f"log-probabilities of {what} must have one or two dimensions")
    check_logprobs(table, f"log-probabilities of {what}")
    if table.ndim == 1:
        return table
    out: FloatArray = np.logaddexp.reduce(table, axis=1)
    return out


def _as_strings(texts: Any) -> pa.Array:
    """Texts as one Arrow array in lower case."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    array = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())
    return pc.utf8_lower(array.cast(pa.large_string()))


def _numbers(column: pa.Array, pattern: str) -> tuple[FloatArray, NDArray[np.int64]]:
    """Last number of the pattern in each text (a fraction's quotient), and how many there are."""
    import pyarrow.compute as pc

    unnamed = pattern.replace("?P<value>", "").replace("?P<whole>", "")
    count = pc.fill_null(pc.count_substring_regex(column, unnamed), 0)
    # Greedy up to a place where no number is going on: "85" isn't cut to "5", nor "-5" to "5".
    found = pc.extract_regex(column, rf"(?s)^(?:.*[^\d.–—~-])?{pattern}")
    value = _floats(found.field("value"))
    if "whole" in pattern:
        whole = _floats(found.field("whole"))
        value = value / np.where(whole > 0, whole, np.nan)
    return value, count.to_numpy(zero_copy_only=False).astype(np.int64)


def _floats(column: pa.Array) -> FloatArray:
    """Numbers as floats; a range's dash is a minus."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = pc.replace_substring_regex(column, "[–—~]", "-")
    filled = pc.if_else(pc.equal(pc.fill_null(plain, ""), ""), None, plain)
    out: FloatArray = filled.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    return out


def _expressions(column: pa.Array, words: Mapping[str, float]) -> FloatArray:
    """Confidence of the first expression in each text; NaN for none or a negated one."""
    import pyarrow.compute as pc

    values = {expression.lower(): float(value) for expression, value in words.items()}
    if not all(0 <= value <= 1 for value in values.values()):
        raise ValueError("the values of words must lie in [0, 1]")
    ordered = sorted(values, key=len, reverse=True)
    choice = "|".join(re.escape(expression).replace(r"\ ", r"\s+") for expression in ordered)
    negation = r"(?:\bnot|n't|n’t|\bnever|\bhardly)\s+(?:\w+\s+)?"
    found = pc.extract_regex(column, rf"(?P<no>{negation})?\b(?P<words>{choice})\b")
    said = pc.replace_substring_regex(found.field("words"), r"\s+", " ")
    negated = pc.not_equal(pc.fill_null(found.field("no"), ""), "")
    names = said.to_numpy(zero_copy_only=False)
    distinct, code = np.unique(np.where(names == None, "", names).astype(str), return_inverse=True)  # noqa: E711
    confidence = np.array([values.get(str(name), np.nan) for name in distinct])[code]
    return np.where(negated.to_numpy(zero_copy_only=False), np.nan, confidence)


def _matches(column: pa.Array, pattern: str) -> NDArray[np.bool_]:
    """Whether each text matches."""
    import pyarrow.compute as pc

    found = pc.fill_null(pc.match_substring_regex(column, pattern), False)
    out: NDArray[np.bool_] = found.to_numpy(zero_copy_only=False)
    return out
