"""Fifteen criteria of Python style, in six aspects, each with what a house may want instead.

The subjects are among those of Google's Python style guide, which LLMCrit takes its criteria for
code from; the wording is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StyleCriterion:
    """A criterion whose truth is computed from the syntax tree.

    Attributes
    ----------
    criterion_id : str
        As in `statllm.lab.code_style.checks.RULES`.
    name : str
        Its heading.
    aspect : str
    check : str
    remedies : tuple of str
        What may be done about a violation; a house wants one of them.
    """

    criterion_id: str
    name: str
    aspect: str
    check: str
    remedies: tuple[str, ...]


_ROWS = (
    ("bare_except", "Bare except", "exceptions", "an except clause names what it catches",
     ("catch ValueError", "catch OSError")),
    ("empty_handler", "Empty handler", "exceptions", "an except clause does something",
     ("raise it again", "log it")),
    ("mutable_global", "Mutable global", "modules", "no list, set or dict at module level",
     ("make it a tuple", "make it a frozenset")),
    ("wildcard_import", "Wildcard import", "modules", "no import of all names",
     ("import the module",)),
    ("none_test", "None test", "tests", "None is compared by is", ("use is",)),
    ("truth_test", "Truth test", "tests", "no comparison to True or False by ==",
     ("drop the comparison", "use identity")),
    ("empty_test", "Empty test", "tests", "emptiness is tested by truth, not by len",
     ("test the container",)),
    ("plus_string", "Plus string", "strings", "texts with values in them are not made by +",
     ("use an f-string", "use format")),
    ("open_file", "Open file", "strings", "what is opened is closed",
     ("use with", "close it at last")),
    ("mutable_default", "Mutable default", "functions", "no list, set or dict as a default",
     ("default to None", "default to a tuple")),
    ("named_lambda", "Named lambda", "functions", "a lambda gets no name", ("use def",)),
    ("function_name", "Function name", "functions", "functions are named in snake case",
     ("use snake case",)),
    ("growing_string", "Growing string", "loops", "no text grows by += in a loop",
     ("join a list",)),
    ("key_iteration", "Key iteration", "loops", "a dict is iterated without keys()",
     ("iterate the dict",)),
    ("nested_comprehension", "Nested comprehension", "loops", "a comprehension has one for",
     ("use loops",)),
)  # fmt: skip

#: All criteria, by their identifiers, in the order of the aspects.
CRITERIA: Mapping[str, StyleCriterion] = {row[0]: StyleCriterion(*row) for row in _ROWS}

#: The same by heading.
BY_NAME: Mapping[str, StyleCriterion] = {one.name: one for one in CRITERIA.values()}

#: The section of a guideline that each aspect's criteria are made of.
SECTIONS: Mapping[str, str] = {
    "exceptions": "Say which exception is meant, and do something when it comes.",
    "modules": "A module has no state that changes, and brings in names that can be traced.",
    "tests": "Test what is meant: identity with None, the truth of a value, emptiness.",
    "strings": "Put values into texts by formatting. Whoever opens a file closes it.",
    "functions": "Defaults are made once and stay; functions have names of one form.",
    "loops": "A loop does one plain thing: it joins at the end, and doesn't hide in another.",
}
