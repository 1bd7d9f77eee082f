"""The remedies themselves: each changes a syntax tree at a violation."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping

from statllm.errors import InputError
from statllm.lab.code_style.syntax import (
    blocks,
    compared_to,
    defaults,
    is_text,
    length_of,
    parsed,
    rename,
    summands,
)

#: Changes the tree at a node; False: it can't be done there.
Remedy = Callable[[ast.Module, ast.AST], bool]


def _catch(name: str) -> Remedy:
    def remedy(tree: ast.Module, node: ast.AST) -> bool:
        assert isinstance(node, ast.ExceptHandler)
        node.type = ast.Name(name, ast.Load())
        return True

    return remedy


def _handle(statement: str) -> Remedy:
    def remedy(tree: ast.Module, node: ast.AST) -> bool:
        assert isinstance(node, ast.ExceptHandler)
        node.body = parsed(statement).body
        return True

    return remedy


def _as_tuple(tree: ast.Module, node: ast.AST) -> bool:
    assert isinstance(node, ast.Assign | ast.AnnAssign)
    if not isinstance(node.value, ast.List | ast.Set):
        return False
    node.value = ast.Tuple(node.value.elts, ast.Load())
    return True


def _as_frozenset(tree: ast.Module, node: ast.AST) -> bool:
    assert isinstance(node, ast.Assign | ast.AnnAssign)
    if not _as_tuple(tree, node) or node.value is None:
        return False
    node.value = ast.Call(ast.Name("frozenset", ast.Load()), [node.value], [])
    return True


def _import_module(tree: ast.Module, node: ast.AST) -> bool:
    assert isinstance(node, ast.ImportFrom)
    block, place = _place(tree, node)
    block[place] = ast.Import([ast.alias(node.module or "")])
    return True


def _by_identity(tree: ast.Module, node: ast.AST) -> bool:
    assert isinstance(node, ast.Compare)
    swap = {ast.Eq: ast.Is, ast.NotEq: ast.IsNot}
    for place in compared_to(node, (None, True, False)):
        kind = type(node.ops[place])
        node.ops[place] = swap.get(kind, kind)()
    return True


def _drop_comparison(tree: ast.Module, node: ast.AST) -> bool:
    assert isinstance(node, ast.Compare)
    right = node.comparators[0]
    if len(node.ops) != 1 or not isinstance(right, ast.Constant):
        return False
    positive = isinstance(node.ops[0], ast.Eq) == (right.value is True)
    _replace(tree, node, node.left if positive else ast.UnaryOp(ast.Not(), node.left))
    return True


def _test_container(tree: ast.Module, node: ast.AST) -> bool:
    assert isinstance(node, ast.Compare | ast.UnaryOp)
    container = length_of(node)
    assert container is not None
    empty = isinstance(node, ast.UnaryOp) or isinstance(node.ops[0], ast.Eq)
    _replace(tree, node, ast.UnaryOp(ast.Not(), container) if empty else container)
    return True


def _f_string(tree: ast.Module, node: ast.AST) -> bool:
    assert isinstance(node, ast.BinOp)
    values: list[ast.expr] = []
    for part in summands(node):
        if isinstance(part, ast.JoinedStr):
            values += part.values
        else:
            values.append(part if is_text(part) else ast.FormattedValue(_bare(part), -1))
    _replace(tree, node, ast.JoinedStr(values))
    return True


def _format(tree: ast.Module, node: ast.AST) -> bool:
    assert isinstance(node, ast.BinOp)
    text, filled = "", []
    for part in summands(node):
        if isinstance(part, ast.JoinedStr):
            return False
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            text += part.value.replace("{", "{{").replace("}", "}}")
        else:
            text += "{}"
            filled.append(_bare(part))
    call = ast.Call(ast.Attribute(ast.Constant(text), "format", ast.Load()), filled, [])
    _replace(tree, node, call)
    return True


def _bare(part: ast.expr) -> ast.expr:
    """x of ``str(x)``: formatting turns it into text by itself."""
    if (
        isinstance(part, ast.Call)
        and isinstance(part.func, ast.Name)
        and part.func.id == "str"
        and len(part.args) == 1
    ):
        return part.args[0]
    return part


def _use_with(tree: ast.Module, node: ast.AST) -> bool:
    if not isinstance(node, ast.Assign):
        return False
    block, place = _place(tree, node)
    item = ast.withitem(node.value, node.targets[0])
    block[place:] = [ast.With([item], block[place + 1 :] or [ast.Pass()])]
    return True


def _close(tree: ast.Module, node: ast.AST) -> bool:
    if not isinstance(node, ast.Assign):
        return False
    block, place = _place(tree, node)
    closing = parsed(f"{ast.unparse(node.targets[0])}.close()").body
    block[place + 1 :] = [ast.Try(block[place + 1 :] or [ast.Pass()], [], [], closing)]
    return True


def _default(value: ast.expr, guarded: bool) -> Remedy:
    def remedy(tree: ast.Module, node: ast.AST) -> bool:
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for argument, default in defaults(function.args):
                if default is node:
                    _replace(tree, node, value)
                    if guarded:  # each call gets one of its own, as the author had wanted
                        name = argument.arg
                        made = f"if {name} is None:\n    {name} = {ast.unparse(node)}"
                        first = int(ast.get_docstring(function) is not None)
                        function.body[first:first] = parsed(made).body
                    return True
        return False

    return remedy


def _use_def(tree: ast.Module, node: ast.AST) -> bool:
    assert isinstance(node, ast.Assign | ast.AnnAssign)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    target, short = targets[0], node.value
    if len(targets) > 1 or not (isinstance(target, ast.Name) and isinstance(short, ast.Lambda)):
        return False
    block, place = _place(tree, node)
    named = parsed(f"def {target.id}():\n    return 0").body[0]
    assert isinstance(named, ast.FunctionDef)
    named.args, named.body = short.args, [ast.Return(short.body)]
    block[place] = named
    return True


def _snake_case(tree: ast.Module, node: ast.AST) -> bool:
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    name = node.name
    rename(tree, name, re.sub(r"(?<!^)(?<!_)([A-Z])", r"_\1", name).lower())
    return True


def _join_list(tree: ast.Module, node: ast.AST) -> bool:
    assert isinstance(node, ast.AugAssign)
    name = ast.unparse(node.target)
    for block in blocks(tree):
        for place, loop in enumerate(block):
            if not isinstance(loop, ast.For | ast.While) or node not in set(ast.walk(loop)):
                continue
            for first in block[:place][::-1]:
                if isinstance(first, ast.Assign) and ast.unparse(first.targets[0]) == name:
                    if not is_text(first.value):
                        return False
                    empty = ast.unparse(first.value) == "''"
                    first.value = ast.List([] if empty else [first.value], ast.Load())
                    added = f"{name}.append({ast.unparse(node.value)})"
                    inner, at = _place(loop, node)
                    inner[at] = parsed(added).body[0]
                    block[place + 1 : place + 1] = parsed(f"{name} = ''.join({name})").body
                    return True
    return False


def _iterate(tree: ast.Module, node: ast.AST) -> bool:
    assert isinstance(node, ast.For | ast.AsyncFor | ast.comprehension)
    assert isinstance(node.iter, ast.Call)
    assert isinstance(node.iter.func, ast.Attribute)
    node.iter = node.iter.func.value
    return True


def _use_loops(tree: ast.Module, node: ast.AST) -> bool:
    for block in blocks(tree):
        for place, statement in enumerate(block):
            if not (isinstance(statement, ast.Assign) and statement.value is node):
                continue
            if not isinstance(node, ast.ListComp):
                return False
            name = ast.unparse(statement.targets[0])
            body = parsed(f"{name}.append({ast.unparse(node.elt)})").body
            for one in reversed(node.generators):
                for condition in reversed(one.ifs):
                    body = [ast.If(condition, body, [])]
                body = [ast.For(one.target, one.iter, body, [])]
            block[place : place + 1] = [*parsed(f"{name} = []").body, *body]
            return True
    return False


def _place(tree: ast.AST, node: ast.AST) -> tuple[list[ast.stmt], int]:
    """The block that a statement stands in, and its place there."""
    for block in blocks(tree):
        for place, one in enumerate(block):
            if one is node:
                return block, place
    raise InputError("the statement is not in the tree")


def _replace(tree: ast.Module, old: ast.AST, new: ast.AST) -> None:
    """Put an expression in another one's place."""

    class Swap(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is old else self.generic_visit(node)

    Swap().visit(tree)


#: By the words of a guideline.
REPAIRS: Mapping[str, Remedy] = {
    "catch ValueError": _catch("ValueError"),
    "catch OSError": _catch("OSError"),
    "raise it again": _handle("raise"),
    "log it": _handle("log('failed')"),
    "make it a tuple": _as_tuple,
    "make it a frozenset": _as_frozenset,
    "import the module": _import_module,
    "use is": _by_identity,
    "use identity": _by_identity,
    "drop the comparison": _drop_comparison,
    "test the container": _test_container,
    "use an f-string": _f_string,
    "use format": _format,
    "use with": _use_with,
    "close it at last": _close,
    "default to None": _default(ast.Constant(None), guarded=True),
    "default to a tuple": _default(ast.Tuple([], ast.Load()), guarded=False),
    "use def": _use_def,
    "use snake case": _snake_case,
    "join a list": _join_list,
    "iterate the dict": _iterate,
    "use loops": _use_loops,
}
