"""What turns scored samples into preference pairs, with a ledger of what was dropped and why."""

from statllm.selection.conformal import conformal
from statllm.selection.irpo import irpo
from statllm.selection.presets import Preset, preset, preset_names
from statllm.selection.result import Selection
from statllm.selection.rip import rip
from statllm.selection.rules import RULES, Rule, select, settings_of
from statllm.selection.scpo import scpo
from statllm.selection.settings import (
    ConformalSettings,
    IrpoSettings,
    RipSettings,
    RuleSettings,
    ScpoSettings,
)

__all__ = [
    "RULES",
    "ConformalSettings",
    "IrpoSettings",
    "Preset",
    "RipSettings",
    "Rule",
    "RuleSettings",
    "ScpoSettings",
    "Selection",
    "conformal",
    "irpo",
    "preset",
    "preset_names",
    "rip",
    "scpo",
    "select",
    "settings_of",
]
