"""One violation put into code: the inverse of what a criterion asks for."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator, Mapping

from statllm.errors import InputError
from statllm.lab.code_style.syntax import Node, appended, blocks, does_nothing, parsed, rename, walk

#: Changes the tree in place.
Change = Callable[[], None]


def inject(code: str, criterion_id: str, rng: random.Random) -> str:
    """Return the code with one violation of a criterion more, laid out as `ast.unparse` does.

    Where the code gives several occasions, one is drawn.

    Raises
    ------
    InputError
        If the criterion is unknown, the code isn't Python or gives no occasion.

    Examples
    --------
    >>> inject("if x is None:\\n    pass", "none_test", random.Random(0))
    'if x == None:\\n    pass'
    """
    if criterion_id not in MUTATIONS:
        raise InputError(f"criterion '{criterion_id}' is none of {', '.join(MUTATIONS)}")
    tree = parsed(code)
    changes = list(MUTATIONS[criterion_id](tree))
    if not changes:
        raise InputError(f"the code gives no occasion to violate '{criterion_id}'")
    rng.choice(changes)()
    return ast.unparse(ast.fix_missing_locations(tree))


def can_inject(code: str, criterion_id: str) -> bool:
    """Whether the code gives an occasion."""
    return next(MUTATIONS[criterion_id](parsed(code)), None) is not None


def _setter(node: ast.AST, **values: object) -> Change:
    def change() -> None:
        for name, value in values.items():
            setattr(node, name, value)

    return change


def _nodes(tree: ast.AST, kind: type[Node]) -> Iterator[Node]:
    return (node for node in ast.walk(tree) if isinstance(node, kind))


def _bare_except(tree: ast.Module) -> Iterator[Change]:
    for node in _nodes(tree, ast.Try):
        # only the last clause of several may be bare
        last = node.handlers[-1:]
        yield from (_setter(one, type=None, name=None) for one in last if one.type is not None)


def _empty_handler(tree: ast.Module) -> Iterator[Change]:
    for node in _nodes(tree, ast.ExceptHandler):
        # with its body an inner handler would go, and its violations
        inner = any(True for _ in walk(node, ast.ExceptHandler))
        if not inner and not does_nothing(node.body):
            yield _setter(node, body=[ast.Pass()])


def _mutable_global(tree: ast.Module) -> Iterator[Change]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            yield _setter(node, value=ast.List(node.value.elts, ast.Load()))


def _wildcard_import(tree: ast.Module) -> Iterator[Change]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.names[0].name != "*":
            if node.module != "__future__":  # it lets no one take all of it
                yield _setter(node, names=[ast.alias("*")])
        elif isinstance(node, ast.Import) and len(node.names) == 1:
            module = node.names[0].name
            if module != "__future__":
                yield _replacer(tree.body, node, ast.ImportFrom(module, [ast.alias("*")], 0))


def _replacer(block: list[ast.stmt], old: ast.stmt, *new: ast.stmt) -> Change:
    def change() -> None:
        place = block.index(old)
        block[place : place + 1] = new

    return change


def _none_test(tree: ast.Module) -> Iterator[Change]:
    for node in _nodes(tree, ast.Compare):
        right = node.comparators[0]
        if len(node.ops) == 1 and isinstance(right, ast.Constant) and right.value is None:
            if isinstance(node.ops[0], ast.Is):
                yield _setter(node, ops=[ast.Eq()])
            elif isinstance(node.ops[0], ast.IsNot):
                yield _setter(node, ops=[ast.NotEq()])


def _truth_test(tree: ast.Module) -> Iterator[Change]:
    tests: list[ast.If | ast.While] = [*_nodes(tree, ast.If), *_nodes(tree, ast.While)]
    for node in tests:
        test = node.test
        if isinstance(test, ast.Name):
            true = ast.Compare(test, [ast.Eq()], [ast.Constant(True)])
            yield _setter(node, test=true)


def _empty_test(tree: ast.Module) -> Iterator[Change]:
    tests: list[ast.If | ast.While] = [*_nodes(tree, ast.If), *_nodes(tree, ast.While)]
    for node in tests:
        test = node.test
        if (
            isinstance(test, ast.UnaryOp)
            and isinstance(test.op, ast.Not)
            and isinstance(test.operand, ast.Name)
        ):
            call = ast.Call(ast.Name("len", ast.Load()), [test.operand], [])
            yield _setter(node, test=ast.Compare(call, [ast.Eq()], [ast.Constant(0)]))


def _plus_string(tree: ast.Module) -> Iterator[Change]:
    for node in _nodes(tree, ast.Assign):
        parts = _formatted(node.value)
        if parts is not None:
            yield _setter(node, value=ast.BinOp(parts[0], ast.Add(), parts[1]))


def _formatted(value: ast.AST) -> tuple[ast.expr, ast.expr] | None:
    """The text and the name of ``f'text {name}'`` or ``'text {}'.format(name)``."""
    if isinstance(value, ast.JoinedStr) and len(value.values) == 2:
        text, filled = value.values
        if isinstance(text, ast.Constant) and isinstance(filled, ast.FormattedValue):
            return text, filled.value
    if (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr == "format"
        and isinstance(value.func.value, ast.Constant)
        and str(value.func.value.value).endswith("{}")
        and len(value.args) == 1
    ):
        return ast.Constant(str(value.func.value.value)[:-2]), value.args[0]
    return None


def _open_file(tree: ast.Module) -> Iterator[Change]:
    for block in blocks(tree):
        for node in block:
            if isinstance(node, ast.With) and len(node.items) == 1:
                item = node.items[0]
                call = item.context_expr
                if (
                    isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Name)
                    and call.func.id == "open"
                    and isinstance(item.optional_vars, ast.Name)
                ):
                    name = ast.Name(item.optional_vars.id, ast.Store())
                    yield _replacer(block, node, ast.Assign([name], call), *node.body)


def _mutable_default(tree: ast.Module) -> Iterator[Change]:
    for node in _nodes(tree, ast.FunctionDef):
        values = node.args.defaults
        for place, value in enumerate(values):
            none = isinstance(value, ast.Constant) and value.value is None
            if none or (isinstance(value, ast.Tuple) and not value.elts):
                yield _item_setter(values, place, ast.List([], ast.Load()))


def _item_setter(values: list[ast.expr], place: int, value: ast.expr) -> Change:
    def change() -> None:
        values[place] = value

    return change


def _named_lambda(tree: ast.Module) -> Iterator[Change]:
    for block in blocks(tree):
        for node in block:
            if (
                isinstance(node, ast.FunctionDef)
                and len(node.body) == 1
                and isinstance(node.body[0], ast.Return)
                and node.body[0].value is not None
                and not node.args.defaults
                and block is not tree.body
            ):
                short = ast.Lambda(node.args, node.body[0].value)
                yield _replacer(block, node, ast.Assign([ast.Name(node.name, ast.Store())], short))


def _function_name(tree: ast.Module) -> Iterator[Change]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == node.name.lower():
            camel = _camel(node.name)
            if camel != camel.lower():  # log_2 has no other form
                yield _renamer(tree, node.name, camel)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _renamer(tree: ast.Module, old: str, new: str) -> Change:
    def change() -> None:
        rename(tree, old, new)

    return change


def _growing_string(tree: ast.Module) -> Iterator[Change]:
    for block in blocks(tree):
        for first, loop, last in zip(block, block[1:], block[2:], strict=False):
            found = _joined(first, loop, last)
            if found is not None:
                yield found[0](block)


def _joined(
    first: ast.stmt, loop: ast.stmt, last: ast.stmt
) -> tuple[Callable[[list[ast.stmt]], Change]] | None:
    """``x = []``, a loop of one ``x.append(y)``, ``x = ''.join(x)``: how to undo it."""
    if not (
        isinstance(first, ast.Assign)
        and isinstance(first.targets[0], ast.Name)
        and isinstance(first.value, ast.List)
        and isinstance(loop, ast.For)
        and isinstance(loop.body[0], ast.Expr)
        and isinstance(last, ast.Assign)
        and ast.unparse(last.value) == f"''.join({first.targets[0].id})"
    ):
        return None
    added = appended(loop.body[0])
    if added is None or added[0] != first.targets[0].id:
        return None
    name, value = added

    def of(block: list[ast.stmt]) -> Change:
        def change() -> None:
            first.value = ast.Constant("")
            loop.body[0] = ast.AugAssign(ast.Name(name, ast.Store()), ast.Add(), value)
            block.remove(last)

        return change

    return (of,)


def _key_iteration(tree: ast.Module) -> Iterator[Change]:
    for node in _nodes(tree, ast.For):
        over = node.iter
        if isinstance(over, ast.Name):
            keys = ast.Call(ast.Attribute(over, "keys", ast.Load()), [], [])
            yield _setter(node, iter=keys)


def _nested_comprehension(tree: ast.Module) -> Iterator[Change]:
    for node in _nodes(tree, ast.ListComp):
        if len(node.generators) == 1 and isinstance(node.generators[0].target, ast.Name):
            outer = node.generators[0].target.id
            part = "part" if outer != "part" else "piece"
            inner = ast.comprehension(
                ast.Name(part, ast.Store()), ast.Name(outer, ast.Load()), [], 0
            )
            yield _setter(
                node, elt=ast.Name(part, ast.Load()), generators=[node.generators[0], inner]
            )


#: By criterion: every way to put one violation into a tree.
MUTATIONS: Mapping[str, Callable[[ast.Module], Iterator[Change]]] = {
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
