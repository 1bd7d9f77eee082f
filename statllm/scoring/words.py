"""Words as LIFT counts them: NLTK's tokens, those that are punctuation left out."""

from __future__ import annotations

import re
import string
from typing import Any

import numpy as np

# What parts tokens, in the order in which NLTK's tokenizer does it. Where only the number of
# tokens matters, several of its steps are one here, and quotation marks all become ”.
_STEPS = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"[«“‘„]|``?", r" \g<0> "),
        (r'"|(?<=[ (\[{<])\'\'', " ” "),
        (r"(?<!\w)'(?!(?:re|ve|ll|[mtsdn])\b)(?=\w)", "' "),
        (r"(?<=[^.])\.(?=[])}>'»”’ ]*\s*$)", r" . "),
        (r"([:,])(\D)", r" \1 \2"),
        (r"[:,]$|\.{2,}|[;@#$%&?!*\u2012-\u2015]", r" \g<0> "),
        (r"(?<=[^'])' ", " ' "),
        (r"[][(){}<>]|--|''|[»”’]", r" \g<0> "),
        (r"$", " "),
        (r"\s+", " "),
        (r"([^' ])('[smd]|') ", r"\1 \2 "),
        (r"([^' ])((?-i:'ll|'LL|'re|'RE|'ve|'VE|n't|N'T)) ", r"\1 \2 "),
        (r"\b(can)(not)\b", r" \1 \2 "),
        (r"\b(d)('ye)\b", r" \1 \2 "),
        (r"\b(gim|lem)(me)\b", r" \1 \2 "),
        (r"\b(gon)(na)\b", r" \1 \2 "),
        (r"\b(wan)(na)(?=\s)", r" \1 \2 "),
        (r"\b(got)(ta)\b", r" \1 \2 "),
        (r"\b(more)('n)\b", r" \1 \2 "),
        (r"(?<= )('t)(is|was)\b", r" \1 \2 "),
    )
)


def count_words(text: str) -> int:
    """Count words as the benchmarks of LIFT do (Yuan et al. 2024).

    Tokens of NLTK's ``word_tokenize`` without those that are part of ``string.punctuation``. That
    is a test for a substring: a comma or a full stop isn't counted, while ``...``, ``--``,
    quotation marks and the two halves of "don't" are.

    NLTK first cuts the text into sentences, by a model that is left out here. That changes no
    count unless a full stop follows a symbol, or in like oddities.

    Examples
    --------
    >>> count_words("Don't stop, they said."), count_words('A "quoted" word...')
    (5, 6)
    """
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    return sum(token not in string.punctuation for token in text.split())


def is_limit(value: Any) -> bool:
    """Whether a value is a limit on words: a whole number from 1, of 64 bits at most.

    Examples
    --------
    >>> [is_limit(value) for value in (70, 70.0, 0, 2.5, float("nan"), True, "70")]
    [True, True, False, False, False, False, False]
    """
    number = isinstance(value, int | float | np.integer) and not isinstance(value, bool)
    return number and bool(1 <= value < 2**63) and value % 1 == 0
