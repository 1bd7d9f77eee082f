"""Entropy of answers: how much the votes of a prompt disagree, with its standard error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.errors import InputError
from statllm.estimators.comparison import mean_estimate
from statllm.estimators.entropies import formulas
from statllm.estimators.entropies.bayes import wolpert_wolf
from statllm.estimators.entropies.nsb import nsb
from statllm.estimators.entropies.profiles import (
    FloatArray,
    IntArray,
    Profiles,
    clean_counts,
    find_profiles,
    read_categories,
)
from statllm.estimators.entropies.variance import bootstrap_se, delta_se, jackknife_se
from statllm.estimators.votes import vote_counts
from statllm.results import Estimate

if TYPE_CHECKING:
    import pandas as pd

DEFAULT = "jackknife"
STANDARD_ERRORS = ("auto", "delta", "jackknife", "bootstrap", "none")


@dataclass(frozen=True)
class Method:
    """One estimator: its formula, its own standard error, and what it asks for."""

    formula: Callable[..., Any]
    se: str = "jackknife"
    min_votes: int = 1
    needs_categories: bool = False
    takes_prior: bool = False


METHODS: dict[str, Method] = {
    "plugin": Method(formulas.plugin),
    "miller_madow": Method(formulas.miller_madow),
    "jackknife": Method(formulas.jackknife, min_votes=2),
    "chao_shen": Method(formulas.chao_shen, min_votes=2),
    "chao_wang_jost": Method(formulas.chao_wang_jost, min_votes=2),
    "zhang": Method(formulas.zhang),
    "grassberger1988": Method(formulas.grassberger1988, se="bootstrap"),
    "grassberger2003": Method(formulas.grassberger2003, se="bootstrap"),
    "shrinkage": Method(formulas.shrinkage, needs_categories=True),
    "dirichlet": Method(formulas.dirichlet, needs_categories=True, takes_prior=True),
    "wolpert_wolf": Method(wolpert_wolf, "posterior", needs_categories=True, takes_prior=True),
    "nsb": Method(nsb, "posterior", needs_categories=True),
}


@dataclass(frozen=True, eq=False)
class EntropyEstimates:
    """Entropy of each prompt's answers, in nats. Arrays have length n_prompts.

    Attributes
    ----------
    value : ndarray of float64
        NaN where there are too few votes (see `entropy`).
    se : ndarray of float64
        Standard error, or posterior standard deviation; NaN where undefined.
    n, n_distinct : ndarray of int64
        Votes, and distinct answers among them.
    method, se_method : str
    """

    value: FloatArray
    se: FloatArray
    n: IntArray
    n_distinct: IntArray
    method: str
    se_method: str

    def __len__(self) -> int:
        return len(self.value)

    def interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Limits value ± z se, cut off at 0.

        With few votes they cover less than `level` where an answer dominates: votes that all
        agree have se 0 for all but the posterior methods. studies/entropy_bias has the figures.
        """
        if not 0 < level < 1:
            raise InputError(f"level must lie between 0 and 1, not {level}")
        half = NormalDist().inv_cdf(0.5 + level / 2) * self.se
        return np.maximum(self.value - half, 0.0), self.value + half

    def mean(self, missing: Literal["propagate", "drop"] = "propagate") -> Estimate:
        """Mean over prompts with a t interval; its error is the spread between prompts over √n.

        Parameters
        ----------
        missing : {"propagate", "drop"}
            Whether a prompt without an estimate makes the mean NaN, or is left out (`n` of the
            result counts those that were used).
        """
        if missing not in ("propagate", "drop"):
            raise InputError(f"missing must be 'propagate' or 'drop', not {missing!r}")
        used = self.value if missing == "propagate" else self.value[~np.isnan(self.value)]
        mean = mean_estimate(used, name="entropy", unit="nats")
        return replace(mean, method=f"mean over prompts, {self.method}")

    def to_frame(self) -> pd.DataFrame:
        """Return one row per prompt with the columns value, se, n, n_distinct, method."""
        import pandas as pd

        columns = {"value": self.value, "se": self.se, "n": self.n, "n_distinct": self.n_distinct}
        return pd.DataFrame(columns).assign(method=self.method)


