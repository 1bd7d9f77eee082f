"""Preference training (DPO, IRPO, ScPO) and SFT on transformers and trl.

Importing this package imports neither; they are loaded when a training starts.
"""

from statllm.training.run import TrainingSummary, train_preference, train_sft
from statllm.training.settings import PreferenceSettings, SFTSettings

__all__ = [
    "PreferenceSettings",
    "SFTSettings",
    "TrainingSummary",
    "train_preference",
    "train_sft",
]
