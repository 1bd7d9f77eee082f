"""Smooth calibration error: no bins, one bandwidth, chosen by the error itself."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration._outcomes import FloatArray, Outcomes, checked
from statllm.results import Estimate, Interval

_NODES = 2048  # mesh on [0, 1]
_NARROWEST = 0.002  # four meshes


def smooth_calibration_error(
    confidence: ArrayLike,
    correct: ArrayLike,
    bandwidth: float | None = None,
    method: Literal["exact", "relplot"] = "exact",
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> Estimate:
    """Smooth ECE of Błasiok and Nakkiran (2023, "Smooth ECE", section 3).

    smECE_s = integral over t in [0, 1] of |mean of (correct - confidence) K_s(t, confidence)|,
    K_s the Gaussian kernel of standard deviation s reflected at 0 and 1; it falls with s, and
    smECE is the s at which smECE_s = s. A consistent measure of calibration: within a constant
    of the distance to the nearest calibrated predictor, where ECE depends on its bins and jumps
    when a confidence moves by a hair.

    Like every plug-in error it's positive under calibration too. The interval is value ± the
    quantile of the smECE of the noise alone (each cluster's residuals with a random sign), cut at
    0: smECE(noise + truth) <= smECE(noise) + smECE(truth). It's valid at and away from
    calibration, and wide.

    Parameters
    ----------
    confidence : array_like of float in [0, 1], shape (n,)
    correct : array_like of bool, or of float in [0, 1], shape (n,)
    bandwidth : float, optional
        Use this s. Default: the one at which smECE_s = s, at least 0.002.
    method : {"exact", "relplot"}
        ``"relplot"`` reproduces version 1.0.3 of the package of that name: the kernel is cut off
        at a distance of 1/2, the integral is divided by the smoothed mass, and s is a multiple
        of 1/1024. Small errors agree; large ones come out larger (0.287 for 0.264, say), since
        the cut-off tails no longer cancel. The interval is that of ``"exact"``, moved.
    weights : array_like of float, shape (n,), optional
        Sampling weights.
    clusters : array_like, shape (n,), optional
        Labels; rows of one cluster may depend on each other.
    missing : {"raise", "drop"}

    Returns
    -------
    Estimate
        NaN without rows. No standard error: the law isn't normal near calibration.

    Raises
    ------
    ValueError
        If shapes differ, a value is out of range, or is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> p = [0.9, 0.8, 0.7, 0.6, 0.9, 0.8]
    >>> round(smooth_calibration_error(p, [1, 0, 1, 0, 0, 1]).value, 4)
    0.2833
    """
    if method not in ("exact", "relplot"):
        raise ValueError(f"method must be exact or relplot, not {method!r}")
    if bandwidth is not None and not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth must be positive, not {bandwidth}")
    rows = checked(confidence, correct, weights, clusters, missing)
    if not len(rows):
        return Estimate(math.nan, math.nan, 0, method, "smooth ECE", "probability")
    residual = rows.weight * rows.residual / rows.weight.sum()
    if method == "relplot":
        value = _relplot(rows, bandwidth)
    else:
        spectrum = _spectrum(_on_mesh(rows.confidence, residual, _NODES))
        value = _fixed_point(spectrum) if bandwidth is None else float(_error(spectrum, bandwidth))

    def interval_of(level: float) -> Interval:
        noise = _spectrum(_noise(rows, residual, 300))
        sizes = _fixed_points(noise) if bandwidth is None else _error(noise, bandwidth)
        half = float(np.quantile(sizes, level))
        return Interval(
            max(value - half, 0.0), min(value + half, 1.0), level, "triangle inequality"
        )

    how = f"{method}, bandwidth {'smECE' if bandwidth is None else bandwidth}"
    return Estimate(value, math.nan, rows.n_units, how, "smooth ECE", "probability", interval_of)


def _on_mesh(p: FloatArray, mass: FloatArray, nodes: int) -> FloatArray:
    """Share each mass between its two neighbours on the mesh 0, 1/nodes, ..., 1."""
    place = p * nodes
    left = np.minimum(place.astype(np.int64), nodes - 1)
    right_share = place - left
    out = np.bincount(left, mass * (1 - right_share), nodes + 1)
    return np.asarray(out + np.bincount(left + 1, mass * right_share, nodes + 1))


def _spectrum(mass: FloatArray) -> FloatArray:
    """Cosine coefficients sum_j mass_j cos(pi k j / nodes), along the last axis.

    Reflecting at 0 and 1 makes the smoothed mass a heat flow without loss at the ends, whose
    modes are cosines: smoothing is a product here.
    """
    from scipy import fft

    halved = mass / 2
    halved[..., 0] *= 2
    halved[..., -1] *= 2
    return np.asarray(fft.dct(halved, type=1, axis=-1))


def _error(spectrum: FloatArray, bandwidth: float) -> FloatArray:
    """smECE at one bandwidth for each spectrum."""
    from scipy import fft

    nodes = spectrum.shape[-1] - 1
    mode = np.pi * np.arange(nodes + 1)
    damping = np.exp(-((mode * bandwidth) ** 2) / 2)
    density = np.abs(fft.dct(spectrum * damping, type=1, axis=-1))
    return np.asarray((density.sum(-1) - (density[..., 0] + density[..., -1]) / 2) / nodes)


def _fixed_point(spectrum: FloatArray) -> float:
    """The bandwidth equal to its error, by halving; the error falls as the bandwidth grows."""
    low, high = _NARROWEST, 1.0
    # Below the narrowest bandwidth there is no fixed point to find: report the error there.
    smallest = float(_error(spectrum, low))
    if smallest < low:
        return smallest
    for _ in range(30):
        middle = (low + high) / 2
        if _error(spectrum, middle) > middle:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _fixed_points(spectra: FloatArray) -> FloatArray:
    """The same for many spectra, to about a percent: interpolated between 24 bandwidths."""
    widths = np.geomspace(_NARROWEST, 1, 24)
    excess = np.array([_error(spectra, width) - width for width in widths])
    above = np.clip((excess > 0).sum(axis=0), 1, len(widths) - 1)
    draw = np.arange(len(spectra))
    left, right = excess[above - 1, draw], excess[above, draw]
    step = (widths[above] - widths[above - 1]) * left / (left - right)
    return np.where(excess[0] < 0, excess[0] + _NARROWEST, widths[above - 1] + step)


def _noise(rows: Outcomes, residual: FloatArray, n_draws: int) -> FloatArray:
    """Residuals with a random factor for each cluster, summed on a mesh, (n_draws, nodes + 1)."""
    nodes = 512
    rng = np.random.default_rng(0)
    node = np.rint(rows.confidence * nodes).astype(np.int64)
    if rows.clusters is None:
        # Independent rows of one node add up to a normal with the sum of their squares.
        spread = np.sqrt(np.bincount(node, residual**2, nodes + 1))
        return np.asarray(spread * rng.standard_normal((n_draws, nodes + 1)))
    sign = rng.choice([-1.0, 1.0], (n_draws, rows.n_units))
    return np.array([np.bincount(node, residual * s[rows.clusters], nodes + 1) for s in sign])


def _relplot(rows: Outcomes, bandwidth: float | None) -> float:
    """The value that relplot 1.0.3 reports."""
    weight = rows.weight * len(rows) / rows.weight.sum()
    if bandwidth is not None:
        return _relplot_error(rows, weight, bandwidth)
    low, high = 0.0, 1.0
    for _ in range(10):
        middle = (low + high) / 2
        if middle < 0.001 or middle < _relplot_error(rows, weight, middle):
            low = middle
        else:
            high = middle
    return _relplot_error(rows, weight, high)


def _relplot_error(rows: Outcomes, weight: FloatArray, bandwidth: float) -> float:
    from scipy import signal

    half = max(2000, round(20 / bandwidth)) // 2
    kernel = np.exp(-((np.linspace(-0.5, 0.5, half + 1) / bandwidth) ** 2) / 2)
    kernel /= math.sqrt(2 * math.pi) * bandwidth
    places = np.linspace(0, 1, max(round(10 / bandwidth), 200))

    def smoothed(mass: FloatArray) -> FloatArray:
        mesh = _on_mesh(rows.confidence, mass, half)
        reflected = np.concatenate([mesh[:0:-1], mesh, mesh[-2::-1]])
        start = (half + 1) // 2
        density = signal.convolve(reflected, kernel, "valid")[start : start + half + 1]
        return np.asarray(np.interp(places, np.linspace(0, 1, half + 1), density))

    residual, total = smoothed(weight * rows.residual), smoothed(weight) + 1e-4
    return float(np.abs(residual).sum() / total.sum())
