"""Preference training (DPO, IRPO, ScPO) and SFT on transformers and trl.

Importing this package imports neither; they are loaded when a training starts.
"""

from statllm.training.reward_model import RewardSettings, RewardSummary, train_reward_model
from statllm.training.run import TrainingSummary, train_preference, train_sft
from statllm.training.settings import PreferenceSettings, SFTSettings

__all__ = [
    "PreferenceSettings",
    "RewardSettings",
    "RewardSummary",
    "SFTSettings",
    "TrainingSummary",
    "train_preference",
    "train_reward_model",
    "train_sft",
]
