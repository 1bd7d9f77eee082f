"""What a judge is asked: templates with a version, filled for every response or ordered pair."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast, get_args

import pyarrow as pa

from statllm.errors import InputError
from statllm.scoring.judges.schedule import pairings
from statllm.scoring.judges.verdicts import (
    PairwiseGrammar,
    ScoreGrammar,
    Verdicts,
    parse_pairwise,
    parse_scores,
)

Mode = Literal["pointwise", "pairwise", "yes-no"]

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_RESPONSES = {
    "pointwise": {"response"},
    "pairwise": {"response_a", "response_b"},
    "yes-no": {"response"},
}
_GRAMMARS = {
    "pointwise": get_args(ScoreGrammar),
    "pairwise": get_args(PairwiseGrammar),
    "yes-no": ("next_token",),
}
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


@dataclass(frozen=True)
class JudgeTemplate:
    """A judge's prompt and how its answer is read.

    Attributes
    ----------
    name : str
    version : int
        Grows with every change of the wording; verdicts of different versions don't mix.
    mode : {"pointwise", "pairwise", "yes-no"}
    grammar : str
        Of `parse_pairwise` or `parse_scores`; ``"next_token"`` for yes-no, where nothing is
        written: the probabilities of the two words are the verdict.
    user : str
        With {prompt}, {reference}, and {response} or both {response_a} and {response_b}; any
        other placeholder is filled from `extra`.
    system : str
        May be empty; the same placeholders.
    low, high : float, optional
        Ends of the scale, pointwise only.
    parts : mapping of str to (float, float), optional
        Of grammar ``"json"``: the score is the sum of these fields, each of which has its own
        scale.
    """

    name: str
    version: int
    mode: Mode
    grammar: str
    user: str
    system: str = ""
    low: float | None = None
    high: float | None = None
    parts: Mapping[str, Sequence[float]] | None = None

    def __post_init__(self) -> None:
        where = f"judge template '{self.name}'"
        if self.mode not in get_args(Mode):
            raise InputError(
                f"{where}: mode must be pointwise, pairwise or yes-no, not '{self.mode}'"
            )
        if type(self.version) is not int or self.version < 1:
            raise InputError(f"{where}: version must be a whole number from 1, not {self.version}")
        grammars = _GRAMMARS[self.mode]
        if self.grammar not in grammars:
            raise InputError(f"{where}: grammar must be one of {', '.join(grammars)}")
        if (self.mode == "pointwise") != (self.low is not None and self.high is not None):
            raise InputError(f"{where}: low and high belong to pointwise templates, both of them")
        if self.parts is not None and (self.mode, self.grammar) != ("pointwise", "json"):
            raise InputError(f"{where}: parts belong to pointwise templates with grammar json")
        others = _RESPONSES["pointwise" if self.mode == "pairwise" else "pairwise"]
        missing, wrong = _RESPONSES[self.mode] - self.placeholders, others & self.placeholders
        if missing or wrong:
            raise InputError(f"{where}: {self.mode} needs {sorted(_RESPONSES[self.mode])} alone")

    @property
    def placeholders(self) -> set[str]:
        """Names in braces, of both messages."""
        return set(_PLACEHOLDER.findall(self.system + self.user))

    def messages(self, fields: Mapping[str, str]) -> list[dict[str, str]]:
        """Return the messages with every placeholder filled.

        All are filled at once: a placeholder inside a response stays what it is.
        """

        def fill(text: str) -> str:
            return _PLACEHOLDER.sub(lambda match: fields[match[1]], text).strip()

        texts = [("system", fill(self.system)), ("user", fill(self.user))]
        return [{"role": role, "content": text} for role, text in texts if text]


def template_names() -> list[str]:
    """Return the names of the templates that come with the package.

    Examples
    --------
    >>> template_names()[0]
    'document_reasoning'
    """
    folder = files("statllm.scoring.judges") / "templates"
    return sorted(f.name[: -len(".yaml")] for f in folder.iterdir() if f.name.endswith(".yaml"))


@cache
def load_template(name: str | Path) -> JudgeTemplate:
    """Return a template by its name, or from a YAML file.

    Raises
    ------
    InputError
        If there is no such template, or the file isn't one; the message names it.

    Examples
    --------
    >>> judge = load_template("pairwise_quality")
    >>> judge.mode, judge.version, sorted(judge.placeholders)
    ('pairwise', 1, ['prompt', 'response_a', 'response_b'])
    """
    import yaml

    if isinstance(name, Path):
        if not name.is_file():
            raise InputError(f"judge template {name} doesn't exist")
        text = name.read_text(encoding="utf-8")
    elif name in template_names():
        file = files("statllm.scoring.judges") / "templates" / f"{name}.yaml"
        text = file.read_text(encoding="utf-8")
    else:
        raise InputError(f"judge template '{name}' is none of {', '.join(template_names())}")
    try:
        return JudgeTemplate(**yaml.safe_load(text))
    except (yaml.YAMLError, TypeError) as error:
        raise InputError(f"judge template {name}: {error}") from error


def pairwise_prompts(
    template: JudgeTemplate,
    prompts: Sequence[str],
    responses: Any,
    references: Sequence[str] | None = None,
    extra: Mapping[str, str] | None = None,
    pairs: Sequence[Sequence[tuple[int, int]]] | None = None,
) -> pa.Table:
    """Ask about every ordered pair of each prompt's responses, so about every pair twice.

    Parameters
    ----------
    template : JudgeTemplate
        Of mode ``"pairwise"``.
    prompts : sequence of str, length n
    responses : pyarrow list column, or nested sequence of str
        ``responses[i]`` are the responses to prompt i; their numbers may differ.
    references : sequence of str, optional
    extra : mapping, optional
        Values of further placeholders, the same for all.
    pairs : sequence of n sequences of (int, int), optional
        The unordered pairs of each prompt that meet, as `pairings` makes them; default all.

    Returns
    -------
    pyarrow.Table
        prompt, first, second (int64: the prompt's row, and which of its responses is shown as A
        and as B), messages (list of role and content), template ("name@version"). Sorted by
        prompt, first, second. Send `messages` to any sampler and give its texts, in this order,
        to `read_verdicts`.

    Raises
    ------
    InputError
        If lengths differ, a text is null or a placeholder has no value; the message names it.

    Examples
    --------
    >>> asked = pairwise_prompts(load_template("pairwise_quality"), ["2 + 2?"], [["4", "5"]])
    >>> asked["first"].to_pylist(), asked["second"].to_pylist()
    ([0, 1], [1, 0])
    """
    items = _items(template, "pairwise", prompts, responses, references, extra)
    if pairs is not None and len(pairs) != len(items):
        raise InputError(f"pairs of {len(pairs)} prompts were given for {len(items)}")
    rows = [
        (
            {"prompt": i, "first": a, "second": b},
            {"response_a": texts[a], "response_b": texts[b]},
            fields,
        )
        for i, fields, texts in items
        for a, b in _both_orders(pairings(len(texts)) if pairs is None else pairs[i])
    ]
    return _table(template, ("prompt", "first", "second"), rows)


def pointwise_prompts(
    template: JudgeTemplate,
    prompts: Sequence[str],
    responses: Any,
    references: Sequence[str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> pa.Table:
    """Ask about every response by itself.

    Parameters and errors as for `pairwise_prompts`; the template is of mode ``"pointwise"`` or
    ``"yes-no"``.

    Returns
    -------
    pyarrow.Table
        prompt, response (int64), messages, template.

    Examples
    --------
    >>> judge = load_template("pointwise_criterion")
    >>> rule = {"criterion": "It names its sources."}
    >>> pointwise_prompts(judge, ["Why?"], [["So.", "See Ford 1957."]], extra=rule).num_rows
    2
    """
    rows = [
        ({"prompt": i, "response": k}, {"response": text}, fields)
        for i, fields, texts in _items(
            template,
            "yes-no" if template.mode == "yes-no" else "pointwise",
            prompts,
            responses,
            references,
            extra,
        )
        for k, text in enumerate(texts)
    ]
    return _table(template, ("prompt", "response"), rows)


def read_verdicts(template: JudgeTemplate, texts: Any) -> Verdicts:
    """Read a judge's texts by the grammar of the template that asked for them.

    Examples
    --------
    >>> read_verdicts(load_template("pairwise_quality"), ["A errs. [[B]]"]).to_numpy()
    array([-1.])
    """
    if template.mode == "yes-no":
        raise InputError(f"judge template '{template.name}' has verdicts without texts")
    if template.mode == "pairwise":
        return parse_pairwise(texts, cast(PairwiseGrammar, template.grammar))
    assert template.low is not None  # the template checked both
    assert template.high is not None
    grammar = cast(ScoreGrammar, template.grammar)
    return parse_scores(texts, template.low, template.high, grammar, parts=template.parts)


def _items(
    template: JudgeTemplate,
    mode: Mode,
    prompts: Sequence[str],
    responses: Any,
    references: Sequence[str] | None,
    extra: Mapping[str, str] | None,
) -> list[tuple[int, dict[str, str], list[str]]]:
    """Row, what fills the placeholders there, and the responses."""
    if template.mode != mode:
        raise InputError(f"judge template '{template.name}' is {template.mode}, not {mode}")
    columns = {"prompts": _plain(prompts), "responses": _plain(responses)}
    if references is not None:
        columns["references"] = _plain(references)
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{len(column)} {name}" for name, column in columns.items())
        raise InputError(f"one of each per prompt was expected, not {lengths}")
    known = {"prompt", "reference"} | _RESPONSES[mode]
    clash = known & set(extra or ())
    if clash:
        raise InputError(f"extra must not hold {', '.join(sorted(clash))}")
    given = (known if references is not None else known - {"reference"}) | set(extra or ())
    empty = template.placeholders - given
    if empty:
        raise InputError(f"judge template '{template.name}' needs {', '.join(sorted(empty))}")
    for name, column in columns.items():
        for row, value in enumerate(column):
            if value is None or (name == "responses" and None in value):
                raise InputError(f"{name} has a null in row {row}")
    return [
        (
            i,
            {
                **(extra or {}),
                "prompt": columns["prompts"][i],
                **({"reference": columns["references"][i]} if references is not None else {}),
            },
            texts,
        )
        for i, texts in enumerate(columns["responses"])
    ]


def _both_orders(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted(order for a, b in pairs for order in ((a, b), (b, a)))


def _plain(column: Any) -> list[Any]:
    return column.to_pylist() if hasattr(column, "to_pylist") else list(column)


def _table(
    template: JudgeTemplate,
    indices: tuple[str, ...],
    rows: list[tuple[dict[str, int], dict[str, str], dict[str, str]]],
) -> pa.Table:
    columns = {name: pa.array([row[0][name] for row in rows], pa.int64()) for name in indices}
    messages = [template.messages({**fields, **shown}) for _, shown, fields in rows]
    stamp = [f"{template.name}@{template.version}"] * len(rows)
    return pa.table(
        {
            **columns,
            "messages": pa.array(messages, MESSAGES),
            "template": pa.array(stamp, pa.string()),
        }
    )
