"""Short functions that violate nothing, made to give occasions for chosen criteria."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Collection, Mapping

NAMES = (
    "items", "rows", "words", "lines", "parts", "values", "records", "names", "paths", "cells",
    "users", "orders", "pages", "nodes", "events", "tokens", "files", "groups", "scores", "dates",
)  # fmt: skip
SINGLES = (
    "item", "row", "word", "line", "value", "record", "name", "path", "cell", "user", "order",
    "page", "node", "event", "token", "score", "date", "total", "result", "entry", "key", "flag",
)  # fmt: skip
VERBS = ("load", "read", "make", "find", "check", "count", "merge", "clean", "send", "sort")
MODULES = ("math", "json", "shutil", "random", "string", "decimal", "textwrap", "itertools")
TEXTS = ("found ", "no ", "name ", "in ", "at ", "of ", "id ", "read ")


def snippet(rng: random.Random, criteria: Collection[str]) -> str:
    """Return a function, and what stands before it, with an occasion for each criterion.

    What stands in the code for other criteria is fine, too: it violates none of the fifteen.

    Parameters
    ----------
    rng : random.Random
    criteria : collection of str
        Identifiers; their order doesn't matter.

    Examples
    --------
    >>> print(snippet(random.Random(1), ["none_test"]))
    def find_orders(orders):
        if record is None:
            return orders
        return orders
    """
    words = _Words(rng)
    argument = words.many()
    arguments, before, body = argument, [], []
    if "mutable_default" in criteria:
        arguments += f", {words.many()}={rng.choice(('None', '()'))}"
    wanted = [one for one in _BLOCKS if one in criteria]
    rng.shuffle(wanted)
    if "bare_except" in criteria or "empty_handler" in criteria:
        wanted.insert(rng.randint(0, len(wanted)), "handler")
    for name in wanted:
        body.append(_BLOCKS[name](words, argument))
    if "wildcard_import" in criteria:
        before.append(f"from {rng.choice(MODULES)} import {words.one()}")
    if "mutable_global" in criteria:
        before.append(f"{words.many()} = ({rng.randint(1, 9)}, {rng.randint(1, 9)})")
    name = f"{rng.choice(VERBS)}_{argument}"
    lines = "\n".join([*body, f"return {argument}"]).replace("\n", "\n    ")
    return ast.unparse(ast.parse("\n".join([*before, f"def {name}({arguments}):\n    {lines}"])))


class _Words:
    """Names that aren't used twice in a snippet."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._many = rng.sample(NAMES, len(NAMES))
        self._one = rng.sample(SINGLES, len(SINGLES))

    def many(self) -> str:
        return self._many.pop()

    def one(self) -> str:
        return self._one.pop()


def _handler(words: _Words, argument: str) -> str:
    caught = words.rng.choice(("ValueError", "OSError"))
    done = words.rng.choice(("raise", "log('failed')"))
    value = words.one()
    return (
        f"try:\n    {value} = {words.rng.choice(VERBS)}({argument})\nexcept {caught}:\n    {done}"
    )


def _none_test(words: _Words, argument: str) -> str:
    return f"if {words.one()} is {words.rng.choice(('', 'not '))}None:\n    return {argument}"


def _truth_test(words: _Words, argument: str) -> str:
    return f"if {words.one()}:\n    return {argument}"


def _empty_test(words: _Words, argument: str) -> str:
    return f"if not {words.many()}:\n    return {argument}"


def _plus_string(words: _Words, argument: str) -> str:
    text, value = words.rng.choice(TEXTS), words.one()
    if words.rng.random() < 0.5:
        return f"{words.one()} = f'{text}{{{value}}}'"
    return f"{words.one()} = '{text}{{}}'.format({value})"


def _open_file(words: _Words, argument: str) -> str:
    handle = words.one()
    return f"with open({words.one()}) as {handle}:\n    {words.one()} = {handle}.read()"


def _named_lambda(words: _Words, argument: str) -> str:
    value = words.one()
    return f"def {words.one()}({value}):\n    return {value} + {words.rng.randint(1, 9)}"


def _growing_string(words: _Words, argument: str) -> str:
    name, value = words.one(), words.one()
    return (
        f"{name} = []\nfor {value} in {words.many()}:\n    {name}.append({value})\n"
        f"{name} = ''.join({name})"
    )


def _key_iteration(words: _Words, argument: str) -> str:
    value = words.one()
    return f"for {value} in {words.many()}:\n    {words.rng.choice(VERBS)}({value})"


def _nested_comprehension(words: _Words, argument: str) -> str:
    value = words.one()
    return f"{words.many()} = [{value} for {value} in {words.many()}]"


_BLOCKS: Mapping[str, Callable[[_Words, str], str]] = {
    "handler": _handler,
    "none_test": _none_test,
    "truth_test": _truth_test,
    "empty_test": _empty_test,
    "plus_string": _plus_string,
    "open_file": _open_file,
    "named_lambda": _named_lambda,
    "growing_string": _growing_string,
    "key_iteration": _key_iteration,
    "nested_comprehension": _nested_comprehension,
}
