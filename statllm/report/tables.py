"""The tables of the page: the flow, the figures, and what differs between runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from statllm.report import words
from statllm.report.artefacts import RunData

if TYPE_CHECKING:
    from statllm.recipe import Iteration


@dataclass(frozen=True)
class Step:
    """One box of the flow: a number (None if it isn't known), what it counts, and a remark."""

    number: int | None
    unit: str
    note: str


def prepare_flow(data: RunData, iteration: int) -> list[Step]:
    """Return the boxes of an iteration, from prompts to evaluated problems."""
    settings = data.run.recipe.iteration(iteration)
    written, sampled, scored, selected, chosen, trained, evaluated = (
        data.stages.get((iteration, stage), {})
        for stage in ("write", "sample", "score", "select", "choose", "train", "evaluate")
    )
    new, samples = written.get("new problems"), sampled.get("samples")
    voting = None if samples is None else samples - sampled.get("extra", 0)
    accuracy = data.figure("greedy_accuracy", iteration)
    dropped = sum(count for name, count in trained.items() if name.startswith("dropped"))
    return [
        Step(
            sampled.get("prompts"),
            "prompts",
            "" if new is None else f"{words.count(new)} of them written by a model",
        ),
        Step(samples, "samples", _draws(settings)),
        Step(
            scored.get("votes"),
            "votes",
            _share(
                scored.get("votes"),
                voting,
                f"of samples {'that vote ' if settings.extra else ''}have an answer",
            ),
        ),
        Step(
            selected.get("kept"),
            "prompts kept",
            _share(selected.get("kept"), selected.get("prompts"), "of prompts"),
        ),
        Step(
            selected.get("pairs"),
            "pairs",
            f"{words.count(dropped)} dropped before training" if dropped else "",
        ),
        Step(
            trained.get("steps"),
            "training steps",
            _stopped(settings, chosen),
        ),
        Step(
            evaluated.get("prompts"),
            "problems evaluated",
            f"greedy {words.percent(accuracy['value'])}" if accuracy else "",
        ),
    ]


def _draws(settings: Iteration) -> str:
    """How a prompt's samples are drawn."""
    text = f"{settings.sampling.n} each, temperature {settings.sampling.temperature:g}"
    extra = settings.extra
    if extra is None:
        return text
    return f"{text}; {extra.n} more at {extra.temperature:g}, which don't vote"


def _stopped(settings: Iteration, chosen: Mapping[str, int]) -> str:
    """The size of a batch, and by what the number of steps was chosen."""
    text = f"batches of {settings.training.batch_size}"
    if not chosen:
        return text
    tried, problems = (words.count(chosen[name]) for name in ("steps tried", "problems"))
    return f"{text}; best of {tried} on {problems} held-out problems"


def _share(part: int | None, whole: int | None, of: str) -> str:
    return f"{words.percent(part / whole)} {of}" if part is not None and whole else ""


@dataclass(frozen=True)
class Cell:
    """A figure of one run: value and interval in the row's unit, and a p-value for a gain."""

    value: str
    interval: str
    p: str


@dataclass(frozen=True)
class FigureRow:
    """A figure at one iteration, for every run; None where a run doesn't have it."""

    iteration: int
    cells: list[Cell | None]
    n: str
    method: str


@dataclass(frozen=True)
class Figure:
    """A named figure with its unit, at every iteration that has it."""

    name: str
    unit: str
    rows: list[FigureRow]


_ORDER = (
    "greedy_accuracy", "majority", "sample_accuracy", "greedy_gain", "majority_gain",
    "vote_share", "vote_entropy", "auroc_vote_share",
)  # fmt: skip


def prepare_figures(runs: Sequence[RunData]) -> list[Figure]:
    """Return every figure of the runs side by side, accuracies first."""
    names = dict.fromkeys(row["name"] for data in runs for row in data.metrics)
    iterations = range(max(data.last for data in runs) + 1)
    found = []
    for name in sorted(names, key=_rank):
        unit = next(words.unit(r) for data in runs for r in data.metrics if r["name"] == name)
        rows = [_figure_row(runs, name, iteration) for iteration in iterations]
        present = [row for row in rows if row is not None]
        found.append(Figure(words.figure_name(name), unit, present))
    return found


def _figure_row(runs: Sequence[RunData], name: str, iteration: int) -> FigureRow | None:
    rows = [_find(data, name, iteration) for data in runs]
    there = [row for row in rows if row is not None]
    if not there:
        return None
    return FigureRow(
        iteration,
        [None if row is None else _cell(row) for row in rows],
        _joined(words.count(row["n"]) for row in there),
        _joined(_method(row) for row in there),
    )


def _rank(name: str) -> int:
    stem = name.split("@")[0]
    return _ORDER.index(stem) if stem in _ORDER else len(_ORDER)


def _find(data: RunData, name: str, iteration: int) -> dict[str, Any] | None:
    rows = (r for r in data.metrics if r["name"] == name and r["iteration"] == iteration)
    return next(rows, None)


def _cell(row: Mapping[str, Any]) -> Cell:
    p = "" if row["log_p_value"] is None else words.p_value(row["log_p_value"])
    return Cell(words.value(row), words.interval(row), p)


def _method(row: Mapping[str, Any]) -> str:
    text = words.method(row)
    return f"{text}; {row['test']}" if row["test"] else text


def _joined(texts: Iterator[str]) -> str:
    """One text where all runs agree, else all of them in the runs' order."""
    every = list(texts)
    return every[0] if len(set(every)) == 1 else " / ".join(every)


def prepare_differences(runs: Sequence[RunData]) -> list[tuple[str, list[str]]]:
    """Return the settings in which the runs' recipes differ, with each run's value."""
    flat = [dict(_flatten(_recipe(data))) for data in runs]
    keys = dict.fromkeys(key for recipe in flat for key in recipe)
    rows = []
    for key in keys:
        values = [recipe.get(key, "–") for recipe in flat]
        if len(set(values)) > 1 and key != "name":
            rows.append((key, values))
    return rows


def _recipe(data: RunData) -> dict[str, Any]:
    """The recipe with its iterations under their numbers."""
    recipe: dict[str, Any] = data.run.recipe.model_dump(mode="json")
    recipe["iterations"] = {str(k): v for k, v in enumerate(recipe["iterations"], 1)}
    return recipe


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, value as text) of a nested mapping."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
