"""`judge`: what a judge says about the responses of a generation table, as rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.judge_audit import audit_swaps
from statllm.estimators.likelihood import self_score
from statllm.estimators.ranking import elo_from_battles
from statllm.generations import Generations
from statllm.scoring.judges._steps import (
    Judged,
    counts,
    each_response,
    named,
    placed,
    put,
    put_each,
    questions_of,
    references_of,
    split,
    template_of,
    votes_of,
)
from statllm.scoring.judges.asking import JudgeModel
from statllm.scoring.judges.criteria import judge_criteria, judge_layers
from statllm.scoring.judges.pairwise import battle_matrix
from statllm.scoring.judges.prompts import pairwise_prompts
from statllm.scoring.judges.responses import Shown, shown
from statllm.scoring.judges.schedule import pairings
from statllm.scoring.judges.settings import JudgeSettings
from statllm.scoring.judges.yes_no import YesNoJudge
from statllm.scoring.model_cache import text_key

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def judge(
    generations: Generations,
    model: JudgeModel | YesNoJudge,
    settings: JudgeSettings | None = None,
    *,
    cache: str | Path | None = None,
    column: str = "reward",
) -> Judged:
    """Let a judge assess all responses.

    Parameters
    ----------
    generations : Generations
        With ``prompt``, ``response``, and ``reference`` if the template wants it.
    model : JudgeModel or YesNoJudge
        From `statllm.sampling.judge_model.open_judge`: transformers, vLLM, or a server. Kind
        yes-no reads next-token probabilities: `YesNoJudge.load`.
    settings : JudgeSettings, optional
    cache : str or Path, optional
        Folder of what judges have said, see `statllm.scoring.judges.asking.ask`.
    column : str
        Name of the rewards.

    Returns
    -------
    Judged
        With, per prompt, ``judge_n_left_out`` (responses that weren't judged), and unless of kind
        yes-no ``judge_n_asked`` and ``judge_n_unread`` (verdicts). Per response:

        pairwise: ``reward`` is the Elo rating among the prompt's responses (`elo_from_battles`;
        null if no battle of the response could be read) and ``reward_se`` its standard error;
        ``judge_battles[i][j]`` are wins of i over j; ``judge_n_ties`` verdicts are ties,
        ``judge_n_flips`` pairs prefer whatever is shown first (or second) in both orders, and
        ``judge_n_inconsistent`` include those where one order is a tie.

        pointwise: ``reward`` is the mean of the votes that could be read, ``reward_se`` its
        standard error (null for fewer than two), ``judge_n_read`` their number.

        yes-no: ``reward`` is log p(yes) - log p(no); ``judge_yes_no_mass`` the probability of both
        words together: where it's small, the model would rather say something else.

        criteria: ``criteria[i][c]`` is 1 where response i meets criterion c, 0 where not, null
        where it doesn't apply or the verdict is unreadable (votes are averaged);
        ``criteria_names``; ``reward`` by `settings.pass_rule`, over the criteria that apply; null
        where a verdict is unreadable.

        layers: ``layers[i]`` of a piece of feedback, asked in the order of
        `statllm.scoring.judges.criteria.LAYERS` until one isn't passed (later ones are null);
        ``reward`` is the number of layers passed; null where a verdict is unreadable.

    Raises
    ------
    InputError
        If a column is missing, the template isn't of this kind or needs what isn't there, or a
        question is too long for the judge.
    """
    settings = JudgeSettings() if settings is None else settings
    if (settings.kind == "yes-no") != isinstance(model, YesNoJudge):
        raise InputError("kind yes-no needs a YesNoJudge, and no other kind takes one")
    seen = shown(generations, settings.response_part)
    if isinstance(model, YesNoJudge):
        return _yes_no(generations, seen, model, settings, cache, column)
    run = {
        "pairwise": _pairwise,
        "pointwise": _pointwise,
        "criteria": judge_criteria,
        "layers": judge_layers,
    }[settings.kind]
    return run(generations, seen, model, settings, cache, column)


# ---- kinds ------------------------------------------------------------------------------------


def _pairwise(
    generations: Generations,
    seen: Shown,
    model: JudgeModel,
    settings: JudgeSettings,
    cache: str | Path | None,
    column: str,
) -> Judged:
    template = template_of(settings)
    pairs = [
        pairings(len(row), settings.opponents, _seed(settings.seed, name))
        for row, name in zip(seen.texts, seen.prompt_ids, strict=True)
    ]
    asked = pairwise_prompts(
        template, seen.prompts, seen.texts, references_of(seen, template), settings.extra, pairs
    )
    verdicts, table = put(model, template, asked, settings, cache)
    prompt, first, second, vote = (
        table[name].to_numpy() for name in ("prompt", "first", "second", "vote")
    )
    value = verdicts.to_numpy()
    forward, backward, row = both_orders(prompt, first, second, vote, value)
    flips = np.abs(forward + backward) == 2
    differ = (forward != -backward) & ~np.isnan(forward + backward)

    sizes = np.array([len(texts) for texts in seen.texts], dtype=np.int64)
    rating: list[FloatArray] = [np.full(size, np.nan) for size in sizes]
    se: list[FloatArray] = [np.full(size, np.nan) for size in sizes]
    battles: list[Any] = [np.zeros((size, size)) for size in sizes]
    for size in np.unique(sizes[sizes > 1]):
        rows = np.flatnonzero(sizes == size)
        number = np.full(len(sizes), -1)
        number[rows] = np.arange(len(rows))
        mine = number[prompt] >= 0
        wins = battle_matrix(
            number[prompt[mine]], first[mine], second[mine], value[mine], len(rows), int(size),
            settings.ties,
        )  # fmt: skip
        elo = elo_from_battles(wins, settings.prior_ties)
        fought = elo.n_battles > 0  # the prior alone would make it average
        for place, at in enumerate(rows):
            rating[at] = np.where(fought[place], elo.rating[place], np.nan)
            se[at] = np.where(fought[place], elo.se[place], np.nan)
            battles[at] = wins[place]

    n = len(seen.prompts)
    columns = {
        column: seen.spread(rating),
        f"{column}_se": seen.spread(se),
        "judge_battles": _battles(seen, battles),
        "judge_n_ties": np.bincount(prompt[value == 0], minlength=n),
        "judge_n_flips": np.bincount(row[flips], minlength=n),
        "judge_n_inconsistent": np.bincount(row[differ], minlength=n),
        **counts(seen, prompt, value),
    }
    return Judged(
        generations.with_columns(columns),
        named(placed(table, seen, ("first", "second")), seen, model),
        verdicts.summary,
        audit_swaps(forward, backward, row),
    )


def _pointwise(
    generations: Generations,
    seen: Shown,
    model: JudgeModel,
    settings: JudgeSettings,
    cache: str | Path | None,
    column: str,
) -> Judged:
    verdicts, table = put_each(model, seen, settings, cache)
    value = verdicts.to_numpy().reshape(-1, settings.votes)
    n_read, mean, se = votes_of(value)
    columns = {
        column: seen.spread(split(seen, mean)),
        f"{column}_se": seen.spread(split(seen, se)),
        "judge_n_read": seen.spread(split(seen, n_read)).cast(pa.list_(pa.int32())),
        **counts(seen, table["prompt"].to_numpy(), value.ravel()),
    }
    table = named(placed(table, seen, ("response",)), seen, model)
    return Judged(generations.with_columns(columns), table, verdicts.summary)


def _yes_no(
    generations: Generations,
    seen: Shown,
    model: YesNoJudge,
    settings: JudgeSettings,
    cache: str | Path | None,
    column: str,
) -> Judged:
    if settings.votes > 1:
        raise InputError("kind yes-no reads probabilities, so that more votes are the same one")
    asked = each_response(seen, template_of(settings), settings)
    questions = questions_of(asked, settings)
    logprobs = model.log_probabilities(questions, settings.yes, settings.no, cache)
    yes, no = np.minimum(logprobs, 0.0).T
    score = self_score(yes, no) if len(yes) else np.empty(0)
    mass = np.exp(np.logaddexp(yes, no))
    columns = {
        column: seen.spread(split(seen, score)),
        "judge_yes_no_mass": seen.spread(split(seen, mass)),
        "judge_n_left_out": seen.n_left_out,
    }
    table = asked.drop_columns(["messages"])
    for name, values in (("verdict", score), ("logprob_yes", yes), ("logprob_no", no)):
        table = table.append_column(name, pa.array(values, pa.float64(), from_pandas=True))
    table = named(placed(table, seen, ("response",)), seen, model)
    return Judged(generations.with_columns(columns), table)


def both_orders(
    prompt: IntArray, first: IntArray, second: IntArray, vote: IntArray, value: FloatArray
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Verdicts of each pair and vote in either order, and the prompt that they belong to."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((first > second, vote, high, low, prompt))
    both = value[order].reshape(-1, 2)
    return both[:, 0], both[:, 1], prompt[order].reshape(-1, 2)[:, 0]


def _battles(seen: Shown, battles: list[FloatArray]) -> pa.Array:
    """A matrix per prompt over all its responses; those left out fought nobody."""
    rows = []
    for length, places, wins in zip(seen.lengths, seen.places, battles, strict=True):
        full = np.zeros((int(length), int(length)))
        full[np.ix_(places, places)] = wins
        rows.append(full.tolist())
    return pa.array(rows, pa.list_(pa.list_(pa.float64())))


def _seed(seed: int, prompt_id: str) -> int:
    """A seed of the prompt's own: who meets whom doesn't depend on the other prompts."""
    return int.from_bytes(text_key(str(seed), prompt_id)[:8], "big")