def entropy(
    counts: Any,
    estimator: str = DEFAULT,
    *,
    n_categories: ArrayLike | str | None = None,
    prior: str | float | None = None,
    se: str = "auto",
    n_boot: int = 200,
    rng: int | np.random.Generator = 0,
) -> EntropyEstimates:
    """Estimate the Shannon entropy behind vote counts, H = -Σ p ln p, in nats.

    Parameters
    ----------
    counts : Ragged, Arrow list column, list of lists, or one flat list
        Votes of each distinct answer, a row per prompt (a flat list is one prompt). Order is
        irrelevant and zeros are dropped.
    estimator : str
        ============== ========================================================== ==============
        name           what it does                                               one vote gives
        ============== ========================================================== ==============
        plugin         -Σ p̂ ln p̂, what most packages call vote entropy            0
        miller_madow   plugin + (m-1)/2N                                          0
        jackknife      Zahl's; the default                                        NaN
        chao_shen      coverage-adjusted Horvitz-Thompson                         NaN
        chao_wang_jost Zhang's plus an estimate of what it misses                 NaN
        zhang          bias falls geometrically with N                            0
        grassberger1988, grassberger2003   digamma corrections                    1.08, 1.27
        shrinkage      James-Stein towards uniform *                              ln K
        dirichlet      plug-in after adding pseudo-votes *                        by formula
        wolpert_wolf   posterior mean under a Dirichlet prior *                   by formula
        nsb            posterior mean under Nemenman-Shafee-Bialek's prior *      by formula
        ============== ========================================================== ==============

        ``*`` needs `n_categories`. Formulas and sources: `statllm.estimators.entropy_formulas`,
        `entropy_bayes`, `nsb`. No votes give NaN everywhere.
    n_categories : int, array of int, or {"observed", "chao1"}, optional
        How many answers are possible: 4 for options A to D. Open answers have no such number;
        ``"observed"`` takes the distinct answers seen, a lower bound that makes agreement look
        certain, and ``"chao1"`` adds Chao's (1984) estimate of the unseen ones. The other
        estimators use it only to limit the bootstrap's unseen answers.
    prior : str or float, optional
        Pseudo-votes per category for dirichlet (default ``"jeffreys"``, ½) and wolpert_wolf
        (default ``"laplace"``, 1); also ``"schurmann_grassberger"`` (1/K), ``"minimax"``
        (√N/K), or a number.
    se : {"auto", "delta", "jackknife", "bootstrap", "none"}
        ``"auto"`` is the posterior sd for wolpert_wolf and nsb, bootstrap for Grassberger's (whose
        odd-even jumps mislead a jackknife) and jackknife for the rest. Delta is the plug-in's,
        and too small for few votes. All but the posterior sd are NaN for one vote, and 0 (but for
        dirichlet) where all votes agree: no disagreement was seen, which isn't the same as none
        exists.
    n_boot : int
        Resamples for ``se="bootstrap"``.
    rng : int or numpy.random.Generator
        Seed of the bootstrap. A prompt's result depends on its votes and the seed only.

    Returns
    -------
    EntropyEstimates

    Raises
    ------
    InputError
        If counts aren't whole numbers, an option is unknown, or `n_categories` is missing or
        smaller than the number of distinct answers.

    Notes
    -----
    Why the default is the jackknife: at ten votes the plug-in is too low by 0.1 nats for a prompt
    with one dominant answer and by more than one for a diffuse prompt. Of the estimators that
    needn't know how many answers are possible, the jackknife has the smallest error over a mixture
    of open-ended prompts, ranks them best where numbers of votes differ, and has a standard error
    that is right within a quarter. Chao-Wang-Jost has less bias and more variance where nearly all
    answers differ. If the number of possible answers is known, ``"nsb"`` beats both. All measured
    in studies/entropy_bias.

    Examples
    --------
    >>> entropy([[8, 1, 1], [10], []], "plugin").value.round(4)
    array([0.639, 0.   ,    nan])
    >>> estimates = entropy([[8, 1, 1], [10], []])
    >>> estimates.value.round(4), estimates.se.round(4)
    (array([0.8395, 0.    ,    nan]), array([0.5357, 0.    ,    nan]))
    >>> entropy([8, 1, 1], "nsb", n_categories=10).to_frame().round(4)
        value      se   n  n_distinct method
    0  0.9031  0.3404  10           3    nsb
    """
    method = _method(estimator, prior, se, n_boot)
    votes = clean_counts(counts)
    if n_categories is None and method.needs_categories:
        raise InputError(
            f"{estimator} needs n_categories, the number of possible answers (or 'observed' or "
            f"'chao1' if it isn't known)"
        )
    categories = "observed" if n_categories is None else read_categories(n_categories, votes)
    profiles, code = find_profiles(votes, categories)
    formula = method.formula
    if prior is not None:
        formula = partial(formula, prior=prior)
    se_method = method.se if se == "auto" else se
    value, error = _evaluate(profiles, method, formula, se_method, n_boot, _seed(rng))
    counted = profiles.n.astype(np.int64)[code]
    return EntropyEstimates(value[code], error[code], counted, votes.lengths, estimator, se_method)


