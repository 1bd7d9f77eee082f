"""Checks, mutations and remedies against each other, and against ruff's own rules."""

from __future__ import annotations

import ast
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from statllm.errors import InputError
from statllm.lab.code_style import (
    CRITERIA,
    Verdict,
    apply,
    can_inject,
    check,
    covers,
    helps,
    house,
    inject,
    snippet,
    true_findings,
)
from statllm.lab.code_style.criteria import SECTIONS
from statllm.lab.code_style.houses import spoilt
from statllm.scoring.criteria import KINDS, kind_of, missing_headings, read_feedback

#: ruff's rules for the criteria that it has, too.
PEERS = {
    "bare_except": {"E722"},
    "empty_handler": {"SIM105", "S110"},
    "wildcard_import": {"F403"},
    "none_test": {"E711"},
    "truth_test": {"E712"},
    "open_file": {"SIM115"},
    "mutable_default": {"B006"},
    "named_lambda": {"E731"},
    "function_name": {"N802"},
    "key_iteration": {"SIM118"},
}


def violated(code: str) -> list[str]:
    return [name for name, verdict in check(code).items() if verdict.met is False]


def test_clean_code_trips_nothing() -> None:
    for seed in range(150):
        rng = random.Random(seed)
        code = snippet(rng, rng.sample(list(CRITERIA), rng.randint(0, 6)))
        assert violated(code) == [], code
        assert ast.unparse(ast.parse(code)) == code


@pytest.mark.parametrize("name", CRITERIA)
def test_a_mutation_trips_its_own_criterion_and_no_other(name: str) -> None:
    for seed in range(25):
        rng = random.Random(f"{name}-{seed}")
        others = rng.sample(list(CRITERIA), 3)
        clean = snippet(rng, {name, *others})
        assert check(clean)[name].met is True, clean  # there is an occasion
        code = inject(clean, name, rng)
        assert violated(code) == [name], code
        (span,) = check(code)[name].spans
        assert span in code
        for remedy in CRITERIA[name].remedies:
            assert helps(code, name, remedy, span), (remedy, code)
            better = apply(code, name, remedy.upper() + ".", span)
            assert better is not None
            assert violated(better) == [], better


def test_violations_add_up() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        names = rng.sample(list(CRITERIA), 4)
        n = rng.randint(0, 3)
        found = violated(spoilt(rng, names, n))
        assert len(found) == n
        assert set(found) <= set(names)


