"""What checks, mutations and remedies ask of a syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeVar

from statllm.errors import InputError

Node = TypeVar("Node", bound=ast.AST)

_DISPLAYS = (ast.List, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp)
_SCOPES = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)


def parsed(code: str) -> ast.Module:
    """Return the syntax tree.

    Raises
    ------
    InputError
        If it isn't Python.
    """
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"this is no Python code: {error or 'too deep'}") from error


def segment(code: str, node: ast.AST) -> str:
    """The first line of a node's source."""
    return (ast.get_source_segment(code, node) or "").split("\n")[0].strip()


def walk(tree: ast.AST, *kinds: type[Node]) -> Iterator[Node]:
    """Nodes of some kinds in the order of the source, where `ast.walk` goes by depth."""
    waiting = [tree]  # no recursion: a chain of elif is as deep as it is long
    while waiting:
        node = waiting.pop()
        if isinstance(node, kinds) and node is not tree:
            yield node
        waiting += reversed(list(ast.iter_child_nodes(node)))


def is_mutable(value: ast.AST | None) -> bool:
    """Whether an expression makes a list, a set or a dict."""
    return isinstance(value, _DISPLAYS) or (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id in ("list", "dict", "set", "bytearray")
    )


def defaults(args: ast.arguments) -> list[tuple[ast.arg, ast.expr]]:
    """Return the arguments of a function that have a default."""
    places = [*args.posonlyargs, *args.args]
    given = list(zip(places[len(places) - len(args.defaults) :], args.defaults, strict=True))
    return given + [(a, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True) if d]


def length_of(node: ast.Compare | ast.UnaryOp) -> ast.expr | None:
    """Return x of ``len(x) == 0``, ``!= 0``, ``> 0`` or ``not len(x)``; None for other tests."""
    if isinstance(node, ast.UnaryOp):
        return _measured(node.operand) if isinstance(node.op, ast.Not) else None
    zero = node.comparators[0]
    if (
        len(node.ops) == 1
        and isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.Gt)
        and isinstance(zero, ast.Constant)
        and type(zero.value) is int
        and zero.value == 0
    ):
        return _measured(node.left)
    return None


def _measured(call: ast.expr) -> ast.expr | None:
    """Return x of ``len(x)``."""
    if (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "len"
        and len(call.args) == 1
    ):
        return call.args[0]
    return None


def compared_to(node: ast.Compare, values: tuple[object, ...]) -> list[int]:
    """Return the places of the operators that have one of None, True, False at a side.

    Identity, since 1 is equal to True and isn't meant.
    """
    sides = [
        isinstance(side, ast.Constant) and any(side.value is value for value in values)
        for side in (node.left, *node.comparators)
    ]
    return [place for place in range(len(node.ops)) if sides[place] or sides[place + 1]]


def summands(node: ast.expr) -> list[ast.expr]:
    """Return a, b, c of ``a + b + c``."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*summands(node.left), *summands(node.right)]
    return [node]


def is_text(node: ast.AST | None) -> bool:
    """Whether it is a string that stands in the code."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def does_nothing(body: list[ast.stmt]) -> bool:
    """Whether statements are pass, an ellipsis or a text only."""
    return all(
        isinstance(one, ast.Pass)
        or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        for one in body
    )


def appended(node: ast.Expr) -> tuple[str, ast.expr] | None:
    """Return the list's name and what is appended, of ``name.append(x)``."""
    call = node.value
    if (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "append"
        and isinstance(call.func.value, ast.Name)
        and len(call.args) == 1
    ):
        return call.func.value.id, call.args[0]
    return None


def own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a scope that aren't in one of its functions, in the order of the source."""
    waiting = [scope]
    while waiting:
        node = waiting.pop()
        if node is not scope:
            yield node
        inner = [one for one in ast.iter_child_nodes(node) if not isinstance(one, _SCOPES)]
        waiting += reversed(inner)


def rename(tree: ast.Module, old: str, new: str) -> None:
    """Rename a function wherever its name stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == old:
            node.name = new
        elif isinstance(node, ast.Name) and node.id == old:
            node.id = new


def blocks(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    """Return all lists of statements, those of inner blocks too."""
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                yield block