def vote_entropy(answers: Any, estimator: str = DEFAULT, **options: Any) -> EntropyEstimates:
    """Entropy of the votes among each prompt's answers.

    The default, ``"jackknife"``, corrects the downward bias of counting shares and taking
    -Σ p̂ ln p̂, which is ``"plugin"``; see `entropy` for the reasons and the other estimators.

    Parameters
    ----------
    answers : pyarrow list column, list of lists, 2-D array, or Ragged
        As for `vote_counts`: row i holds the answers of prompt i; null is no vote.
    estimator : str
    **options
        Passed on to `entropy`.

    Examples
    --------
    >>> vote_entropy([["18", "18", "20", None], ["7", "7"]], "plugin").value.round(4)
    array([0.6365, 0.    ])
    """
    return entropy(vote_counts(answers).counts, estimator, **options)


def _method(estimator: str, prior: object, se: str, n_boot: int) -> Method:
    """Look up an estimator and check the options against it."""
    if estimator not in METHODS:
        raise InputError(f"estimator is {estimator!r}; it must be one of {', '.join(METHODS)}")
    method = METHODS[estimator]
    if se not in STANDARD_ERRORS:
        raise InputError(f"se is {se!r}; it must be one of {', '.join(STANDARD_ERRORS)}")
    if n_boot < 2:
        raise InputError(f"n_boot must be at least 2, not {n_boot}")
    if prior is not None:
        if not method.takes_prior:
            raise InputError(f"{estimator} has no prior to choose")
        formulas.check_prior(prior)
    return method


def _seed(rng: int | np.random.Generator) -> int:
    """One seed, so that each group of prompts can draw its own stream."""
    return int(rng.integers(2**63)) if isinstance(rng, np.random.Generator) else rng


def _posterior_mean(formula: Callable[..., Any], profiles: Profiles) -> FloatArray:
    """Value without its sd, for the resampling standard errors."""
    mean: FloatArray = formula(profiles)[0]
    return mean


def _evaluate(
    profiles: Profiles,
    method: Method,
    formula: Callable[..., Any],
    se_method: str,
    n_boot: int,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Value and standard error of each profile; NaN where there are too few votes."""
    value, error = np.full(len(profiles), np.nan), np.full(len(profiles), np.nan)
    enough = np.flatnonzero(profiles.n >= method.min_votes)
    several = np.flatnonzero(profiles.n >= 2)
    estimate: Callable[[Profiles], FloatArray] = formula
    if method.se == "posterior":
        value[enough], error[enough] = formula(profiles.take(enough))
        estimate = partial(_posterior_mean, formula)
    else:
        value[enough] = formula(profiles.take(enough))
    if se_method == "delta":
        error[several] = delta_se(profiles.take(several))
    elif se_method == "jackknife":
        error[several] = jackknife_se(profiles.take(several), estimate)
    elif se_method == "bootstrap":
        error[several] = bootstrap_se(profiles.take(several), estimate, n_boot, seed)
    elif se_method == "none":
        error[:] = np.nan
    return value, error