def test_ruff_says_the_same(tmp_path: Path) -> None:
    """On clean and on mutated code, for the ten criteria that ruff has a rule for."""
    expected: dict[str, set[str]] = {}
    for name in PEERS:
        for seed in range(6):
            rng = random.Random(f"ruff-{name}-{seed}")
            code = snippet(rng, {name, *rng.sample(list(PEERS), 3)})
            for kind, text in (("clean", code), ("spoilt", inject(code, name, rng))):
                file = f"{name}_{seed}_{kind}.py"
                (tmp_path / file).write_text(text + "\n")
                expected[file] = {n for n in violated(text) if n in PEERS}
                if "except:\n        raise" in text:  # ruff lets this pass, we don't
                    expected[file].discard("bare_except")
    rules = sorted(set().union(*PEERS.values()))
    done = subprocess.run(
        [
            sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--exit-zero",
            "--output-format", "json", "--select", ",".join(rules), str(tmp_path),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, set[str]] = {file: set() for file in expected}
    for one in json.loads(done.stdout):
        name = next(name for name, codes in PEERS.items() if one["code"] in codes)
        found[Path(one["filename"]).name].add(name)
    assert found == expected
    assert set().union(*expected.values()) == set(PEERS)  # each is found somewhere


@pytest.mark.parametrize(
    ("name", "code", "met"),
    [
        ("bare_except", "try:\n    x()\nexcept (A, B):\n    y()", True),
        ("bare_except", "x = 1", None),
        ("empty_handler", "try:\n    x()\nexcept A:\n    'why'", False),
        ("empty_handler", "try:\n    x()\nexcept A:\n    pass\n    y()", True),
        ("mutable_global", "def f():\n    x = []", None),
        ("mutable_global", "x = dict()", False),
        ("mutable_global", "x: list = [y for y in z]", False),
        ("none_test", "x == 0", None),
        ("none_test", "None != x", False),
        ("truth_test", "x == 1", None),  # 1 == True, and isn't meant
        ("truth_test", "x is True", True),
        ("empty_test", "if len(x) == 1:\n    pass", None),
        ("empty_test", "if len(x) > 0:\n    pass", False),
        ("plus_string", "x = 'a' + 'b'", None),
        ("plus_string", "x = 1 + y", None),
        ("plus_string", "x = y + 'a' + z", False),
        ("open_file", "x = open(p)\nx.close()", True),
        ("open_file", "print(open(p).read())", False),
        ("mutable_default", "def f(a, *, b={}):\n    pass", False),
        ("mutable_default", "lambda a=[]: a", False),
        ("named_lambda", "sorted(x, key=lambda y: y)", None),
        ("function_name", "class A:\n    def doIt(self):\n        pass", False),
        ("growing_string", "x = 0\nfor y in z:\n    x += y", True),
        ("growing_string", "def f():\n    x = ''\n    while y:\n        x += y", False),
        ("key_iteration", "[k for k in d.keys()]", False),
        ("key_iteration", "if k in d.keys():\n    pass", None),
        ("nested_comprehension", "x = [[a for a in b] for b in c]", False),
        ("wildcard_import", "import a.b", True),
        ("none_test", "a == b is None", True),  # None isn't what == stands beside
        ("none_test", "if (y := x) == None: pass", False),
        ("truth_test", "a == b is True", True),
        ("empty_test", "if not len(x): pass", False),
        ("plus_string", "1 + f('b' + x)", False),
        ("open_file", "f = open(p)\nwith f:\n    f.read()", True),
        ("open_file", "f: IO = open(p)\nf.close()", True),
        ("open_file", "self.f = open(p)\nself.f.close()", True),
        ("open_file", "if (f := open(p)):\n    f.close()", True),
        ("open_file", "with contextlib.closing(open(p)) as f:\n    pass", True),
        ("open_file", "def a():\n    f = open(p)\ndef b():\n    f = open(q)\n    f.close()", False),
        ("named_lambda", "f: Callable = lambda: 1", False),
        ("named_lambda", "a.f = lambda: 1", None),  # an attribute is no name
        ("growing_string", "x: str = ''\nfor y in z:\n    if y:\n        x += y", False),
        ("growing_string", "x = ''\nfor y in z:\n    def f():\n        x += y", None),
        ("function_name", "async def été():\n    pass", True),
        ("bare_except", "try:\n    x()\nexcept* A:\n    y()", True),
        ("bare_except", "", None),
    ],
)
def test_cases(name: str, code: str, met: bool | None) -> None:
    assert check(code, [name])[name].met is met


def test_a_plus_of_several_is_one_violation() -> None:
    assert check("x = a + ' ' + b + ' ' + c")["plus_string"] == Verdict(
        False, ("a + ' ' + b + ' ' + c",)
    )


def test_remedies_do_what_they_say() -> None:
    """By running the code before and after."""

    def run(code: str, call: str, **given: object) -> object:
        space: dict[str, object] = {"log": print, **given}
        exec(code, space)
        return eval(call, space)

    cases = [
        ("growing_string", "def f(z):\n    x = ''\n    for y in z:\n        x += y\n    return x",
         "join a list", "x += y", "f('abc')", {}),
        ("nested_comprehension", "def f(z):\n    x = [b for a in z if a for b in a]\n    return x",
         "use loops", "[b for a in z if a for b in a]", "f(['ab', '', 'c'])", {}),
        ("plus_string", "def f(z):\n    x = 'n' + str(z) + '{}'\n    return x",
         "use format", "'n' + str(z) + '{}'", "f(3)", {}),
        ("plus_string", "def f(z):\n    x = 'n{' + str(z)\n    return x",
         "use an f-string", "'n{' + str(z)", "f(3)", {}),
        ("empty_test", "def f(z):\n    return len(z) == 0", "test the container",
         "len(z) == 0", "f([]), f([1])", {}),
        ("truth_test", "def f(z):\n    return z == False", "drop the comparison",
         "z == False", "f(True), f(False)", {}),
        ("named_lambda", "f = lambda a, b=2: a * b", "use def", "f = lambda a, b=2: a * b",
         "f(3)", {}),
        ("function_name", "def addUp(a):\n    return a if a < 1 else a + addUp(a - 1)\nf = addUp",
         "use snake case", "def addUp", "f(3)", {}),
        ("key_iteration", "def f(d):\n    return [k for k in d.keys()]", "iterate the dict",
         "d.keys()", "f({1: 2, 3: 4})", {}),
        ("empty_test", "def f(z):\n    return not len(z)", "test the container", "not len(z)",
         "f([]), f([1])", {}),
        ("growing_string",
         "def f(z):\n    x = ''\n    for y in z:\n        if y != 'b':\n            x += y\n"
         "    return x",
         "join a list", "x += y", "f('abc')", {}),
        ("none_test", "def f(a, b):\n    return a == b == None", "use is", "a == b == None",
         "f(1.0, 1), f(None, None)", {}),
        ("named_lambda", "f: object = lambda a: a", "use def", "f: object = lambda a: a",
         "f(3)", {}),
    ]  # fmt: skip
    for name, code, remedy, quote, call, given in cases:
        better = apply(code, name, remedy, quote)
        assert better is not None, name
        assert better != code
        assert run(better, call, **given) == run(code, call, **given), better  # type: ignore[arg-type]
        assert check(better)[name].met is not False


def test_a_default_of_none_gives_each_call_its_own() -> None:
    code = "def f(a, b=[]):\n    b.append(a)\n    return b"
    better = apply(code, "mutable_default", "default to None", "b=[]")
    assert better is not None
    space: dict[str, object] = {}
    exec(better, space)
    assert eval("f(1), f(2)", space) == ([1], [2])


def test_what_does_not_help() -> None:
    code = "def f(x):\n    return x == None"
    assert helps(code, "none_test", "use is", "x == None")
    assert not helps(code, "none_test", "use is", "y == None")  # another place
    assert not helps(code, "none_test", "use identity", "x == None")  # of another criterion
    assert not helps(code, "truth_test", "use identity", "x == None")  # no such violation
    assert not helps(code, "none_test", "", "x == None")
    assert not helps("x = [[a for a in b] for b in c] + d", "nested_comprehension", "use loops",
                     "[[a for a in b] for b in c]")  # fmt: skip
    assert not covers("x", "x == None")
    assert covers("x==None", "x == None")


def test_no_occasion_and_no_python_are_named() -> None:
    with pytest.raises(InputError, match="no occasion to violate 'none_test'"):
        inject("x = 1", "none_test", random.Random(0))
    with pytest.raises(InputError, match="criterion 'nonesuch' is none of"):
        inject("x = 1", "nonesuch", random.Random(0))
    with pytest.raises(InputError, match="no Python code"):
        check("def f(:")
    assert not can_inject("x = 1", "bare_except")
    with pytest.raises(InputError, match="no Python code"):
        check("-" * 9000 + "1")
    assert check("if a: pass\n" + "elif a: pass\n" * 1500)["truth_test"].met is True


def test_demonstrations_are_true_and_of_their_kinds() -> None:
    for seed in range(12):
        one = house(random.Random(seed), kinds=KINDS)
        assert [n for n, _ in one.guideline.counts().values()] == [2, 2]
        for aspect in one.guideline.aspects:
            assert missing_headings(aspect) == []
            names = [criterion.name for criterion in aspect.criteria]
            mine = [i for i in one.remedies if CRITERIA[i].name in names]
            for kind, demo in zip(KINDS, aspect.demonstrations, strict=True):
                truth = true_findings(demo.input, mine, one.remedies)
                assert read_feedback(demo.output, names) == (truth, [])
                assert kind_of(truth) == kind


def test_every_aspect_has_its_section_and_at_least_two_criteria() -> None:
    aspects = [one.aspect for one in CRITERIA.values()]
    assert set(aspects) == set(SECTIONS)
    assert min(map(aspects.count, SECTIONS)) >= 2
    assert len(CRITERIA) >= 12


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("empty_handler", "try:\n    x()\nexcept A:\n    ..."),  # it is empty already
        (  # the outer one would take the inner one with it
            "empty_handler",
            "try:\n    x()\nexcept A:\n    try:\n        y()\n    except B:\n        pass",
        ),
        ("function_name", "def S_IMODE():\n    pass"),  # not in snake case already
        ("function_name", "def log_2():\n    pass"),  # log2 is in snake case, too
        ("wildcard_import", "from __future__ import annotations"),  # Python forbids it
    ],
)
def test_what_would_add_no_violation_is_no_occasion(name: str, code: str) -> None:
    assert not can_inject(code, name)


def test_remedies_of_functions_that_wait() -> None:
    code = 'async def doIt(a=[]):\n    """What it does."""\n    await doIt(a)'
    named = code.replace("doIt", "do_it")
    assert apply(code, "function_name", "use snake case", "def doIt") == named
    better = apply(code, "mutable_default", "default to None", "a=[]")
    assert better is not None
    function = ast.parse(better).body[0]
    assert isinstance(function, ast.AsyncFunctionDef)
    assert ast.get_docstring(function) == "What it does."
    assert check(better)["mutable_default"].met is True


def test_a_remedy_that_cannot_be_written_is_none() -> None:
    """Before Python 3.12 a backslash can't stand in the braces of an f-string."""
    code = r"x = a + 'b' + f('\\')"
    better = apply(code, "plus_string", "use an f-string", code[4:])
    if sys.version_info < (3, 12):
        assert better is None
    else:
        assert better is not None
