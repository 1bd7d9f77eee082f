"""Rubrics of several questions: criteria that a response meets, and layers of good feedback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from statllm.errors import InputError
from statllm.estimators.proportions import proportion
from statllm.generations import Generations
from statllm.results import Estimate
from statllm.scoring.judges._steps import (
    Judged,
    counts,
    named,
    placed,
    put_each,
    split,
    votes_of,
)
from statllm.scoring.judges.asking import JudgeModel
from statllm.scoring.judges.responses import Shown
from statllm.scoring.judges.settings import JudgeSettings
from statllm.scoring.judges.verdicts import VerdictSummary, summarise

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]

#: What makes feedback good, in the order in which LLMCrit (Yuan et al. 2024) asks; our words.
LAYERS: Mapping[str, str] = {
    "validity": "Is what the feedback claims about the text true and to the point?",
    "contextualisation": "Does the feedback speak of this text in particular, by quoting it or "
    "naming places in it, so that it wouldn't fit any other text as well?",
    "constructiveness": "Does the feedback say what to change, so that the author could act on it?",
    "helpfulness": "All in all, would the author write a better text with this feedback?",
}


@dataclass(frozen=True)
class LayeredRates:
    """How many pieces of feedback pass each layer, of those that passed all before.

    Attributes
    ----------
    rates : tuple of Estimate
        One per layer, n shrinking, with Wilson's intervals: conditional rates, whose product is
        the rate of passing all of them.
    n_passed, n_asked, n_unread : tuple of int
        Of each layer: passed, asked (whoever passed all before), and without a readable verdict.
        Rates are over asked - unread.
    overall : Estimate
        Passed all, of those whose fate is known.
    """

    rates: tuple[Estimate, ...]
    n_passed: tuple[int, ...]
    n_asked: tuple[int, ...]
    n_unread: tuple[int, ...]
    overall: Estimate

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer."""
        import pandas as pd

        frame = pd.concat([rate.to_frame() for rate in self.rates], ignore_index=True)
        return frame.assign(n_passed=self.n_passed, n_asked=self.n_asked, n_unread=self.n_unread)


