"""Scores with the levels of their random factors, coded once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import label_codes, numbers

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Factors:
    """Scores and codes.

    Attributes
    ----------
    score : ndarray of float64, shape (n,)
    names : tuple of str
    codes : tuple of ndarray of int64, each of shape (n,)
        Level numbers, from 0.
    levels : tuple of int
        How many levels each factor has.
    """

    score: FloatArray
    names: tuple[str, ...]
    codes: tuple[IntArray, ...]
    levels: tuple[int, ...]

    @classmethod
    def of(cls, score: ArrayLike, factors: Mapping[str, ArrayLike]) -> Factors:
        """Code labels.

        Raises
        ------
        ValueError
            If lengths differ, a label is missing, a score isn't finite (its row is named), a factor
            has one level or one level per score (it can't be told from the residual), two factors
            are the same split, or there is no factor.

        Examples
        --------
        >>> Factors.of([1.0, 2.0, 3.0], {"judge": ["a", "b", "a"]}).levels
        (2,)
        """
        values = numbers(score, "score")
        if values.ndim != 1:
            raise ValueError(f"score must be one-dimensional, not of shape {values.shape}")
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise ValueError(f"score is {values[wrong[0]]} in row {wrong[0]}")
        if not factors:
            raise ValueError("name at least one factor")
        codes, levels = [], []
        for name, labels in factors.items():
            code = label_codes(labels, name, len(values))
            count = int(code.max(initial=-1)) + 1
            if count < 2:
                raise ValueError(f"{name} has a single level: its variance can't be seen")
            if count == len(values):
                raise ValueError(
                    f"{name} has one score per level: its variance can't be told from the residual"
                )
            codes.append(code)
            levels.append(count)
        names = tuple(factors)
        for i in range(len(codes)):
            for j in range(i):
                pairs = len(np.unique(codes[i] * levels[j] + codes[j]))
                if pairs == levels[i] == levels[j]:
                    raise ValueError(f"{names[j]} and {names[i]} split the scores alike")
        return cls(values, names, tuple(codes), tuple(levels))

    @cached_property
    def balanced(self) -> bool:
        """Whether each combination of levels has equally many scores."""
        cell = np.zeros(len(self.score), np.int64)
        for code, count in zip(self.codes, self.levels, strict=True):
            cell = cell * count + code
        counts = np.unique(cell, return_counts=True)[1]
        return len(counts) == int(np.prod(self.levels)) and counts.min() == counts.max()
