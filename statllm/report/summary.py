"""What a run found, in sentences made from its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.evaluation import compare
from statllm.report import words
from statllm.report.artefacts import RunData

if TYPE_CHECKING:
    import pyarrow as pa

    from statllm.recipe import Iteration
    from statllm.results import Estimate, TestResult

#: A gain is called a gain where chance alone gives as much less often than this.
SIGNIFICANCE = 0.05

_UNLABELLED = "which never saw a label"
_NAMES = {"scpo": "ScPO", "irpo": "IRPO", "rip": "RIP", "tpo": "TPO"}


def rule_name(rule: str) -> str:
    """Return a rule's name as its paper writes it."""
    return _NAMES.get(rule, rule)


def goes_by(rule: str, settings: dict[str, Any]) -> str:
    """Say in half a sentence what a rule prefers by; empty for a rule unknown here."""
    if rule == "scpo" and settings.get("labels", "ignore") == "use":
        return "which saw reference answers where there are some, and votes elsewhere"
    return {
        "scpo": _UNLABELLED,
        "irpo": "which was told the reference answers",
        "rip": "which goes by rewards",
        "tpo": "which goes by rewards of what comes after the thought",
    }.get(rule, "")


def _goes_by(iteration: Iteration) -> str:
    """As `goes_by`, with what else saw reference answers."""
    rule = goes_by(iteration.selection.rule, iteration.selection.settings)
    choice = iteration.choice
    labelled = choice is not None and choice.by not in ("vote_share", "reward")
    if rule == _UNLABELLED and labelled:
        return "which saw reference answers only to choose when to stop training"
    return rule


def describe_run(data: RunData) -> str:
    """Return what was done, for example "Two iterations of ScPO, which never saw a label,"."""
    settings = [data.run.recipe.iteration(k) for k in data.iterations]
    selections = [each.selection for each in settings]
    names = " and ".join(dict.fromkeys(rule_name(s.rule) for s in selections))
    how = {_goes_by(each) for each in settings}
    n = len(selections)
    text = f"{words.in_words(n).capitalize()} iteration{'s' if n > 1 else ''} of {names}"
    if data.label.lower() != names.lower():
        text += f" (run “{data.label}”)"
    return f"{text}, {how.pop()}," if len(how) == 1 and "" not in how else text


def summarise(runs: Sequence[RunData], overlap: Sequence[tuple[int, int] | None]) -> list[str]:
    """Return the opening paragraphs: each run's gain, then how the runs compare.

    Parameters
    ----------
    runs : sequence of RunData
    overlap : sequence of (int, int) or None
        For each run, how many of the evaluated problems are training prompts; they are called
        held-out only where this is known to be none.
    """
    paragraphs = [_of_run(data, known) for data, known in zip(runs, overlap, strict=True)]
    for place, data in enumerate(runs):
        paragraphs += [_against(earlier, data) for earlier in runs[:place]]
    return [paragraph for paragraph in paragraphs if paragraph]


def _of_run(data: RunData, overlap: tuple[int, int] | None) -> str:
    before, after = data.figure("greedy_accuracy", 0), data.figure("greedy_accuracy", data.last)
    gain = data.figure("greedy_gain", data.last)
    if before is None or after is None or gain is None:
        return f"The accuracies of run “{data.label}” are not known: its figures are missing."
    held_out = "held-out problems" if overlap is not None and overlap[0] == 0 else "problems"
    sentence = (
        f"{describe_run(data)} {_verb(gain)} greedy accuracy on {words.count(after['n'])} "
        f"{held_out} from {_with_interval(before)} to {_with_interval(after)}: a paired "
        f"difference of {words.value(gain)} percentage points {words.interval(gain)}, exact "
        f"McNemar {words.p_value(gain['log_p_value'])}."
    )
    if not _clear(gain["log_p_value"]):
        sentence += " A difference of this size can't be told from chance."
    return " ".join(part for part in (sentence, _last_step(data), _agreement(data)) if part)


def _with_interval(row: dict[str, Any]) -> str:
    return f"{words.percent(row['value'])} {words.interval(row)}"


def _clear(log_p: float | None) -> bool:
    return log_p is not None and log_p < math.log(SIGNIFICANCE)


def _verb(gain: dict[str, Any]) -> str:
    if not _clear(gain["log_p_value"]):
        return "took"
    return "raised" if gain["value"] > 0 else "lowered"


def _last_step(data: RunData) -> str:
    """What the last iteration alone did: a final gain can hide that it took some back."""
    found = None if data.last < 2 else _compared((data, data.last - 1), (data, data.last))
    if found is None:
        return ""
    difference, test = found
    return (
        f"The last iteration alone changed it by {_points(difference)}, "
        f"{words.p_value(test.log_p_value)}."
    )


def _agreement(data: RunData) -> str:
    """How much the votes agree, before and after."""
    before, after = data.figure("vote_entropy", 0), data.figure("vote_entropy", data.last)
    if before is None or after is None:
        return ""
    apart = before["high"] < after["low"] or after["high"] < before["low"]
    went = "fell" if after["value"] < before["value"] else "rose"
    return (
        f"The mean vote entropy {went if apart else 'went'} from {words.value(before)} "
        f"{words.interval(before)} to {words.value(after)} {words.interval(after)} nats."
    )


def _against(one: RunData, other: RunData) -> str:
    """Compare the final models of two runs on the problems that both answered."""
    found = _compared((one, one.last), (other, other.last))
    if found is None:
        return ""
    difference, test = found
    where = f"On the {words.count(difference.n)} problems that both answered"
    if not _clear(test.log_p_value):
        start = f"{where}, the final models of {one.label} and {other.label} can't be told apart"
    else:
        better, worse = (other, one) if difference.value > 0 else (one, other)
        start = f"{where}, the final model of {better.label} is better than that of {worse.label}"
    return (
        f"{start} ({other.label} minus {one.label}: {_points(difference)}, exact McNemar "
        f"{words.p_value(test.log_p_value)})."
    )


def _points(difference: Estimate) -> str:
    """A difference of shares and its interval in percentage points."""
    row = {**difference.to_dict(), "name": "greedy_gain", "unit": "share"}
    return f"{words.value(row)} percentage points {words.interval(row)}"


def _compared(
    one: tuple[RunData, int], other: tuple[RunData, int]
) -> tuple[Estimate, TestResult] | None:
    """Greedy accuracy of `other` minus that of `one`, and its test; None if not known."""
    tables: list[pa.Table] = []
    for data, iteration in (one, other):
        table = data.table("evaluation", iteration, "prompt_id", "greedy_correct")
        if table is None:
            return None
        tables.append(table)
    try:
        return compare(tables[0], tables[1], "greedy_correct")
    except InputError:  # no problem in common
        return None
