"""What turns samples into training data, with a ledger of what was dropped and why."""

from statllm.selection.conformal import conformal
from statllm.selection.decontamination import Decontamination, decontaminate
from statllm.selection.diversity import Centers, Diversity, diversity, k_center
from statllm.selection.irpo import irpo
from statllm.selection.lift import LiftSettings, lift
from statllm.selection.matched import matched
from statllm.selection.near_duplicates import (
    NearDuplicates,
    near_duplicates,
    near_duplicates_preset,
)
from statllm.selection.presets import Preset, preset, preset_names
from statllm.selection.random_pairs import random_pairs
from statllm.selection.result import Selection
from statllm.selection.rip import rip
from statllm.selection.rules import RULES, Rule, select, settings_of
from statllm.selection.scpo import scpo
from statllm.selection.settings import (
    ConformalSettings,
    IrpoSettings,
    RandomSettings,
    RipSettings,
    RuleSettings,
    ScpoSettings,
)

__all__ = [
    "RULES",
    "Centers",
    "ConformalSettings",
    "Decontamination",
    "Diversity",
    "IrpoSettings",
    "LiftSettings",
    "NearDuplicates",
    "Preset",
    "RandomSettings",
    "RipSettings",
    "Rule",
    "RuleSettings",
    "ScpoSettings",
    "Selection",
    "conformal",
    "decontaminate",
    "diversity",
    "irpo",
    "k_center",
    "lift",
    "matched",
    "near_duplicates",
    "near_duplicates_preset",
    "preset",
    "preset_names",
    "random_pairs",
    "rip",
    "scpo",
    "select",
    "settings_of",
]
