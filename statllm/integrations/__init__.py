"""Readers of what people already have: evaluation logs as one table of scores.

`read_scores` finds out what a file is: sample logs of lm-evaluation-harness, logs of Inspect,
annotations of AlpacaEval, or a plain table. The columns are item, sample, score, cluster and model.
"""

from statllm.integrations.alpaca_eval import read_alpaca_eval
from statllm.integrations.inspect_log import read_inspect
from statllm.integrations.lm_eval import read_lm_eval
from statllm.integrations.pairing import Paired, pair_scores
from statllm.integrations.plain import read_plain
from statllm.integrations.read import read_scores
from statllm.integrations.scores import Scores
from statllm.integrations.wins import WinColumns, Wins, read_wins

__all__ = [
    "Paired",
    "Scores",
    "WinColumns",
    "Wins",
    "pair_scores",
    "read_alpaca_eval",
    "read_inspect",
    "read_lm_eval",
    "read_plain",
    "read_scores",
    "read_wins",
]
