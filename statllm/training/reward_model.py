"""Train a reward model on preference pairs (Bradley-Terry), with its reward-gap variance."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from statllm._formats import read_rows
from statllm.errors import InputError
from statllm.estimators.comparison import mean_estimate
from statllm.estimators.proportions import proportion
from statllm.estimators.reward_laplace import BradleyTerryFit, fit_bradley_terry
from statllm.files import atomic_folder, sha256, write_json, write_parquet
from statllm.models import load_tokenizer
from statllm.pairs import PAIR_COLUMNS, check_columns
from statllm.results import Estimate
from statllm.scoring.reward_models.encoding import Encoded, encode, text_of
from statllm.scoring.reward_models.laplace import RewardLaplace
from statllm.training.data import Rows, max_length
from statllm.training.folder import (
    COPIED_FILES,
    discard,
    finished,
    latest_checkpoint,
    local_folder,
    open_partial,
    table_digest,
    training_curve,
)
from statllm.training.progress import ProgressLine
from statllm.training.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainerCallback

FloatArray = npt.NDArray[np.float64]

#: What a training found out, in the model's folder.
SUMMARY_FILE = "reward_training.json"


class RewardSettings(TrainingSettings):
    """Settings of a reward model's training.

    Examples
    --------
    >>> RewardSettings(learning_rate=1e-3, epochs=2).held_out
    0.1
    """

    held_out: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the prompts whose pairs aren't trained on; the accuracy is theirs.",
    )
    prior_precision: float | None = Field(
        None,
        gt=0,
        description="Of the normal prior on the head's weights, in Laplace's approximation. "
        "None: the one with the highest evidence.",
    )
    chat: bool = Field(
        False,
        description="Take a prompt that is text for a user's one message. Otherwise it's put "
        "before the response as it is.",
    )
    eval_batch_tokens: int = Field(
        16384, ge=1, description="Tokens of a batch where features are computed after training."
    )


@dataclass(frozen=True)
class RewardSummary:
    """What a reward model's training did.

    Parameters
    ----------
    model : Path
        The trained model's folder.
    n_input, n_pairs, n_held_out, n_steps : int
        Rows of the input, pairs that were trained on, pairs that were held out, optimizer steps.
        The pairs and the drops add up to `n_input`.
    drops : dict
        Number of rows that were dropped, by reason.
    dropped : pa.Table
        Each of them: ``row``, ``prompt_id``, ``reason``.
    curve : pa.Table
        One row per optimizer step.
    accuracy, log_loss : Estimate
        Of the held-out pairs: share whose chosen response has the higher reward (a tie is a
        half), and mean −log σ(gap), nats. n is 0 and the value NaN where nothing was held out.
    fit : BradleyTerryFit
        The head's weights and their covariance.
    """

    model: Path
    n_input: int
    n_pairs: int
    n_held_out: int
    n_steps: int
    drops: dict[str, int]
    dropped: pa.Table
    curve: pa.Table
    accuracy: Estimate
    log_loss: Estimate
    fit: BradleyTerryFit


def train_reward_model(
    model: str | Path,
    pairs: pa.Table | str | Path,
    out: str | Path,
    settings: RewardSettings,
    *,
    curve: str | Path | None = None,
    progress: bool = True,
    callbacks: Sequence[TrainerCallback] = (),
) -> RewardSummary:
    """Train a language model, or a reward model, to prefer the chosen responses.

    The loss is −log σ(r_chosen − r_rejected). After the last step the head is put where the
    penalised likelihood of the training pairs is highest, the rest being given: Laplace's
    approximation is made there, and its covariance lies in the folder
    (``reward_laplace.safetensors``). It covers the head alone, and the features were learned
    from the same pairs, so it is a lower bound of what is unknown; several models trained with
    other seeds, as an ensemble, show more of it.

    Parameters
    ----------
    model : str or Path
        A decoder's folder, or its name on the hub.
    pairs : pa.Table or path
        ``prompt``, ``chosen``, ``rejected``; see `statllm.pairs`. Texts are tokenized as
        `statllm.scoring.reward_models.encoding.encode` does; token ids, and weights, are not
        used. Pairs with the same ``prompt_id`` (else: prompt) are held out together.
    out : str or Path
        Folder of the reward model, a transformers sequence classifier; it appears, or is
        replaced, as a whole at the end. Until then the work lies in ``<out>.partial``, from which
        an interrupted run goes on.
    settings : RewardSettings
    curve : str or Path, optional
        Where to write the training curve (Parquet).
    progress : bool
        Show progress, and what was dropped, on the error stream.
    callbacks : sequence of transformers.TrainerCallback

    Returns
    -------
    RewardSummary

    Raises
    ------
    InputError
        If the pairs or the model are not usable, no pair is left to train on, or
        ``<out>.partial`` belongs to another run.
    RuntimeError
        If a loss isn't a number.
    """
    from transformers import AutoConfig

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("a reward model is trained in one process: start it without a launcher")
    start, out = local_folder(model), Path(out)
    table = pairs if isinstance(pairs, pa.Table) else read_rows(pairs)
    table = check_columns(table, PAIR_COLUMNS, ("prompt", "chosen", "rejected"))
    tokenizer = load_tokenizer(start)
    longest = max_length(AutoConfig.from_pretrained(start), settings.max_length)
    rows = reward_rows(table, tokenizer, longest, settings.chat)
    aside = held_out(rows.table["group"].to_pylist(), settings.held_out, settings.seed)
    training = rows.table.filter(pa.array(~aside))
    if training.num_rows == 0:
        raise InputError("no pair is left to train on: all prompts are held out")
    inputs = {"model": sha256(start), "data": table_digest(table)}
    folder = open_partial(out, start, inputs, settings)
    line = ProgressLine(settings.logging_steps, shown=progress)
    line.say_rows(table.num_rows, rows.drops)
    if finished(folder) is None:
        _train(start, training, settings, folder, line, callbacks)
    done = finished(folder)
    if done is None:
        raise RuntimeError("the training was stopped before its last step")
    checkpoint, history = done
    steps = training_curve(history, training.num_rows)
    if curve is not None:
        write_parquet(steps, curve)
    trained, fit, gaps = _with_head(checkpoint, rows.table, aside, settings)
    groups = np.array(rows.table["group"].to_pylist(), dtype=object)[aside]
    summary = RewardSummary(
        model=out,
        n_input=table.num_rows,
        n_pairs=training.num_rows,
        n_held_out=int(aside.sum()),
        n_steps=steps.num_rows,
        drops=rows.drops,
        dropped=rows.dropped,
        curve=steps,
        accuracy=pair_accuracy(gaps, groups),
        log_loss=mean_estimate(np.logaddexp(0, -gaps), _clusters(groups), "log loss", "nats"),
        fit=fit,
    )
    _publish(trained, start, out, summary)
    discard(folder)
    return summary


def reward_rows(
    table: pa.Table, tokenizer: PreTrainedTokenizerBase, max_length: int, chat: bool = False
) -> Rows:
    """Return the tokens of both texts of each pair, and what became of the other rows.

    Reasons for a drop, the first that holds: ``identical`` (texts with the same tokens),
    ``too_long``.

    Returns
    -------
    Rows
        Columns ``chosen_ids``, ``rejected_ids`` and ``group`` (the prompt's id, else its text).
    """
    prompts = table["prompt"].to_pylist()
    known = "prompt_id" in table.column_names
    groups = table["prompt_id"].to_pylist() if known else [None] * len(prompts)
    groups = [
        text_of(p) if group is None else group for group, p in zip(groups, prompts, strict=True)
    ]
    ids = {
        name: [
            encode(tokenizer, prompt, text, chat=chat).ids
            for prompt, text in zip(prompts, table[name].to_pylist(), strict=True)
        ]
        for name in ("chosen", "rejected")
    }
    same = [a == b for a, b in zip(ids["chosen"], ids["rejected"], strict=True)]
    long = [
        max(len(a), len(b)) > max_length
        for a, b in zip(ids["chosen"], ids["rejected"], strict=True)
    ]
    reasons = np.select([same, long], ["identical", "too_long"], "")
    kept = pa.table(
        {
            **{f"{name}_ids": pa.array(rows, pa.list_(pa.int32())) for name, rows in ids.items()},
            "group": pa.array(groups, pa.string()),
        }
    ).filter(pa.array(reasons == ""))
    where = np.flatnonzero(reasons != "")
    dropped = pa.table(
        {
            "row": pa.array(where, pa.int64()),
            "prompt_id": table["prompt_id"].take(where) if known else pa.nulls(len(where)),
            "reason": pa.array(reasons[where].tolist(), pa.string()),
        }
    )
    result = Rows(kept, dropped)
    if kept.num_rows == 0:
        counts = ", ".join(f"{count} {reason}" for reason, count in result.drops.items())
        raise InputError(f"no row is left to train on: {counts}")
    return result


def held_out(groups: Sequence[str], share: float, seed: int = 0) -> npt.NDArray[np.bool_]:
    """Which rows are held out: a share of the groups, whole ones, by a hash of seed and group.

    Examples
    --------
    >>> held_out(["a", "b", "a", "c"], 0.34)
    array([ True, False,  True, False])
    """
    distinct = sorted(set(groups))
    order = sorted(distinct, key=lambda g: hashlib.sha256(f"{seed}:{g}".encode()).digest())
    n = min(max(round(share * len(order)), int(share > 0)), len(order) - 1)
    chosen = set(order[:n])
    return np.array([group in chosen for group in groups], dtype=bool)


def pair_accuracy(gaps: npt.ArrayLike, groups: Sequence[Any] | npt.NDArray[Any]) -> Estimate:
    """Share of pairs with a positive reward gap; a tie counts half.

    Wilson's interval where every prompt has one pair, else a t interval with the prompts as
    clusters.

    Examples
    --------
    >>> accuracy = pair_accuracy([0.5, 2.0, -1.0, 0.0], ["a", "b", "c", "d"])
    >>> accuracy.value, f"{accuracy.interval():.3f}"
    (0.625, '[0.219, 0.908]')
    """
    gaps = np.asarray(gaps, dtype=np.float64)
    right = np.heaviside(gaps, 0.5)
    if not len(right) or len(set(groups)) == len(right):
        found = proportion(float(right.sum()), len(right), name="pair accuracy")
    else:
        found = mean_estimate(right, _clusters(groups), "pair accuracy")
    return found


def _clusters(groups: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    number: dict[Any, int] = {}
    return np.array([number.setdefault(group, len(number)) for group in groups], dtype=np.int64)


def _train(
    start: Path,
    rows: pa.Table,
    settings: RewardSettings,
    folder: Path,
    line: ProgressLine,
    callbacks: Sequence[TrainerCallback],
) -> None:
    """Train from the last checkpoint, if there is one."""
    from statllm.training.callbacks import with_callbacks
    from statllm.training.reward_trainer import RewardObjective, load_classifier
    from statllm.training.trainer import Trainer

    with line.shown() as on_step:
        trainer = Trainer(
            load_classifier(start, settings.seed),
            RewardObjective(rows, settings.token_budget),
            settings,
            folder,
            callbacks=with_callbacks(callbacks, settings, folder),
            on_step=on_step,
        )
        trainer.train(latest_checkpoint(folder))


def _with_head(
    checkpoint: Path, rows: pa.Table, aside: npt.NDArray[np.bool_], settings: RewardSettings
) -> tuple[Any, BradleyTerryFit, FloatArray]:
    """The model with its head at the mode, Laplace's approximation, and the held-out gaps."""
    import torch

    from statllm.training.reward_trainer import load_classifier

    model = load_classifier(checkpoint)
    model.to("cuda" if torch.cuda.is_available() else "cpu").train(False)
    features = [
        features_of(model, rows[f"{name}_ids"].to_pylist(), settings.eval_batch_tokens)
        for name in ("chosen", "rejected")
    ]
    differences = features[0] - features[1]
    fit = fit_bradley_terry(differences[~aside], settings.prior_precision)
    with torch.no_grad():
        weights = torch.tensor(fit.weights, dtype=torch.float32)
        model.score.weight.copy_(weights.to(model.device)[None])
    return model, fit, differences[aside] @ fit.weights


def features_of(model: Any, texts: Sequence[list[int]], batch_tokens: int) -> FloatArray:
    """Hidden states that the head of a sequence classifier sees, (n_texts, width)."""
    from statllm.scoring._encoders import batches
    from statllm.scoring.reward_models.decoder import reward_outputs
    from statllm.scoring.reward_models.heads import LinearHead

    head = LinearHead(model.score.weight, model.score.bias)
    rows = np.empty((len(texts), model.score.weight.shape[1]))
    lengths = np.array([len(ids) for ids in texts], dtype=np.int64)
    for places in batches(lengths, batch_tokens):
        _, states = reward_outputs(model.base_model, head, [Encoded(texts[i]) for i in places])
        rows[places] = states.double().cpu().numpy()
    return rows


def _publish(model: Any, start: Path, out: Path, summary: RewardSummary) -> None:
    """Write the model folder: classifier, tokenizer, covariance, and what was found."""
    from statllm.scoring.reward_models.loading import quiet

    with atomic_folder(out) as folder, quiet():
        model.config.use_cache = True  # trainers switch it off
        model.save_pretrained(folder)
        for name in COPIED_FILES:
            if name != "generation_config.json" and (start / name).is_file():
                shutil.copyfile(start / name, folder / name)
        fit = summary.fit
        laplace = RewardLaplace(fit.weights, fit.covariance, fit.prior_precision, fit.n_pairs)
        laplace.save(folder)
        about = {
            "n_pairs": summary.n_pairs,
            "n_held_out": summary.n_held_out,
            "n_steps": summary.n_steps,
            "drops": summary.drops,
            "prior_precision": fit.prior_precision,
            "log_evidence": fit.log_evidence,
        }
        if summary.n_held_out:
            for figure in (summary.accuracy, summary.log_loss):
                limits = figure.interval(0.95)
                about[figure.name.replace(" ", "_")] = {
                    "value": figure.value,
                    "low": limits.low,
                    "high": limits.high,
                    "n": figure.n,
                    "method": limits.method,
                }
        write_json(about, folder / SUMMARY_FILE)
