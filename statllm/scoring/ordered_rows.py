"""Log-probabilities of a data set's rows, one after the other, in one order or another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from statllm.errors import InputError
from statllm.ragged import FloatArray, Ragged
from statllm.scoring.token_laws import token_log_p

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOKENS = 1 << 17  # of orders at a time


def ordered_log_p(
    model: PreTrainedModel,
    rows: Ragged,
    orders: ArrayLike,
    *,
    start: int | None = None,
    separator: Sequence[int] = (),
) -> FloatArray:
    """Log-probability of rows one after the other, in each of several orders.

    The tokens of a row don't depend on what stands before it, so all orders have the same tokens.

    Parameters
    ----------
    model : transformers causal language model
    rows : Ragged of int
        Token ids of n rows.
    orders : array_like of int, shape (k, m)
        Each the numbers of the rows as they follow.
    start : int, optional
        A token before all of them.
    separator : sequence of int
        Tokens after each row.

    Returns
    -------
    ndarray, shape (k,)
        Nats.

    Examples
    --------
    >>> from statllm.lab import model_path
    >>> from statllm.models import load_model
    >>> model = load_model(model_path(), device="cpu")
    >>> rows = Ragged.from_lists([[5, 6], [7, 8, 9]])
    >>> ordered_log_p(model, rows, [[0, 1], [1, 0]]).shape
    (2,)
    """
    chosen = np.asarray(orders, np.int64)
    if chosen.ndim != 2:
        raise ValueError(f"orders must have shape (k, m), not {chosen.shape}")
    pieces = [
        np.append(rows.row(i), np.array(separator, rows.values.dtype)) for i in range(len(rows))
    ]
    out = np.empty(len(chosen))
    total = sum(len(piece) for piece in pieces) + 1
    size = max(1, _TOKENS // total)
    for first in range(0, len(chosen), size):
        some = chosen[first : first + size]
        joined = [np.concatenate([pieces[i] for i in order]) for order in some]
        texts = Ragged.from_lengths(np.concatenate(joined).astype(np.int64), list(map(len, joined)))
        out[first : first + size] = token_log_p(model, texts, start=start).sum()
    return out


def shard_log_p(
    model: PreTrainedModel,
    rows: Ragged,
    n_shards: int,
    n_permutations: int,
    *,
    seed: int = 0,
    start: int | None = None,
    separator: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Log-probabilities that `statllm.estimators.contamination.exchangeability_test` compares.

    The rows are cut into shards of consecutive rows, as equal as can be; each is read in its own
    order and in random ones. A shard's orders depend on the seed and its number alone.

    Parameters
    ----------
    model, rows, start, separator
        As of `ordered_log_p`.
    n_shards, n_permutations : int
        r and B.
    seed : int
    progress : callable, optional
        Told how many shards are done, of how many.

    Returns
    -------
    pair of ndarray, shapes (r,) and (r, B)
        Nats.

    Raises
    ------
    InputError
        If a shard would have fewer than two rows.
    """
    if n_shards < 1 or n_permutations < 1:
        raise InputError("there must be one shard and one permutation at least")
    if len(rows) < 2 * n_shards:
        raise InputError(
            f"{len(rows)} rows make {len(rows) // 2} shards of two rows at most, not {n_shards}"
        )
    canonical, permuted = np.empty(n_shards), np.empty((n_shards, n_permutations))
    for shard, members in enumerate(np.array_split(np.arange(len(rows)), n_shards)):
        own = Ragged.from_lists([rows.row(i).tolist() for i in members], np.int64)
        rng = np.random.default_rng([seed, shard])
        identity = np.arange(len(members))
        orders = np.array([identity, *(rng.permutation(identity) for _ in range(n_permutations))])
        log_p = ordered_log_p(model, own, orders, start=start, separator=separator)
        canonical[shard], permuted[shard] = log_p[0], log_p[1:]
        if progress is not None:
            progress(shard + 1, n_shards)
    return canonical, permuted
