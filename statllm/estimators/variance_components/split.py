"""One call: the split, its shares, and what it means for the error of a mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.variance_components.factors import Factors
from statllm.estimators.variance_components.moments import moments
from statllm.estimators.variance_components.reml import reml
from statllm.results import Estimate

if TYPE_CHECKING:
    import pandas as pd

Method = Literal["auto", "moments", "reml"]


@dataclass(frozen=True, eq=False)
class VarianceSplit:
    """Variances by source.

    Attributes
    ----------
    components : dict of str to Estimate
        Each factor's by its name, and ``residual``; squared units of the score.
    n_levels : dict of str to int
    n : int
        Scores.
    method : str
    """

    components: dict[str, Estimate]
    n_levels: dict[str, int]
    n: int
    method: str

    def shares(self) -> dict[str, float]:
        """Return each source's share of the variance of one score; negative ones count as 0."""
        values = {name: max(part.value, 0.0) for name, part in self.components.items()}
        total = sum(values.values())
        return {name: value / total if total else float("nan") for name, value in values.items()}

    def se_of_mean(self, **n_levels: int) -> float:
        """Return the standard error of the grand mean of a complete design.

        sqrt(sum_f variance_f / n_f + residual / prod n_f): more samples of few prompts, or more
        prompts for few judges, leave the terms of prompts, or of judges, as they are.

        Parameters
        ----------
        **n_levels : int
            Levels of each factor; default those of the data.

        Raises
        ------
        ValueError
            If a name isn't a factor's, or a number is below 1.

        Examples
        --------
        >>> found = variance_components(
        ...     [1.0, 2.0, 3.0, 5.0], {"prompt": [0, 0, 1, 1], "judge": [0, 1, 0, 1]}
        ... )
        >>> round(found.se_of_mean(prompt=100, judge=2), 4)
        0.7289
        """
        counts = dict(self.n_levels)
        for name, count in n_levels.items():
            if name not in counts:
                raise ValueError(f"there is no factor '{name}'; there are {', '.join(counts)}")
            if count < 1:
                raise ValueError(f"{name} must be at least 1, not {count}")
            counts[name] = count
        variance = max(self.components["residual"].value, 0.0) / float(np.prod([*counts.values()]))
        for name, count in counts.items():
            variance += max(self.components[name].value, 0.0) / count
        return float(np.sqrt(variance))

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return one row per source: variance, interval, share, levels."""
        import pandas as pd

        share = self.shares()
        rows = []
        for name, part in self.components.items():
            interval = part.interval(level)
            rows.append(
                {
                    "source": name,
                    "variance": part.value,
                    "low": interval.low,
                    "high": interval.high,
                    "share": share[name],
                    "levels": self.n_levels.get(name, self.n),
                    "method": f"{part.method}; interval: {interval.method}",
                }
            )
        return pd.DataFrame(rows)


def variance_components(
    score: ArrayLike, factors: Mapping[str, ArrayLike], method: Method = "auto"
) -> VarianceSplit:
    """Split the variance of scores by prompt, sample, judge, seed or any other factor.

    Parameters
    ----------
    score : array_like of float, shape (n,)
    factors : mapping of str to array_like, each of shape (n,)
        Labels of random factors, crossed (each judge sees each prompt) or nested (samples of a
        prompt: label them ``prompt/sample``). What no factor explains is the residual; a factor
        with one score per level *is* the residual and is refused.
    method : {"auto", "moments", "reml"}
        Auto: moments where every combination of levels has equally many scores, else REML.

    Returns
    -------
    VarianceSplit

    Raises
    ------
    ValueError
        As `Factors.of`, `moments` and `reml`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> prompt, judge = np.repeat(np.arange(200), 5), np.tile(np.arange(5), 200)
    >>> score = rng.normal(size=200)[prompt] + rng.normal(0, 0.5, 1000)
    >>> found = variance_components(score, {"prompt": prompt, "judge": judge})
    >>> {name: round(share, 2) for name, share in found.shares().items()}
    {'prompt': 0.79, 'judge': 0.0, 'residual': 0.21}
    """
    if method not in ("auto", "moments", "reml"):
        raise ValueError(f"method must be auto, moments or reml, not {method!r}")
    data = Factors.of(score, factors)
    chosen = method if method != "auto" else ("moments" if data.balanced else "reml")
    parts = moments(data) if chosen == "moments" else reml(data)
    components = dict(zip([*data.names, "residual"], parts, strict=True))
    levels = dict(zip(data.names, data.levels, strict=True))
    return VarianceSplit(components, levels, len(data.score), parts[0].method)
