"""How often one model's answers are preferred to a baseline's.

`win_rate` counts; `length_controlled` and `controlled_win_rate` say what it would be at equal
length or style; `length_instructed_win_rate` lets answers lose that break a length limit.
"""

from statllm.estimators.winrate.alpaca_eval import alpaca_eval_win_rate
from statllm.estimators.winrate.controlled import ControlledWinRate, controlled_win_rate
from statllm.estimators.winrate.difficulty import instruction_difficulty
from statllm.estimators.winrate.length_controlled import Answers, length_controlled
from statllm.estimators.winrate.length_instructed import (
    length_instructed_win_rate,
    violation_curve,
    violation_rate,
)
from statllm.estimators.winrate.raw import win_rate

__all__ = [
    "Answers",
    "ControlledWinRate",
    "alpaca_eval_win_rate",
    "controlled_win_rate",
    "instruction_difficulty",
    "length_controlled",
    "length_instructed_win_rate",
    "violation_curve",
    "violation_rate",
    "win_rate",
]
