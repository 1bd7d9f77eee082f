"""Reward models: a number for each response, and how sure it is of the gaps between them."""

from statllm.scoring.reward_models.heads import ARMORM_OBJECTIVES
from statllm.scoring.reward_models.laplace import RewardLaplace
from statllm.scoring.reward_models.model import RewardModel, RewardOutputs
from statllm.scoring.reward_models.table import add_rewards

__all__ = [
    "ARMORM_OBJECTIVES",
    "RewardLaplace",
    "RewardModel",
    "RewardOutputs",
    "add_rewards",
]
