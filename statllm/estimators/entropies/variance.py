"""Standard errors of entropy estimates: delta method, jackknife, coverage bootstrap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from statllm.estimators.entropies.profiles import (
    FloatArray,
    IntArray,
    Profiles,
    find_profiles,
)
from statllm.ragged import Ragged

Estimator = Callable[[Profiles], FloatArray]

_BLOCK = 64  # profiles resampled at once


def delta_se(profiles: Profiles) -> FloatArray:
    """√[(Σ p̂ ln² p̂ - Ĥ²)/N + (m-1)/(2N²)], the variance of the plug-in to second order.

    Hutcheson (1970), J. Theor. Biol. 29:151; the first term is the delta method. Where all
    shares are equal that term is 0 and the second, the variance of χ²/(2N), is what is left.
    One answer alone gives 0: no disagreement was seen, which isn't the same as none exists.
    """
    n, logs = profiles.n, np.log(profiles.p)
    mean = profiles.total(profiles.p * logs)
    first = profiles.total(profiles.p * (logs - profiles.spread(mean)) ** 2) / n
    return np.sqrt(first + (profiles.m - 1) / (2 * n**2))


def jackknife_se(profiles: Profiles, estimator: Estimator) -> FloatArray:
    """√[(N-1)/N Σ_i (Ĥ₋ᵢ - mean Ĥ₋ᵢ)²] over the votes i (Tukey 1958), for any estimator.

    Never below √((m-1)/2)/N, the plug-in's sd when all shares are equal: there, every vote left
    out changes the estimate alike, and the jackknife alone would claim certainty.
    """
    neighbours, behind = profiles.leave_one_out()
    without = behind.with_values(estimator(neighbours))
    share = behind.values / behind.sum()[behind.rows]
    mean = behind.with_values(share * without.values).sum()
    squares = behind.with_values(share * (without.values - mean[behind.rows]) ** 2).sum()
    floor = (profiles.m - 1) / (2 * profiles.n**2)
    return np.asarray(np.sqrt(np.maximum((profiles.n - 1) * squares, floor)))


def bootstrap_se(profiles: Profiles, estimator: Estimator, n_boot: int, seed: int) -> FloatArray:
    """Sd of the estimator over resamples of the estimated community, unseen answers included.

    Chao, Wang and Jost (2013), Methods Ecol. Evol. 4:1091, Appendix S2; Chao and Jost (2015).
    The random stream of a profile is seeded by `seed` and the profile, so that the result for a
    prompt never depends on the other prompts of the data set.
    """
    community = _community(profiles)
    se = np.zeros(len(profiles))
    for start in range(0, len(profiles), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(profiles)))
        draws = [
            _resample(profiles, community, row, n_boot, seed).ravel()
            for row in range(rows.start, rows.stop)
        ]
        sizes = np.repeat(community.lengths[rows], n_boot)
        counts = Ragged.from_lengths(np.concatenate(draws), sizes)
        k = profiles.n_categories
        categories = k if isinstance(k, str) else np.repeat(k[rows], n_boot)
        resampled, code = find_profiles(counts.keep(counts.values > 0), categories)
        values = estimator(resampled)[code].reshape(-1, n_boot)
        se[rows] = values.std(axis=1, ddof=1)
    return se


def _resample(profiles: Profiles, community: Ragged, row: int, n_boot: int, seed: int) -> IntArray:
    """Votes of each answer of a community in resamples of its size, (n_boot, n_answers)."""
    votes = profiles.votes.row(row)
    times = profiles.times[profiles.votes.offsets[row] : profiles.votes.offsets[row + 1]]
    rng = np.random.default_rng([seed, *votes, *times.astype(np.int64)])
    return rng.multinomial(int(profiles.n[row]), community.row(row), size=n_boot)


def _community(profiles: Profiles) -> Ragged:
    """Estimated probabilities of all answers of each profile.

    Observed answers: p̂ (1 - λ(1-p̂)^N), λ so that they sum to the estimated coverage. The rest
    goes in equal parts to Chao's estimate of the number of unseen answers, at most as many as
    there are categories.
    """
    n, f1, f2 = profiles.n, profiles.answers_with(1), profiles.answers_with(2)
    unseen = np.ceil(profiles.unseen())
    if not isinstance(profiles.n_categories, str):
        unseen = np.minimum(unseen, profiles.n_categories - profiles.m)
    missed = np.where(
        f2 > 0,
        (n - 1) * f1 / ((n - 1) * f1 + 2 * np.maximum(f2, 0.5)),
        (n - 1) * (f1 - 1) / ((n - 1) * np.maximum(f1 - 1, 0) + 2),
    )
    uncovered = np.where(unseen > 0, f1 / n * missed, 0.0)
    tail = (1 - profiles.p) ** profiles.spread(n)
    weight = profiles.total(profiles.p * tail)
    scale = np.divide(uncovered, weight, out=np.zeros_like(weight), where=weight > 0)
    seen = profiles.p * (1 - profiles.spread(scale) * tail)

    # One entry per answer: the observed ones of a row, then its unseen ones.
    lengths = profiles.votes.lengths
    at = np.cumsum(lengths)
    each = np.divide(uncovered, unseen, out=np.zeros_like(unseen), where=unseen > 0)
    entries = np.insert(seen, at, each)
    repeats = np.insert(profiles.times, at, unseen).astype(np.int64)
    sizes = (profiles.m + unseen).astype(np.int64)
    return Ragged.from_lengths(np.repeat(entries, repeats), sizes)
