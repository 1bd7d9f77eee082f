"""What is done about a violation, by the words of the guideline; and whether it has helped."""

from __future__ import annotations

import ast
from collections import Counter

from statllm.errors import InputError
from statllm.lab.code_style.checks import check, violations
from statllm.lab.code_style.criteria import CRITERIA
from statllm.lab.code_style.repairs import REPAIRS
from statllm.lab.code_style.syntax import parsed


def apply(code: str, criterion_id: str, remedy: str, quote: str) -> str | None:
    """Apply a remedy to the violation that is quoted.

    Parameters
    ----------
    code : str
    criterion_id : str
    remedy : str
        In the words of `StyleCriterion.remedies`; case and a full stop don't matter.
    quote : str
        A piece of the code; it must cover half of a violation's span, or be covered by one whose
        length is at least half of its own.

    Returns
    -------
    str or None
        None where nothing that violates the criterion is quoted, the words are no remedy for it,
        or it can't be done there.

    Examples
    --------
    >>> apply("done = x == None", "none_test", "use is", "x == None")
    'done = x is None'
    >>> apply("done = x == None", "none_test", "use is", "y == None") is None
    True
    """
    known = {_plain(words): words for words in CRITERIA[criterion_id].remedies}
    words = known.get(_plain(remedy))
    if words is None:
        return None
    tree = parsed(code)
    for node, span in violations(tree, code, criterion_id):
        if covers(quote, span):
            if not REPAIRS[words](tree, node):
                return None
            try:
                return ast.unparse(ast.fix_missing_locations(tree))
            except ValueError:  # Python before 3.12 has no backslash in the braces of an f-string
                return None
    return None


def helps(code: str, criterion_id: str, remedy: str, quote: str) -> bool:
    """Whether a remedy at a quotation takes a violation away and brings no other one.

    Examples
    --------
    >>> helps("done = x == None", "none_test", "use is", "x == None")
    True
    """
    better = apply(code, criterion_id, remedy, quote)
    if better is None:
        return False
    before, after = _violated(code), _violated(better)
    return after[criterion_id] == before[criterion_id] - 1 and not after - before


def covers(quote: str, span: str) -> bool:
    """Whether a quotation and a span are the same place, up to half of the longer one."""
    one, other = "".join(quote.split()), "".join(span.split())
    short, long = sorted((one, other), key=len)
    return bool(short) and short in long and 2 * len(short) >= len(long)


def _violated(code: str) -> Counter[str]:
    try:
        return Counter({name: len(found.spans) for name, found in check(code).items()})
    except InputError:
        return Counter({"not Python": 1})


def _plain(words: str) -> str:
    return " ".join(words.split()).strip(" .").casefold()
