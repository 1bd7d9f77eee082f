"""The different shingle sets of a table, on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from statllm.engines.job import Job
from statllm.ragged import BoolArray, IntArray
from statllm.selection._candidates import first_equal
from statllm.selection._draws import Words
from statllm.selection._minhash import ShingleSets


@dataclass(frozen=True, eq=False)
class Nodes:
    """The first of equal sets each, with the hashes of its bands.

    Attributes
    ----------
    job : Job
        Whose outputs "sets" and "keys" the nodes are taken from.
    of_set : ndarray of int64, shape (n_sets,)
        The node that a set equals.
    chosen : ndarray of bool, shape (n_sets,)
        The sets that are nodes.
    sets : ShingleSets
        Of nodes; the hashes are mapped from a file.
    keys : ndarray of uint64, shape (bands, n_nodes)
        Mapped from a file where the keys of one node lie side by side.
    """

    job: Job
    of_set: IntArray
    chosen: BoolArray
    sets: ShingleSets
    keys: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.sets.offsets) - 1

    @classmethod
    def of(cls, job: Job, n_sets: int, bands: int) -> Nodes:
        """Find the nodes among a job's sets, and write what is compared of them."""
        one = job.column("sets", "one", np.empty(n_sets, np.uint64))
        first = first_equal(one, job.column("sets", "two", np.empty(n_sets, np.uint64)))
        del one
        chosen = first == np.arange(n_sets)
        of_set = (np.cumsum(chosen) - 1)[first]
        del first
        hashes, keys = job.folder / "hashes.bin", job.folder / "keys.bin"
        lengths = _write_hashes(job, chosen, hashes)
        _write_keys(job, chosen, keys)
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(
            job,
            of_set,
            chosen,
            ShingleSets(_mapped(hashes, np.dtype(np.int64)), offsets),
            _mapped(keys, np.dtype(np.uint64)).reshape(len(lengths), bands).T,
        )

    def bands(self) -> Iterator[Words]:
        """Read the rows of `keys` one after the other."""
        for band in range(len(self.keys)):
            keys = self.job.column("keys", str(band), np.empty(len(self.of_set), np.uint64))
            yield keys[self.chosen]


def _write_hashes(job: Job, chosen: BoolArray, path: Path) -> NDArray[np.int32]:
    """Write the chosen sets' hashes one after the other; return how many each has."""
    lengths = np.empty(np.count_nonzero(chosen), np.int32)
    n = start = 0
    with path.open("wb") as out:
        for file in job.files("sets"):
            for batch in file.iter_batches(columns=["hashes"], use_threads=False):
                sets = batch["hashes"].filter(chosen[start : start + len(batch)])
                sets.flatten().to_numpy().tofile(out)
                lengths[n : n + len(sets)] = pc.list_value_length(sets).to_numpy()
                n, start = n + len(sets), start + len(batch)
    return lengths


def _write_keys(job: Job, chosen: BoolArray, path: Path) -> None:
    """Write the chosen sets' keys, all bands of a set side by side."""
    start = 0
    with path.open("wb") as out:
        for file in job.files("keys"):
            for batch in file.iter_batches(1 << 13, use_threads=False):
                keys = np.stack([column.to_numpy() for column in batch.columns], axis=1)
                keys[chosen[start : start + len(batch)]].tofile(out)
                start += len(batch)


def _mapped(path: Path, kind: np.dtype) -> np.ndarray:
    """A file's numbers, which are read when they are needed; an empty file can't be mapped."""
    if path.stat().st_size == 0:
        return np.empty(0, kind)
    return np.asarray(np.memmap(path, kind, mode="r"))
