"""Journey learning: trees of solution steps, and training texts that show errors and their repair.

A policy proposes steps, a process reward rates them, a tree search keeps the best. From a tree come
*shortcuts* (the right path alone) and *journeys* (the right path with wrong trials, reflections and
returns), both for SFT (Qin et al. 2024, arXiv 2410.18982).
"""

from statllm.journey.extract import Extraction, ExtractSettings, extract
from statllm.journey.pairs import JourneyPairsSettings, journey_pairs
from statllm.journey.process_reward import (
    Candidate,
    JudgeReward,
    NoisyReward,
    ProcessReward,
    RolloutReward,
    Verdict,
)
from statllm.journey.search import SearchSettings, search
from statllm.journey.traverse import Event, check_journey, journey, right_leaves, shortcut
from statllm.journey.tree import Node, Tree, read_trees, write_trees

__all__ = [
    "Candidate",
    "Event",
    "ExtractSettings",
    "Extraction",
    "JourneyPairsSettings",
    "JudgeReward",
    "Node",
    "NoisyReward",
    "ProcessReward",
    "RolloutReward",
    "SearchSettings",
    "Tree",
    "Verdict",
    "check_journey",
    "extract",
    "journey",
    "journey_pairs",
    "read_trees",
    "right_leaves",
    "search",
    "shortcut",
    "write_trees",
]
