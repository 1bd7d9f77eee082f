"""Ledgers of rules that keep or drop rows: one line per row, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from statllm.ragged import BoolArray

if TYPE_CHECKING:
    from statllm.selection.decontamination import Decontamination
    from statllm.selection.near_duplicates import NearDuplicates


def duplicates_ledger(
    found: NearDuplicates, ids: Any = None, keeper_ids: Any = None, start: int = 0, stop: int = -1
) -> pa.Table:
    """Return the ledger of the rows from `start` to before `stop` (all).

    Parameters
    ----------
    found : NearDuplicates
    ids : Arrow array, optional
        prompt_id of these rows.
    keeper_ids : Arrow array, optional
        prompt_id of `found.keepers`.
    """
    part = found.part(start, stop if stop >= 0 else len(found.kept))
    none = part.duplicate_of < 0
    decided = {
        "duplicate_of": pa.array(part.duplicate_of, mask=none),
        "jaccard": pa.array(part.jaccard, from_pandas=True),
        "cluster": pa.array(part.cluster, mask=part.empty),
    }
    if keeper_ids is not None:
        place = np.searchsorted(found.keepers, part.duplicate_of)
        decided["duplicate_of_prompt_id"] = keeper_ids.take(pa.array(place, mask=none))
    return _ledger("near-duplicates", part.kept, part.reasons(), decided, ids, start)


def leaks_ledger(
    found: Decontamination, files: Sequence[tuple[str, int]], ids: Any = None
) -> pa.Table:
    """Return the ledger of texts whose references came, in this order, from files.

    Parameters
    ----------
    found : Decontamination
    files : sequence of (str, int)
        Each file's name and number of references.
    ids : Arrow array, optional
        prompt_id of the texts.
    """
    none = ~found.leaks
    names = pa.array([name for name, _ in files], pa.string())
    ends = np.cumsum([size for _, size in files], dtype=np.int64)
    which = np.searchsorted(ends, np.where(none, 0, found.reference), side="right")
    begins = np.append(0, ends)
    decided = {
        "reference_file": names.take(pa.array(which, mask=none)),
        "reference_row": pa.array(found.reference - begins[which], mask=none),
        "ngram": pa.array(found.ngram, pa.string()),
        "n_matches": pa.array(found.n_matches),
        "n_ngrams": pa.array(found.n_ngrams),
    }
    reasons = ["leak" if leak else "kept" for leak in found.leaks]
    return _ledger("decontaminate", none, reasons, decided, ids)


def _ledger(
    rule: str,
    kept: BoolArray,
    reasons: Sequence[str],
    decided: Mapping[str, pa.Array],
    ids: Any = None,
    first: int = 0,
) -> pa.Table:
    """Return row, prompt_id (where there are `ids`), kept, reason, rule, and what else decided.

    The rows are numbered from `first` on.
    """
    columns: dict[str, Any] = {"row": pa.array(np.arange(first, first + len(kept)))}
    if ids is not None:
        columns["prompt_id"] = ids
    columns |= {
        "kept": pa.array(kept),
        "reason": pa.array(reasons, pa.string()),
        "rule": pa.array([rule] * len(kept), pa.string()),
    }
    return pa.table(columns | dict(decided))
