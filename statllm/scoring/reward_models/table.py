"""Rewards of a generation table's responses, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.reward_gaps import RewardGaps, ensemble_gaps, laplace_gaps
from statllm.generations import SAMPLE_COLUMNS, Generations, is_prompt
from statllm.ragged import Ragged
from statllm.scoring.reward_models.laplace import RewardLaplace
from statllm.scoring.reward_models.model import RewardModel

if TYPE_CHECKING:
    import pyarrow as pa

GapVariance = Literal["none", "laplace", "ensemble"]


def add_rewards(
    generations: Generations,
    models: RewardModel | Sequence[RewardModel],
    *,
    column: str = "reward",
    gap_variance: GapVariance = "none",
    objectives: bool = False,
) -> Generations:
    """Add what a reward model says about every response.

    Parameters
    ----------
    generations : Generations
        With ``prompt`` (text or messages) and ``response``.
    models : RewardModel or sequence of RewardModel
        Several are an ensemble, such as one trained with several seeds: the reward is their mean.
    column : str
        Name of the column of rewards.
    gap_variance : {"none", "laplace", "ensemble"}
        Where the uncertainty comes from: from the covariance of the head's weights that
        `statllm train-reward` keeps beside the model, or from the spread of several models.
    objectives : bool
        Add what a model with several objectives says about each.

    Returns
    -------
    Generations
        The table and, added or replaced:

        reward : list of float
            Null where a text is too long and that is allowed.
        reward_sd : list of float
            With a gap variance: of each response, the standard deviation of its reward minus its
            prompt's mean reward. An ensemble's is that between models (ddof=1).
        reward_gap_var : float
            With a gap variance: variance of the gap between best and worst reward, see
            `statllm.estimators.reward_gaps.RewardGaps`; null with fewer than two responses.
        reward_objectives : list of list of float
            Where asked for.

        Another `column` changes the beginning of all of these names.

    Raises
    ------
    InputError
        If a column is missing, a prompt or response is null (the row is named), or the models
        don't allow the kind of gap variance.

    Examples
    --------
    >>> model = RewardModel("models/skywork-reward")  # doctest: +SKIP
    >>> add_rewards(Generations.read("samples.parquet"), model)  # doctest: +SKIP
    """
    listed = [models] if isinstance(models, RewardModel) else list(models)
    _check(listed, column, gap_variance, objectives)
    prompts, responses, rows = _texts(generations)
    outputs = []
    for model in listed:
        outputs.append(model.outputs(prompts, responses, features=gap_variance == "laplace"))
        if len(listed) > 1:
            model.release()  # an ensemble needn't fit into memory
    members = np.stack([each.reward for each in outputs])
    rewards = rows.with_values(members.mean(axis=0))
    columns: dict[str, Any] = {column: _lists(rewards)}
    gaps: RewardGaps | None = None
    if gap_variance == "laplace":
        laplace = RewardLaplace.load(listed[0].path, listed[0].head_weights)
        features = outputs[0].features.reshape(len(responses), -1)
        if not len(responses):
            features = np.empty((0, len(laplace.weights)))
        gaps = laplace_gaps(rewards, features, laplace.covariance)
    elif gap_variance == "ensemble":
        gaps = ensemble_gaps(members, rows)
    if gaps is not None:
        columns[f"{column}_sd"] = _lists(gaps.sd)
        columns[f"{column}_gap_var"] = _nullable(gaps.gap_var)
    if objectives:
        columns[f"{column}_objectives"] = _objectives(outputs[0].objectives, rows)
    return generations.with_columns(columns)


def _check(models: Sequence[RewardModel], column: str, gap_variance: str, objectives: bool) -> None:
    """Refuse what can't be computed before any model is loaded."""
    if not models:
        raise InputError("there is no reward model")
    taken = (SAMPLE_COLUMNS.keys() - {"reward"}) | {"prompt_id", "prompt", "reference"}
    if column in taken or not column:
        raise InputError(f"rewards can't be written to the column '{column}'")
    if gap_variance not in ("none", "laplace", "ensemble"):
        raise InputError(f"gap variance must be none, laplace or ensemble, not '{gap_variance}'")
    if gap_variance == "laplace":
        if len(models) > 1:
            raise InputError(f"Laplace's gap variance is that of one model, not of {len(models)}")
        RewardLaplace.load(models[0].path, models[0].head_weights)
    if gap_variance == "ensemble":
        folders = {model.path.resolve() for model in models}
        if len(folders) < 2 or len(folders) < len(models):
            raise InputError("an ensemble needs two or more different models")
    if objectives and len(models) > 1:
        raise InputError("objectives are those of one model")


def _texts(generations: Generations) -> tuple[list[Any], list[str], Ragged]:
    """Prompt and text of every response, and the shape of the table."""
    from statllm.generations import list_lengths

    for name in ("prompt", "response"):
        generations.column(name)
    ids = generations.prompt_ids
    prompts: list[Any] = []
    responses: list[str] = []
    column = generations.column("response")
    for row, (prompt, texts) in enumerate(
        zip(generations.column("prompt").to_pylist(), column.to_pylist(), strict=True)
    ):
        where = f"in row {row} (prompt_id '{ids[row]}')"
        if texts and not is_prompt(prompt):
            raise InputError(f"column 'prompt' is neither text nor messages {where}")
        if None in texts:
            raise InputError(f"column 'response' has a null {where}: it can't be given a reward")
        prompts.extend([prompt] * len(texts))
        responses.extend(texts)
    rows = Ragged.from_lengths(np.zeros(len(responses)), list_lengths(column))
    return prompts, responses, rows


def _nullable(values: NDArray[np.float64]) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, pa.float64(), mask=np.isnan(values))


def _lists(rows: Ragged) -> pa.Array:
    """A list column; NaN becomes null."""
    import pyarrow as pa

    return pa.ListArray.from_arrays(pa.array(rows.offsets, pa.int32()), _nullable(rows.values))


def _objectives(values: NDArray[np.float64], rows: Ragged) -> pa.Array:
    """A list of objectives per response."""
    import pyarrow as pa

    if len(rows.values) and not values.shape[1]:
        raise InputError("the reward model has no objectives, only a reward")
    width = values.shape[1] if len(values) else 0
    offsets = np.arange(len(values) + 1) * width
    inner = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), _nullable(values.reshape(-1)))
    return pa.ListArray.from_arrays(pa.array(rows.offsets, pa.int32()), inner)