def layered_rates(passed: ArrayLike, names: tuple[str, ...] = tuple(LAYERS)) -> LayeredRates:
    """Pass rates of layers that are looked at in order, each on what passed all before.

    Parameters
    ----------
    passed : array_like of float, shape (n, n_layers)
        1, 0, or NaN for an unreadable verdict. What stands behind a layer that wasn't passed
        doesn't count, whatever it is.
    names : tuple of str

    Returns
    -------
    LayeredRates

    Raises
    ------
    ValueError
        If there isn't one name per layer or a value is none of 1, 0, NaN.

    Examples
    --------
    >>> nan = float("nan")
    >>> rates = layered_rates([[1, 1], [1, 0], [0, 1], [nan, nan]], ("valid", "specific"))
    >>> [f"{rate.value:.2f} of {rate.n}" for rate in rates.rates], rates.n_unread
    (['0.67 of 3', '0.50 of 2'], (1, 0))
    """
    table = np.asarray(passed, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(names):
        raise ValueError(f"{len(names)} layers were expected, not shape {table.shape}")
    if not np.all(np.isin(table, [0, 1]) | np.isnan(table)):
        raise ValueError("layers must hold 1, 0 and NaN")
    through = np.ones(len(table), dtype=bool)
    unknown = np.zeros(len(table), dtype=bool)
    rates, n_passed, n_asked, n_unread = [], [], [], []
    for name, layer in zip(names, table.T, strict=True):
        unread = through & np.isnan(layer)
        n_asked.append(int(through.sum()))
        n_unread.append(int(unread.sum()))
        unknown |= unread
        through &= layer == 1
        n_passed.append(int(through.sum()))
        rates.append(proportion(n_passed[-1], n_asked[-1] - n_unread[-1], name=name))
    overall = proportion(int(through.sum()), int((~unknown).sum()), name="all layers")
    return LayeredRates(tuple(rates), tuple(n_passed), tuple(n_asked), tuple(n_unread), overall)


def read_criteria(source: str | Path | Mapping[str, str]) -> dict[str, str]:
    """Return criteria as {name: text}, from a mapping or a YAML file of one.

    Raises
    ------
    InputError
        If the file isn't there or holds something else.

    Examples
    --------
    >>> read_criteria({"sources": "It names its sources."})
    {'sources': 'It names its sources.'}
    """
    found: Any = source
    if not isinstance(source, Mapping):
        import yaml

        from statllm.files import existing_file

        try:
            found = yaml.safe_load(existing_file(source).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"criteria {source}: {' '.join(str(error).split())}") from error
    texts = isinstance(found, Mapping) and all(
        isinstance(text, str) for pair in found.items() for text in pair
    )
    if not texts or not found:
        raise InputError(f"criteria {source}: a mapping of names to texts was expected")
    return dict(found)


def judge_criteria(
    generations: Generations,
    seen: Shown,
    model: JudgeModel,
    settings: JudgeSettings,
    cache: str | Path | None,
    column: str,
) -> Judged:
    """Check every response against every criterion; see `statllm.scoring.judges.judge`."""
    assert settings.criteria is not None  # the settings checked that
    criteria = read_criteria(settings.criteria)
    met, unread, tables = [], [], []
    for name, text in criteria.items():
        value, apply, table = _ask_all(seen, model, settings, cache, {"criterion": text})
        met.append(votes_of(value)[1])
        unread.append((np.isnan(value) & apply).any(axis=1))
        tables.append(
            table.append_column("criterion", pa.array([name] * table.num_rows, pa.string()))
        )
    passes = np.stack(met, axis=1)
    with np.errstate(invalid="ignore"):
        applicable = (~np.isnan(passes)).sum(axis=1)
        reward = np.nansum(passes, axis=1) / applicable
        if settings.pass_rule == "all":
            reward = np.where(
                applicable > 0, (np.nan_to_num(passes, nan=1.0) == 1).all(axis=1), np.nan
            )
    reward = np.where(np.any(unread, axis=0), np.nan, reward)
    whole = pa.concat_tables(tables)
    columns = {
        column: seen.spread(split(seen, reward)),
        "criteria": _vectors(seen, passes),
        "criteria_names": pa.array([list(criteria)] * len(seen.prompts), pa.list_(pa.string())),
        **_counts(seen, whole),
    }
    return _judged(generations, seen, model, columns, whole)


def judge_layers(
    generations: Generations,
    seen: Shown,
    model: JudgeModel,
    settings: JudgeSettings,
    cache: str | Path | None,
    column: str,
) -> Judged:
    """Assess feedback layer by layer; see `statllm.scoring.judges.judge`."""
    n = sum(map(len, seen.texts))
    passed = np.full((n, len(LAYERS)), np.nan)
    unread, still = np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
    tables = []
    for layer, (name, text) in enumerate(LAYERS.items()):
        value, _, table = _ask_all(_only(seen, still), model, settings, cache, {"layer": text})
        n_read, mean, _ = votes_of(value)
        # a majority of the votes that could be read; half of them is no majority
        passed[still, layer] = np.where(n_read > 0, mean > 0.5, np.nan)
        unread[still] |= n_read == 0
        tables.append(
            table.append_column("criterion", pa.array([name] * table.num_rows, pa.string()))
        )
        still = passed[:, layer] == 1
    reward = np.where(unread, np.nan, np.nansum(passed, axis=1))
    whole = pa.concat_tables(tables)
    columns = {
        column: seen.spread(split(seen, reward)),
        "layers": _vectors(seen, passed),
        **_counts(seen, whole),
    }
    return _judged(generations, seen, model, columns, whole)


def _ask_all(
    seen: Shown,
    model: JudgeModel,
    settings: JudgeSettings,
    cache: str | Path | None,
    placeholder: dict[str, str],
) -> tuple[FloatArray, NDArray[np.bool_], pa.Table]:
    """Votes on every response, where they aren't 'not applicable', and the table of verdicts.

    The table's places are those in the prompts' rows.
    """
    verdicts, table = put_each(model, seen, settings, cache, placeholder)
    shape = (-1, settings.votes)
    reasons = np.array(verdicts.reason.to_pylist(), dtype=object)
    applies = (reasons != "not_applicable").reshape(shape)
    return verdicts.to_numpy().reshape(shape), applies, placed(table, seen, ("response",))


def _only(seen: Shown, kept: NDArray[np.bool_]) -> Shown:
    """The same prompts with some of their texts; their places are as before."""
    masks = split(seen, kept)
    return replace(
        seen,
        texts=[list(compress(*pair)) for pair in zip(seen.texts, masks, strict=True)],
        places=[places[mask] for places, mask in zip(seen.places, masks, strict=True)],
    )


def _vectors(seen: Shown, values: FloatArray) -> pa.Array:
    """A list per response, null for one that isn't judged."""
    rows, start = [], 0
    for length, places in zip(seen.lengths, seen.places, strict=True):
        full: list[list[float | None] | None] = [None] * int(length)
        for offset, place in enumerate(places):
            vector = values[start + offset]
            full[int(place)] = [None if np.isnan(one) else float(one) for one in vector]
        start += len(places)
        rows.append(full)
    return pa.array(rows, pa.list_(pa.list_(pa.float64())))


def _counts(seen: Shown, table: pa.Table) -> dict[str, Any]:
    """As `counts`; that a criterion doesn't apply is an answer, so it isn't unreadable."""
    value = np.array(
        [
            0.0 if reason == "not_applicable" or value is not None else np.nan
            for value, reason in zip(
                table["verdict"].to_pylist(), table["reason"].to_pylist(), strict=True
            )
        ]
    )
    return dict(counts(seen, table["prompt"].to_numpy(), value))


def _judged(
    generations: Generations,
    seen: Shown,
    model: JudgeModel,
    columns: dict[str, Any],
    table: pa.Table,
) -> Judged:
    summary: VerdictSummary = summarise(table["verdict"].to_pylist(), table["reason"].to_pylist())
    return Judged(generations.with_columns(columns), named(table, seen, model), summary)
