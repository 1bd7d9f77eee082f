"""Log-probabilities of pairs under the reference, computed once and kept beside the pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.files import read_parquet, sweep_leftovers, write_parquet
from statllm.training.distributed import Processes
from statllm.training.sequences import Sequences

#: Columns of the file.
REFERENCE_COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")


def reference_logps(
    module: torch.nn.Module,
    sequences: Sequences,
    rows: range,
    path: Path,
    processes: Processes,
    dtype: str,
) -> NDArray[np.float32]:
    """Read the reference's log-probabilities, or compute them and write them first.

    Parameters
    ----------
    module : Module
        Log-probabilities of rows under the reference, as the policy's are computed.
    sequences : Sequences
    rows : range
        Which of them.
    path : Path
        As `statllm.training.folder.reference_path` names it.
    processes : Processes
        Each computes its share.
    dtype : {"float32", "bfloat16"}

    Returns
    -------
    ndarray
        Shape (n_rows, 2), nats.

    Raises
    ------
    InputError
        If the file has another number of rows.
    """
    if not path.exists():
        found = _computed(module, sequences, rows, processes, dtype)
        if processes.rank == 0:
            sweep_leftovers(path)
            columns = dict(zip(REFERENCE_COLUMNS, found.T, strict=True))
            write_parquet(pa.table(columns), path)
        processes.wait()
    table = read_parquet(path, list(REFERENCE_COLUMNS))
    if table.num_rows != len(rows):
        raise InputError(f"{path} has {table.num_rows} rows, the pairs have {len(rows)}; remove it")
    return np.stack([table[name].to_numpy() for name in REFERENCE_COLUMNS], axis=1)


@torch.no_grad()
def _computed(
    module: torch.nn.Module, sequences: Sequences, rows: range, processes: Processes, dtype: str
) -> NDArray[np.float32]:
    """Bins of the pairs, each process its share of them."""
    from statllm.training.trainer import shared

    result = torch.zeros((len(rows), 2), dtype=torch.float32, device=processes.device)
    bins = sequences.bins(rows)
    autocast = torch.autocast(processes.device.type, torch.bfloat16, enabled=dtype == "bfloat16")
    for part, counts in shared(bins, processes.rank, processes.size):
        with autocast:
            logps = module(part)
        if counts:
            result[[row - rows.start for row in part]] = logps.float()
    found: NDArray[np.float32] = processes.total(result).cpu().numpy()
    return found
