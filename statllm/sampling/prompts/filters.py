"""Which generated questions are kept: heuristics, exact duplicates and ROUGE-L, with a ledger."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import pyarrow as pa

from statllm.errors import InputError
from statllm.ledger import KEPT
from statllm.sampling.prompts.novelty import RougePool, WordRule
from statllm.sampling.prompts.questions import Question

#: What a language model can't be asked for by text alone (Self-Instruct's list).
SELF_INSTRUCT_WORDS = (
    "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps",
    "draw", "plot", "go to",
)  # fmt: skip


@dataclass(frozen=True)
class QuestionFilters:
    """What drops a question; the first that applies, in this order, is its reason.

    Attributes
    ----------
    min_words, max_words : int, optional
        "too_short", "too_long": fewer or more words, parted by white space.
    banned_words : tuple of str
        "banned_word": one of these occurs as a whole word or phrase, in any case.
    banned_starts : tuple of str
        "banned_start": it begins with one of these, in this case.
    banned_patterns : tuple of str
        "banned_pattern": one of these regular expressions is found in it.
    punctuation_start : bool
        "punctuation_start": its first character is ASCII punctuation.
    non_ascii_start : bool
        "non_ascii_start": its first character isn't ASCII.
    duplicates : bool
        "duplicate": it equals a text of the pool or a kept question, white space aside.
    rouge_l : float, optional
        "similar": a text of the pool or a kept question has at least this ROUGE-L with it.
    words : {"rouge", "unicode"}
        Of ROUGE-L.

    Examples
    --------
    >>> FILTERS["self-instruct"].rouge_l, FILTERS["self-instruct"].min_words
    (0.7, 4)
    """

    min_words: int | None = None
    max_words: int | None = None
    banned_words: tuple[str, ...] = ()
    banned_starts: tuple[str, ...] = ()
    banned_patterns: tuple[str, ...] = ()
    punctuation_start: bool = False
    non_ascii_start: bool = False
    duplicates: bool = True
    rouge_l: float | None = 0.7
    words: WordRule = "rouge"

    def __post_init__(self) -> None:
        if self.rouge_l is not None and not 0 < self.rouge_l <= 1:
            raise InputError(f"rouge_l must be above 0 and at most 1, not {self.rouge_l}")
        if self.words not in get_args(WordRule):
            raise InputError(f"words must be rouge or unicode, not {self.words!r}")
        for pattern in self.banned_patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(f"banned pattern {pattern!r} can't be read: {error}") from error

    @cached_property
    def _words(self) -> re.Pattern[str] | None:
        phrases = "|".join(map(re.escape, sorted(self.banned_words, key=len, reverse=True)))
        return re.compile(rf"\b(?:{phrases})\b", re.IGNORECASE) if phrases else None

    def objection(self, text: str) -> tuple[str, str | None] | None:
        """Return why a text is dropped by itself, and what in it did; None if it isn't.

        Examples
        --------
        >>> FILTERS["self-instruct"].objection("Draw a map of all rivers in France.")
        ('banned_word', 'Draw')
        """
        n = len(text.split())
        if self.min_words is not None and n < self.min_words:
            return "too_short", None
        if self.max_words is not None and n > self.max_words:
            return "too_long", None
        if self._words is not None and (found := self._words.search(text)):
            return "banned_word", found[0]
        for start in self.banned_starts:
            if text.startswith(start):
                return "banned_start", start
        for pattern in self.banned_patterns:
            if found := re.search(pattern, text):
                return "banned_pattern", found[0]
        if self.punctuation_start and text[0] in string.punctuation:
            return "punctuation_start", text[0]
        if self.non_ascii_start and not text[0].isascii():
            return "non_ascii_start", text[0]
        return None


#: Filters by the paper that has them. "self-instruct": Wang et al. 2023 and their code, which
#: keeps a ROUGE-L of exactly 0.7; "self-rip": Yu et al. 2025 name two of these; "scpo": Prasad
#: et al. 2024 name none, since questions without a consistent answer are dropped later.
FILTERS = {
    "self-instruct": QuestionFilters(
        min_words=4,
        max_words=150,
        banned_words=SELF_INSTRUCT_WORDS,
        banned_starts=("Write a program",),
        punctuation_start=True,
        non_ascii_start=True,
    ),
    "self-rip": QuestionFilters(banned_words=SELF_INSTRUCT_WORDS),
    "scpo": QuestionFilters(duplicates=False, rouge_l=None),
}


def filter_questions(
    questions: Sequence[Question],
    filters: QuestionFilters,
    pool: Iterable[tuple[str, str]] = (),
) -> pa.Table:
    """Decide on questions in their order; later ones must differ from those that were kept.

    Parameters
    ----------
    questions : sequence of Question
        With a text, or the reason why there is none.
    filters : QuestionFilters
    pool : iterable of (str, str)
        Identifiers and texts that are there already: the seeds.

    Returns
    -------
    pyarrow.Table
        The ledger, a row per question, in their order: question_id, prompt_id (of the few-shot
        prompt), sample, place, question, kept, reason, matched (what a heuristic found), nearest
        (question_id or the pool's identifier; null if no text has a word in common, or there is
        no question) and its rouge_l, in_pool (whether the nearest one is of the pool), n_words.

    Examples
    --------
    >>> asked = [Question("new-0", 0, 0, "Name two long rivers in Peru."),
    ...          Question("new-1", 0, 0, "Name two long rivers in Chad."),
    ...          Question("new-2", 0, None, None, "no_question")]
    >>> ledger = filter_questions(asked, QuestionFilters(), [("a", "Why is the sky blue?")])
    >>> ledger["reason"].to_pylist(), ledger["nearest"].to_pylist()
    (['kept', 'similar', 'no_question'], [None, 'new-0/0/0', None])
    """
    near = RougePool(filters.words)
    names: list[str] = []
    exact: dict[str, int] = {}

    def admit(name: str, text: str) -> None:
        near.add(text)
        exact.setdefault(" ".join(text.split()), len(names))
        names.append(name)

    for name, known in pool:
        admit(name, known)
    n_pool = len(names)
    rows = []
    for question in questions:
        reason: str | None = question.failure
        matched: str | None = None
        at, similar = None, None
        if (text := question.text) is not None:
            at, similar = near.nearest(text)
            objection = filters.objection(text)
            twin = exact.get(" ".join(text.split()))
            if objection is not None:
                reason, matched = objection
            elif filters.duplicates and twin is not None:
                # a text without words has no ROUGE-L, but it can have a twin
                reason, at = "duplicate", twin
            elif filters.rouge_l is not None and similar >= filters.rouge_l:
                reason = "similar"
            else:
                reason = KEPT
                admit(question.question_id, text)
        rows.append(
            {
                "question_id": question.question_id,
                "prompt_id": question.prompt_id,
                "sample": question.sample,
                "place": question.place,
                "question": text,
                "kept": reason == KEPT,
                "reason": reason,
                "matched": matched,
                "nearest": None if at is None else names[at],
                "rouge_l": similar,
                "in_pool": None if at is None else at < n_pool,
                "n_words": None if text is None else len(text.split()),
            }
        )
    return pa.Table.from_pylist(rows, schema=_LEDGER)


_LEDGER = pa.schema(
    {
        "question_id": pa.string(),
        "prompt_id": pa.string(),
        "sample": pa.int32(),
        "place": pa.int32(),
        "question": pa.string(),
        "kept": pa.bool_(),
        "reason": pa.string(),
        "matched": pa.string(),
        "nearest": pa.string(),
        "rouge_l": pa.float64(),
        "in_pool": pa.bool_(),
        "n_words": pa.int32(),
    }
)
