"""Demonstrations made by injected violations, with the feedback that is true of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from statllm.errors import InputError
from statllm.scoring.criteria.findings import Finding, Layout, format_findings
from statllm.scoring.criteria.schema import Aspect, Demonstration

#: What a demonstration's text does to the criteria of its aspect; LLMCrit's sets span all four.
DemoKind = Literal["violate", "satisfy", "mixed", "not applicable"]
KINDS: tuple[DemoKind, ...] = get_args(DemoKind)

#: Texts that are drawn before a kind is given up.
_TRIES = 50


def kind_of(findings: Sequence[Finding]) -> DemoKind:
    """Return what a text does to criteria: of those that apply, all, none or some are violated.

    Examples
    --------
    >>> kind_of([Finding("a", True), Finding("b", False)]), kind_of([Finding("a", None)])
    ('mixed', 'not applicable')
    """
    met = {finding.met for finding in findings} - {None}
    if not met:
        return "not applicable"
    if len(met) == 2:
        return "mixed"
    return "satisfy" if met == {True} else "violate"


def make_demonstrations(
    aspect: Aspect,
    kinds: Sequence[DemoKind],
    clean: Callable[[bool], str],
    inject: Callable[[str, str], str | None],
    check: Callable[[str], Sequence[Finding]],
    rng: random.Random,
    *,
    layout: Layout = "list",
) -> tuple[Demonstration, ...]:
    """Make one demonstration of each kind.

    A clean text gets violations of all criteria, of none, or of some but not all; then it is
    checked, and drawn again where it isn't of the kind that was wanted.

    Parameters
    ----------
    aspect : Aspect
    kinds : sequence of {"violate", "satisfy", "mixed", "not applicable"}
    clean : callable
        Draws a text that violates nothing; True: one to which the criteria apply.
    inject : callable
        (text, name of a criterion) -> the text with one violation more, or None where the text
        gives no occasion.
    check : callable
        The truth about a text: a finding per criterion of the aspect, in order.
    rng : random.Random
        Draws which criteria are violated.
    layout : {"list", "lines"}

    Returns
    -------
    tuple of Demonstration
        The outputs name every criterion.

    Raises
    ------
    InputError
        If a kind can't be made, as "mixed" of an aspect with one criterion can't, or `check`
        doesn't speak of the aspect's criteria.
    """
    names = [one.name for one in aspect.criteria]
    made = []
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"a demonstration is one of {', '.join(KINDS)}, not '{kind}'")
        for _ in range(_TRIES):
            text: str | None = clean(kind != "not applicable")
            violated = {"violate": len(names), "satisfy": 0, "not applicable": 0}.get(kind)
            if violated is None:
                violated = rng.randint(1, max(1, len(names) - 1))
            for name in rng.sample(names, violated):
                text = None if text is None else inject(text, name)
            if text is None:
                continue
            findings = list(check(text))
            if [one.criterion for one in findings] != names:
                raise InputError(f"aspect '{aspect.aspect_id}': the check has other criteria")
            if kind_of(findings) == kind:
                made.append(Demonstration(text, format_findings(findings, layout)))
                break
        else:
            raise InputError(f"aspect '{aspect.aspect_id}': no text is '{kind}' after {_TRIES}")
    return tuple(made)
