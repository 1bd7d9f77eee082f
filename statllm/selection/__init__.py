"""What turns samples into training data, with a ledger of what was dropped and why."""

from statllm.selection._length_control import length_controlled
from statllm.selection.band import BandSettings, band
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
from statllm.selection.rft import Examples, rft
from statllm.selection.rip import rip
from statllm.selection.rules import RULES, Rule, select, settings_of
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

__all__ = [
    "RULES",
    "BandSettings",
    "Centers",
    "ConformalSettings",
    "Decontamination",
    "Diversity",
    "Examples",
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
    "SelfConsistencySettings",
    "SelfScoreSettings",
    "TpoSettings",
    "band",
    "conformal",
    "decontaminate",
    "diversity",
    "irpo",
    "k_center",
    "length_controlled",
    "lift",
    "matched",
    "near_duplicates",
    "near_duplicates_preset",
    "preset",
    "preset_names",
    "random_pairs",
    "rft",
    "rip",
    "scpo",
    "select",
    "self_consistency",
    "self_score",
    "settings_of",
    "tpo",
]
