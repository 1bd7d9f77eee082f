"""Exact checks of the criteria: every occasion in the syntax tree, and whether it's a violation."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from statllm.lab.code_style.syntax import (
    appended,
    defaults,
    is_mutable,
    is_text,
    length_of,
    own_nodes,
    parsed,
    segment,
    summands,
    walk,
)

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

#: An occasion: the node, whether it violates the criterion, and what to quote.
Occasion = tuple[ast.AST, bool, str]


@dataclass(frozen=True)
class Verdict:
    """What is true of a criterion in some code.

    Attributes
    ----------
    met : bool or None
        None: the code gives it no occasion.
    spans : tuple of str
        The violations, each as a piece of the code.
    """

    met: bool | None
    spans: tuple[str, ...] = ()


def check(code: str, criteria: Collection[str] | None = None) -> dict[str, Verdict]:
    """Check all criteria, or those that are named.

    Examples
    --------
    >>> found = check("def first(items=[]):\\n    return items")
    >>> found["mutable_default"], found["function_name"]
    (Verdict(met=False, spans=('items=[]',)), Verdict(met=True, spans=()))
    >>> found["bare_except"]
    Verdict(met=None, spans=())
    """
    tree = parsed(code)
    verdicts = {}
    for name in RULES if criteria is None else criteria:
        occasions = list(RULES[name](tree, code))
        spans = tuple(span for _, violated, span in occasions if violated)
        verdicts[name] = Verdict(not spans if occasions else None, spans)
    return verdicts


def violations(tree: ast.Module, code: str, criterion_id: str) -> list[tuple[ast.AST, str]]:
    """Return the nodes that violate a criterion, each with what to quote."""
    return [(node, span) for node, violated, span in RULES[criterion_id](tree, code) if violated]


def _bare_except(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for node in walk(tree, ast.ExceptHandler):
        yield node, node.type is None, segment(code, node)


def _empty_handler(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for node in walk(tree, ast.ExceptHandler):
        empty = all(
            isinstance(one, ast.Pass)
            or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
            for one in node.body
        )
        yield node, empty, segment(code, node)


def _mutable_default(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for node in walk(tree, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for argument, default in defaults(node.args):
            yield default, is_mutable(default), f"{argument.arg}={segment(code, default)}"


def _mutable_global(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            yield node, is_mutable(node.value), segment(code, node)


def _wildcard_import(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for node in walk(tree, ast.Import, ast.ImportFrom):
        assert isinstance(node, ast.Import | ast.ImportFrom)
        yield node, node.names[0].name == "*", segment(code, node)


def _constant(node: ast.AST, values: tuple[object, ...]) -> bool:
    """Whether it is one of None, True, False; 1 is equal to True and isn't meant."""
    return isinstance(node, ast.Constant) and any(node.value is value for value in values)


def _comparisons(tree: ast.Module, values: tuple[object, ...]) -> Iterator[ast.Compare]:
    for node in walk(tree, ast.Compare):
        if any(_constant(side, values) for side in (node.left, *node.comparators)):
            yield node


def _by_equality(node: ast.Compare) -> bool:
    return any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops)


