"""The selection rules by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.selection.band import BandSettings, band
from statllm.selection.conformal import conformal
from statllm.selection.irpo import irpo
from statllm.selection.random_pairs import random_pairs
from statllm.selection.result import Selection
from statllm.selection.rip import rip
from statllm.selection.scpo import scpo
from statllm.selection.self_consistency import SelfConsistencySettings, self_consistency
from statllm.selection.self_score import self_score
from statllm.selection.self_score_settings import SelfScoreSettings
from statllm.selection.settings import (
    ConformalSettings,
    IrpoSettings,
    RandomSettings,
    RipSettings,
    RuleSettings,
    ScpoSettings,
)
from statllm.selection.tpo import tpo
from statllm.selection.tpo_settings import TpoSettings


@dataclass(frozen=True)
class Rule:
    """A selection rule: its settings and its function."""

    settings: type[RuleSettings]
    apply: Callable[[Generations, Any], Selection]


#: The rules; an entry added here is known to recipes and to the command line.
RULES: Mapping[str, Rule] = {
    "scpo": Rule(ScpoSettings, scpo),
    "irpo": Rule(IrpoSettings, irpo),
    "rip": Rule(RipSettings, rip),
    "tpo": Rule(TpoSettings, tpo),
    "self-score": Rule(SelfScoreSettings, self_score),
    "self-consistency": Rule(SelfConsistencySettings, self_consistency),
    "conformal": Rule(ConformalSettings, conformal),
    "band": Rule(BandSettings, band),
    "random": Rule(RandomSettings, random_pairs),
}


def select(
    rule: str, generations: Generations, settings: RuleSettings | None = None, **changes: Any
) -> Selection:
    """Turn scored samples into preference pairs by a named rule.

    Parameters
    ----------
    rule : str
        One of `RULES`.
    generations : Generations
    settings : RuleSettings, optional
        Of that rule.
    **changes
        Single settings, for example ``threshold=0.7``.

    Returns
    -------
    Selection
        Pairs and ledger.

    Raises
    ------
    InputError
        If the rule or a setting is unknown, or the table lacks what the rule needs.

    Examples
    --------
    >>> import pyarrow as pa
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["p"], "prompt": ["2 + 2?"],
    ...     "response": [["#### 4", "it is 4\\n#### 4", "#### 5"]],
    ... }))
    >>> print(select("scpo", g, threshold=0.5).summary())
    1 of 1 prompts kept, 1 pairs
    """
    if rule not in RULES:
        raise InputError(f"rule '{rule}' is unknown; rules: {', '.join(RULES)}")
    if settings is not None and not isinstance(settings, RULES[rule].settings):
        raise InputError(f"{type(settings).__name__} are not the settings of rule '{rule}'")
    return RULES[rule].apply(generations, settings_of(rule, settings, **changes))


def settings_of(rule: str, base: RuleSettings | None = None, **changes: Any) -> RuleSettings:
    """Return a rule's settings with single ones replaced.

    Raises
    ------
    InputError
        Names the setting that is unknown or has a wrong value.
    """
    kind = RULES[rule].settings
    try:
        return kind.model_validate({**(base.model_dump() if base else {}), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # several settings together
            raise InputError(f"{rule}: {message}") from error
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(kind.model_fields)
            raise InputError(f"rule '{rule}' has no setting '{key}'; it has {known}") from error
        raise InputError(f"{rule} setting '{key}': {message}") from error
