"""What turns scored samples into preference pairs, with a ledger of what was dropped and why."""

from statllm.selection.irpo import irpo
from statllm.selection.presets import Preset, preset, preset_names
from statllm.selection.result import Selection
from statllm.selection.rip import rip
from statllm.selection.rules import RULES, Rule, select, settings_of
from statllm.selection.scpo import scpo
from statllm.selection.settings import IrpoSettings, RipSettings, RuleSettings, ScpoSettings

__all__ = [
    "RULES",
    "IrpoSettings",
    "Preset",
    "RipSettings",
    "Rule",
    "RuleSettings",
    "ScpoSettings",
    "Selection",
    "irpo",
    "preset",
    "preset_names",
    "rip",
    "scpo",
    "select",
    "settings_of",
]
