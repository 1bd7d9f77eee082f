"""Who is better: ratings from battles and rankings, with intervals for ratings and for ranks.

`battles` codes a table of battles between models; `bradley_terry` fits it (ties, style, priors,
errors clustered by prompt or judge), `bootstrap_ratings` resamples it and `online_elo` runs
through it; `plackett_luce` takes rankings. `elo_from_battles` rates the responses to many prompts
at once, from matrices of wins.
"""

from statllm.estimators.ranking.bootstrap import BootstrapRatings, bootstrap_ratings
from statllm.estimators.ranking.bradley_terry import ARENA_RIDGE, bradley_terry
from statllm.estimators.ranking.online_elo import OnlineElo, online_elo
from statllm.estimators.ranking.plackett_luce import plackett_luce
from statllm.estimators.ranking.ranks import RankIntervals, rank_intervals
from statllm.estimators.ranking.records import Battles, battles, style_differences
from statllm.estimators.ranking.response_elo import ELO_SCALE, EloRatings, elo_from_battles
from statllm.estimators.ranking.result import Differences, Ranking

__all__ = [
    "ARENA_RIDGE",
    "ELO_SCALE",
    "Battles",
    "BootstrapRatings",
    "Differences",
    "EloRatings",
    "OnlineElo",
    "RankIntervals",
    "Ranking",
    "battles",
    "bootstrap_ratings",
    "bradley_terry",
    "elo_from_battles",
    "online_elo",
    "plackett_luce",
    "rank_intervals",
    "style_differences",
]
