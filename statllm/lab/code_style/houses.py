"""Houses, each with a guideline of its own: some of the criteria, and the remedies it wants."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from statllm.lab.code_style.checks import check
from statllm.lab.code_style.criteria import CRITERIA, SECTIONS
from statllm.lab.code_style.mutations import can_inject, inject
from statllm.lab.code_style.snippets import NAMES, VERBS, snippet
from statllm.scoring.criteria.demos import DemoKind, make_demonstrations
from statllm.scoring.criteria.findings import Finding, Layout
from statllm.scoring.criteria.parse import Criterion
from statllm.scoring.criteria.schema import Aspect, Guideline


@dataclass(frozen=True)
class House:
    """A house and its style.

    Attributes
    ----------
    guideline : Guideline
        Its criteria, with demonstrations.
    remedies : mapping of str to str
        Criterion, by identifier: what is to be done about a violation.
    """

    guideline: Guideline
    remedies: Mapping[str, str]

    def text(self, rng: random.Random, n_violations: int) -> str:
        """Return code with so many violations of the house's criteria, each of another one."""
        return spoilt(rng, list(self.remedies), n_violations)


def house(
    rng: random.Random,
    *,
    n_aspects: int = 2,
    n_criteria: int = 2,
    kinds: Sequence[DemoKind] = ("violate", "satisfy"),
    layout: Layout = "lines",
) -> House:
    """Draw a house.

    Parameters
    ----------
    rng : random.Random
    n_aspects : int
        Of six.
    n_criteria : int
        Of each aspect; at most all that it has.
    kinds : sequence of {"violate", "satisfy", "mixed", "not applicable"}
        Of the demonstrations, in order.
    layout : {"list", "lines"}
        Of the demonstrations' outputs.

    Examples
    --------
    >>> one = house(random.Random(0))
    >>> [(name, len(found)) for name, found in one.guideline.counts().items()]
    [('strings', 2), ('loops', 2)]
    """
    remedies: dict[str, str] = {}
    aspects = []
    for name in rng.sample(list(SECTIONS), n_aspects):
        mine = [one for one in CRITERIA.values() if one.aspect == name]
        chosen = rng.sample(mine, min(n_criteria, len(mine)))
        remedies |= {one.criterion_id: rng.choice(one.remedies) for one in chosen}
        criteria = tuple(
            Criterion(one.name, f"{one.check}. Fix: {remedies[one.criterion_id]}") for one in chosen
        )
        aspects.append(Aspect(name, SECTIONS[name], criteria))
    return House(
        Guideline(tuple(_demonstrated(one, remedies, rng, kinds, layout) for one in aspects)),
        remedies,
    )


def spoilt(rng: random.Random, criteria: Sequence[str], n_violations: int) -> str:
    """Return code with occasions for some criteria, and violations of some of these.

    An occasion is left out now and then, so that a criterion may not apply.
    """
    violated = rng.sample(list(criteria), min(n_violations, len(criteria)))
    rest = [one for one in criteria if one not in violated and rng.random() < 0.5]
    code = snippet(rng, [*violated, *rest])
    for criterion_id in violated:
        code = inject(code, criterion_id, rng)
    return code


def true_findings(code: str, criteria: Sequence[str], remedies: Mapping[str, str]) -> list[Finding]:
    """Return what perfect feedback says about criteria, given by their identifiers.

    Examples
    --------
    >>> true_findings("x == None", ["none_test"], {"none_test": "use is"})
    [Finding(criterion='None test', met=False, reason='', quotes=('x == None',), fix='use is')]
    """
    found, findings = check(code, criteria), []
    for criterion_id in criteria:
        verdict = found[criterion_id]
        one = Finding(CRITERIA[criterion_id].name, verdict.met)
        if verdict.met is None:
            one = replace(one, reason="not_applicable")
        elif not verdict.met:
            one = replace(one, quotes=verdict.spans[:1], fix=remedies[criterion_id])
        findings.append(one)
    return findings


def _demonstrated(
    aspect: Aspect,
    remedies: Mapping[str, str],
    rng: random.Random,
    kinds: Sequence[DemoKind],
    layout: Layout,
) -> Aspect:
    ids = {one.name: one.criterion_id for one in CRITERIA.values()}
    mine = [ids[one.name] for one in aspect.criteria]

    def clean(applies: bool) -> str:
        # only a call gives no criterion an occasion: every function has a name
        return snippet(rng, mine) if applies else f"{rng.choice(VERBS)}({rng.choice(NAMES)})"

    def put(text: str, name: str) -> str | None:
        return inject(text, ids[name], rng) if can_inject(text, ids[name]) else None

    demos = make_demonstrations(
        aspect, kinds, clean, put, lambda text: true_findings(text, mine, remedies), rng,
        layout=layout,
    )  # fmt: skip
    return replace(aspect, demonstrations=demos)
