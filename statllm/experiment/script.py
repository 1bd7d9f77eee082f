"""What the script of a study has in common with the others: its options, the run, the result."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from statllm.experiment.analysis import analyse
from statllm.experiment.report import write_result
from statllm.experiment.run import run_experiment
from statllm.experiment.settings import Experiment, read_experiment

#: Changes the experiment before it runs, and writes what it needs into the folder.
Prepare = Callable[[Experiment, Path], Experiment]


def run_study(
    source: Path, description: str, prepare: Prepare | None = None
) -> tuple[Experiment, Path]:
    """Read the command line of a study, run its experiment, and write the result.

    The stages run in this process: small models train faster than processes start.

    Parameters
    ----------
    source : Path
        Of the experiment (YAML).
    description : str
        For ``--help``; its first line is shown.
    prepare : callable, optional

    Returns
    -------
    Experiment, Path
        As it was run, and the folder: ``--output``, or ``runs/NAME``.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Two seeds, few problems.")
    parser.add_argument("-o", "--output", type=Path, help="Folder; runs/NAME when left out.")
    parser.add_argument("--seeds", type=int, help="So many, from 0, instead of the file's.")
    options = parser.parse_args()
    seeds = {} if options.seeds is None else {"seeds": list(range(options.seeds))}
    experiment = read_experiment(source, quick=options.quick, **seeds)
    folder: Path = options.output or Path("runs") / experiment.name
    folder.mkdir(parents=True, exist_ok=True)
    if prepare is not None:
        experiment = prepare(experiment, folder)
    run_experiment(experiment, folder, isolate=False, listener=_say)
    write_result(analyse(experiment, folder), folder)
    return experiment, folder


def _say(arm: str, seed: int, iteration: int, stage: str, state: str) -> None:
    if state == "done":
        print(f"{arm}, seed {seed}, iteration {iteration}: {stage}", flush=True)