def _none_test(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for node in _comparisons(tree, (None,)):
        yield node, _by_equality(node), segment(code, node)


def _truth_test(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for compared in _comparisons(tree, (True, False)):
        yield compared, _by_equality(compared), segment(code, compared)
    for node in walk(tree, ast.If, ast.While, ast.IfExp):
        assert isinstance(node, ast.If | ast.While | ast.IfExp)
        if isinstance(node.test, ast.Name):
            yield node, False, ""


def _empty_test(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for compared in walk(tree, ast.Compare):
        if length_of(compared) is not None:
            yield compared, True, segment(code, compared)
    for node in walk(tree, ast.If, ast.While, ast.IfExp):
        assert isinstance(node, ast.If | ast.While | ast.IfExp)
        test = node.test
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            yield node, False, ""


def _plus_string(tree: ast.Module, code: str) -> Iterator[Occasion]:
    inner: set[ast.AST] = set()
    for node in walk(tree, ast.BinOp, ast.JoinedStr, ast.Call):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            parts = summands(node)
            inner |= {one for one in ast.walk(node) if one is not node}
            texts = [isinstance(one, ast.JoinedStr) or is_text(one) for one in parts]
            if node not in inner and any(texts) and not all(texts):
                yield node, True, segment(code, node)
        elif isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "format"
        ):
            yield node, False, ""  # a text with a value in it, made otherwise


def _open_file(tree: ast.Module, code: str) -> Iterator[Occasion]:
    managed = {
        item.context_expr
        for node in ast.walk(tree)
        if isinstance(node, ast.With | ast.AsyncWith)
        for item in node.items
    }
    closed = {
        node.func.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "close"
        and isinstance(node.func.value, ast.Name)
    }
    assigned = {
        node.value: (node, node.targets[0].id) for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }  # fmt: skip
    for node in walk(tree, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "open":
            none: tuple[ast.AST, str] = (node, "")
            statement, name = assigned.get(node, none)
            fine = node in managed or name in closed
            yield statement, not fine, segment(code, statement)


def _named_lambda(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for node in walk(tree, ast.Assign, ast.FunctionDef):
        if isinstance(node, ast.FunctionDef):
            yield node, False, ""
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            yield node, True, segment(code, node)


def _function_name(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for node in walk(tree, ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield node, node.name != node.name.lower(), f"def {node.name}"


def _growing_string(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for scope in [tree, *walk(tree, ast.FunctionDef, ast.AsyncFunctionDef)]:
        own = list(own_nodes(scope))
        texts = {
            target.id for node in own if isinstance(node, ast.Assign)
            and (is_text(node.value) or isinstance(node.value, ast.JoinedStr))
            for target in node.targets if isinstance(target, ast.Name)
        }  # fmt: skip
        for loop in own:
            if not isinstance(loop, ast.For | ast.While | ast.AsyncFor):
                continue
            for node in loop.body:
                if (
                    isinstance(node, ast.AugAssign)
                    and isinstance(node.op, ast.Add)
                    and isinstance(node.target, ast.Name)
                ):
                    yield node, node.target.id in texts, segment(code, node)
                elif isinstance(node, ast.Expr) and appended(node) is not None:
                    yield node, False, ""


def _key_iteration(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for node in walk(tree, ast.For, ast.AsyncFor, ast.comprehension):
        assert isinstance(node, ast.For | ast.AsyncFor | ast.comprehension)
        over = node.iter
        keys = (
            isinstance(over, ast.Call)
            and isinstance(over.func, ast.Attribute)
            and over.func.attr == "keys"
            and not over.args
        )
        if keys or isinstance(over, ast.Name):
            yield node, keys, segment(code, over)


def _nested_comprehension(tree: ast.Module, code: str) -> Iterator[Occasion]:
    inner: set[ast.AST] = set()
    for node in walk(tree, *_COMPREHENSIONS):
        within = [n for n in ast.walk(node) if isinstance(n, _COMPREHENSIONS) and n is not node]
        if node not in inner:
            assert isinstance(node, _COMPREHENSIONS)
            several = len(node.generators) > 1 or bool(within)
            yield node, several, segment(code, node)
        inner |= set(within)


#: By criterion: all occasions in a tree, in the order of the source.
RULES: Mapping[str, Callable[[ast.Module, str], Iterator[Occasion]]] = {
    "bare_except": _bare_except,
    "empty_handler": _empty_handler,
    "mutable_global": _mutable_global,
    "wildcard_import": _wildcard_import,
    "none_test": _none_test,
    "truth_test": _truth_test,
    "empty_test": _empty_test,
    "plus_string": _plus_string,
    "open_file": _open_file,
    "mutable_default": _mutable_default,
    "named_lambda": _named_lambda,
    "function_name": _function_name,
    "growing_string": _growing_string,
    "key_iteration": _key_iteration,
    "nested_comprehension": _nested_comprehension,
}
