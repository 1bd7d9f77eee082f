"""From responses to answers, verdicts and the statistics of each prompt."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring._columns import as_lists, flat_values, lengths_of
from statllm.scoring.answers import extract_column
from statllm.scoring.canonical import canonical, canonical_column
from statllm.scoring.equivalence import check_method, merge_equivalent
from statllm.scoring.settings import ScoringSettings
from statllm.scoring.statistics import prompt_statistics
from statllm.scoring.verifier import verify


def score(
    generations: Generations, settings: ScoringSettings | None = None, **options: Any
) -> Generations:
    """Find and judge the answers, and describe every prompt's votes and rewards.

    Parameters
    ----------
    generations : Generations
        With any of ``response``, ``answer``, ``reward``, and ``reference`` where known.
    settings : ScoringSettings, optional
    **options
        Single settings, for example ``rule="hash"``, ``entropy="plugin"``.

    Returns
    -------
    Generations
        The table and, added or replaced:

        answer : list of string
            In the form that votes, the canonical one (unless equivalence is "exact"). Answers
            that are already in the table are used, not extracted again; where this form differs
            from what was given, ``answer_raw`` keeps the latter. With math-verify, answers of a
            prompt that mean the same are written alike.
        correct : list of bool
            Where there's a ``reference``; verdicts that are already in the table are kept. A
            sample without an answer is wrong.
        n_samples, n_votes, n_distinct, n_tied : int
            Samples; those with an answer; different answers; answers that share the top.
        majority_answer : string
            The most frequent answer. By default ties are broken by a draw that depends on the seed
            and the votes, not on the order of samples or prompts.
        vote_share, vote_share_low, vote_share_high : float
            Share of the votes that the majority answer has, and its interval.
        vote_margin : float
            Lead over the runner-up as a share of the votes.
        vote_entropy, vote_entropy_se : float
            Nats.
        mode_probability : float
            Probability that the majority answer is the model's most probable one.
        majority_correct : float
            1 or 0; with m answers tied, the share of the m that is right. 0 without votes.
        majority_answer_correct : float
            1 or 0, of the ``majority_answer`` that the tie rule picks. 0 without votes.
        pass_rate : float
            Share of the samples that are right.
        reward_mean, reward_var, reward_gap : float
            Of the rewards: mean, variance (ddof=1), best minus worst.

        and one column for each of `statllm.scoring.metrics.METRICS` that was asked for.

        A number that is undefined (no votes, no rewards, no reference) is null. Samples whose
        ``pool`` is "extra" get an answer and a verdict and enter no statistic: they were drawn
        from another distribution.

    Raises
    ------
    InputError
        If there's nothing to score, a setting is wrong, or a reward is missing (see
        ``missing_rewards``).

    Examples
    --------
    >>> import pyarrow as pa
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["a"], "reference": ["4"],
    ...     "response": [["2 + 2 = 4. #### 4", "#### 4.0", "#### 5", "Who knows?"]],
    ... }))
    >>> scored = score(g, entropy="plugin")
    >>> scored.column("answer").to_pylist(), scored.column("majority_correct").to_pylist()
    ([['4', '4', '5', None]], [1.0])
    >>> scored.column("vote_share").to_pylist(), scored.column("pass_rate").to_pylist()
    ([0.6666666666666666], [0.5])
    """
    settings = settings_with(settings, options)
    check_method(settings.equivalence)
    if not any(name in generations for name in ("response", "answer", "reward")):
        raise InputError("there is nothing to score: no column 'response', 'answer' or 'reward'")
    scored = with_answers(generations, settings)
    if "answer" in scored and "reference" in scored and "correct" not in scored:
        verdicts = verify(scored, settings.equivalence, units=settings.units)
        scored = scored.with_columns({"correct": verdicts})
    if "answer" in scored and settings.equivalence == "math-verify":
        merged = merge_equivalent(scored.column("answer"), settings.equivalence)
        scored = scored.with_columns({"answer": merged})
    return scored.with_columns(prompt_statistics(scored, settings))


def settings_with(settings: ScoringSettings | None, options: dict[str, Any]) -> ScoringSettings:
    """Return the settings with single ones replaced.

    Raises
    ------
    InputError
        Names the setting that is unknown or has a wrong value.
    """
    values = settings.model_dump() if settings else {}
    try:
        return ScoringSettings.model_validate({**values, **options})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"scoring setting '{'.'.join(map(str, first['loc']))}': {first['msg']}"
        ) from error


def with_answers(generations: Generations, settings: ScoringSettings) -> Generations:
    """Return the table with canonical answers, extracted where it has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, Any] = {}
    if "answer" in generations:
        given = generations.column("answer")
    elif "response" in generations and settings.rule != "none":
        given = extract_column(generations.column("response"), settings.rule)
    else:
        return generations
    exact = settings.equivalence == "exact"
    answers = given if exact else canonical_column(given, units=settings.units)
    if settings.null_answers:
        texts = settings.null_answers
        empty = pa.array(
            [text if exact else canonical(text, units=settings.units) for text in texts],
            pa.string(),
        )
        flat = flat_values(answers)
        flat = pc.if_else(pc.is_in(flat, empty, skip_nulls=True), None, flat)
        answers = as_lists(flat, lengths_of(answers))
    if "answer" in generations and "answer_raw" not in generations:
        before, after = flat_values(given), flat_values(answers)
        if not before.equals(after):
            columns["answer_raw"] = given
    return generations.with_columns({**columns, "answer": answers})
