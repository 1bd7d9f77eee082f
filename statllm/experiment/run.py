"""Run every arm of an experiment with every seed; resumable, and nothing is computed twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from statllm.errors import InputError
from statllm.experiment.settings import Experiment
from statllm.loop import run
from statllm.processes import StageProcesses
from statllm.stages import Run

#: Called like a run's listener, with the arm and the seed before it.
ExperimentListener = Callable[[str, int, int, str, str], None]


def run_experiment(
    experiment: Experiment,
    folder: str | Path,
    *,
    isolate: bool = True,
    listener: ExperimentListener | None = None,
) -> None:
    """Run what isn't complete yet.

    Parameters
    ----------
    experiment : Experiment
    folder : str or Path
        ``arm/seed_k`` in it are run folders, as `statllm.loop.run` makes them. Seeds come one
        after the other, arms within each, so that a stopped experiment has whole comparisons.
    isolate : bool
        One process per stage (default).
    listener : callable, optional
        Told of every stage: (arm, seed, iteration, stage, state).

    Raises
    ------
    InputError
        If a run refuses its input; the arm and the seed are named.
    """
    folder = Path(folder)
    tell = listener or (lambda arm, seed, iteration, stage, state: None)
    with StageProcesses() as processes:
        for seed in experiment.seeds:
            done: list[Path] = []
            for arm in experiment.arms:
                place = run_folder(folder, arm, seed)
                try:
                    run(
                        experiment.recipe(arm, seed),
                        place,
                        reuse=done,
                        isolate=isolate,
                        processes=processes,
                        listener=lambda k, stage, state, arm=arm, seed=seed: tell(  # type: ignore[misc]
                            arm, seed, k, stage, state
                        ),
                    )
                except InputError as error:
                    raise InputError(f"arm '{arm}', seed {seed}: {error}") from error
                done.append(place)


def run_folder(folder: str | Path, arm: str, seed: int) -> Path:
    """Return where the run of an arm and a seed lies."""
    return Path(folder) / arm / f"seed_{seed}"


def open_run(folder: str | Path, arm: str, seed: int) -> Run:
    """Open a run of an experiment.

    Raises
    ------
    InputError
        If it isn't there.
    """
    return Run.open(run_folder(folder, arm, seed))
