"""The settings of the papers, by data set and iteration.

None stands for what a paper doesn't state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from statllm.errors import InputError
from statllm.selection.settings import (
    IrpoSettings,
    RipSettings,
    RuleSettings,
    ScpoSettings,
)
from statllm.selection.tpo_settings import TpoSettings


@dataclass(frozen=True)
class Sampling:
    """How the paper samples: n responses per prompt, and extra ones from a hotter distribution."""

    n: int
    temperature: float | None
    top_p: float | None = None
    n_extra: int = 0
    extra_temperature: float | None = None


@dataclass(frozen=True)
class Training:
    """How the paper trains on the pairs; the reference is the model that gave the samples."""

    loss: str
    beta: float | None
    alpha: float
    learning_rate: tuple[float, ...]  # empty: not stated
    batch_size: int | None
    epochs: int | None = None
    max_steps: int | None = None


@dataclass(frozen=True)
class Preset:
    """One paper's settings for one data set and iteration.

    Attributes
    ----------
    name : str
    iteration : int
        From 1; M1 of the papers is the model after iteration 1.
    rule : str
    settings : RuleSettings
    sampling : Sampling
    training : Training
    source : str
        The paper.
    """

    name: str
    iteration: int
    rule: str
    settings: RuleSettings
    sampling: Sampling
    training: Training
    source: str


_SCPO = "Prasad et al. 2024, arXiv 2411.04109"
_IRPO = "Pang et al. 2024, arXiv 2404.19733"
_RIP = "Yu et al. 2025, arXiv 2501.18578"
_TPO = "Wu et al. 2024, arXiv 2410.10630"

_SCPO_TRAINING = Training("scpo", 0.5, 1.0, (5e-6,), 16, epochs=10)
_SCPO_MATH = Sampling(8, 0.7, 0.9, n_extra=8, extra_temperature=1.2)
_SCPO_ZEBRA = Sampling(16, 0.7, 0.9)
_RIP_8B = Training("dpo", 0.1, 0.0, (5e-7, 1e-6), 64)
_RIP_70B = Training("dpo", 0.1, 0.0, (1e-6,), 256)
# The median of WildChat-20k with Llama-3.1-8B-Instruct and ArmoRM; the paper carries the
# numbers, not the quantiles, over to the other models and data sets.
_RIP_REWARD, _RIP_LENGTH, _RIP_GAP = 0.126, 1878, 0.042


def _irpo_training(max_steps: int) -> Training:
    return Training("irpo", 0.1, 1.0, (7e-7,), 16, max_steps=max_steps)


# name -> one (settings, sampling, training) per iteration.
_Iterations = tuple[tuple[RuleSettings, Sampling, Training], ...]
_PRESETS: Mapping[str, tuple[str, str, _Iterations]] = {
    "scpo-gsm8k": ("scpo", _SCPO, tuple(
        (ScpoSettings(threshold=share), _SCPO_MATH, _SCPO_TRAINING) for share in (0.5, 0.7)
    )),
    "scpo-math": ("scpo", _SCPO, tuple(
        (ScpoSettings(threshold=share), _SCPO_MATH, _SCPO_TRAINING) for share in (0.5, 0.6)
    )),
    "scpo-zebralogic": ("scpo", _SCPO, (
        (ScpoSettings(threshold=0.0, min_votes=2), _SCPO_ZEBRA, _SCPO_TRAINING),
        (ScpoSettings(threshold=0.5), _SCPO_ZEBRA, _SCPO_TRAINING),
    )),
    "irpo-gsm8k": ("irpo", _IRPO, tuple(
        (
            IrpoSettings(pairs_per_prompt=10, gold="last", max_pairs=60_000),
            Sampling(30, temperature),
            _irpo_training(5000),
        )
        for temperature in (0.8, 0.8, 1.3, 1.3)
    )),
    "irpo-arc": ("irpo", _IRPO, tuple(
        (IrpoSettings(pairs_per_prompt=20), Sampling(30, temperature), _irpo_training(4000))
        for temperature in (0.8, 0.8, 1.3)
    )),
    "irpo-math": ("irpo", _IRPO, tuple(
        (IrpoSettings(pairs_per_prompt=15), Sampling(20, temperature), _irpo_training(5000))
        for temperature in (0.8, 0.8, 1.0)
    )),
    "rip-wildchat-8b": ("rip", _RIP, ((
        RipSettings(
            min_rejected_reward=_RIP_REWARD, min_rejected_length=_RIP_LENGTH, max_gap=_RIP_GAP
        ),
        Sampling(64, 0.8, 0.95),
        _RIP_8B,
    ),)),
    "rip-wildchat-8b-no-gap": ("rip", _RIP, ((
        RipSettings(min_rejected_reward=_RIP_REWARD, min_rejected_length=_RIP_LENGTH),
        Sampling(64, 0.8, 0.95),
        _RIP_8B,
    ),)),
    "rip-wildchat-70b": ("rip", _RIP, ((
        RipSettings(
            min_rejected_reward=_RIP_REWARD, min_rejected_length=_RIP_LENGTH, max_gap=_RIP_GAP
        ),
        Sampling(32, 0.8, 0.95),
        _RIP_70B,
    ),)),
    "rip-405b-judge": ("rip", _RIP, ((
        RipSettings(
            min_rejected_reward=8, min_rejected_length=1399, max_gap=1, gap_inclusive=False
        ),
        Sampling(64, 0.8, 0.95),
        _RIP_8B,
    ),)),
    "rip-helpsteer2": ("rip", _RIP, ((
        RipSettings(min_rejected_length=1303),
        Sampling(2, None),  # the data set's own two responses
        _RIP_8B,
    ),)),
    "rip-self-instruct": ("rip", _RIP, ((
        RipSettings(min_rejected_reward=_RIP_REWARD, min_rejected_length=_RIP_LENGTH),
        Sampling(64, 0.8, 0.95),
        _RIP_8B,
    ),)),
    "rip-self-rip": ("rip", _RIP, ((
        RipSettings(min_rejected_reward=_RIP_REWARD, min_rejected_length=_RIP_LENGTH),
        Sampling(64, 0.8, 0.95),
        _RIP_8B,
    ),)),
    # Length control is tuned per iteration so that the chosen side isn't longer: rho "auto".
    "tpo-ultrafeedback": ("tpo", _TPO, tuple(
        (TpoSettings(), Sampling(8, 0.8, 0.95), Training("dpo", None, 0.0, (), None, epochs=10))
        for _ in range(4)
    )),
}  # fmt: skip


def preset(name: str, iteration: int = 1, **changes: Any) -> Preset:
    """Return a paper's settings.

    Parameters
    ----------
    name : str
        See `preset_names`.
    iteration : int
        From 1.
    **changes
        Settings of the rule to replace, for example ``seed=3``.

    Raises
    ------
    InputError
        If there's no such preset, or the paper has no such iteration.

    Examples
    --------
    >>> preset("scpo-gsm8k", iteration=2).settings.threshold
    0.7
    >>> preset("irpo-gsm8k", iteration=3).sampling.temperature
    1.3
    """
    if name not in _PRESETS:
        raise InputError(f"preset '{name}' is unknown; presets: {', '.join(_PRESETS)}")
    rule, source, iterations = _PRESETS[name]
    if not 1 <= iteration <= len(iterations):
        raise InputError(f"preset '{name}' has iterations 1 to {len(iterations)}, not {iteration}")
    settings, sampling, training = iterations[iteration - 1]
    if changes:
        settings = type(settings).model_validate({**settings.model_dump(), **changes})
    return Preset(name, iteration, rule, settings, sampling, training, source)


def preset_names(rule: str | None = None) -> list[str]:
    """Return the names of the presets, of one rule or of all.

    Examples
    --------
    >>> preset_names("scpo")
    ['scpo-gsm8k', 'scpo-math', 'scpo-zebralogic']
    """
    return [name for name, (of_rule, _, _) in _PRESETS.items() if rule in (None, of_rule)]
