"""Log-probabilities of pairs under the reference, computed once and kept beside the pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.files import read_parquet, write_parquet
from statllm.training.distributed import Processes
from statllm.training.sequences import Sequences

#: Columns of the file.
REFERENCE_COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")


def reference_file(folder: Path, pairs: str, model: str, dtype: str) -> Path:
    """Where the log-probabilities of these pairs under this model lie.

    Parameters
    ----------
    folder : Path
    pairs, model : str
        Digests of the rows of token ids, and of the model folder.
    dtype : str
        Arithmetic of the forward pass, which must be the policy's.
    """
    return folder / f"reference-{pairs[:16]}-{model[:16]}-{dtype}.parquet"


def reference_logps(
    module: torch.nn.Module,
    sequences: Sequences,
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
    path : Path
        As `reference_file` names it.
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
        found = _computed(module, sequences, processes, dtype)
        if processes.rank == 0:
            columns = dict(zip(REFERENCE_COLUMNS, found.T, strict=True))
            write_parquet(pa.table(columns), path)
        processes.wait()
    table = read_parquet(path, list(REFERENCE_COLUMNS))
    if table.num_rows != len(sequences.rows):
        raise InputError(
            f"{path} has {table.num_rows} rows, the pairs have {len(sequences.rows)}; remove it"
        )
    return np.stack([table[name].to_numpy() for name in REFERENCE_COLUMNS], axis=1)


@torch.no_grad()
def _computed(
    module: torch.nn.Module, sequences: Sequences, processes: Processes, dtype: str
) -> NDArray[np.float32]:
    """All pairs, longest first, each process its share of the bins."""
    from statllm.training.trainer import shared

    n = len(sequences.rows)
    result = torch.zeros((n, 2), dtype=torch.float32, device=processes.device)
    bins = sequences.bins(range(n))
    autocast = torch.autocast(processes.device.type, torch.bfloat16, enabled=dtype == "bfloat16")
    for rows, counts in shared(bins, processes.rank, processes.size):
        with autocast:
            logps = module(rows)
        if counts:
            result[rows] = logps.float()
    found: NDArray[np.float32] = processes.total(result).cpu().numpy()
    return found
