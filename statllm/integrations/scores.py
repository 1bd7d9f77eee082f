"""Scores of one model (or of several) on items, as every reader returns them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators._arrays import LARGEST

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Scores:
    """One row per score.

    Attributes
    ----------
    source : str
        The file.
    item : list of str, length n
        Prompts, by an id that is the same in every file of the task.
    sample : ndarray of int64, shape (n,)
        Number of the repeat (epoch) of the item.
    score : ndarray of float64, shape (n,)
        NaN where the log has no verdict.
    metric : str
        What the score is.
    model : str
        Empty where the log doesn't say.
    cluster : list of str, optional
        A group of items that belong together.
    fingerprint : list of str, optional
        A digest of the item's text, to see that two files mean the same item.
    notes : tuple of str
        Choices that were made where the file left some, for the user to see.
    """

    source: str
    item: list[str]
    sample: NDArray[np.int64]
    score: NDArray[np.float64]
    metric: str
    model: str = ""
    cluster: list[str] | None = None
    fingerprint: list[str] | None = None
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if len(self.item) == 0:
            raise InputError(f"{self.source} has no scores")
        seen: set[tuple[str, int]] = set()
        for key in zip(self.item, self.sample.tolist(), strict=True):
            if key in seen:
                raise InputError(f"{self.source}: item '{key[0]}', sample {key[1]} occurs twice")
            seen.add(key)
        large = np.flatnonzero(np.abs(self.score) > LARGEST)
        if len(large):
            name, value = self.item[int(large[0])], self.score[large[0]]
            how = "infinite" if np.isinf(value) else f"{value:g}, whose square is no number"
            raise InputError(f"{self.source}: the score of item '{name}' is {how}")

    def __len__(self) -> int:
        return len(self.item)

    def cluster_of(self) -> dict[str, str]:
        """Return the cluster of each item.

        Raises
        ------
        InputError
            If there are none, or the samples of an item have several.
        """
        if self.cluster is None:
            raise InputError(f"{self.source} was read without clusters")
        found: dict[str, str] = {}
        for name, group in zip(self.item, self.cluster, strict=True):
            if found.setdefault(name, group) != group:
                raise InputError(
                    f"{self.source}: item '{name}' is in the clusters '{found[name]}' and '{group}'"
                )
        return found

    def to_frame(self) -> pd.DataFrame:
        """Return one row per score: item, sample, score, and model and cluster where known."""
        import pandas as pd

        columns: dict[str, Any] = {"item": self.item, "sample": self.sample, "score": self.score}
        if self.model:
            columns["model"] = [self.model] * len(self)
        if self.cluster is not None:
            columns["cluster"] = self.cluster
        return pd.DataFrame(columns)


def as_number(value: Any) -> float | None:
    """Return a verdict as a number: true and false, numbers, and Inspect's C, P, I and N.

    Returns
    -------
    float or None
        None if it's something else.

    Examples
    --------
    >>> as_number(True), as_number("C"), as_number("I"), as_number([1])
    (1.0, 1.0, 0.0, None)
    """
    if isinstance(value, bool | int | float | Decimal):
        return float(value)
    if isinstance(value, str):
        grades = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "true": 1.0, "false": 0.0}
        if value in grades:
            return grades[value]
        try:
            return float(value)
        except ValueError:
            return None
    return None


def chosen(
    wanted: str | None, known: Sequence[str], source: object, what: str, flag: str
) -> tuple[str, tuple[str, ...]]:
    """Return the name that was asked for, or the first one with a note that it was chosen.

    Raises
    ------
    InputError
        If it isn't there, or there's none.
    """
    if not known:
        raise InputError(f"{source} has no {what}")
    if wanted is None:
        others = f"; also there: {', '.join(known[1:])} ({flag})" if len(known) > 1 else ""
        return known[0], ((f"{what} {known[0]}{others}",) if others else ())
    if wanted not in known:
        raise InputError(f"{source} has no {what} '{wanted}'; it has {', '.join(known)}")
    return wanted, ()
