"""Prompts for feedback: four strategies, three granularities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pyarrow as pa

from statllm.errors import InputError
from statllm.scoring.criteria.findings import sections
from statllm.scoring.criteria.parse import Criterion, format_criteria, same_name
from statllm.scoring.criteria.schema import Aspect, Demonstration, Guideline, key_of
from statllm.scoring.criteria.wording import CHAT, FeedbackWording
from statllm.scoring.judges.prompts import MESSAGES

Strategy = Literal["base", "crit", "icl", "cricl"]
Granularity = Literal["all", "aspect", "criterion"]

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)


@dataclass(frozen=True)
class Scope:
    """What one question is about: criteria of one aspect, or of several.

    Attributes
    ----------
    name : str
        ``all``, an aspect_id, or a criterion's key.
    parts : tuple of (Aspect, tuple of Criterion)
    heading : str or None
        What the prompt names: the aspect_id or the criterion's name; None: everything.
    """

    name: str
    parts: tuple[tuple[Aspect, tuple[Criterion, ...]], ...]
    heading: str | None = None

    @property
    def keys(self) -> list[str]:
        """The criteria that feedback should speak of."""
        return [key_of(aspect, one) for aspect, criteria in self.parts for one in criteria]

    @property
    def criteria(self) -> list[Criterion]:
        """The same as criteria."""
        return [one for _, criteria in self.parts for one in criteria]

    def demonstrations(self, n: int | None = None) -> list[Demonstration]:
        """Return the first `n` demonstrations of each aspect, outputs cut down to the criteria."""
        shown = []
        for aspect, criteria in self.parts:
            whole = len(criteria) == len(aspect.criteria)
            for demo in aspect.demonstrations[:n]:
                shown.append(demo if whole else Demonstration(demo.input, _part(demo, criteria)))
        return shown


def scopes(guideline: Guideline, granularity: Granularity) -> list[Scope]:
    """Return what is asked about, question by question.

    Examples
    --------
    >>> one = Aspect("a", "", (Criterion("x", "."), Criterion("y", ".")))
    >>> two = Aspect("b", "", (Criterion("z", "."),))
    >>> [scope.name for scope in scopes(Guideline((one, two)), "criterion")]
    ['a/x', 'a/y', 'b/z']
    """
    if granularity not in GRANULARITIES:
        raise InputError(f"granularity must be one of {', '.join(GRANULARITIES)}")
    parts = tuple((aspect, aspect.criteria) for aspect in guideline.aspects if aspect.criteria)
    if not parts:
        raise InputError("the guideline has no criteria; derive them first")
    if granularity == "all":
        _check_apart(parts)
        return [Scope("all", parts)]
    if granularity == "aspect":
        return [Scope(a.aspect_id, ((a, criteria),), a.aspect_id) for a, criteria in parts]
    return [
        Scope(key_of(aspect, one), ((aspect, (one,)),), one.name) for aspect, criteria in parts
        for one in criteria
    ]  # fmt: skip


def _check_apart(parts: Iterable[tuple[Aspect, tuple[Criterion, ...]]]) -> None:
    """Feedback on several aspects at once tells criteria apart by their names alone."""
    seen: dict[str, str] = {}
    for aspect, criteria in parts:
        for one in criteria:
            other = seen.setdefault(same_name(one.name), key_of(aspect, one))
            if other != key_of(aspect, one):
                raise InputError(
                    f"'{other}' and '{key_of(aspect, one)}' have one name; ask by aspect or by "
                    "criterion"
                )


def feedback_question(
    scope: Scope,
    text: str,
    strategy: Strategy,
    *,
    n_demos: int | None = None,
    wording: FeedbackWording = CHAT,
) -> str | list[dict[str, str]]:
    """Ask for feedback on one text.

    Parameters
    ----------
    scope : Scope
    text : str
    strategy : {"base", "crit", "icl", "cricl"}
        The prompt holds neither criteria nor demonstrations, criteria, demonstrations, or both
        (LLMCrit, Yuan et al. 2024, arXiv 2403.01069). What is asked about is named in all four.
    n_demos : int, optional
        Demonstrations per aspect; all when left out.
    wording : FeedbackWording

    Returns
    -------
    str or list of messages
        Text where the wording has no system message.

    Examples
    --------
    >>> from statllm.scoring.criteria.wording import COMPLETION
    >>> one = Aspect("tests", "", (Criterion("None test", "compare by is"),))
    >>> scope = scopes(Guideline((one,)), "aspect")[0]
    >>> print(feedback_question(scope, "x == None", "crit", wording=COMPLETION))
    Criteria:
    1. **None test**: compare by is
    On: tests
    Text:
    x == None
    Feedback:
    <BLANKLINE>
    """
    if strategy not in STRATEGIES:
        raise InputError(f"strategy must be one of {', '.join(STRATEGIES)}, not '{strategy}'")
    parts = []
    if strategy in ("crit", "cricl"):
        parts.append(_fill(wording.criteria, criteria=format_criteria(scope.criteria)))
    if strategy in ("icl", "cricl"):
        shown = scope.demonstrations(n_demos)
        if not shown:
            raise InputError(f"strategy {strategy} needs demonstrations; '{scope.name}' has none")
        parts += [_fill(wording.example, input=one.input, output=one.output) for one in shown]
    heading = wording.everything if scope.heading is None else scope.heading
    parts.append(_fill(wording.scope, scope=heading))
    parts.append(_fill(wording.text, text=text))
    if not wording.system:
        return "\n".join(parts)
    return [
        {"role": "system", "content": wording.system},
        {"role": "user", "content": "\n\n".join(parts)},
    ]


def feedback_prompts(
    guideline: Guideline,
    texts: Iterable[tuple[str, int, str]],
    strategy: Strategy,
    granularity: Granularity = "aspect",
    *,
    n_demos: int | None = None,
    wording: FeedbackWording = CHAT,
) -> pa.Table:
    """Ask for feedback on texts, one question per text and scope.

    Parameters
    ----------
    guideline : Guideline
    texts : iterable of (text_id, place, text)
        The place tells texts of one id apart, such as the responses to one prompt.
    strategy, granularity, n_demos, wording
        As of `feedback_question` and `scopes`.

    Returns
    -------
    pyarrow.Table
        ``prompt_id``, ``prompt``, ``task`` ("feedback"), ``text_id``, ``text_place``, ``text``,
        ``strategy``, ``granularity``, ``scope``, ``asked`` (keys of criteria) and ``shown``
        (inputs of the demonstrations in the prompt). Sample answers to it, and give them with
        these columns to `statllm.scoring.criteria.read_answers`.

    Raises
    ------
    InputError
        If there are no criteria, or no demonstrations where the strategy shows them.
    """
    asked = scopes(guideline, granularity)
    demos = strategy in ("icl", "cricl")
    rows: list[dict[str, Any]] = [
        {
            "prompt_id": f"{strategy}/{granularity}/{text_id}/{place}/{scope.name}",
            "prompt": feedback_question(scope, text, strategy, n_demos=n_demos, wording=wording),
            "task": "feedback",
            "text_id": text_id,
            "text_place": place,
            "text": text,
            "strategy": strategy,
            "granularity": granularity,
            "scope": scope.name,
            "asked": scope.keys,
            "shown": [one.input for one in scope.demonstrations(n_demos)] if demos else [],
            "wording": f"{wording.name}@{wording.version}",
        }
        for text_id, place, text in texts
        for scope in asked
    ]
    kinds = {
        "prompt": MESSAGES if wording.system else pa.string(),
        "text_place": pa.int64(),
        "asked": pa.list_(pa.string()),
        "shown": pa.list_(pa.string()),
    }
    names = (
        "prompt_id", "prompt", "task", "text_id", "text_place", "text", "strategy", "granularity",
        "scope", "asked", "shown", "wording",
    )  # fmt: skip
    return pa.table(
        {
            name: pa.array([row[name] for row in rows], kinds.get(name, pa.string()))
            for name in names
        }
    )


def _fill(template: str, **values: str) -> str:
    """Fill placeholders at once: braces inside of what is filled in stay as they are."""
    parts = template
    for name in values:
        before, _, after = parts.partition("{" + name + "}")
        parts = before + "\0" + name + "\0" + after
    for name, value in values.items():
        parts = parts.replace("\0" + name + "\0", value, 1)
    return parts


def _part(demo: Demonstration, criteria: tuple[Criterion, ...]) -> str:
    """The sections of a demonstration's output that are about these criteria."""
    wanted = {same_name(one.name) for one in criteria}
    kept = [(name, body) for name, body in sections(demo.output) if same_name(name) in wanted]
    return "\n".join(f"**{name}**{body}" for name, body in kept)
