"""Exact checks of the criteria: every occasion in the syntax tree, and whether it's a violation."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from statllm.lab.code_style.syntax import (
    appended,
    compared_to,
    defaults,
    does_nothing,
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
        yield node, does_nothing(node.body), segment(code, node)


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


def _by_equality(node: ast.Compare, values: tuple[object, ...]) -> bool:
    """Whether one of the values is compared by == or !=, and not another part of a chain."""
    return any(isinstance(node.ops[i], ast.Eq | ast.NotEq) for i in compared_to(node, values))


def _none_test(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for node in walk(tree, ast.Compare):
        if compared_to(node, (None,)):
            yield node, _by_equality(node, (None,)), segment(code, node)


def _truth_test(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for compared in walk(tree, ast.Compare):
        if compared_to(compared, (True, False)):
            yield compared, _by_equality(compared, (True, False)), segment(code, compared)
    for node in walk(tree, ast.If, ast.While, ast.IfExp):
        assert isinstance(node, ast.If | ast.While | ast.IfExp)
        if isinstance(node.test, ast.Name):
            yield node, False, ""


def _empty_test(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for tested in walk(tree, ast.Compare, ast.UnaryOp):
        assert isinstance(tested, ast.Compare | ast.UnaryOp)
        if length_of(tested) is not None:
            yield tested, True, segment(code, tested)
    for node in walk(tree, ast.If, ast.While, ast.IfExp):
        assert isinstance(node, ast.If | ast.While | ast.IfExp)
        test = node.test
        if (
            isinstance(test, ast.UnaryOp)
            and isinstance(test.op, ast.Not)
            and length_of(test) is None
        ):
            yield node, False, ""


def _plus_string(tree: ast.Module, code: str) -> Iterator[Occasion]:
    inner: set[ast.AST] = set()
    for node in walk(tree, ast.BinOp, ast.JoinedStr, ast.Call):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            parts = summands(node)
            inner |= {node.left, node.right}  # parts of this sum; what they call is another one
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
    for scope in [tree, *walk(tree, ast.FunctionDef, ast.AsyncFunctionDef)]:
        closed = set(_closed(scope))
        names = {ast.unparse(one) for one in closed if isinstance(one, ast.Name | ast.Attribute)}
        own = list(own_nodes(scope))
        assigned = {value: (node, targets) for node in own for value, targets in _assigned(node)}
        for node in own:
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "open"
            ):
                none: tuple[ast.AST, set[str]] = (node, set())
                statement, targets = assigned.get(node, none)
                fine = node in closed or bool(names & targets)
                yield statement, not fine, segment(code, statement)


def _closed(scope: ast.AST) -> Iterator[ast.AST]:
    """Expressions that are closed in a scope, or in a function within it."""
    for node in ast.walk(scope):
        if isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                managed = item.context_expr
                yield managed
                if isinstance(managed, ast.Call) and ast.unparse(managed.func).endswith("closing"):
                    yield from managed.args
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "close"
        ):
            yield node.func.value


def _assigned(node: ast.AST) -> Iterator[tuple[ast.AST, set[str]]]:
    """What a node assigns, and to what, as it is written."""
    if isinstance(node, ast.Assign):
        yield node.value, {ast.unparse(one) for one in node.targets}
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield node.value, {ast.unparse(node.target)}


def _named_lambda(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for node in walk(tree, ast.Assign, ast.AnnAssign, ast.FunctionDef):
        if isinstance(node, ast.FunctionDef):
            yield node, False, ""
        for value, names in _assigned(node):
            if isinstance(value, ast.Lambda) and any(map(str.isidentifier, names)):
                yield node, True, segment(code, node)


def _function_name(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for node in walk(tree, ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield node, node.name != node.name.lower(), f"def {node.name}"


def _growing_string(tree: ast.Module, code: str) -> Iterator[Occasion]:
    for scope in [tree, *walk(tree, ast.FunctionDef, ast.AsyncFunctionDef)]:
        own = list(own_nodes(scope))
        texts = {
            name for node in own for value, names in _assigned(node) for name in names
            if is_text(value) or isinstance(value, ast.JoinedStr)
        }  # fmt: skip
        looped = {
            node for loop in own if isinstance(loop, ast.For | ast.While | ast.AsyncFor)
            for statement in loop.body for node in ast.walk(statement)
        }  # fmt: skip
        for node in own:
            if node not in looped:
                continue
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


#: By criterion: all occasions in a tree; violations of a scope in the order of the source.
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
